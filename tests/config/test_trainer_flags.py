"""The names that are checked without importing PyTorch are those that PyTorch's side knows."""

import inspect
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch import profilers
from lightning.pytorch.strategies import StrategyRegistry
from torch.nn.functional import one_hot

from mlplab.config import trainer_flags
from mlplab.config.checks import check
from mlplab.config.config_rules import CALLBACK_RULES, MLP_RULES, OPTIMIZER_RULES, RULES
from mlplab.objectives.options import LOSSES, SCORES
from mlplab.objectives.scores import Scores
from mlplab.optimization.names import NEED_END
from mlplab.optimization.schedules import BY_EPOCH, BY_STEP
from mlplab.task import Task


def test_names_are_those_of_the_implementation() -> None:
    assert tuple(inspect.signature(pl.Trainer).parameters) == trainer_flags.TRAINER_FLAGS
    assert set(trainer_flags.CHOSEN_ELSEWHERE) < set(trainer_flags.TRAINER_FLAGS)
    assert set(trainer_flags.STRATEGIES) - {"auto"} < set(StrategyRegistry.available_strategies())
    assert all(hasattr(profilers, name) for name in trainer_flags.PROFILERS.values())
    assert set(NEED_END) == set(BY_STEP)


@pytest.mark.parametrize(("kind", "worse"), [("classification", [1, 1, 0, 0]), ("regression", [4.0, 3.0, 2.0, 1.0])])
def test_the_direction_of_every_score_is_that_in_which_predictions_are_better(kind: str, worse: list[float]) -> None:
    task = Task(kind, 2, class_names=("a", "b") if kind == "classification" else ())  # type: ignore[arg-type]
    targets, best, worst = torch.tensor(sorted(worse)), Scores(task), Scores(task)
    for scores, values in ((best, targets), (worst, torch.tensor(worse))):
        outputs = 9.0 * one_hot(values) if kind == "classification" else values[:, None]
        scores.update(
            (values - targets).abs().sum(), outputs, targets if kind == "classification" else targets[:, None]
        )
    for name, value in best.compute().items():
        assert (SCORES[kind][name] == "max") is bool(value > worst.compute()[name]), name


def test_every_schedule_and_loss_has_a_file_and_every_file_a_schedule_or_loss(root: Path) -> None:
    assert {path.stem for path in (root / "conf/scheduler").glob("*.yaml")} == {*BY_EPOCH, *BY_STEP, "none"}
    losses = {loss for losses in LOSSES.values() for loss in losses}
    assert {path.stem for path in (root / "conf/loss").glob("*.yaml")} == {*losses, "auto"}


def test_every_value_of_the_optimizers_has_a_rule(make_config, root: Path) -> None:  # type: ignore[no-untyped-def]
    for path in (root / "conf/optimizer").glob("*.yaml"):
        config = make_config(f"optimizer={path.stem}")
        check(config)
        options = {str(name) for name in config.optimizer if not str(name).startswith("_")}
        assert options <= set(OPTIMIZER_RULES), path.stem


def test_every_example_keeps_its_rule(make_config) -> None:  # type: ignore[no-untyped-def]
    from omegaconf import OmegaConf

    of_callbacks = {
        f"{name}.{option}": rule for name, rules in CALLBACK_RULES.items() for option, rule in rules.items()
    }
    for key, rule in {**RULES, **MLP_RULES, **OPTIMIZER_RULES, **of_callbacks}.items():
        value = OmegaConf.to_container(OmegaConf.create(f"value: {rule.example}"))["value"]  # type: ignore[index,call-overload]
        assert rule.holds(value), key
