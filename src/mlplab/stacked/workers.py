"""Runs units of work in several processes, forked with everything that this one has imported and composed."""

import contextlib
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Any

from mlplab.errors import DiskFull, RunFailed, RunStopped, UserError, described, is_disk_full
from mlplab.processors import available_cores
from mlplab.sweeps.job import become_worker, with_a_job

HAS_FORKS = sys.platform == "linux"
"""True where a process can be forked: elsewhere the libraries below PyTorch do not survive it."""

Say = Callable[[str], None]
Work = Callable[[int, Say], Any]
"""Function that runs the unit of a number and returns its result; it may print lines by its second argument."""

EVERY_SECONDS = 0.1
"""Seconds between polls for lines of the workers."""

PATIENCE = 5.0
"""Seconds for a worker to end by itself, and again to save after SIGTERM."""


def in_processes(work: Work, n_units: int, n_processes: int, say: Say) -> list[Any]:
    """Runs all units, one at a time in each worker, and returns their results in order.

    With one process it runs them here. With more, this process must not have computed with PyTorch before, as the state
    of PyTorch's threads does not survive a fork.

    Args:
        work: runs a unit.
        n_units: number of units.
        n_processes: maximum of processes.
        say: called with each line of the workers.

    Raises:
        BrokenProcessPool: a worker was killed; the others have been asked to save and end.
        BaseException: an error was raised in a worker; the others have finished their units.
    """
    if n_processes == 1:
        return [work(unit, say) for unit in range(n_units)]
    context = multiprocessing.get_context("fork")
    lines = context.SimpleQueue()
    # Together, the workers use one thread per core.
    arguments = (work, max(1, available_cores() // n_processes), lines.put)
    pool = ProcessPoolExecutor(min(n_processes, n_units), context, initializer=_begin, initargs=arguments)
    answers: list[Any] = [None] * n_units
    failed: BaseException | None = None
    waiting = iter(range(n_units))
    in_hand: dict[Future[Any], int] = {}
    try:
        with warnings.catch_warnings():
            # The thread that shows the progress holds no lock that a worker needs.
            warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
            in_hand |= {pool.submit(_do, unit): unit for unit in islice(waiting, n_processes)}
        while in_hand:
            done = wait(in_hand, EVERY_SECONDS, FIRST_COMPLETED).done
            while not lines.empty():
                say(lines.get())
            for future in done:
                unit = in_hand.pop(future)
                failed = failed or future.exception()
                # After an error no new unit begins; running ones finish.
                if failed is None:
                    answers[unit] = future.result()
                    in_hand |= {pool.submit(_do, following): following for following in islice(waiting, 1)}
    finally:
        _end(pool)
    if failed is not None:
        raise failed
    return answers


_work: Work
_say: Say


def _begin(work: Work, threads: int, say: Say) -> None:
    """Prepares a worker for its units."""
    # A fork passes on any object; the pool could pickle neither of the two.
    global _work, _say
    _work, _say = work, say
    become_worker()
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _do(unit: int) -> Any:
    try:
        with with_a_job():
            return _work(unit, _say)
    except (UserError, RunStopped):
        raise
    except BaseException as error:  # may hold objects that cannot be pickled
        if is_disk_full(error):
            raise DiskFull(str(error) if isinstance(error, DiskFull) else described(error)) from None
        traceback.print_exc()
        raise RunFailed(f"a stack could not be trained: {described(error)}") from None


def _end(pool: ProcessPoolExecutor) -> None:
    """Waits for workers to end; terminates, then kills, the remaining ones."""
    workers = multiprocessing.active_children()
    # Without waiting, as the pool would wait for a busy worker for ever.
    pool.shutdown(wait=False, cancel_futures=True)
    _join(workers)
    for end in (BaseProcess.terminate, BaseProcess.kill):  # workers answer the first by saving
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                if worker.is_alive():
                    end(worker)
        _join(workers)


def _join(workers: Sequence[BaseProcess]) -> None:
    # One common deadline for all workers.
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
