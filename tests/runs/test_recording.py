"""What a run writes about itself when it begins."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from mlplab.runs import manifest
from mlplab.runs.directory import RunDirectory
from mlplab.runs.manifest import describe_environment
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
    saved = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / ".hydra").iterdir()}
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
        asked.append(command[3:])
        return SimpleNamespace(stdout="abc\n")

    monkeypatch.setattr(manifest.subprocess, "run", run)
    first, second = (describe_environment(tmp_path)["git"] for _ in range(2))
    assert first == second == {"commit": "abc", "dirty": True}
    assert asked == [["rev-parse", "HEAD"], ["status", "--porcelain"]]
