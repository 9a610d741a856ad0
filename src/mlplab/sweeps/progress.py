"""What a sweep shows while it runs: done, running, failed, and the time that is left."""

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from mlplab.errors import printable
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.states import State, read_result, read_state

EVERY_SECONDS = 0.5
SHOWN = 8
"""Jobs in the table: those that run, and the last that ended."""


class Progress:
    """Watches the directories of jobs, wherever they run.

    On a terminal it draws a table again and again; elsewhere it prints a line for each job that ends.

    Args:
        directory: of the sweep.
        entries: all jobs of the sweep.
        to_do: those that are run now.
        monitor: name of the value that the jobs are compared by.
        mode: `min` or `max`.
    """

    def __init__(
        self, directory: Path, entries: Sequence[Entry], to_do: Sequence[Entry], *, monitor: str, mode: str
    ) -> None:
        self.directory, self.monitor, self.mode = directory, monitor, mode
        self._out: IO[str] = sys.stdout
        self._console = Console(file=self._out, width=None if self._out.isatty() else 80, emoji=False)
        self._states = {entry.number: read_state(directory / entry.directory) for entry in entries}
        self._entries = {entry.number: entry for entry in entries}
        self._left = {entry.number for entry in to_do}
        self.to_come: int | None = 0  # jobs that a search has yet to think of; None where nobody knows
        self._n_to_do = len(self._left)
        self._ended: list[int] = []
        self._epochs: list[int] = []
        self._best: tuple[float, int] | None = None
        self._began = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._live: Live | None = None

    def extend(self, entries: Sequence[Entry]) -> None:
        """Takes in jobs that a search has thought of since."""
        for entry in entries:
            self._entries[entry.number] = entry
            self._states[entry.number] = State("waiting")
            if entry.number not in self._left:
                self._left.add(entry.number)
                self._n_to_do += 1

    def __enter__(self) -> "Progress":
        self._began = self._began or time.monotonic()
        self._stop.clear()
        # A state that is there from an earlier launch is none of this one's.
        self._changed = {n: self._stamp(self._entries[n]) for n in self._left}
        if self._out.isatty():
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._stop.set()
            if self._thread is not None:
                self._thread.join()
            self._look()
        finally:  # a second Ctrl-C must not leave the terminal without its cursor
            if self._live is not None:
                self._live.stop()
                self._live = None

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._look()

    def _stamp(self, entry: Entry) -> int:
        try:
            return (self.directory / entry.directory / "status.json").stat().st_mtime_ns
        except OSError:
            return 0

    def _look(self) -> None:
        ended = []
        for number in sorted(self._left):
            entry = self._entries[number]
            stamp = self._stamp(entry)
            if stamp == self._changed[number]:
                continue
            self._changed[number] = stamp
            state = self._states[number] = read_state(self.directory / entry.directory)
            if state.has_ended:
                ended.append(number)
                self._note(entry)
        for number in ended:
            self._left.discard(number)
            self._ended.append(number)
            if self._live is None:
                print(self._line(self._entries[number], self._states[number]), file=self._out, flush=True)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def _note(self, entry: Entry) -> None:
        result = read_result(self.directory / entry.directory)
        value, epochs = result.get("objective"), result.get("epochs")
        if isinstance(epochs, int) and epochs > 0:
            self._epochs.append(epochs)
        if not isinstance(value, int | float) or value != value:
            return
        sign = 1 if self.mode == "min" else -1
        if self._best is None or sign * value < sign * self._best[0]:
            self._best = (float(value), entry.number)

    def _line(self, entry: Entry, state: State) -> str:
        n = self._n_to_do + (self.to_come or 0)
        done = f"[{len(self._ended)}]" if self.to_come is None else f"[{len(self._ended):>{len(str(n))}}/{n}]"
        return f"{done} {state.name:<10} {printable(entry.directory)}  {self._outcome(entry, state)}{self._time_left()}"

    def _outcome(self, entry: Entry, state: State) -> str:
        if state.name in ("failed", "infeasible"):
            return printable(state.reason.partition("; try")[0])
        value = read_result(self.directory / entry.directory).get("objective")
        seconds = sum(v for v in state.status.get("seconds", {}).values() if isinstance(v, int | float))
        told = "" if value is None else f"{self.monitor} {value:.4g}, "
        return f"{told}{seconds:.1f} s"

    def _time_left(self) -> str:
        """By what has been done: jobs that have ended, and of those that run the share of epochs."""
        n_left = len(self._left) + (self.to_come or 0)
        if not n_left or not self._ended or self.to_come is None:
            return ""
        begun = sum(self._share(n) for n in self._left)
        seconds = (time.monotonic() - self._began) / (len(self._ended) + begun) * (n_left - begun)
        return f"; about {duration(seconds)} left"

    def _share(self, number: int) -> float:
        """How much of a job has been done, if it takes as many epochs as others did."""
        state = self._states[number]
        if state.has_ended:  # as others that are told of first
            return 1.0
        epoch = state.status.get("epoch")
        if state.name != "running" or not isinstance(epoch, int) or not self._epochs:
            return 0.0
        return min(1.0, epoch * len(self._epochs) / sum(self._epochs))

    def _table(self) -> Table:
        names = [state.name for state in self._states.values()]
        running = [n for n in sorted(self._left) if self._states[n].name == "running"]
        counts = {"done": sum(n in ("finished", "pruned") for n in names), "running": len(running)}
        counts["failed"] = sum(n in ("failed", "infeasible") for n in names)
        counts["to do"] = len(self._left) - len(running) + (self.to_come or 0)
        heading = ", ".join(f"{n} {name}" for name, n in counts.items()) + self._time_left()
        table = Table(title=escape(f"{printable(self.directory.name)}: {heading}"), title_justify="left", expand=True)
        table.add_column("job", overflow="ellipsis", no_wrap=True, ratio=1)
        table.add_column("state")
        table.add_column("epoch", justify="right")
        table.add_column(escape(self.monitor), justify="right")
        for number in [*self._ended[-(SHOWN - min(len(running), SHOWN - 1)) :], *running[:SHOWN]]:
            table.add_row(*self._row(number))
        if self._best is not None:
            best = self._entries[self._best[1]].directory
            table.caption = escape(f"best so far: {self._best[0]:.4g} of {printable(best)}")
        return table

    def _row(self, number: int) -> list[str]:
        entry, state = self._entries[number], self._states[number]
        result: dict[str, Any] = read_result(self.directory / entry.directory) if state.has_ended else {}
        value = result.get("objective")
        return [
            escape(printable(entry.directory)),
            escape(state.name),
            str(result.get("epochs", state.status.get("epoch", ""))),
            "" if value is None else f"{value:.4g}",
        ]


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
