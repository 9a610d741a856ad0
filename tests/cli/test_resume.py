"""`resume=DIRECTORY …`: which words go with it, before anything is run."""

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from composing import composed
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from launching import Done, run_program
from omegaconf import DictConfig, OmegaConf
from slow_cases import slow

from mlplab.cli.resume import resumed_config, resumes, set_hydra_config
from mlplab.config.paths import shortest
from mlplab.errors import UserError
from mlplab.runs.lock import Lock

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(autouse=True)
def _hydra_forgets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    yield
    HydraConfig.instance().cfg = None


@functools.cache
def saved(overrides: tuple[str, ...]) -> str:
    return OmegaConf.to_yaml(composed("data=wine", "trainer.max_epochs=5", *overrides))


@pytest.fixture
def begun(tmp_path: Path) -> Callable[..., Path]:
    """The directory of a run that has got as far as its status says."""

    def make(*overrides: str, **status: Any) -> Path:
        directory = tmp_path / "logs" / "runs" / "name"
        (directory / ".hydra").mkdir(parents=True)
        (directory / ".hydra" / "config.yaml").write_text(saved(overrides))
        (directory / "status.json").write_text(json.dumps({"state": "stopped", "reason": "Ctrl-C", **status}))
        return directory

    return make


def resumed(directory: Path, *words: str) -> DictConfig:
    config = resumed_config([f"resume={directory}", *words], CONF)
    assert config is not None
    return config


def refusal(directory: Path, *words: str) -> UserError:
    with pytest.raises(UserError) as caught:
        resumed_config([f"resume={directory}", *words], CONF)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], False),
        (["seed=1"], False),
        (["resume=null"], False),
        (["resume=logs/runs/name"], True),
        (["seed=1", "resume=x"], True),
        (["seed=1", "-m", "resume=x"], True),
        (["resume="], True),
        (["++resume=x"], True),
        (["resumed=x", "data.resume=x"], False),
    ],
)
def test_a_command_line_asks_for_a_run_to_go_on(words: list[str], expected: bool) -> None:
    assert resumes(words) is expected


def test_a_run_goes_on_with_the_configuration_it_was_started_with(begun: Callable[..., Path]) -> None:
    directory = begun("model.dropout=0.5")
    config = resumed(directory)
    assert (config.model.dropout, config.trainer.max_epochs) == (0.5, 5)
    assert config.paths.run == str(directory)
    assert HydraConfig.get().runtime.output_dir == str(directory)


