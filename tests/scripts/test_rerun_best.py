"""How a sweep is run again: one's own as it was, somebody else's from the folder that one is in."""

import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweeps.making import GRID_SPACE, grid, write_sweep

Script = Callable[..., SimpleNamespace]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep that nobody has signed, whose command was given in a folder that came with it."""
    directory = write_sweep(tmp_path / "logs" / "sweeps" / "a,b's {c}", grid(1), space=GRID_SPACE)
    (directory / "folder").mkdir()
    change(directory, folder=str(directory / "folder"))
    return directory


def change(sweep: Path, **parts: Any) -> None:
    content = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps({**content, **parts}))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What the script would start; starting it takes seconds, and is left to the tests of sweeps."""
    found: list[SimpleNamespace] = []

    def start(command: list[str], **options: Any) -> AbstractContextManager[SimpleNamespace]:
        found.append(SimpleNamespace(words=command[2:], **options))
        return nullcontext(SimpleNamespace(wait=lambda: 0))

    monkeypatch.setattr(subprocess, "Popen", start)
    return found


def test_a_received_sweep_is_run_where_one_is_and_imports_nothing_from_there(
    sweep: Path, calls: list[SimpleNamespace], script: Script
) -> None:
    change(sweep, commands=["python train.py -m seed=0,1 paths.logs=/elsewhere hydra.sweep.dir=/elsewhere/x"])
    assert script("rerun_best", str(sweep), "seeds=3").status == 0
    (call,) = calls
    logs = str(sweep.parents[1]).replace("'", r"\'")
    directory = str(sweep).replace("'", r"\'")
    assert call.words == [
        "-m", "seed=0,1", f"paths.logs='{logs}'", f"hydra.sweep.dir='{directory}'", "sweep.rerun=3",
    ]  # fmt: skip
    assert (call.cwd, call.env["PYTHONSAFEPATH"]) == (Path(), "1")


def test_with_trust_it_is_run_as_it_says(sweep: Path, calls: list[SimpleNamespace], script: Script) -> None:
    words = "-m seed=0,1 '+callbacks.x={_target_: os.system}' paths.logs=/elsewhere"
    change(sweep, commands=[f"python train.py {words}"])
    assert script("rerun_best", str(sweep), "seeds=3", "trust=true").status == 0
    (call,) = calls
    assert call.words[:4] == ["-m", "seed=0,1", "+callbacks.x={_target_: os.system}", "paths.logs=/elsewhere"]
    assert call.words[-1] == "trust=true"
    assert call.cwd == sweep / "folder"
    assert "PYTHONSAFEPATH" not in call.env


@pytest.mark.parametrize(
    "word",
    ["+callbacks.x={_target_: joblib.load}", "callbacks=../../../logs/sweeps/sent/payload", "++trust=true", "resume=x",
     "+hydra.job.env_set={PATH: bin}", "--config-dir=.", "seed=${oc.env:HOME}"],
)  # fmt: skip
def test_words_that_are_more_than_plain_values_are_refused(
    sweep: Path, calls: list[SimpleNamespace], mistake: Callable[..., str], word: str
) -> None:
    change(sweep, commands=[f'python train.py -m "{word}" seed=0'])
    assert "choices of conf/ and plain values alone" in mistake("rerun_best", str(sweep))
    assert calls == []


def test_a_name_that_hydra_would_resolve_is_refused(
    sweep: Path, calls: list[SimpleNamespace], mistake: Callable[..., str]
) -> None:
    hostile = sweep.rename(sweep.with_name("${oc.env:HOME}"))
    assert "whose name Hydra takes as it is" in mistake("rerun_best", str(hostile))
    assert calls == []
