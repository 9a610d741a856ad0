"""What a search draws from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from drawn import examples
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mlplab.errors import UserError
from mlplab.sweeps.overrides import Dimension, dimension_of, parse_overrides
from mlplab.sweeps.search.space import distribution, grid_of, space_of

Read = Callable[..., list[Dimension]]


@pytest.fixture
def read(root: Path) -> Iterator[Read]:
    """Words of the command line as a search reads them."""
    with initialize_config_dir(str(root / "conf"), version_base="1.3"):
        compose("config")
        loader = GlobalHydra.instance().config_loader()
        yield lambda *words: [dimension_of(override) for override in parse_overrides(words, loader)]


def test_the_syntax_of_hydra_becomes_the_distributions_of_optuna(read: Read) -> None:
    words = {
        "a=interval(0,1)": FloatDistribution(0.0, 1.0),
        "a=tag(log,interval(1e-5,1e-1))": FloatDistribution(1e-5, 1e-1, log=True),
        "a=int(interval(16,256))": IntDistribution(16, 256),
        "a=tag(log,int(interval(16,256)))": IntDistribution(16, 256, log=True),
        "a=range(1,9)": IntDistribution(1, 8),
        "a=range(8,33,8)": IntDistribution(8, 32, step=8),
        "a=range(0,1,0.25)": FloatDistribution(0.0, 0.75, step=0.25),
        "a=x,y": CategoricalDistribution(["x", "y"]),
        "a=1,true,null": CategoricalDistribution([1, True, None]),
        "a=[16],[32,16]": CategoricalDistribution(["[16]", "[32,16]"]),
    }  # fmt: skip
    for word, expected in words.items():
        (dimension,) = read(word)
        assert distribution(dimension) == expected, word


@pytest.mark.parametrize("word", ["a=[16],[32,16]", "a=range(0,1,0.1)", "a=0.1,0.01", "a='x y','z'", "a=true,1,null"])
def test_what_is_drawn_is_typed_as_it_was_given(read: Read, word: str) -> None:
    (dimension,) = read(word)
    space = space_of([dimension], {})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        (drawn,) = space.propose(study.ask())
        assert drawn.value in dimension.values
        (again,) = read(drawn.override)
        assert again.values == (drawn.value,)


OPTIMIZER = Dimension("optimizer", "optimizer", ("sgd", "momentum", "adam"), ("sgd", "momentum", "adam"))
MOMENTUM = Dimension("momentum", "momentum", interval=(0.0, 0.9))
NESTEROV = Dimension("nesterov", "nesterov", (False, True), ("false", "true"))
DAMPENING = Dimension("dampening", "dampening", interval=(0.0, 0.5))


def test_a_condition_of_a_condition_is_drawn_last_and_only_where_both_hold() -> None:
    conditions = {"dampening": {"nesterov": [False]}, "nesterov": {"optimizer": ["momentum"]}}
    space = space_of([DAMPENING, NESTEROV, OPTIMIZER], conditions)
    assert space.names == ["optimizer", "nesterov", "dampening"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(60):
        drawn = space.propose(study.ask())
        values = {one.name: one.value for one in drawn}
        assert ("nesterov" in values) == (values["optimizer"] == "momentum")
        assert ("dampening" in values) == (values.get("nesterov") is False)
        assert [str(one.override).partition("=")[0] for one in drawn] == list(values)
        seen.add(frozenset(values))
    assert len(seen) == 3


def test_every_value_and_every_end_is_tried_where_it_is_drawn() -> None:
    space = space_of([OPTIMIZER, MOMENTUM, NESTEROV], {"momentum": {"optimizer": ["momentum"]}})
    tried = space.to_check()
    assert ["optimizer=momentum", "momentum=0.9", "nesterov=false"] in tried
    assert all(("optimizer=momentum" in words) == any(w.startswith("momentum=") for w in words) for words in tried)
    texts = {word for words in tried for word in words}
    assert texts == {
        "optimizer=sgd", "optimizer=momentum", "optimizer=adam", "momentum=0.0", "momentum=0.9",
        "nesterov=false", "nesterov=true",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"momentun": {"optimizer": ["sgd"]}}, "try one on momentum"),
        ({"momentum": {"optimiser": ["sgd"]}}, "searched over as a choice"),
        ({"momentum": {"optimizer": ["lion"]}}, "values that optimizer takes, sgd, momentum, adam"),
        ({"nesterov": {"momentum": [0.5]}}, "searched over as a choice"),
        ({"nesterov": {"optimizer": ["sgd"]}, "optimizer": {"nesterov": [True]}}, "must not form a circle"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(conditions: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        space_of([OPTIMIZER, MOMENTUM, NESTEROV], conditions)


@pytest.mark.parametrize(
    ("dimensions", "conditions", "expected"),
    [
        ([OPTIMIZER, NESTEROV], {}, 6),
        ([OPTIMIZER, NESTEROV], {"nesterov": {"optimizer": ["momentum"]}}, None),
        ([OPTIMIZER, Dimension("width", "width", interval=(4, 6), is_int=True)], {}, 9),
        ([OPTIMIZER, MOMENTUM], {}, None),
    ],
)
def test_points_are_counted_where_they_can_be(dimensions: Any, conditions: Any, expected: int | None) -> None:
    assert space_of(dimensions, conditions).n_points() == expected


def test_a_grid_over_an_interval_is_refused() -> None:
    with pytest.raises(UserError, match="values that can be counted"):
        grid_of(space_of([MOMENTUM], {}))


@settings(max_examples=examples(50))
@given(
    low=st.floats(1e-12, 1e3, allow_nan=False),
    factor=st.floats(1.001, 1e6),
    is_log=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_drawn_lies_between_the_ends_and_reads_back_to_the_last_bit(
    low: float, factor: float, is_log: bool, seed: int
) -> None:
    dimension = Dimension("a", "a", interval=(low, low * factor), is_log=is_log)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    (drawn,) = space_of([dimension], {}).propose(study.ask())
    assert low <= drawn.value <= low * factor
    assert float(str(drawn.override).removeprefix("a=")) == drawn.value


def test_a_grid_has_a_conditional_name_only_where_its_condition_holds() -> None:
    optimizer, momentum, nesterov, seed = (
        Dimension(name, name, values, tuple(map(str, values)))
        for name, values in {"optimizer": ("sgd", "momentum"), "m": (0.5, 0.9), "n": (1, 2), "seed": (0, 1)}.items()
    )
    # Typed before the name on which it depends; and one that depends on a conditional name.
    grid = space_of([momentum, optimizer, nesterov, seed], {"m": {"optimizer": ["momentum"]}, "n": {"m": [0.9]}})
    jobs = [{one.name: one.value for one in job} for job in grid.combinations()]
    heavy = {"optimizer": "momentum"}
    assert jobs == [
        {**job, "seed": seed}
        for job in ({"optimizer": "sgd"}, {**heavy, "m": 0.5}, *({**heavy, "m": 0.9, "n": n} for n in (1, 2)))
        for seed in (0, 1)
    ]
