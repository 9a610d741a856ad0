"""What a sweep makes of words of the command line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplab.errors import UserError
from mlplab.sweeps.ledger import Assignment
from mlplab.sweeps.overrides import (
    Dimension,
    as_typed,
    dimension_of,
    params_as_overrides,
    parse_overrides,
    plain_value,
    split_swept,
)

NUMBERS = st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))


def one(word: str) -> Dimension:
    (override,) = parse_overrides([word], None)
    return dimension_of(override)


def typed(value: Any) -> str:
    """A value as Hydra's grammar takes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


@given(st.lists(st.one_of(NUMBERS, st.booleans(), st.none()), min_size=2, max_size=5))
def test_a_choice_has_the_values_that_were_typed(values: list[Any]) -> None:
    dimension = one(f"seed={','.join(map(typed, values))}")
    assert list(dimension.values) == values
    assert [type(value) for value in dimension.values] == [type(value) for value in values]
    assert dimension.as_space() == {"kind": "choice", "values": values}


@given(st.lists(st.one_of(NUMBERS, st.booleans(), st.none()), min_size=2, max_size=5))
def test_each_value_typed_again_is_the_same_value(values: list[Any]) -> None:
    """The words of a job are what is given to it, and what stands in sweep.json."""
    dimension = one(f"+seed={','.join(map(typed, values))}")
    assert dimension.name == "seed"
    for assignment, value in zip(dimension.assignments, values, strict=True):
        override = str(assignment.override)
        assert override.startswith("+seed=")
        again = one(override).values
        assert json.dumps(again) == json.dumps((value,))


@given(st.text("abcXYZ_019 .-/", min_size=1, max_size=12), st.sampled_from("'\""))
def test_quoted_texts_stay_texts(text: str, quote: str) -> None:
    dimension = one(f"data.target={quote}{text}{quote},other")
    assert dimension.values == (text, "other")
    assert one(str(dimension.assignments[0].override)).values == (text,)


@pytest.mark.parametrize(
    ("word", "values", "texts"),
    [
        ("model.hidden_dims=[],[64],[64,32]", ([], [64], [64, 32]), ["[]", "[64]", "[64,32]"]),
        ("seed=range(0,3)", (0, 1, 2), ["0", "1", "2"]),
        ("optimizer.lr=1e-3,0.01", (0.001, 0.01), ["0.001", "0.01"]),
        ("data.class_weights=null,balanced", (None, "balanced"), ["null", "balanced"]),
        ("optimizer=sgd", ("sgd",), ["sgd"]),
        ("+x={a:1},{a:2}", ({"a": 1}, {"a": 2}), ["{a:1}", "{a:2}"]),
        ("optimizer.lr=tag(log,choice(0.1,0.01))", (0.1, 0.01), ["0.1", "0.01"]),
    ],
)
def test_values_and_texts(word: str, values: tuple[Any, ...], texts: list[str]) -> None:
    dimension = one(word)
    assert dimension.values == values
    assert [str(assignment.override).partition("=")[2] for assignment in dimension.assignments] == texts
    json.dumps(dimension.as_space())


def test_an_interval_has_two_ends() -> None:
    dimension = one("optimizer.lr=tag(log,interval(1e-4,1e-1))")
    assert dimension.as_space() == {"kind": "float", "low": 0.0001, "high": 0.1, "log": True}
    assert [one.override for one in dimension.assignments] == ["optimizer.lr=0.0001", "optimizer.lr=0.1"]
    whole = one("data.batch_size=int(interval(8,64))")
    assert whole.as_space() == {"kind": "int", "low": 8, "high": 64, "log": False}
    assert [one.override for one in whole.assignments] == ["data.batch_size=8", "data.batch_size=64"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("optimizer.lr=interval(1,0.1)", "from a smaller to a larger number"),
        ("optimizer.lr=interval(1,1)", "from a smaller to a larger number"),
        ("optimizer.lr=tag(log,interval(0,1))", "must begin above 0"),
        ("optimizer.lr=tag(logarithm,interval(0.1,1))", "the tag of a space must be log"),
        ("optimizer.lr=tag(a,choice(1,2))", "the tag of a space must be log"),
    ],
)
def test_what_cannot_be_swept_is_refused(word: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        one(word)


def test_of_one_name_given_twice_the_later_counts() -> None:
    overrides = parse_overrides(["seed=0,1", "optimizer=adam", "seed=2"], None)
    assert {override.key_or_group: as_typed(override) for override in overrides} == {
        "optimizer": "optimizer=adam", "seed": "seed=2",
    }  # fmt: skip


def test_what_the_sweep_is_told_is_no_part_of_its_jobs() -> None:
    words = ["seed=0,1", "sweep.retry_failed=true", "sweep.name=x", "~callbacks.figures", "+trainer.flag=1"]
    spaces, constants = split_swept(parse_overrides(words, None))
    assert [space.key_or_group for space in spaces] == ["seed"]
    assert [as_typed(constant) for constant in constants] == ["sweep.name=x", "~callbacks.figures", "+trainer.flag=1"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (None, []),
        ({"seed": "0,1", "optimizer.lr": 0.1}, ["seed=0,1", "optimizer.lr=0.1"]),
        ({"a": True, "b": None, "c": [1, 2]}, ["a=true", "b=null", "c=[1, 2]"]),
    ],
)
def test_spaces_of_the_configuration_are_words(params: Any, words: list[str]) -> None:
    assert params_as_overrides(params, "hydra.sweeper.params") == words


@pytest.mark.parametrize("params", ["seed=0,1", 3, ["seed"], {"seed": {"low": 0}}])
def test_params_that_map_nothing_are_refused(params: Any) -> None:
    with pytest.raises(UserError, match=r"hydra\.sweeper\.params must map names to the values they take"):
        params_as_overrides(params, "hydra.sweeper.params")


@pytest.mark.parametrize(
    ("value", "text", "label"),
    [(0.012345678, "0.012345678", "lr=0.01235"), (1e20, "1e20", "lr=1e20"), ("a b", "'a b'", "lr='a b'")],
)
def test_drawn_numbers_are_short_in_names(value: Any, text: str, label: str) -> None:
    assert Assignment("lr", value, f"+lr={text}").label == label


def test_plain_values_have_no_quotes() -> None:
    (override,) = parse_overrides(["x={a:['b',\"c\"],2:true}"], None)
    assert plain_value(override.value()) == {"a": ["b", "c"], "2": True}
