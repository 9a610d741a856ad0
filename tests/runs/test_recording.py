"""What a run writes about itself when it begins."""

import errno
import json
import logging
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf, open_dict

from mlplab.errors import DiskFull, NoRoom, RunFailed
from mlplab.runs import commit, manifest
from mlplab.runs.directory import RunDirectory
from mlplab.runs.manifest import describe_environment, differences
from mlplab.runs.memory import explain_out_of_memory
from mlplab.runs.recording import recording_run, train_log, write_manifest

DATA: Any = SimpleNamespace(name="digits", fingerprint="abc", n_rows={"train": 2, "val": 2, "test": 2})


def test_what_was_asked_is_saved_as_hydra_saves_it(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "unsaid")
    with initialize_config_dir(str(root / "conf"), version_base="1.3"):
        words = ["optimizer=sgd", "+note=${oc.env:SECRET}"]
        whole = compose("config", words, return_hydra_config=True)
    config = whole.copy()
    with open_dict(config):
        del config["hydra"]
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    with open_dict(whole):
        whole.hydra.runtime.output_dir = str(tmp_path)
    HydraConfig.instance().set_config(whole)

    text = write_manifest(RunDirectory(tmp_path), config, DATA, 10)
    saved = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / ".hydra").glob("*.yaml")}
    assert {name: OmegaConf.to_container(OmegaConf.create(text)) for name, text in saved.items()} == {
        name: OmegaConf.to_container(OmegaConf.create(part), enum_to_str=True)
        for name, part in {
            "config": config, "hydra": {"hydra": HydraConfig.get()}, "overrides": HydraConfig.get().overrides.task,
        }.items()
    }  # fmt: skip
    assert saved["config"].partition("\n")[2] == text  # after the signature
    assert "unsaid" not in "".join(saved.values())
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["data"] == {"name": "digits", "fingerprint": "abc", "rows": {"train": 2, "val": 2, "test": 2}}


def test_the_name_of_a_run_stands_in_manifest_and_status(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.claim()
    config = OmegaConf.create({"name": "wide", "tags": ["a"], "notes": None, "seed": 0})
    write_manifest(directory, config, DATA, 10)
    directory.end("finished", "epoch limit")
    status, manifest = (json.loads((directory.path / f"{name}.json").read_text()) for name in ("status", "manifest"))
    assert status["name"] == manifest["name"] == "wide"


def test_git_is_asked_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout=b"# branch.oid abc\n? file\n")

    monkeypatch.setattr(commit.subprocess, "run", run)
    first, second = (describe_environment(tmp_path)["git"] for _ in range(2))
    assert first == second == {"commit": "abc", "dirty": True}
    assert len(asked) == 2


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_git_is_asked_without_locking_the_index_which_a_killed_run_would_leave_locked(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("pass\n")
    person = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], [*person, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    os.utime(tmp_path / "code.py", (1, 1))  # a status that may lock notes the new time in the index
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    git = describe_environment(tmp_path)["git"]
    assert git["dirty"] is False
    assert index.read_bytes() == before


class Gone(BaseException):
    """Of one's own, and no Exception."""


@pytest.mark.parametrize(
    ("error", "kind", "state", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull, "stopped", "No space left on device"),
        (DiskFull("a checkpoint must fit"), DiskFull, "stopped", "a checkpoint must fit"),
        (NoRoom("the disk must have room", "it has none", "freeing some"), DiskFull, "stopped", "it has none"),
        (PermissionError(errno.EACCES, "Permission denied"), PermissionError, "failed", "Permission denied"),
        (Gone("planted"), RuntimeError, "failed", "Gone: planted"),
        (GeneratorExit(), RuntimeError, "failed", "GeneratorExit"),
        (SystemExit(3), RuntimeError, "failed", "SystemExit: 3"),
    ],
)
def test_how_a_run_ended_is_noted_and_its_traceback_logged(
    tmp_path: Path, error: BaseException, kind: type[Exception], state: str, reason: str
) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.claim()
    with pytest.raises(kind), recording_run(directory):
        raise error
    status = json.loads((directory.path / "status.json").read_text())
    assert (status["state"], reason in status["reason"]) == (state, True)
    assert "Traceback (most recent call last)" in (directory.path / "train.log").read_text()
    RunDirectory(directory.path).reopen()  # it was given back


