"""Nothing that a sweep's directory can hold stops its analysis."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report.analysing import analyse
from sweeps.making import grid, job, write_sweep

from mlplab.errors import UserError


@pytest.mark.parametrize("name", ["status.json", "manifest.json", "result.json", "history.jsonl"])
@pytest.mark.parametrize("content", [b"", b"null", b"\xff\xfe", b"[" * 5000, b'{"epochs": "x", "test": 1}'])
def test_a_damaged_file_of_a_job_stops_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    write_sweep(tmp_path, grid(seeds=1))
    (tmp_path / "4_job" / name).write_bytes(content)
    analysis = analyse(tmp_path)
    assert len(analysis.sweep.runs) == 8
    assert analysis.settings[0].validation.mean is not None


def test_entries_that_describe_no_job_are_told(tmp_path: Path) -> None:
    sound = job(0, {"lr": 1}, 0.5)
    wrong = {**sound, "state": "waiting", "entry": {**sound["entry"], "number": 1, "directory": "1", "arm": 3}}
    (damaged,) = [f for f in analyse(write_sweep(tmp_path, [sound, wrong])).findings if f.kind == "damaged"]
    assert damaged.sentence == "1 job in sweep.json cannot be read."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "monitor",
    "mode",
    "target",
    "space",
    "search",
    "comparison",
    "commands",
    "seconds",
    "started",
    "sweeper",
    "configs",
    "constants",
)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.dictionaries(st.sampled_from(KEYS), JSON), values=st.dictionaries(st.text(max_size=6), JSON, max_size=3)
)
def test_whatever_stands_in_the_sweeps_file_is_told_or_refused(
    tmp_path: Path, asked: dict[str, Any], values: dict[str, Any]
) -> None:
    jobs = [job(n, {**values, "seed": n}, 0.1 + n) for n in range(3)]
    write_sweep(tmp_path, jobs, **asked)
    with contextlib.suppress(UserError):
        assert len(analyse(tmp_path).sweep.runs) == 3
