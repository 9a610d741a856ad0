"""Running what reads a run, within this process: the scripts, and train.py's resume."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from inference.small_runs import ROOT

from mlplab.cli.command_line import run_command
from mlplab.cli.script import run_script
from mlplab.training import train


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    """Runs a script by its name, or `train`; gives its exit status and what it printed."""

    def run(name: str, *words: str) -> SimpleNamespace:
        path = ROOT / "train.py" if name == "train" else ROOT / "scripts" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        for variable in ("MLPLAB_TRACEBACK", "HYDRA_FULL_ERROR"):  # which the command sets for its own process
            monkeypatch.setenv(variable, "0")
        if name == "train":
            try:
                status = run_command(lambda: None, lambda config: train(config, resume=True), ROOT)
            except SystemExit as ended:
                status = int(ended.code or 0)
        else:
            spec = importlib.util.spec_from_file_location(f"script_{name}", path)
            assert spec is not None and spec.loader is not None  # noqa: PT018
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            status = run_script(module.main, module.OPTIONS, module.__doc__)
        printed = capsys.readouterr()
        return SimpleNamespace(status=status, out=printed.out, err=printed.err)

    return run


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> object:
    import signal

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For runs that several tests copy."""
    return tmp_path_factory.mktemp("hostile")