def test_a_directory_may_be_named_from_where_one_stands_or_from_home(
    begun: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = begun()
    monkeypatch.chdir(directory.parent)
    monkeypatch.setenv("HOME", str(directory.parents[1]))
    assert resumed(Path("name")).paths.run == str(directory)
    assert resumed(Path("'~/runs/name'")).paths.run == str(directory)


def test_a_run_takes_the_defaults_of_options_that_conf_has_gained(
    begun: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = begun("~model.residual", "~optimizer.betas", "~callbacks.figures", "optimizer=adamw")
    hydra = {
        "overrides": {"task": ["~optimizer.betas"]},
        "runtime": {"choices": {"optimizer": "adamw", "data": "wine"}},
    }
    (directory / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": hydra}))
    config = resumed(directory)
    assert config.model.residual is False
    assert "betas" not in config.optimizer  # it was taken away on the command line
    assert "figures" not in config.callbacks
    assert "new     model.residual=false: the run began without" in capsys.readouterr().out
    assert resumed(directory, "model.residual=false").model.residual is False
    assert "model.residual=true instead of false" in str(refusal(directory, "model.residual=true"))


def test_early_stopping_may_be_given_more_patience(begun: Callable[..., Path]) -> None:
    key = "callbacks.early_stopping.patience"
    directory = begun(state="finished", reason="converged")
    assert resumed(directory, f"{key}=20", "trainer.max_epochs=9").callbacks.early_stopping.patience == 20
    assert f"{key}=30, with which it trains on" in str(refusal(directory, "trainer.max_epochs=9"))
    assert "instead of 15" in str(refusal(directory, f"{key}=10"))
    assert resumed_config([f"resume={directory}"], CONF) is None


# --- what may be changed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("callbacks.checkpoints.every_seconds=1", "callbacks.checkpoints.every_seconds", 1),
        ("trainer.max_epochs=7", "trainer.max_epochs", 7),
        ("optimizer=adam", "optimizer.lr", 0.001),
        *slow(
            ("logger.tensorboard.every_seconds=9", "logger.tensorboard.every_seconds", 9),
            ("callbacks.figures=null", "callbacks.figures", None),
            ("on_divergence=skip", "on_divergence", "skip"),
            ("trainer.max_time=00:01:00:00", "trainer.max_time", "00:01:00:00"),
            ("trainer.max_epochs=5", "trainer.max_epochs", 5),
            ("trainer.max_epochs=-1", "trainer.max_epochs", -1),
            ("++trainer.threads=1", "trainer.threads", 1),
            ("seed=0", "seed", 0),
            ("trust=false", "trust", False),
        ),
    ],
)
def test_what_decides_nothing_may_be_changed_and_what_stays_may_be_said(
    begun: Callable[..., Path], word: str, key: str, value: Any
) -> None:
    assert OmegaConf.select(resumed(begun(), word), key) == value


@pytest.mark.parametrize(
    ("data", "key"), [("table", "path"), ("mnist", "directory"), *slow(("table", "test_path"), ("arrays", "path"))]
)
def test_files_of_data_may_have_moved(begun: Callable[..., Path], data: str, key: str) -> None:
    word = f"data.{key}=elsewhere"
    config = resumed(begun(f"data={data}", f"data.{key}=there"), word)
    assert OmegaConf.select(config, f"data.{key}") == "elsewhere"


def test_other_loggers_may_be_chosen(begun: Callable[..., Path]) -> None:
    directory = begun()
    assert list(resumed(directory, "logger=csv").logger) == ["csv"]
    assert resumed(directory, "logger=csv").logger.csv.directory == str(directory / "csv")
    assert list(resumed(directory, "logger=none").logger) == []


def test_fewer_callbacks_that_only_look_may_be_chosen(begun: Callable[..., Path]) -> None:
    config = resumed(begun(), "callbacks=minimal")
    assert not {"figures", "histograms", "gradient_norms"} & set(config.callbacks)


@pytest.mark.parametrize(
    ("word", "difference"),
    [
        ("optimizer.lr=0.1", "optimizer.lr=0.1 instead of 0.001"),
        ("data=iris", "data.name=iris instead of wine"),
        ("+model.width=3", "model.width=3 instead of nothing"),
        *slow(
            ("seed=1", "seed=1 instead of 0"),
            ("data.batch_size=16", "data.batch_size=16 instead of 32"),
            ("model.hidden_dims=[8]", "model.hidden_dims=[8] instead of [128,64]"),
            ("optimizer=sgd", "optimizer._target_=torch.optim.SGD instead of torch.optim.Adam"),
            ("monitor=val/accuracy", "monitor=val/accuracy instead of val/loss"),
            ("callbacks.early_stopping.patience=3", "callbacks.early_stopping.patience=3 instead of 15"),
            ("callbacks.checkpoints.mode=max", "callbacks.checkpoints.mode=max instead of ${mode}"),
            ("trainer.gradient_clip_val=1", "trainer.gradient_clip_val=1 instead of null"),
            ("++model.width=3", "model.width=3 instead of nothing"),
        ),
    ],
)
def test_what_decides_what_is_learned_is_refused_with_the_difference(
    begun: Callable[..., Path], word: str, difference: str
) -> None:
    directory = begun()
    refused = refusal(directory, word)
    assert refused.requirement == "a resumed run must keep the options that affect what it learns"
    assert difference in refused.actual
    assert refused.hint == f"resume={shortest(directory)} alone, or a new run"


def test_all_differences_are_told_at_once(begun: Callable[..., Path]) -> None:
    refused = refusal(begun(), "seed=1", "logger=csv", "optimizer.lr=0.1", "trainer.max_epochs=9")
    assert refused.actual == "seed=1 instead of 0, optimizer.lr=0.1 instead of 0.001"


@pytest.mark.parametrize("word", ["seed=1,2", *slow("~optimizer", "hydra.run.dir=x")])
def test_a_word_that_is_no_plain_value_is_refused(begun: Callable[..., Path], word: str) -> None:
    assert refusal(begun(), word).requirement == "a resumed run must be given options with one plain value each"


def test_an_experiment_is_that_of_a_new_run(begun: Callable[..., Path]) -> None:
    refused = refusal(begun(), "experiment=learning_rate_range_test")
    assert "experiment=learning_rate_range_test" in refused.actual
    assert refused.hint == "a new run"


def test_the_files_of_a_run_cannot_be_left_behind(begun: Callable[..., Path], tmp_path: Path) -> None:
    directory = begun()
    assert f"paths.run={tmp_path} instead of {directory}" in refusal(directory, f"paths.run={tmp_path}").actual
    assert resumed(directory, f"paths.run={directory}").paths.run == str(directory)


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("max_epochs=9", "trainer.max_epochs=9"),
        *slow(
            ("on_divergense=skip", "on_divergence=skip"),
            ("loger=csv", "logger=csv"),
            ("callbacks.checkpoints.every_second=1", "callbacks.checkpoints.every_seconds=1"),
        ),
    ],
)
def test_a_name_with_a_mistake_gets_the_nearest(begun: Callable[..., Path], word: str, remedy: str) -> None:
    refused = refusal(begun(), word)
    assert refused.requirement == "names on the command line must exist in the configuration of the run"
    assert (refused.actual, refused.hint) == (word, remedy)


