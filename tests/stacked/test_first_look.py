"""A step, network or loss whose code somebody has changed is not computed as it was."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mlplab.building import build_data, build_learner
from mlplab.learner import Learner
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.objectives.objective import Objective
from mlplab.stacked.first_look import REASON, why_another_step


def member(make_config: Any, *words: str) -> Any:
    config = make_config(*words)
    data = build_data(config)
    data.setup()
    return SimpleNamespace(data=data, learner=build_learner(config, data))


AS_IT_IS = {
    "default": [],
    "dropout and batch normalisation": [
        "model.normalization=batch", "model.dropout=0.3", "model.input_dropout=0.1",
    ],
    "residual layers, all rows": ["model.hidden_dims=[16,16,16]", "model.residual=true", "data.batch_size=full"],
    "penalties": ["regularization.l1=0.01", "regularization.l2=0.1"],
    "label smoothing": ["loss=cross_entropy", "loss.label_smoothing=0.1"],
    "regression": ["data=plane"],
    "huber": ["data=plane", "loss=huber"],
    "one output": ["data=breast_cancer", "loss=binary_cross_entropy"],
    "single rows": ["data=iris", "data.batch_size=1"],
    "own network": ["~model", "+model={_target_:own_networks.Stackable}"],
}  # fmt: skip


@pytest.mark.parametrize("name", AS_IT_IS)
def test_what_is_as_it_was_is_stacked(make_config: Any, name: str) -> None:
    assert why_another_step(member(make_config, *AS_IT_IS[name])) is None


def test_nothing_is_left_of_the_look(make_config: Any) -> None:
    one = member(make_config, "model.normalization=batch", "model.dropout=0.5")
    before = {name: value.clone() for name, value in one.learner.state_dict().items()}
    state = torch.get_rng_state()
    why_another_step(one)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in one.learner.state_dict().items())
    assert all(parameter.grad is None and parameter.is_leaf for parameter in one.learner.parameters())


def twice(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: 2 * call(*arguments)


def noisy(forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, features: forward(self, features + 0.1 * torch.randn_like(features))


@pytest.mark.parametrize(
    ("owner", "name", "change"),
    [
        (Learner, "training_step", twice),
        (MLP, "forward", twice),
        (MLP, "forward", noisy),
        (HiddenLayer, "forward", twice),
        (Objective, "forward", twice),
    ],
)
def test_what_was_changed_is_not(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, owner: type[nn.Module], name: str, change: Callable[..., Any]
) -> None:
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    assert why_another_step(member(make_config, "model.dropout=0.2")) == REASON
