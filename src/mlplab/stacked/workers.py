"""Does units of work in several processes, forked from this one with all that it has imported and composed.

Python's own pools print no lines of a worker before it is done, and at the end wait for busy workers without limit.
"""

import contextlib
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from mlplab.errors import DiskFull, RunFailed, RunStopped, UserError, described, is_disk_full
from mlplab.processors import available_cores
from mlplab.sweeps.job import become_worker, with_a_job

HAS_FORKS = sys.platform == "linux"
"""On other systems the libraries below PyTorch do not survive a fork."""

Say = Callable[[str], None]
Work = Callable[[int, Say], Any]
"""Does a unit, given its number, and returns its answer; on the way it may say lines."""

PATIENCE = 5.0
"""Seconds that a worker has to end by itself, and then to answer SIGTERM by saving."""


@dataclass
class _Answer:
    """A message of a worker: a line that it says, the answer of a unit, or an error that was raised in it."""

    said: str | None = None
    value: Any = None
    raised: BaseException | None = None


def in_processes(work: Work, n_units: int, n_processes: int, say: Say) -> list[Any]:
    """Does all units, each worker one after the other, and returns their answers in order.

    With one process it does them here. With more, this process must not have computed with PyTorch before: the state
    of PyTorch's threads does not survive a fork.

    Args:
        work: does a unit.
        n_units: number of units.
        n_processes: largest number of processes.
        say: called with the lines that are said on the way.

    Raises:
        BrokenProcessPool: a worker was killed; the others have finished their units.
        BaseException: an error was raised in a worker; the others have finished their units.
    """
    if n_processes == 1:
        return [work(unit, say) for unit in range(n_units)]
    answers: list[Any] = [None] * n_units
    failed: BaseException | None = None
    # Reversed, as `pop` takes the last.
    waiting = list(range(n_units))[::-1]
    # Together the workers use as many threads as there are cores.
    share = max(1, available_cores() // n_processes)
    workers: dict[Connection, BaseProcess] = {}
    in_hand: dict[Connection, int] = {}
    try:
        for _ in range(min(n_processes, n_units)):
            connection, process = _begin(work, share, list(workers))
            workers[connection] = process
            in_hand[connection] = waiting.pop()
            _send(connection, in_hand[connection])
        while in_hand:
            ready = wait(list(in_hand))
            for connection in [c for c in in_hand if c in ready]:
                # A killed worker makes its pipe ready too, and `recv` raises.
                try:
                    answer: _Answer = connection.recv()
                except (EOFError, ConnectionError):
                    answer = _Answer(raised=BrokenProcessPool("a process that trained a stack was killed"))
                # A line is no answer: the worker goes on with its unit.
                if answer.said is not None:
                    say(answer.said)
                    continue
                answers[in_hand.pop(connection)] = answer.value
                failed = failed or answer.raised
                # After an error no new unit begins, and those that have begun are finished.
                if waiting and failed is None:
                    in_hand[connection] = waiting.pop()
                    _send(connection, in_hand[connection])
    finally:
        _end(workers)
    if failed is not None:
        raise failed
    return answers


def _begin(work: Work, threads: int, inherited: Sequence[Connection]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    # A daemon is terminated when this process exits, so that no worker is left behind.
    process = context.Process(target=_serve, args=(work, threads, theirs, [*inherited, ours]), daemon=True)
    with warnings.catch_warnings():
        # The thread that shows the progress holds no lock that a worker needs.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
        process.start()
    theirs.close()  # so that its end is seen here when the worker dies
    return ours, process


def _serve(work: Work, threads: int, connection: Connection, others: Sequence[Connection]) -> None:
    """Does one unit after the other in a worker, until there is none."""
    # Inherited ends of other pipes would keep these open when the launcher has closed them.
    for other in others:
        other.close()
    become_worker()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with contextlib.suppress(EOFError, ConnectionError):  # the launcher has ended
        while True:
            unit = connection.recv()
            with with_a_job():
                answer = _answer(work, unit, lambda line: _send(connection, _Answer(said=line)))
            _send(connection, answer)


def _send(connection: Connection, content: object) -> None:
    """Sends something; if nobody is at the other end, the work goes on to its end."""
    with contextlib.suppress(ConnectionError):
        connection.send(content)


def _answer(work: Work, unit: int, say: Say) -> _Answer:
    try:
        return _Answer(value=work(unit, say))
    except (UserError, RunStopped) as error:
        return _Answer(raised=error)
    except BaseException as error:  # which may hold what cannot be sent
        if is_disk_full(error):
            return _Answer(raised=DiskFull(str(error) if isinstance(error, DiskFull) else described(error)))
        traceback.print_exc()
        return _Answer(raised=RunFailed(f"a stack could not be trained: {described(error)}"))


def _end(workers: dict[Connection, BaseProcess]) -> None:
    """Waits for workers to end, then terminates those that are left, then kills them."""
    for connection in workers:
        # A worker that waits for a unit takes the closed pipe for the end.
        connection.close()
    _join(workers.values())
    for process in workers.values():
        if process.is_alive():
            process.terminate()  # which is answered by saving
    _join(workers.values())
    for process in workers.values():
        if process.is_alive():
            process.kill()
            process.join()


def _join(processes: Iterable[BaseProcess]) -> None:
    # One deadline for all workers, not one for each.
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
