"""What a job's directory says of it, whatever stands there."""

import json
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import read_json
from mlplab.runs.lock import Lock
from mlplab.runs.run_reading import ENDED, read_result, read_state


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ({"state": "finished"}, "finished"),
        ({"state": "finished", "pruned": True}, "pruned"),
        ({"state": "failed"}, "failed"),
        ({"state": "failed", "infeasible": True}, "infeasible"),
        ({"state": "stopped"}, "stopped"),
        ({"state": "running"}, "cut off"),
        ({}, "cut off"),
        ([], "cut off"),
        ("finished", "cut off"),
        (None, "cut off"),
    ],
)
def test_states(tmp_path: Path, status: Any, name: str) -> None:
    (tmp_path / "status.json").write_text(json.dumps(status))
    state = read_state(tmp_path)
    assert state.name == name
    assert state.has_ended == (name in ENDED)


def test_nothing_there_waits(tmp_path: Path) -> None:
    assert read_state(tmp_path).name == "waiting"
    assert read_state(tmp_path / "none").name == "waiting"
    assert read_result(tmp_path) == {}


def test_the_states_of_a_run(tmp_path: Path) -> None:
    """Another process's: the lock that a run holds is what tells it from one that died."""
    run = RunDirectory(tmp_path / "job")
    run.claim()
    assert read_state(run.path).name == "running"
    run.release()
    assert read_state(run.path).name == "cut off"
    run.reopen()
    run.end("failed", "it diverged", infeasible=True)
    state = read_state(run.path)
    assert (state.name, state.reason) == ("infeasible", "it diverged")


def test_looking_does_not_take_the_lock(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "running"}')
    lock = Lock(tmp_path / ".lock")
    lock.acquire()
    lock.release()
    assert read_state(tmp_path).name == "cut off"
    lock.acquire()
    lock.release()


@given(st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(100))
def test_no_content_makes_looking_fail(tmp_path: Path, content: bytes) -> None:
    for name in ("status.json", "result.json"):
        (tmp_path / name).write_bytes(content)
    assert read_state(tmp_path).name in {*ENDED, "cut off", "stopped"}
    assert isinstance(read_result(tmp_path), dict)
    assert isinstance(read_json(tmp_path / "status.json"), dict)


def test_a_bomb_of_brackets_is_no_status(tmp_path: Path) -> None:
    for name in ("status.json", "result.json"):
        (tmp_path / name).write_text("[" * 100_000)
    assert read_state(tmp_path).name == "cut off"
    assert read_result(tmp_path) == {}
