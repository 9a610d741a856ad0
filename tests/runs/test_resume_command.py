"""What `train.py resume=…` accepts, refuses and says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from inference.small_runs import ROOT, train_run

from mlplab.errors import Refusal
from mlplab.runs.resume_command import resumed_config, resumes

CONF = ROOT / "conf"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("resume") / "run_a"
    train_run(directory, "data=wine", "logger=csv")
    return directory


@pytest.fixture
def stopped(tmp_path: Path, finished: Path) -> Path:
    """A copy of the run that was stopped."""
    directory = Path(shutil.copytree(finished, tmp_path / "run_a"))
    set_status(directory, state="stopped", reason="Ctrl-C")
    return directory


def set_status(directory: Path, **changes: Any) -> None:
    path = directory / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def asked(directory: Path, *words: str) -> Any:
    return resumed_config([f"resume={directory}", *words], CONF)


def test_it_goes_on_with_what_it_was_started_with(stopped: Path) -> None:
    config = asked(stopped)
    assert config.data._target_ == "mlplab.data.bundled.bundled"
    assert config.trainer.max_epochs == 2
    assert config.paths.run == str(stopped)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("logger=none", "logger", {}),
        ("callbacks.checkpoints.every_seconds=1", "callbacks.checkpoints.every_seconds", 1),
        ("on_divergence=skip", "on_divergence", "skip"),
        ("trainer.threads=1", "trainer.threads", 1),
        ("trainer.max_epochs=7", "trainer.max_epochs", 7),
        ("trainer.max_epochs=-1", "trainer.max_epochs", -1),
        ("optimizer.lr=0.001", "optimizer.lr", 0.001),  # as it is
        ("optimizer=adam", "optimizer.lr", 0.001),
        ("trust=true", "seed", 0),
    ],
)
def test_what_does_not_change_what_is_learned_may_be_given(stopped: Path, word: str, key: str, value: Any) -> None:
    from omegaconf import OmegaConf

    assert OmegaConf.select(asked(stopped, word), key) == value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.lr=0.1", "however: optimizer.lr=0.1 instead of 0.001; try: resume="),
        ("seed=1", "however: seed=1 instead of 0"),
        ("optimizer=sgd", r"optimizer._target_=torch.optim.SGD instead of torch.optim.Adam"),
        ("data=iris", "data.name=iris instead of wine"),
        ("data.batch_size=16", "data.batch_size=16 instead of 32"),
        ("model.hidden_dims=[3]", r"model.hidden_dims=\[3\] instead of \[128,64\]"),
        ("callbacks.early_stopping.patience=3", "patience=3 instead of 15"),
        ("+model.extra=3", "model.extra=3 instead of nothing"),
        ("scheduler=cosine", "scheduler.name=cosine instead of none"),
        ("trainer.max_epochs=1", "must not shrink where a run goes on, however: trainer.max_epochs=1 instead of 2"),
        ("optimzer.lr=1", "optimzer.lr=1; try: optimizer.lr=1"),
        ("trainer.max_epoch=9", "trainer.max_epoch=9; try: trainer.max_epochs=9"),
        ("~logger", "must be given plain values, however: ~logger"),
        ("seed=1,2", "must be given plain values, however: seed=1,2"),
        ("hydra.verbose=true", "must be given plain values"),
        ("trust=maybe", "trust must be true or false, however: trust=maybe"),
        ("-m", "must go on with a single run, however: resume=… with -m"),
        ("--cfg", "must go on with a single run"),
    ],
)
def test_what_changes_what_is_learned_is_refused_with_the_difference(stopped: Path, word: str, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        asked(stopped, word)


@pytest.mark.parametrize("schedule", ["cosine", "warmup_cosine", "one_cycle"])
def test_a_schedule_keeps_the_epochs_that_it_is_laid_out_over(tmp_path: Path, schedule: str) -> None:
    train_run(tmp_path / "run", "data=wine", f"scheduler={schedule}")
    with pytest.raises(Refusal, match=f"scheduler={schedule} must keep the number of epochs"):
        asked(tmp_path / "run", "trainer.max_epochs=9")


def test_a_finished_run_has_nothing_left_to_do(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(finished) is None
    assert capsys.readouterr().out == "the run has finished (epoch limit): nothing is left to do\n"
    assert asked(finished, "trainer.max_epochs=3").trainer.max_epochs == 3


def test_a_run_that_converged_is_given_no_more_epochs(stopped: Path) -> None:
    set_status(stopped, state="finished", reason="converged")
    with pytest.raises(Refusal, match="must have ended by their limit, however: it ended: converged"):
        asked(stopped, "trainer.max_epochs=9")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run_b", "there is no .*run_b; try: resume=.*run_a"),
        ("run_a/status.json", "is a file"),
        ("run_a/checkpoints", "has no .hydra/config.yaml"),
    ],
)
def test_what_is_no_run_is_refused(stopped: Path, name: str, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        asked(stopped.parent / name)


@pytest.mark.parametrize(
    "content", ["[]", "{}", "null", '{"state": 3}', '{"state": "x", "seconds": {"fit": "y"}}', "\0"]
)
def test_a_status_that_no_run_writes_is_refused(stopped: Path, content: str) -> None:
    (stopped / "status.json").write_text(content)
    with pytest.raises(Refusal, match=r"must have its status\.json"):
        asked(stopped)


def test_it_is_a_resume_where_a_directory_is_given() -> None:
    assert resumes(["resume=logs/runs/x", "seed=1"])
    assert not resumes(["seed=1"])
    assert not resumes(["resume=null"])
