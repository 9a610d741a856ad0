"""Running scripts: as people do, in a process of their own, and for the many mistakes within this one."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from inference.small_runs import ROOT, houses, save_run, table_options, write_houses

from mlplab.cli.script import run_script


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs, rows and what is neither; tests write into folders of their own."""
    folder = tmp_path_factory.mktemp("scripts")
    write_houses(folder / "houses.csv")
    houses(30, seed=1).write_csv(folder / "new.csv")
    save_run(folder / "classes", table_options(folder / "houses.csv"))
    save_run(folder / "values", table_options(folder / "houses.csv", "price"))
    (folder / "untrained").mkdir()
    (folder / "damaged" / "checkpoints").mkdir(parents=True)
    whole = (folder / "classes" / "checkpoints" / "best.ckpt").read_bytes()
    (folder / "damaged" / "checkpoints" / "best.ckpt").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.csv").touch()
    (folder / "header.csv").write_text("length,gap,colour,town,when,flag,kind,price\n")
    return folder


@pytest.fixture
def script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., SimpleNamespace]]:
    """Runs a script within this process; gives its exit status and what it printed."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]

    def run(name: str, *words: str) -> SimpleNamespace:
        spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", *words])
        status = run_script(module.main, module.OPTIONS, module.__doc__)
        output, errors = capsys.readouterr()
        return SimpleNamespace(status=status, output=output, errors=errors)

    yield run
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def process() -> Callable[..., subprocess.Popen[str]]:
    """Starts a script as people do."""

    def start(name: str, *words: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def mistake(script: Callable[..., SimpleNamespace]) -> Callable[..., str]:
    """Runs a script that must end as a mistake ends, and gives its one line."""

    def run(name: str, *words: str) -> str:
        done = script(name, *words)
        assert done.status == 2
        assert done.output == ""
        (line,) = done.errors.splitlines()
        assert re.fullmatch(rf"{name}\.py: .+, (got|but) .+; try .+", line)
        return str(line)

    return run
