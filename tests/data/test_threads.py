import threading

import pytest

from mlplab.data.threads import for_each, in_background


def test_results_come_in_the_order_of_the_items() -> None:
    assert for_each(range(100), lambda number: number**2) == [number**2 for number in range(100)]
    assert for_each([], str) == []


def test_of_several_exceptions_the_first_in_the_order_of_the_items_is_raised() -> None:
    last_has_failed = threading.Event()

    def fail(name: str) -> None:
        if name == "last":
            last_has_failed.set()
        elif name == "first":
            last_has_failed.wait(0.1)
        raise ValueError(name)

    with pytest.raises(ValueError, match="first"):
        for_each(["first", "last"], fail)


def test_what_is_computed_in_the_background_is_waited_for() -> None:
    may_end = threading.Event()
    result = in_background(lambda: may_end.wait(5) and "done")
    may_end.set()
    assert result() == "done"


def test_an_error_in_the_background_is_raised_where_its_result_is_asked_for() -> None:
    result = in_background(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        result()


def test_a_process_does_not_wait_for_what_nobody_asks_for() -> None:
    may_end = threading.Event()
    in_background(may_end.wait)
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    may_end.set()