def test_the_traceback_of_what_is_told_in_other_words_is_logged(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.claim()
    data: Any = SimpleNamespace(batch_size=32)
    with (
        pytest.raises(RunFailed, match="a batch must fit into memory"),
        recording_run(directory),
        explain_out_of_memory(data),
    ):
        raise MemoryError  # in a hook of one's own, say
    assert "raise MemoryError" in (directory.path / "train.log").read_text()


def test_a_full_disk_before_the_log_is_open_gives_the_directory_back(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.claim()
    (directory.path / "train.log").mkdir()
    with pytest.raises(IsADirectoryError), recording_run(directory):
        pass
    assert json.loads((directory.path / "status.json").read_text())["state"] == "failed"
    RunDirectory(directory.path).reopen()


def test_the_log_takes_what_is_no_text(tmp_path: Path) -> None:
    handler = train_log(tmp_path)
    handler.handle(logging.LogRecord("mlplab", logging.INFO, "", 0, "no such file: \udcff", None, None))
    handler.close()
    assert r"no such file: \udcff" in (tmp_path / "train.log").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("train.py", "src/mlplab/learner.py", "conf/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("seed: 0\n")
    return tmp_path


def digest(project: Path) -> str:
    manifest.code_digest.cache_clear()
    return manifest.code_digest(project)


@pytest.mark.parametrize("name", ["train.py", "src/mlplab/learner.py", "conf/config.yaml", "src/mlplab/new.py"])
def test_an_edit_of_code_that_is_not_committed_is_another_code(project: Path, name: str) -> None:
    before = digest(project)
    (project / name).write_text("seed: 1\n")
    assert digest(project) != before


def test_what_is_made_from_code_or_only_touched_is_not_another_code(project: Path) -> None:
    before = digest(project)
    (project / "src" / "mlplab" / "__pycache__").mkdir()
    (project / "src" / "mlplab" / "__pycache__" / "learner.pyc").write_text("1")
    os.utime(project / "train.py", (1, 1))
    (project / "logs").mkdir()
    (project / "logs" / "new").write_text("1")
    assert digest(project) == before


def test_code_is_read_and_never_waited_for(project: Path) -> None:
    before = digest(project)
    os.mkfifo(project / "src" / "pipe")
    (project / "src" / "loop").symlink_to(project / "src")
    (project / "src" / "endless").symlink_to("/dev/zero")
    with (project / "src" / "large").open("wb") as file:
        file.truncate(1 << 40)
    began = time.monotonic()
    assert digest(project) != before
    assert time.monotonic() - began < 1


def test_further_edits_are_told_where_the_commit_is_the_same(root: Path) -> None:
    now = describe_environment(root)
    then = {**now, "code": "0"}
    assert differences(then, now) == [f"code that is not committed: 0 then, {now['code']} now"]
    assert differences({**then, "git": {"commit": "a", "dirty": False}}, now)[0].startswith("commit: a then")
    of_earlier_release = {**now, "versions": {"torch": "1.0"}}
    del of_earlier_release["code"]
    assert differences(of_earlier_release, now) == [f"torch: 1.0 then, {now['versions']['torch']} now"]


@pytest.mark.parametrize("package", ["polars", "numpy", "lightning", "torch", "scikit-learn"])
def test_libraries_that_decide_about_numbers_are_compared(root: Path, package: str) -> None:
    now = describe_environment(root)
    then = {**now, "versions": {**now["versions"], package: "0.1"}}
    assert differences(then, now) == [f"{package}: 0.1 then, {now['versions'][package]} now"]


class Deletes(Callback):
    """Deletes the directory of the run at one of its moments."""

    def __init__(self, directory: Path, moment: str) -> None:
        setattr(self, moment, lambda *_: shutil.rmtree(directory))


@pytest.mark.parametrize("logger", ["none", "tensorboard"])
@pytest.mark.parametrize("moment", ["on_train_epoch_end", "on_test_end"])
def test_a_directory_that_is_deleted_meanwhile_ends_the_run_with_a_line(
    moment: str, logger: str, train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlplab import training

    directory, build = tmp_path / "run", training.build_callbacks
    monkeypatch.setattr(training, "build_callbacks", lambda config: [*build(config), Deletes(directory, moment)])
    words = ("data=wine", "trainer.max_epochs=1", "callbacks=minimal", f"logger={logger}")
    with pytest.raises(RunFailed, match=r"must stay where it is until the run ends, but .*run was moved or deleted"):
        train_run(*words, directory=directory)
    status = directory / "status.json"  # which may be there again, in a directory that a checkpoint has made
    assert not status.exists() or json.loads(status.read_text())["state"] == "failed"


def test_curves_are_told_of_only_where_there_are_some(train_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("data=wine", "trainer.max_epochs=1", "callbacks=minimal", "logger=tensorboard", "test=false")
    train_run(*words)
    assert "\ncurves " in capsys.readouterr().out
    train_run(*words, "trainer.limit_val_batches=0", "callbacks.training_curves=null", "callbacks.early_stopping=null")
    assert "\ncurves " not in capsys.readouterr().out
