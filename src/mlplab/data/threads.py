"""Work in several threads: polars, NumPy, PyTorch and hashlib compute outside of the interpreter's lock."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mlplab.processors import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(items: Iterable[Item], function: Callable[[Item], Result]) -> list[Result]:
    """Returns the results in the order of the items; of several exceptions, the first in that order is raised."""
    with ThreadPoolExecutor(available_cores()) as threads:
        return list(threads.map(function, items))


def in_background(function: Callable[[], Result]) -> Callable[[], Result]:
    """Begins to compute something, and returns what waits for its result.

    The thread is a daemon: a process that has nothing else to do does not wait for it, as after a refusal.
    """
    future: Future[Result] = Future()

    def compute() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=compute, daemon=True).start()
    return future.result
