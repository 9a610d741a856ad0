"""The directory of a run: claimed by one run alone, and saying at any moment what state the run is in."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlplab.errors import Refusal
from mlplab.runs.files import write_json


class RunDirectory:
    """A directory with its status.json: to be claimed before anything is written into it.

    Attributes:
        path: absolute.
        checkpoints, tensorboard, figures: its parts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.figures = self.path / "figures"
        self._status: dict[str, Any] = {}
        self._phase: tuple[str, float] | None = None

    def claim(self) -> None:
        """Makes the directory this run's own.

        The claim is the creation of status.json, which the operating system grants to one process only.

        Raises:
            Refusal: another run has claimed it, or it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise FileExistsError
            os.close(os.open(self.path / "status.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            self.checkpoints.mkdir(exist_ok=True)
            self.figures.mkdir(exist_ok=True)
        except FileExistsError:
            has_run = (self.path / "status.json").exists()
            given = "holds another run" if has_run else "holds other files" if self.path.is_dir() else "is a file"
            raise Refusal("a run's directory must be its own", f"{self.path} {given}", "another name for it") from None
        except OSError as error:
            raise Refusal(
                "the run's directory must be writable",
                f"{self.path}: {error.strerror}",
                "paths.logs=SOMEWHERE_ELSE",
            ) from None
        self.update(state="running", process=os.getpid(), started=_now(), epoch=0, step=0, reason=None)

    def update(self, **changes: Any) -> None:
        """Changes status.json; what is not named stays as it was."""
        self._status.update(changes, updated=_now())
        write_json(self.path / "status.json", self._status)

    def begin_phase(self, name: str) -> None:
        """Ends the phase that was on and starts another; their seconds are in status.json."""
        self.end_phase()
        self._phase = (name, time.perf_counter())

    def end_phase(self) -> None:
        if self._phase is not None:
            name, began = self._phase
            seconds: dict[str, float] = self._status.setdefault("seconds", {})
            seconds[name] = round(time.perf_counter() - began, 3)
            self._phase = None

    def end(self, state: str, reason: str) -> None:
        """Says how it ended: `finished`, `failed` or `stopped`, and why."""
        self.end_phase()
        self.update(state=state, reason=reason, ended=_now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
