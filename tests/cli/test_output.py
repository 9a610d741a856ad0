"""Printing to nobody, to a full disk and to a closed output, by processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PATIENT = "from mlplab.cli.output import tolerate_closed_output\ntolerate_closed_output()\n"


def shell(code: str, redirected: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What bash gives for a Python program whose output goes there."""
    program = folder / "program.py"
    program.write_text(PATIENT + code)
    command = f"set -o pipefail; {sys.executable} {program} {redirected}"
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("redirected", ["| head -1", ">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_a_program_goes_on_whatever_becomes_of_what_it_prints(tmp_path: Path, redirected: str) -> None:
    code = """
import os, subprocess, sys
for n in range(20_000):
    print("line", n)
    print("error", n, file=sys.stderr)
subprocess.run(["echo", "of a child"], check=True)
sys.stdout.flush()
open("end", "w").write(str(sys.stdout.isatty()))
"""
    done = shell(code, redirected, tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "end").read_text() == "False"


def test_a_file_does_not_get_what_is_printed_to_a_closed_output(tmp_path: Path) -> None:
    code = """
import os
with open("file", "w") as file:
    os.write(1, b"printed")
    os.system("echo printed")
    file.write("its own")
"""
    assert shell(code, ">&- 2>&-", tmp_path).returncode == 0
    assert (tmp_path / "file").read_text() == "its own"


def test_what_can_be_printed_is(tmp_path: Path) -> None:
    done = shell("import sys\nprint('one')\nprint('two', file=sys.stderr)\nprint('ü', end='')", "", tmp_path)
    assert (done.stdout, done.stderr) == ("one\nü", "two\n")


@pytest.mark.slow
def test_a_run_whose_reader_has_seen_enough_ends_as_any(root: Path, tmp_path: Path) -> None:
    words = f"data=wine trainer.max_epochs=1 callbacks=minimal logger=none paths.logs={tmp_path}"
    command = f"set -o pipefail; {sys.executable} {root / 'train.py'} {words} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    (status,) = tmp_path.glob("runs/*/status.json")
    assert json.loads(status.read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("redirected", "status", "said"),
    [
        (">&-", 0, ""),
        ("| head -1", 0, ""),
        (">/dev/full", 1, "evaluate.py: the output of a script must be writable, but standard output: No space left "
         "on device; try another file for it\n"),
    ],
)  # fmt: skip
def test_a_script_says_what_became_of_its_output(
    root: Path, tmp_path: Path, redirected: str, status: int, said: str
) -> None:
    command = f"set -o pipefail; {sys.executable} {root / 'scripts' / 'evaluate.py'} --help {redirected}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, said)
