"""Shows how far a sweep is: a line for each job that ends, and on a terminal a bar below them."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mlplab.errors import printable, rounded
from mlplab.runs.run_reading import State, read_result, read_state
from mlplab.sweeps.comparable_options import chooses_data, chooses_loss
from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.ledger import Entry

EVERY_SECONDS = 0.5
"""Time between two looks at the files of the jobs."""


NOWHERE: tuple[int, frozenset[str]] = (0, frozenset())
"""Time and names of a folder that has not been listed."""

MANY = 100
"""Jobs from which on their folders are listed, instead of asking for each: one question for all that wait."""


class SweepProgress:
    """Watches the directories of jobs, in whichever processes they run.

    Args:
        directory: of the sweep.
        monitor: name of the value that the jobs are compared by.
        mode: `min` or `max`.
        n_ended: number of jobs that earlier launches have ended.
        max_epochs: of a job; None where it is not known.
        knows_best: whether the best job is shown.

    Attributes:
        n_to_come: number of jobs that a search has yet to propose; None where it is not known.
    """

    def __init__(
        self,
        directory: Path,
        *,
        monitor: str,
        mode: str,
        n_ended: int = 0,
        max_epochs: int | None = None,
        knows_best: bool = True,
    ) -> None:
        self.directory, self.monitor, self._sign = directory, monitor, 1 if mode == "min" else -1
        self.n_to_come: int | None = 0
        self._n_before, self._max_epochs, self._are_comparable = n_ended, max_epochs, knows_best
        self._entries: dict[int, Entry] = {}
        self._states: dict[int, State] = {}
        self._left: set[int] = set()
        self._best: tuple[float, str] | None = None
        self._began = 0.0
        self._there: tuple[int, frozenset[str]] = NOWHERE
        self._stop = threading.Event()
        # Not `sys.stdout` of later on: a job in this process redirects it.
        console = Console(file=sys.stdout, force_terminal=sys.stdout.isatty(), emoji=False, highlight=False)
        columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
        self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._task = self._bar.add_task("", total=None)

    def extend(self, entries: Sequence[Entry]) -> None:
        """Adds jobs that are to be launched."""
        for entry in entries:
            # A job that failed, and is run once more.
            if entry.number not in self._states and read_state(self.directory / entry.directory).has_ended:
                self._n_before = max(0, self._n_before - 1)
            # The best single run would be the luckiest seed, the easiest data or the smallest loss.
            others = [name for name in entry.values if name in SEEDS or chooses_data(name) or chooses_loss(name)]
            self._are_comparable = self._are_comparable and not others
        self._entries |= {entry.number: entry for entry in entries}
        self._states |= {entry.number: State("waiting") for entry in entries}
        self._left |= {entry.number for entry in entries}  # a job that is retried is left once more

    def __enter__(self) -> "SweepProgress":
        self._began = self._began or time.monotonic()  # a search enters it once for each batch
        self._stop.clear()
        # What an earlier launch has written is not the state of this one.
        self._there = NOWHERE
        self._stamps = self._stamps_now()
        if self._bar.console.is_terminal:
            self._bar.start()
        # A daemon, as it must not keep a process alive that ends in an error.
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._stop.set()
            self._thread.join()
            self._there = NOWHERE  # the time of the folder may be too coarse for the last jobs
            self._look()
        finally:  # a second Ctrl-C must not leave the terminal without its cursor
            if self._bar.console.is_terminal:
                self._bar.stop()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._look()

    def _stamp(self, number: int) -> int:
        try:
            return (self.directory / self._entries[number].directory / "status.json").stat().st_mtime_ns
        except OSError:
            return 0

    def _stamps_now(self) -> dict[int, int]:
        """Returns number → time of status.json, of the jobs that are left.

        Of many jobs, only those are asked for that have a folder. The folders are listed again where there are others.
        """
        if len(self._left) <= MANY:
            return {number: self._stamp(number) for number in self._left}
        changed = self.directory.stat().st_mtime_ns
        if changed != self._there[0]:
            with os.scandir(self.directory) as found:
                self._there = (changed, frozenset(one.name for one in found))
        there = self._there[1]
        return {n: self._stamp(n) if self._entries[n].directory in there else 0 for n in self._left}

    def _look(self) -> None:
        ended = []
        for number, stamp in sorted(self._stamps_now().items()):
            if stamp != self._stamps[number]:  # one look at a file's time costs less than reading thousands of files
                self._stamps[number] = stamp
                self._states[number] = read_state(self.directory / self._entries[number].directory)
                if self._states[number].has_ended:
                    ended.append(number)
        time_left = self._time_left() if ended else ""  # once, as it looks at all jobs
        for number in ended:
            self._left.discard(number)  # one by one, so that each line counts on
            line = self._line(number) + (time_left if self._left or self.n_to_come else "")
            # A line that is redirected is not folded, as other programs may read it.
            self._bar.console.print(line, markup=False, soft_wrap=True)
        if self._bar.console.is_terminal:
            n_jobs = None if self.n_to_come is None else self._n_before + len(self._states) + self.n_to_come
            n_ended = self._n_before + len(self._states) - len(self._left)
            self._bar.update(self._task, total=n_jobs, completed=n_ended, description=self._summary(), refresh=True)

    def _line(self, number: int) -> str:
        """Describes a job that has ended, and remembers the best of them."""
        state, directory = self._states[number], self._entries[number].directory
        if state.name in ("failed", "infeasible"):
            outcome = printable(state.reason.partition("; try")[0])
        else:
            seconds = sum(v for v in state.status.get("seconds", {}).values() if isinstance(v, int | float))
            outcome = f"{seconds:.1f} s"
            value = read_result(self.directory / directory).get("objective")
            if isinstance(value, int | float):
                outcome = f"{self.monitor} {rounded(value)}, {outcome}"
                if self._are_comparable and (self._best is None or self._sign * value < self._sign * self._best[0]):
                    self._best = (value, directory)
        return f"{self._count()} {state.name:<10} {printable(directory)}  {outcome}"

    def _summary(self) -> str:
        names = [state.name for state in self._states.values()]
        n_failed = names.count("failed") + names.count("infeasible")
        best = "" if self._best is None else f"; best {rounded(self._best[0])} of {printable(self._best[1])}"
        return f"{self._count()} {names.count('running')} running, {n_failed} failed{self._time_left()}{best}"

    def _count(self) -> str:
        n_ended = self._n_before + len(self._states) - len(self._left)
        if self.n_to_come is None:
            return f"[{n_ended}]"
        n_jobs = str(self._n_before + len(self._states) + self.n_to_come)
        return f"[{n_ended:>{len(n_jobs)}}/{n_jobs}]"

    def _time_left(self) -> str:
        """Estimates the time left from the jobs that have finished, also those of a stack whose lines come next."""
        n_left = sum(not state.has_ended for state in self._states.values()) + (self.n_to_come or 0)
        # Jobs that diverge or are pruned end long before the others, which may run beside them in one stack.
        n_finished = sum(state.name == "finished" for state in self._states.values())
        if self.n_to_come is None or not n_finished or not (self._left or self.n_to_come):
            return ""
        seconds = (time.monotonic() - self._began) / n_finished * n_left
        running = [state.status for state in self._states.values() if state.name == "running"]
        return f"; about {duration(max([seconds, *map(self._seconds_of, running)]))} left"

    def _seconds_of(self, status: dict[str, Any]) -> float:
        """Estimates the time that a running job takes by the epochs that it has trained; 0 where it is not known."""
        epoch, started = status.get("epoch"), status.get("started")
        if self._max_epochs is None or not isinstance(epoch, int) or epoch < 1 or not isinstance(started, str):
            return 0.0
        try:
            elapsed = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
        except (ValueError, TypeError):  # of a damaged file
            return 0.0
        return max(0.0, elapsed * (self._max_epochs / epoch - 1))


def duration(seconds: float) -> str:
    """Formats a duration: `40 s`, `3 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
