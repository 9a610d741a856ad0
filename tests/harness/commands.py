"""Commands of the project, forked from a server that has imported all they need and computed nothing.

Shares nothing with the helpers of the other tests, so that a fault in those is not a fault here. As a program it is the
server: it reads a request a line, answers with the process and then with its exit status.
"""

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "tests" / "harness" / "site"


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit status, negative where a signal ended it, and what it said."""

    status: int
    stdout: str
    stderr: str


class Commands:
    """The server, and the commands that it is asked for, one at a time.

    Args:
        scratch: a folder for their output and their keys.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        own = {"XDG_STATE_HOME": str(scratch / "state"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SITE)}
        environment = {k: v for k, v in os.environ.items() if k not in ("HYDRA_FULL_ERROR", "MLPLAB_TRACEBACK")}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=scratch,
            env={**environment, **own},
        )  # fmt: skip

    def __enter__(self) -> "Commands":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.communicate()

    def start(self, script: str, words: Sequence[str], fault: str = "") -> int:
        """Starts a command, and returns its process; `fault` is of `sitecustomize.install`."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"script": script, "words": list(words), "fault": fault}) + "\n")
        self._server.stdin.flush()
        return int(self._answer())

    def end(self) -> Done:
        """Waits until the command that was started has ended."""
        status = int(self._answer())
        return Done(status, *((self.scratch / name).read_text(errors="replace") for name in ("stdout", "stderr")))

    def run(self, script: str, words: Sequence[str], fault: str = "") -> Done:
        """Runs a command to its end."""
        self.start(script, words, fault)
        return self.end()

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()


def _serve() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "harness" / "site"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_all()
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            answers.close()
            _become(request)
        answers.write(f"{process}\n")
        answers.flush()
        _, status = os.waitpid(process, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _import_all() -> None:
    import hydra  # noqa: F401

    import mlplab.inference.exporting
    import mlplab.inference.predicting
    import mlplab.report.report_files
    import mlplab.stacked.members.stack_training
    import mlplab.sweeps.comparison
    import mlplab.training  # noqa: F401

    with contextlib.suppress(ImportError):
        import optuna  # noqa: F401


def _become(request: dict[str, Any]) -> None:
    os.setsid()  # so that its workers can be found
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
        opened = os.open(name, os.O_RDWR if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    if request["fault"]:
        import sitecustomize

        os.environ["FULL_DISK"] = request["fault"]
        sitecustomize.install(request["fault"])
    sys.argv = [str(ROOT / request["script"]), *request["words"]]
    status: Any = 3
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    _serve()