def test_a_choice_that_is_not_there_is_hydras_to_refuse(begun: Callable[..., Path]) -> None:
    with pytest.raises(HydraException):
        resumed(begun(), "logger=cvs")


# --- the number of epochs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [("5", "4"), ("-1", "100"), ("5", "many"), *slow(("5", "0"), ("null", "100"), ("5", "9.5"))],
)
def test_the_number_of_epochs_does_not_shrink(begun: Callable[..., Path], before: str, after: str) -> None:
    refused = refusal(begun(f"trainer.max_epochs={before}"), f"trainer.max_epochs={after}")
    assert refused.requirement == "trainer.max_epochs must not be smaller when a run resumes"
    assert refused.actual == f"trainer.max_epochs={after} instead of {before}"
    assert refused.hint == f"trainer.max_epochs={before}"


@pytest.mark.parametrize(
    ("schedule", "epochs"), [("cosine", "9"), *slow(("one_cycle", "-1"), ("warmup_cosine", "null"))]
)
def test_a_schedule_that_is_laid_out_over_them_keeps_their_number(
    begun: Callable[..., Path], schedule: str, epochs: str
) -> None:
    refused = refusal(begun(f"scheduler={schedule}"), f"trainer.max_epochs={epochs}")
    assert refused.requirement == f"the number of epochs must not change, as scheduler={schedule} depends on it"
    assert refused.actual == f"trainer.max_epochs={epochs} instead of 5"


@pytest.mark.parametrize("schedule", ["plateau", *slow("none")])
def test_under_other_schedules_it_may_grow(begun: Callable[..., Path], schedule: str) -> None:
    assert resumed(begun(f"scheduler={schedule}"), "trainer.max_epochs=9").trainer.max_epochs == 9


def test_the_same_number_may_be_said_under_every_schedule(begun: Callable[..., Path]) -> None:
    assert resumed(begun("scheduler=cosine"), "trainer.max_epochs=5").trainer.max_epochs == 5


