"""What stands in one configuration and not in another."""

from typing import Any

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.config.differing import (
    ABSENT,
    changes,
    describe_changes,
    describe_new,
    extended,
    flat,
)
from mlplab.config.former_names import RENAMED

TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.lists(st.integers(0, 2), max_size=2)),
    lambda part: st.dictionaries(st.sampled_from(["a", "b", "c"]), part, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.sampled_from(["a", "b", "c"]), TREES, max_size=3)


def test_flat_names() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [2, {"e": 3}]}}, "f": None}) == {"a.b": 1, "a.c.d": [2, {"e": 3}], "f": None}
    assert flat({"a": {}}) == {}


def test_each_change_with_both_values() -> None:
    then = {"lr": 0.1, "old": 1, "same": [1], "paths": {"run": "x"}, "trainer": {"threads": 1, "threads_max": 1}}
    now = {"lr": 0.2, "new": None, "same": [1], "paths": {"run": "y"}, "trainer": {"threads": 2, "threads_max": 2}}
    changed = changes(then, now, ("paths", "trainer.threads"))
    assert changed == {"lr": (0.1, 0.2), "old": (1, ABSENT), "trainer.threads_max": (1, 2), "new": (ABSENT, None)}
    assert describe_changes(changed) == (
        "lr=0.2 instead of 0.1, old=nothing instead of 1, trainer.threads_max=2 instead of 1, "
        "new=null instead of nothing"
    )


def test_options_that_conf_has_gained_are_added_at_their_defaults() -> None:
    then = {"seed": 1, "model": {"_target_": "MLP", "dropout": 0.5}, "loss": {"name": "mse"}, "callbacks": {"a": {}}}
    now = {
        "seed": 0, "mixup": 0.0, "optimizer": {"lr": 0.1}, "model": {"_target_": "MLP", "dropout": 0.0, "beta": 1.0},
        "loss": {"name": "auto", "label_smoothing": 0.1}, "callbacks": {"a": {"every": 1}, "b": {}},
    }  # fmt: skip
    whole = extended(then, now)
    assert whole == {
        "seed": 1, "mixup": 0.0, "optimizer": {"lr": 0.1}, "model": {"_target_": "MLP", "dropout": 0.5, "beta": 1.0},
        "loss": {"name": "mse"}, "callbacks": {"a": {"every": 1}},
    }  # fmt: skip
    assert then["model"] == {"_target_": "MLP", "dropout": 0.5}
    assert "model.beta=1.0, callbacks.a.every=1, mixup=0.0, optimizer.lr=0.1: the run" in describe_new(
        then, whole, "the run", ()
    )
    assert describe_new(then, whole, "the run", ("mixup", "optimizer", "model", "callbacks")) == ""
    assert describe_new(then, then, "the run", ()) == ""
    assert set(extended(then, now, ["mixup", "optimizer"])) == set(then)
    assert extended({"data": {}}, {"data": {"rare_classes": "refuse"}}) == {"data": {"rare_classes": "keep"}}


def test_a_name_of_an_earlier_version_is_what_conf_has_in_its_place() -> None:
    for then, now in RENAMED.items():
        assert changes({"_target_": then}, {"_target_": now}, ()) == {}
        assert changes({"_target_": then}, {"_target_": "other"}, ()) == {"_target_": (then, "other")}


@settings(max_examples=examples(30))
@given(CONFIGS, CONFIGS)
def test_changes_are_seen_from_both_sides(one: dict[str, Any], other: dict[str, Any]) -> None:
    forth, back = changes(one, other, ()), changes(other, one, ())
    assert forth == {key: (then, now) for key, (now, then) in back.items()}
    assert changes(one, other, ("a", "b", "c")) == changes(one, one, ()) == {}


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0)])
def test_truth_values_are_no_numbers(one: Any, other: Any) -> None:
    is_same = changes({"x": one}, {"x": other}, ()) == {}
    assert is_same == (isinstance(one, bool) == isinstance(other, bool))
