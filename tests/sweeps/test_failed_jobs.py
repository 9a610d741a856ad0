"""What fails in a run of one's own code, and in a sweep: told once, in one line, with where to look."""

import json
import os
from pathlib import Path

import pytest
from launching import Done, run_program

OWN = """
import torch
from lightning.pytorch.callbacks import Callback

class Broken(torch.nn.Module):
    def __init__(self, in_features, out_features, when=3):
        super().__init__()
        self.layer = torch.nn.Linear(in_features, out_features)
        self.count, self.when = 0, when
    def forward(self, features):
        self.count += self.training
        if self.count > self.when:
            raise ZeroDivisionError("planted\\nin two lines")
        return self.layer(features)

class Hungry(Broken):
    def forward(self, features):
        if self.training:
            self.count += 1
            if self.count > self.when:
                torch.empty(2**50)
        return self.layer(features)

class Watcher(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        raise KeyError("planted")

class Gone(BaseException):
    pass

class Leaver(Callback):
    def __init__(self, kind):
        self.kind = Gone if kind == "own" else GeneratorExit
    def on_train_epoch_end(self, trainer, pl_module):
        raise self.kind("planted \\x1b[31m\\nred")
"""
QUICK = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=2"]


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "own_code.py").write_text(OWN)

    def start(*words: str) -> Done:
        words = (*words, *QUICK, f"paths.logs={tmp_path / 'logs'}")
        return run_program("train.py", words, tmp_path, PYTHONPATH=str(tmp_path))

    return start


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["~model", "+model={_target_: own_code.Broken}"],
            "ZeroDivisionError: planted in two lines (own_code.py, line 13)",
        ),
        pytest.param(
            ["+callbacks.mine={_target_: own_code.Watcher}"],
            "KeyError: 'planted' (own_code.py, line 26)",
            marks=pytest.mark.slow,
        ),
        (
            ["+callbacks.mine={_target_: own_code.Leaver,kind:own}"],
            r"Gone: planted \x1b[31m red (own_code.py, line 35)",
        ),
        pytest.param(
            ["+callbacks.mine={_target_: own_code.Leaver,kind:other}"],
            r"GeneratorExit: planted \x1b[31m red (own_code.py, line 35)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["in a model", "in a callback", "no Exception", "GeneratorExit"],
)
def test_an_error_of_ones_own_code_is_one_line_and_its_traceback_is_in_the_log(
    run,
    tmp_path: Path,
    words: list[str],
    says: str,  # type: ignore[no-untyped-def]
) -> None:
    done = run(*words)
    assert done.status == 1
    (line,) = done.stderr.splitlines()
    (directory,) = (tmp_path / "logs" / "runs").iterdir()
    log = directory / "train.log"
    assert line == f"train.py: the run failed: {says}; its traceback is in {os.path.relpath(log, tmp_path)}"
    assert "Traceback" in log.read_text()
    status = json.loads((directory / "status.json").read_text())
    assert status["state"] == "failed"
    assert "planted" in status["reason"]


def test_too_little_memory_is_told_with_the_size_of_a_batch(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = run("~model", "+model={_target_: own_code.Hungry}")
    assert done.status == 1
    (line,) = done.stderr.splitlines()
    assert "a batch must fit into memory, but data.batch_size=32 ran out of it" in line
    assert "try data.batch_size=8, or a smaller model" in line
    (status,) = (tmp_path / "logs").rglob("status.json")
    assert json.loads(status.read_text())["state"] == "failed"


def test_a_sweep_goes_on_past_each_kind_of_failure_and_ends_with_a_table(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    models = "{_target_: mlplab.models.MLP},{_target_: own_code.Broken},{_target_: own_code.Hungry},{_target_: no.A}"
    done = run("-m", "~model", f"+model={models}", "sweep.name=study")
    assert done.status == 1
    assert "3 of 4 jobs failed" in done.stdout
    table = done.stdout.partition("3 of 4 jobs failed")[2]
    for words in ("ZeroDivisionError", "memory", "importable"):
        assert words in table
    assert "Traceback" not in done.stderr
    states = [json.loads(p.read_text()) for p in sorted((tmp_path / "logs" / "sweeps" / "study").glob("*/status.json"))]
    assert [status["state"] for status in states] == ["finished", "failed", "failed", "failed"]
    assert "infeasible" not in states[1]
