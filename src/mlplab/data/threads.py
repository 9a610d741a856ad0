"""Runs work in threads: polars, NumPy, PyTorch and hashlib release the interpreter lock."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mlplab.processors import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(items: Iterable[Item], function: Callable[[Item], Result]) -> list[Result]:
    """Applies a function to all items in threads; returns results, or raises the first error, in the items' order."""
    with ThreadPoolExecutor(available_cores()) as threads:
        # `map` keeps the order of the items, whichever is done first.
        return list(threads.map(function, items))


def in_background(function: Callable[[], Result]) -> Callable[[], Result]:
    """Starts a function in a thread; returns a function that waits for the result.

    The thread is a daemon, so that a process can end without waiting for it, after a refusal for example.
    """
    future: Future[Result] = Future()

    def compute() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=compute, daemon=True).start()
    return future.result
