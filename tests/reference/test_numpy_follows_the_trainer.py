"""The Trainer's weights against a NumPy implementation from the formulas, over 30 steps in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from reference.numpy_mlp import Parameters, UpdateRule, loss_and_gradients
from slow_cases import slow, slow_but

from mlplab.building import build_data, build_learner
from mlplab.randomness import batch_order

STEPS = 30
SETTINGS = [
    "model.hidden_dims=[7,5]",
    "model.dropout=0",
    "model.bias_initialization=normal",
    "trainer.precision=64-true",
    f"trainer.max_steps={STEPS}",
    "trainer.max_epochs=-1",
    "callbacks=minimal",
    "logger=none",
]
LEARNING_RATES = {
    "sgd": 0.1,
    "momentum": 0.05,
    "nesterov": 0.05,
    "adam": 0.01,
    "adamw": 0.01,
    "rmsprop": 0.01,
    "adagrad": 0.05,
}


def follow_in_numpy(config: DictConfig, rule: UpdateRule, activation: str, loss: str) -> Parameters:
    """The weights after the steps of the run: its initial weights, its batches, and nothing else of it."""
    data = build_data(config)
    data.setup()
    learner = build_learner(config, data)
    parameters = [p.detach().double().numpy().copy() for p in learner.model.parameters()]
    features, targets = (tensor.numpy() for tensor in data.part("train"))
    features = features.astype(np.float64)
    if loss == "mse":
        targets = targets.astype(np.float64)
    n_rows = len(features)
    size = n_rows if config.data.batch_size == "full" else config.data.batch_size
    epoch = 0
    while rule.step < STEPS:
        order = np.arange(n_rows) if size >= n_rows else batch_order(n_rows, config.seed, epoch).numpy()
        for begin in range(0, n_rows, size):
            rows = order[begin : begin + size]
            _, gradients = loss_and_gradients(
                parameters,
                features[rows],
                targets[rows],
                activation=activation,
                loss=loss,
                l1=config.regularization.l1,
                l2=config.regularization.l2,
            )
            parameters = rule.update(parameters, gradients)
            if rule.step == STEPS:
                break
        epoch += 1
    return parameters


def trained_weights(run: Any) -> Parameters:
    state = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return [value.numpy() for name, value in state.items() if name.startswith("model.")]


def assert_the_trainer_is_followed(
    train_run: Callable[..., Any],
    make_config: Callable[..., DictConfig],
    overrides: list[str],
    rule: UpdateRule,
    activation: str,
    loss: str,
) -> None:
    overrides = [*SETTINGS, *overrides, f"model.activation={activation}"]
    actual = trained_weights(train_run(*overrides))
    expected = follow_in_numpy(make_config(*overrides), rule, activation, loss)
    assert len(actual) == len(expected) == 6
    for got, wanted in zip(actual, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("batch_size", [16, *slow("full", 1)])
@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_classification_with_cross_entropy(
    train_run: Any, make_config: Any, optimizer: str, batch_size: int | str
) -> None:
    lr = LEARNING_RATES[optimizer]
    overrides = ["data=wine", f"data.batch_size={batch_size}", f"optimizer={optimizer}", f"optimizer.lr={lr}"]
    rule = UpdateRule(optimizer, lr, weight_decay=0.01 if optimizer == "adamw" else 0.0)
    assert_the_trainer_is_followed(train_run, make_config, overrides, rule, "tanh", "cross_entropy")


@pytest.mark.parametrize("batch_size", ["full", *slow(32, 1)])
@pytest.mark.parametrize("optimizer", slow_but(["sgd", "adam"], LEARNING_RATES))
def test_regression_with_mean_squared_error(
    train_run: Any, make_config: Any, optimizer: str, batch_size: int | str
) -> None:
    lr = LEARNING_RATES[optimizer] / 5
    overrides = ["data=diabetes", f"data.batch_size={batch_size}", f"optimizer={optimizer}", f"optimizer.lr={lr}"]
    rule = UpdateRule(optimizer, lr, weight_decay=0.01 if optimizer == "adamw" else 0.0)
    assert_the_trainer_is_followed(train_run, make_config, overrides, rule, "relu", "mse")


@pytest.mark.parametrize("penalty", [{"l1": 0.003}, {"l2": 0.05}])
@pytest.mark.parametrize("optimizer", ["adam", *slow("sgd")])
def test_l1_and_l2_penalties_on_the_weights_alone(
    train_run: Any, make_config: Any, optimizer: str, penalty: dict[str, float]
) -> None:
    lr = LEARNING_RATES[optimizer]
    overrides = ["data=wine", "data.batch_size=1", f"optimizer={optimizer}", f"optimizer.lr={lr}"]
    overrides += [f"regularization.{name}={value}" for name, value in penalty.items()]
    assert_the_trainer_is_followed(
        train_run, make_config, overrides, UpdateRule(optimizer, lr), "sigmoid", "cross_entropy"
    )


@pytest.mark.parametrize("optimizer", ["momentum", "adamw", *slow("sgd", "adam", "rmsprop", "adagrad")])
def test_weight_decay_on_the_weights_alone(train_run: Any, make_config: Any, optimizer: str) -> None:
    lr = LEARNING_RATES[optimizer]
    overrides = ["data=wine", f"optimizer={optimizer}", f"optimizer.lr={lr}", "optimizer.weight_decay=0.1"]
    rule = UpdateRule(optimizer, lr, weight_decay=0.1)
    assert_the_trainer_is_followed(train_run, make_config, overrides, rule, "tanh", "cross_entropy")


def test_a_wrong_rule_is_noticed(train_run: Any, make_config: Any) -> None:
    overrides = ["data=wine", "optimizer=sgd", "optimizer.lr=0.1"]
    with pytest.raises(AssertionError):
        assert_the_trainer_is_followed(
            train_run, make_config, overrides, UpdateRule("sgd", 0.1001), "tanh", "cross_entropy"
        )
