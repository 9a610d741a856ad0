"""What a search is asked, and what is refused before anything is run."""

from typing import Any

import pytest

from mlplab.errors import UserError
from mlplab.sweeps.overrides import Dimension
from mlplab.sweeps.search.samplers import build_sampler
from mlplab.sweeps.search.settings import Budget, read_settings, require_comparable, require_one_setting
from mlplab.sweeps.search.space import space_of, split_conditions

SETTINGS: dict[str, Any] = {
    "sampler": "tpe", "sampler_options": None, "seed": 0, "trials": 20, "epochs": None, "minutes": None,
    "batch": None, "pruner": "none", "pruner_options": None, "objectives": None, "seeds": None,
    "constraints": None,
}  # fmt: skip
CHOICE = Dimension("optimizer", "optimizer", ("sgd", "adam"), ("sgd", "adam"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trials": 0}, "trials must be null, or a positive integer"),
        ({"trials": True}, "trials must be null, or a positive integer"),
        ({"epochs": 1.5}, "epochs must be null, or a positive integer"),
        ({"minutes": -1}, "minutes must be null, or a positive number"),
        ({"minutes": float("nan")}, "minutes must be null, or a positive number"),
        ({"trials": None}, "a search must have a budget"),
        ({"seed": -1}, "seed must be null, or an integer of 0 or more"),
        ({"seeds": 0}, "seeds must be null, or a list of seeds, or their number"),
        ({"batch": "two"}, "batch must be null, or a positive integer"),
        ({"sampler_options": [1]}, "sampler_options must be null, or a mapping of names"),
        ({"pruner": "medain"}, "try hydra.sweeper.pruner=median"),
        ({"pruner": "median", "pruner_options": {"warmup": 3}}, "arguments of optuna's MedianPruner"),
        ({"pruner": "hyperband", "pruner_options": {"max_resource": 0}}, "arguments of optuna's HyperbandPruner"),
        ({"pruner": "median", "objectives": {"val/accuracy": "max"}}, "the monitor as its only objective"),
        ({"objectives": {"test/accuracy": "max"}}, "must map val/"),
        ({"objectives": {"val/loss": "small"}}, "to min or max"),
        ({"objectives": {}}, "must map val/"),
        ({"objectives": {"val/los": "min"}}, "try objective=val/loss"),
        ({"objectives": {"val/accuracy": "min"}}, "mode must be max"),
        ({"constraints": [1]}, "constraints must map val/"),
        ({"constraints": {"parameters": "few"}}, "to a number"),
        ({"constraints": {"test/accuracy": 0.9}}, "must map val/"),
        ({"constraints": {"val/acuracy": 0.9}}, "try constraint=val/accuracy"),
        ({"constraints": {"parameters": 9}, "sampler": "cmaes"}, "cmaes knows no constraints"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_settings({**SETTINGS, **changed}, "val/loss", "min")


@pytest.mark.parametrize(("given", "seeds"), [(None, ()), (3, (7, 8, 9)), ([2, 0, 2], (2, 0))])
def test_seeds_are_counted_from_that_of_the_configuration(given: Any, seeds: tuple[int, ...]) -> None:
    assert read_settings({**SETTINGS, "seeds": given}, "val/loss", "min", 7).seeds == seeds


@pytest.mark.parametrize("name", ["seed", "data.split_seed", "data", "data.path"])
def test_neither_the_luckiest_seed_nor_the_easiest_data_are_searched_for(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} has several values"):
        require_one_setting(["optimizer.lr", name])


@pytest.mark.parametrize("name", ["loss", "loss.label_smoothing", "loss.class_weights"])
def test_losses_are_compared_by_a_metric_that_they_share(name: str) -> None:
    by_loss = read_settings(SETTINGS, "val/loss", "min")
    with pytest.raises(UserError, match="a metric that they share, not by val/loss"):
        require_comparable(["optimizer.lr", name], by_loss)
    require_comparable(["optimizer.lr"], by_loss)
    require_comparable([name], read_settings(SETTINGS, "val/accuracy", "max"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpee", {}, "try hydra.sweeper.sampler=tpe"),
        ("tpe", {"n_startup": 3}, "arguments of optuna's TPESampler"),
    ],
)
def test_samplers_that_are_none_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_sampler(name, 0, options, space_of([CHOICE], {}))


def test_options_reach_optunas_class() -> None:
    sampler = build_sampler("tpe", 0, {"n_startup_trials": 3}, space_of([CHOICE], {}))
    assert sampler._n_startup_trials == 3  # type: ignore[attr-defined]


def test_a_budget_is_spent_by_the_first_limit_that_is_reached() -> None:
    budget = Budget(5, 100, 2)
    assert not budget.is_spent(4, 99, 1.9)
    assert budget.is_spent(5, 0, 0)
    assert budget.is_spent(0, 100, 0)
    assert budget.is_spent(0, 0, 2.0)
    assert (budget.trials_left(3), Budget(epochs=7).trials_left(3)) == (2, None)
    assert str(budget) == "5 trials, 100 epochs, 2 minutes"


def test_a_grid_ends_when_all_of_it_is_done() -> None:
    settings = read_settings({**SETTINGS, "sampler": "grid", "trials": None, "epochs": 50}, "val/loss", "min")
    assert settings.budget_in(space_of([CHOICE], {})) == Budget(2, 50, None)


def test_conditions_stand_behind_a_space_or_beside_it() -> None:
    params = {
        "optimizer": "sgd,adam",
        "momentum": "interval(0,1) when optimizer=sgd|nesterov and nesterov=true",
        "seed": 3,
    }
    plain, conditions = split_conditions(params, {"beta": {"optimizer": "adam"}})
    assert plain == {"optimizer": "sgd,adam", "momentum": "interval(0,1)", "seed": 3}
    assert conditions == {
        "momentum": {"optimizer": ["sgd", "nesterov"], "nesterov": [True]},
        "beta": {"optimizer": ["adam"]},
    }


@pytest.mark.parametrize(
    ("params", "when"),
    [({"a": "1,2 when b"}, None), ({"a": "1,2 when =3"}, None), (None, 3), (None, {"a": "b=1"}), (None, {"a": {}})],
)
def test_conditions_that_cannot_be_read_are_refused(params: Any, when: Any) -> None:
    with pytest.raises(UserError, match="must have the form NAME=VALUE"):
        split_conditions(params, when)
