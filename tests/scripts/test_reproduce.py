"""A finished run once more: identical, or with what differs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from inference.small_runs import train_run

Script = Callable[..., SimpleNamespace]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("reproduce") / "run"
    train_run(directory, "data=wine", "logger=tensorboard")
    return directory


@pytest.fixture
def copy(tmp_path: Path, finished: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_same_run_is_the_same_to_the_last_bit(copy: Path, script: Script) -> None:
    done = script("reproduce", f"run={copy}")
    assert done.status == 0, done
    assert "same    to the last bit, in " in done.output
    assert "changed nothing that the manifest records" in done.output
    (again,) = copy.parent.glob("run_again_*")
    assert (again / "result.json").is_file()


def test_what_differs_is_told_with_what_was_not_the_same(copy: Path, script: Script) -> None:
    config = copy / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1", 1))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["threads"] = 64
    manifest["versions"]["torch"] = "1.0"
    manifest["data"]["fingerprint"] = "another"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = script("reproduce", f"run={copy}", f"out={copy.parent / 'again'}")
    assert done.status == 1
    for words in ("differs last", "differs best", "differs result.json test.test/loss", "differs curve val/loss"):
        assert words in done.output
    for words in ("changed threads: 64 then, 1 now", "changed torch: 1.0 then, ", "changed data fingerprint: another"):
        assert words in done.output


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_a_run_must_have_finished(copy: Path, mistake: Callable[..., str], state: str) -> None:
    (copy / "status.json").write_text(json.dumps({"state": state}))
    assert f"run must have finished, but its status is {state}" in mistake("reproduce", f"run={copy}")


def test_a_second_run_needs_a_directory_of_its_own(copy: Path, script: Script) -> None:
    (copy.parent / "taken").mkdir()
    (copy.parent / "taken" / "file").touch()
    done = script("reproduce", f"run={copy}", f"out={copy.parent / 'taken'}")
    assert done.status == 2
    assert "holds other files" in done.errors


def test_a_second_run_that_fails_is_told_in_one_line(
    copy: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: object) -> None:
        raise ZeroDivisionError("planted\n\x1b[31m")  # in code of one's own, say

    monkeypatch.setattr("mlplab.training.train", fail)
    done = script("reproduce", f"run={copy}", f"out={copy.parent / 'again'}")
    assert done.status == 1
    (line,) = done.errors.splitlines()
    assert r"the second run failed: ZeroDivisionError: planted \x1b[31m; its traceback is in " in line
