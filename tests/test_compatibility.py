"""docs/compatibility.md lists every callback and flag of the Lightning that is installed, as each case shows it."""

from pathlib import Path

import pytest
import torch
from compatibility import CALLBACKS, FLAGS, PAGE, Recorder, names, outcomes, page
from parts import needs

QUICK = ("DeviceStatsMonitor", "strategy", "precision")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Profiler"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:When using the `ThroughputMonitor`"),
]


@needs("tables", "sweeps")  # rows that lead to what was left out go with it
def test_every_callback_and_every_flag_has_a_row() -> None:
    callbacks, flags = names()
    assert sorted({case.name for case in CALLBACKS}) == sorted(callbacks)
    assert sorted({case.name for case in FLAGS}) == sorted(flags)
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in (*callbacks, *flags))


@pytest.mark.parametrize("name", QUICK)
def test_a_row_says_what_the_case_does(tmp_path: Path, name: str) -> None:
    recorder, text = Recorder(tmp_path), PAGE.read_text(encoding="utf-8")
    for case in (*CALLBACKS, *FLAGS):
        if case.name == name and not case.in_a_process:
            outcome = recorder.outcome(case)
            assert (outcome.refusal or outcome.case.does) in text
            assert outcome.resumes in text


@needs("tables", "sweeps", "report")
@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the page tells what a machine without a GPU refuses")
def test_the_page_is_what_all_cases_do(tmp_path: Path) -> None:
    found = page(outcomes(CALLBACKS, tmp_path / "callbacks"), outcomes(FLAGS, tmp_path / "flags"))
    assert found == PAGE.read_text(encoding="utf-8"), "python tests/compatibility.py writes it anew"
