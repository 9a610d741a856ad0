"""Programs of the project, or of a copy of it, in processes that are forked from one that has imported everything."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parent

STARTER = """
import gc, json, os, runpy, sys, traceback
gc.disable()
import resume.warmed, mlplab
assert mlplab.__file__.startswith(os.environ["PROJECT"])

for line in sys.stdin:
    folder, *sys.argv = json.loads(line)
    process = os.fork()
    if process == 0:
        os.chdir(folder)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        status = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as ended:
            status = ended.code or 0
        except BaseException:
            traceback.print_exc()
            status = 3
        sys.stdout.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""
"""Imports what every command imports, once, and is forked for each: a test takes what its command computes."""

Start = Callable[[Path, list[str]], str]
"""Runs a Python program in a folder, and returns what it has printed."""


@contextmanager
def programs_of(project: Path) -> Iterator[Start]:
    """Starts the process that is forked for each program; the programs import the code of `project`."""
    environment = {**os.environ, "PROJECT": str(project), "PYTHONPATH": os.pathsep.join([f"{project}/src", str(TESTS)])}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as starter:

        def run(folder: Path, program: list[str]) -> str:
            assert starter.stdin is not None
            assert starter.stdout is not None
            starter.stdin.write(json.dumps([str(folder), str(project / program[0]), *program[1:]]) + "\n")
            starter.stdin.flush()
            status, output = starter.stdout.readline(), (folder / "output.txt").read_text()
            assert status == "0\n", output
            return output

        yield run
