"""Commands that are printed can be typed where the user is."""

import shlex
import sys
from pathlib import Path

import pytest

from mlplab.config import commands
from mlplab.config.commands import ROOT, command, install, same_command


def test_a_command_names_the_script_from_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands.shutil, "which", lambda name: sys.executable)
    for folder, script in ((ROOT, "train.py"), (ROOT / "docs", "../train.py"), (tmp_path, str(ROOT / "train.py"))):
        monkeypatch.chdir(folder)
        assert shlex.split(command("train.py", "seed=range(0,2)")) == ["python", script, "seed=range(0,2)"]
        assert (folder / script).is_file()
    monkeypatch.chdir(ROOT)
    assert install("onnx") == "python -m pip install -c constraints.txt -e '.[onnx]'"


def test_a_python_that_is_not_on_the_path_is_named_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for found in (None, "/usr/bin/python"):
        monkeypatch.setattr(commands.shutil, "which", lambda name, found=found: found)
        assert shlex.split(command("train.py"))[0] == sys.executable


def test_a_sweep_whose_name_was_made_goes_on_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=range(0,2)", "sweep.name=${run_name:}"])
    assert same_command(Path("logs/sweeps/made"), True) == "the same command"
    words = shlex.split(same_command(Path("logs/sweeps/made"), False))
    assert words[2:] == ["-m", "seed=range(0,2)", "sweep.name=made"]
