"""What is learned, against what was learned when the curves were recorded."""

import json

import pytest
from record import FILE, RUNS, curves, machine


@pytest.mark.parametrize("name", RUNS)
def test_the_loss_is_what_it_was(name: str) -> None:
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    expected, found = recorded["curves"][name], curves(RUNS[name])
    if recorded["machine"] == machine():
        assert found == expected
    else:  # another processor or PyTorch rounds in its own way, and rounding grows from step to step
        assert found.keys() == expected.keys()
        for kind, values in expected.items():
            assert found[kind] == pytest.approx(values, rel=1e-2)


def test_every_run_has_its_curve() -> None:
    assert json.loads(FILE.read_text(encoding="utf-8"))["curves"].keys() == RUNS.keys()
