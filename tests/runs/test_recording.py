"""What a run writes about itself when it begins."""

import json
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
from omegaconf import OmegaConf, open_dict

from mlplab.runs import manifest
from mlplab.runs.directory import RunDirectory
from mlplab.runs.manifest import describe_environment, differences
from mlplab.runs.recording import write_manifest

DATA: Any = SimpleNamespace(name="digits", fingerprint="abc", part=lambda part: ([], [0, 1]))


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
    assert saved == {
        "config": OmegaConf.to_yaml(config),
        "hydra": OmegaConf.to_yaml(OmegaConf.create({"hydra": HydraConfig.get()})),
        "overrides": OmegaConf.to_yaml(HydraConfig.get().overrides.task),
    }
    assert saved["config"] == text
    assert "unsaid" not in "".join(saved.values())
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["data"] == {"name": "digits", "fingerprint": "abc", "rows": {"train": 2, "val": 2, "test": 2}}


def test_git_is_asked_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        asked.append(command[4:])
        return SimpleNamespace(stdout="abc\n")

    monkeypatch.setattr(manifest.subprocess, "run", run)
    first, second = (describe_environment(tmp_path)["git"] for _ in range(2))
    assert first == second == {"commit": "abc", "dirty": True}
    assert asked == [["rev-parse", "HEAD"], ["status", "--porcelain"]]


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
