"""Runs work in threads: polars, NumPy, PyTorch and hashlib release the interpreter lock."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mlplab.processors import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(items: Iterable[Item], function: Callable[[Item], Result]) -> list[Result]:
    """Applies a function to all items in threads; returns the results, or raises the first error, in item order."""
    with ThreadPoolExecutor(available_cores()) as threads:
        # `map` keeps the order of the items.
        return list(threads.map(function, items))


def in_background(function: Callable[[], Result]) -> Callable[[], Result]:
    """Starts a function in a thread; returns a function that waits for the result.

    The thread is a daemon, so that the process can end without waiting for it, such as after a refusal.
    """
    future: Future[Result] = Future()

    def compute() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # raised when the result is requested
            future.set_exception(error)

    threading.Thread(target=compute, daemon=True).start()
    return future.result
