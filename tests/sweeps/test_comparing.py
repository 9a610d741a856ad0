"""Whether a sweep that goes on is the one that was begun."""

from typing import Any

import pytest

from mlplab.errors import UserError
from mlplab.sweeps.comparing import MOST_SHOWN, require_same

THEN = {"seed": 0, "optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}, "trainer": {"max_epochs": 4, "threads": "auto"}}


@pytest.mark.parametrize(
    "now",
    [
        THEN,
        {**THEN, "paths": {"logs": "elsewhere"}},
        {**THEN, "sweep": {"retry_failed": True}},
        {**THEN, "trainer": {"max_epochs": 4, "threads": 2}},
        {**THEN, "trainer": {"max_epochs": 4}},
        {**THEN, "callbacks": {"progress": None}},
    ],
)
def test_where_it_lies_and_how_many_cores_it_takes_may_differ(now: dict[str, Any]) -> None:
    require_same(THEN, now, "0_seed-0")


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({**THEN, "seed": 1}, "0_seed-0: seed=1 instead of 0"),
        ({**THEN, "seed": False}, "0_seed-0: seed=false instead of 0"),
        ({**THEN, "optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}}, "optimizer.betas=[0.9,0.99] instead of [0.9,0.999]"),
        ({**THEN, "trainers": {"max_epochs": 4}}, "trainers.max_epochs=4 instead of nothing"),
        ({"seed": 0, "trainer": THEN["trainer"]}, "optimizer.lr=nothing instead of 0.1"),
        ({**THEN, "trainer": {"max_epochs": 4, "threads_more": 1}}, "trainer.threads_more=1 instead of nothing"),
    ],
)
def test_anything_else_is_refused_with_the_difference(now: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as told:
        require_same(THEN, now, "0_seed-0")
    assert says in str(told.value)
    assert str(told.value).endswith("; try another sweep.name")


def test_of_many_differences_some_are_shown() -> None:
    with pytest.raises(UserError) as told:
        require_same({}, {f"name_{i}": i for i in range(20)}, "0")
    assert str(told.value).count("instead of") == MOST_SHOWN
    assert "and 12 more" in str(told.value)