# --- runs that have finished -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["epoch limit", *slow("converged")])
def test_of_a_finished_run_nothing_is_left_to_do(
    begun: Callable[..., Path], capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    directory = begun(state="finished", reason=reason)
    assert resumed_config([f"resume={directory}"], CONF) is None
    assert capsys.readouterr().out == f"the run has already finished ({reason}): nothing to do\n"


def test_a_finished_run_that_is_given_more_epochs_goes_on(begun: Callable[..., Path]) -> None:
    directory = begun(state="finished", reason="epoch limit")
    assert resumed(directory, "trainer.max_epochs=6").trainer.max_epochs == 6


def test_a_run_that_ran_out_of_time_goes_on(begun: Callable[..., Path]) -> None:
    assert resumed(begun(state="finished", reason="time limit"), "trainer.max_time=null").trainer.max_time is None


def test_a_run_that_ended_otherwise_is_not_helped_by_more_epochs(begun: Callable[..., Path]) -> None:
    refused = refusal(begun(state="finished", reason="converged"), "trainer.max_epochs=9")
    assert refused.requirement == "a finished run must have ended by its epoch limit to be given more epochs"
    assert refused.actual == "it ended: converged"


@pytest.mark.parametrize("state", ["failed", *slow("running", "stopped")])
def test_a_run_that_has_not_finished_goes_on_whatever_happened(begun: Callable[..., Path], state: str) -> None:
    assert resumed(begun(state=state, reason="diverged")).seed == 0


# --- what cannot go on -----------------------------------------------------------------------------------------------


def test_nothing_a_file_and_a_folder_without_a_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name in ("nothing", "file", "folder"):
        assert refusal(tmp_path / name).requirement == "resume must be the directory of a run"


def test_a_name_of_a_run_with_a_mistake_gets_the_nearest(begun: Callable[..., Path]) -> None:
    directory = begun()
    assert refusal(directory.with_name("nane")).hint == f"resume={directory}"


def test_a_run_without_a_status_is_refused(begun: Callable[..., Path]) -> None:
    directory = begun()
    (directory / "status.json").unlink()
    assert refusal(directory).requirement == "the directory of a run must have its status.json"


def test_a_run_that_another_process_has_is_refused(begun: Callable[..., Path]) -> None:
    directory = begun()
    lock = Lock(directory / ".lock")
    lock.acquire()
    assert f"in use by process {os.getpid()} on" in refusal(directory).actual
    lock.release()
    resumed(directory)


@pytest.mark.parametrize("flag", ["-m", *slow("--cfg")])
def test_flags_do_not_go_with_it(begun: Callable[..., Path], flag: str) -> None:
    refused = refusal(begun(), flag)
    assert refused.requirement == "resume= must be used without flags"
    assert refused.actual == f"resume=… with {flag}"


def test_of_a_name_that_is_given_twice_neither_is_dropped(begun: Callable[..., Path]) -> None:
    directory = begun()
    assert refusal(directory, f"resume={directory}").requirement == "resume must be given once"
    assert (
        refusal(directory, "trainer.threads=1", "trainer.threads=2").requirement == "trainer.threads must be given once"
    )


@pytest.mark.parametrize("value", ["maybe", *slow("1")])
def test_trust_is_true_or_false(begun: Callable[..., Path], value: str) -> None:
    assert refusal(begun(), f"trust={value}").requirement == "trust must be true or false"


def test_code_of_somebody_else_is_run_with_trust_alone(
    begun: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = begun("model._target_=os.system")
    assert "model._target_='os.system'" in refusal(directory).actual
    assert resumed(directory, "trust=true").model._target_ == "os.system"
    assert "will be executed" in capsys.readouterr().out


def test_code_cannot_be_brought_in_by_the_command_line_either(begun: Callable[..., Path]) -> None:
    assert "model._target_=os.system instead of" in refusal(begun(), "model._target_=os.system").actual


@pytest.mark.parametrize(
    "content",
    ["hydra: {runtime: {choices: {data: '${oc.env:HOME}'}}}", "hydra: {runtime: {choices: [1]}}", "hydra: 3",
     "hydra: {runtime: {choices: {data: 3, optimizer: null}}}"],
)  # fmt: skip
def test_of_hydras_file_only_plain_choices_are_taken(begun: Callable[..., Path], content: str) -> None:
    directory = begun()
    (directory / ".hydra" / "hydra.yaml").write_text(content)
    set_hydra_config(directory, choices_of=directory)
    assert HydraConfig.get().runtime.choices == {}
    (directory / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {data: wine}}}")
    set_hydra_config(directory, choices_of=directory)
    assert HydraConfig.get().runtime.choices == {"data": "wine"}


@pytest.mark.parametrize("content", ["!!python/object/apply:os.system ['true']", *slow("{", "\x00", "- 1")])
def test_a_damaged_file_of_hydra_is_refused(begun: Callable[..., Path], content: str) -> None:
    directory = begun()
    (directory / ".hydra" / "hydra.yaml").write_text(content)
    assert str(directory / ".hydra" / "hydra.yaml") in refusal(directory).actual


def test_a_process_that_lightning_starts_passes_over_what_lightning_adds(
    begun: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    directory = begun()
    lock = Lock(directory / ".lock")
    lock.acquire()  # as the first process has
    assert resumed(directory, f"hydra.run.dir={directory}").seed == 0
    lock.release()


# --- as people type it -----------------------------------------------------------------------------------------------


def typed(folder: Path, *words: str) -> Done:
    return run_program("train.py", words, folder)


def test_a_run_goes_on_from_the_command_line_is_finished_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    quick = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=2"]
    done = typed(tmp_path, *quick, f"paths.logs={tmp_path / 'logs'}")
    assert done.status == 0, done.stderr
    (directory,) = (tmp_path / "logs" / "runs").iterdir()
    resume = f"resume=logs/runs/{directory.name}"

    done = typed(tmp_path, resume)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == "the run has already finished (epoch limit): nothing to do\n"

    done = typed(tmp_path, resume, "logger=cvs")
    assert (done.status, done.stdout) == (2, "")
    assert "try logger=csv" in done.stderr
    assert done.stderr.count("\n") == 1

    done = typed(tmp_path, resume, "trainer.max_epochs=3")
    assert (done.status, done.stderr) == (0, "")
    status = json.loads((directory / "status.json").read_text())
    assert (status["state"], status["epoch"], status["resumed"]) == ("finished", 3, 1)
    assert [path.name for path in (tmp_path / "logs" / "runs").iterdir()] == [directory.name]


@pytest.mark.slow
def test_a_run_that_was_killed_is_gone_on_with_and_says_so(root: Path, tmp_path: Path) -> None:
    quick = ["data=wine", "callbacks=minimal", "logger=none", "callbacks.checkpoints.every_seconds=0"]
    command = [sys.executable, str(root / "train.py"), *quick, f"paths.logs={tmp_path}", "trainer.max_epochs=100000",
               "callbacks.early_stopping=null"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (found := list(tmp_path.rglob("previous.ckpt"))):
        assert process.poll() is None
    directory = found[0].parents[1]
    refused = typed(tmp_path, f"resume={directory}")
    assert refused.status == 2
    assert f"in use by process {process.pid} on" in refused.stderr
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = typed(tmp_path, f"resume={directory}", "trainer.max_time=00:00:00:01")
    assert done.status == 0, done.stderr
    assert f"warning process {process.pid} on" in done.stdout
    assert "resume  from" in done.stdout
    assert json.loads((directory / "status.json").read_text())["reason"] == "time limit"


def swa(options: str) -> str:
    return f"+callbacks.swa={{_target_: lightning.pytorch.callbacks.StochasticWeightAveraging, swa_lrs: 0.1{options}}}"


@pytest.mark.parametrize("options", [", swa_epoch_start: 2", *slow(", annealing_strategy: linear")])
def test_averaging_that_is_laid_out_over_the_epochs_keeps_their_number(
    begun: Callable[..., Path], options: str
) -> None:
    directory = begun(swa(options), state="finished", reason="epoch limit")
    refused = refusal(directory, "trainer.max_epochs=9", "trust=true")
    assert refused.requirement == "the number of epochs must not change, as callbacks.swa depends on it"
    assert resumed_config([f"resume={directory}", "trust=true"], CONF) is None


def test_averaging_from_an_epoch_on_may_have_more_epochs(begun: Callable[..., Path]) -> None:
    directory = begun(swa(", swa_epoch_start: 2, annealing_strategy: linear"), state="finished", reason="epoch limit")
    assert resumed(directory, "trainer.max_epochs=9", "trust=true").trainer.max_epochs == 9


def test_a_run_of_an_earlier_version_goes_on_with_the_present_names(begun: Callable[..., Path]) -> None:
    directory = begun()
    path = directory / ".hydra" / "config.yaml"
    present = "lightning.pytorch.callbacks.EarlyStopping"
    assert present in path.read_text()
    path.write_text(path.read_text().replace(present, "mlplab.callbacks.EarlyStopping"))
    assert resumed(directory, "trainer.max_epochs=9").callbacks.early_stopping._target_ == present
