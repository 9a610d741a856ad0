from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim import LBFGS, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop

from mlplab.errors import UserError
from mlplab.models import MLP
from mlplab.optimization.muon import MuonAdamW
from mlplab.optimization.optimizers import build_optimizer

WITH_DECAY = [SGD, Adam, AdamW, NAdam, RAdam, Adamax, RMSprop, Adagrad, Adadelta, MuonAdamW]


def network() -> MLP:
    torch.manual_seed(0)
    return MLP(in_features=3, out_features=2, hidden_dims=[4, 4], normalization="layer")


def decay_by_name(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    return {name: group["weight_decay"] for group in optimizer.param_groups for name in group["param_names"]}


@pytest.mark.parametrize("rule", WITH_DECAY)
def test_the_decay_goes_to_weights_and_to_nothing_else(rule: Any) -> None:
    decay = decay_by_name(build_optimizer(partial(rule, lr=0.1, weight_decay=0.25), network()))
    assert decay.keys() == dict(network().named_parameters()).keys()
    for name, value in decay.items():
        is_weight = name.endswith("weight") and "normalization" not in name
        assert value == (0.25 if is_weight else 0.0), name


def test_the_decay_goes_where_it_is_sent() -> None:
    factory = partial(SGD, lr=0.1, weight_decay=0.25)
    decay = decay_by_name(build_optimizer(factory, network(), applies_to=("bias", "normalization")))
    assert decay["output.weight"] == 0.0
    assert decay["output.bias"] == decay["hidden.0.normalization.weight"] == 0.25


@pytest.mark.parametrize(("rule", "default"), [(AdamW, 0.01), (MuonAdamW, 0.1), (SGD, 0.0)])
def test_a_decay_that_the_class_brings_along_spares_the_biases_too(rule: Any, default: float) -> None:
    for factory in (partial(rule, lr=0.1), partial(rule), rule):
        decay = decay_by_name(build_optimizer(factory, network()))
        assert decay["output.weight"] == default
        assert decay["output.bias"] == decay["hidden.1.normalization.bias"] == 0.0


def test_one_decayed_step_by_hand() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(3.0)
    optimizer = build_optimizer(partial(SGD, lr=0.5, weight_decay=0.25), model)
    model(torch.zeros(1, 1)).sum().backward()
    optimizer.step()
    assert model.weight.item() == 2.0 - 0.5 * (0.0 + 0.25 * 2.0)
    assert model.bias.item() == 3.0 - 0.5 * 1.0


def test_options_reach_every_group() -> None:
    optimizer = build_optimizer(partial(Adam, lr=0.3, betas=(0.5, 0.6), weight_decay=0.1), network())
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [(0.3, (0.5, 0.6))] * 2


def test_an_optimizer_that_knows_no_weight_decay_gets_one_group() -> None:
    class Plain(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

    optimizer = build_optimizer(partial(Plain, lr=0.1), network())
    assert [group["name"] for group in optimizer.param_groups] == ["all"]
    assert len(optimizer.param_groups[0]["params"]) == len(list(network().parameters()))


def test_lbfgs_takes_all_parameters_in_its_single_group_and_lowers_a_loss() -> None:
    model = network()
    optimizer = build_optimizer(partial(LBFGS, lr=1.0, line_search_fn="strong_wolfe"), model)
    assert len(optimizer.param_groups) == 1
    assert set(map(id, optimizer.param_groups[0]["params"])) == set(map(id, model.parameters()))
    inputs, targets = torch.randn(20, 3), torch.randint(0, 2, (20,))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    before = closure().item()
    optimizer.step(closure)
    assert closure().item() < 0.5 * before


def test_frozen_parameters_are_not_handed_to_the_optimizer() -> None:
    model = network()
    model.output.requires_grad_(False)
    held = decay_by_name(build_optimizer(partial(SGD, lr=0.1, weight_decay=0.1), model))
    assert not any(name.startswith("output") for name in held)


@pytest.mark.parametrize("factory", [partial(SGD, lr=0.1, weight_decay=0.1), partial(LBFGS), partial(MuonAdamW)])
@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)])
def test_a_model_without_trainable_parameters_is_refused(factory: Any, model: nn.Module) -> None:
    with pytest.raises(UserError) as refusal:
        build_optimizer(factory, model)
    assert refusal.value.requirement == "the model must have a trainable parameter"


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (partial(SGD, lr=-1.0), "-1.0"),
        (partial(SGD, lr=0.1, nesterov=True), "momentum"),
        (partial(Adam, lr=0.1, betas=(2.0, 0.9)), "2.0"),
        (partial(Adam, lr=0.1, momentum=0.9), "momentum"),
    ],
)
def test_options_that_the_optimizer_does_not_take_are_refused_with_its_name_and_reason(
    factory: Any, reason: str
) -> None:
    with pytest.raises(UserError) as refusal:
        build_optimizer(factory, network())
    assert refusal.value.requirement.startswith(factory.func.__name__)
    assert reason in refusal.value.actual
    assert "conf/optimizer" in refusal.value.hint


@pytest.mark.parametrize(
    "name",
    [
        *("sgd", "momentum", "nesterov", "adam", "adamw", "nadam", "radam", "adamax"),
        *("rmsprop", "adagrad", "adadelta", "lbfgs", "muon"),
    ],
)
def test_each_optimizer_of_the_configuration_takes_a_step_that_moves_every_parameter(
    name: str, make_config: Any
) -> None:
    from hydra.utils import instantiate

    config: DictConfig = make_config(f"optimizer={name}")
    model = network()
    optimizer = build_optimizer(instantiate(config.optimizer), model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    inputs, targets = torch.randn(20, 3), torch.randint(0, 2, (20,))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    for parameter_name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[parameter_name]), parameter_name
        assert torch.isfinite(parameter).all()
