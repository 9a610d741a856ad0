"""Output in an encoding that lacks what is printed, and files that are written as UTF-8 whatever the locale is."""

import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from mlplab.cli.command_line import run_command
from mlplab.cli.output import show_every_text
from mlplab.cli.script import run_script

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if "OPTIONS, __doc__" in path.read_text("utf-8"))
NARROW = ("ascii", "cp1252")
LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def outputs(monkeypatch: pytest.MonkeyPatch, encoding: str) -> list[io.BytesIO]:
    """Gives what is printed from now on to the output and the error output, in this encoding."""
    raw = [io.BytesIO(), io.BytesIO()]
    for name, buffer in zip(("stdout", "stderr"), raw, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, encoding, errors="strict", write_through=True))
    return raw


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_helps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = outputs(monkeypatch, "ascii")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", "--help"])
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert run_script(module.main, module.OPTIONS, f"{module.__doc__}結果") == 0
    assert streams[0].getvalue().decode().endswith("\\u7d50\\u679c\n")


@pytest.mark.parametrize("encoding", NARROW)
def test_a_mistake_is_told(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = outputs(monkeypatch, encoding)
    monkeypatch.setattr(sys, "argv", ["scripts/predict.py", "結果=1", "run=\udcff"])
    assert run_script(lambda settings: None, {}, "") == 2
    assert b"\\u7d50\\u679c=1;" in streams[1].getvalue()


@pytest.mark.parametrize("encoding", NARROW)
def test_a_command_prints_and_draws_what_it_can(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = outputs(monkeypatch, encoding)

    def main() -> None:
        print("São 結果 \udcff")
        print("São 結果", file=sys.stderr)
        table = Table("São", "結果")
        table.add_row("1", "2")
        Console(width=40).print(table)

    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("MLPLAB_TRACEBACK", "0")
    assert run_command(main, lambda config: 0.0, ROOT) == 0
    said = [stream.getvalue().decode(encoding) for stream in streams]
    assert all("\\u7d50\\u679c" in text for text in said)
    assert "\\udcff" in said[0]


def test_what_can_be_shown_is(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = outputs(monkeypatch, "utf-8")
    show_every_text()
    print("São 結果")
    assert streams[0].getvalue().decode() == "São 結果\n"


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    rows = "\n".join(f"{n},{('São Paulo', '結果')[n % 2]}" for n in range(40))
    (folder / "cities.csv").write_text(f"größe,klasse\n{rows}\n", encoding="utf-8")
    command = [
        sys.executable, str(ROOT / "train.py"), *words, "data=table", f"data.path='{folder}/cities.csv'",
        "data.target=klasse", "trainer.max_epochs=1", "callbacks=minimal", "logger=csv", f"paths.logs={folder}/logs",
    ]  # fmt: skip
    return subprocess.run(command, env={**os.environ, **LOCALE}, capture_output=True, cwd=folder, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-m", "seed=0,1"],
        ["-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        ["-m", "seed=0,1", "hydra/launcher=stacked"],
    ],
)
def test_classes_of_any_name_are_trained_on_in_the_poorest_locale(tmp_path: Path, words: list[str]) -> None:
    done = train(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".json", ".yaml", ".csv", ".log", ".jsonl")]
    texts = "".join(path.read_text(encoding="utf-8") for path in written)
    assert "cities.csv" in texts
    assert "結果" in texts


OPENS = re.compile(
    r"\.(?:read_text|write_text|FileHandler)\((?:[^()]|\([^()]*\))*\)"
    r"|(?<![\w.])(?<!def )(?:(?!os\.|gzip\.|archive\.|Image\.|Run\.)\w+\.)*open\((?:[^()]|\([^()]*\))*\)"
)
BYTES = re.compile(r"encoding=|\"[rwax]\+?b\+?\"|os\.open\(")


def test_the_project_opens_no_text_in_the_encoding_of_the_locale() -> None:
    calls = [
        (path.relative_to(ROOT), call)
        for path in [ROOT / "train.py", *ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/**/*.py")]
        for call in OPENS.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(calls) > 20
    assert [call for call in calls if not BYTES.search(call[1]) and call[1] not in ("directory.reopen(room)",)] == []
