"""The direct step against PyTorch's own: the same weights and state, to the last bit."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from mlplab.engine.fused_adam import FUSED, FusedAdam, FusedAdamW, fused_adam
from mlplab.models import MLP
from mlplab.optimization.optimizers import OptimizerFactory, build_optimizer


def network(dtype: torch.dtype = torch.float32) -> MLP:
    torch.manual_seed(0)
    return MLP(in_features=3, out_features=2, hidden_dims=[4, 4], normalization="layer").to(dtype)


def built(factory: OptimizerFactory, model: MLP) -> Optimizer:
    """As the fast engine lets it be built."""
    return build_optimizer(fused_adam(factory), model)


def train(model: MLP, optimizer: Optimizer, steps: int, begin: int = 0) -> None:
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for step in range(begin, begin + steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        outputs = model(torch.randn(5, 3, dtype=next(model.parameters()).dtype))
        if step % 3 == 2:  # a layer without gradient
            outputs = outputs.detach() + model.output.bias
        optimizer.step(lambda outputs=outputs: outputs.square().mean().backward())
        schedule.step()


@pytest.mark.parametrize("rule", [Adam, AdamW])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_and_state_are_those_of_pytorchs_step(rule: Any, weight_decay: float, dtype: torch.dtype) -> None:
    options = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": weight_decay, "fused": True}
    fused, plain = network(dtype), network(dtype)
    optimizer = built(partial(rule, **options), fused)
    assert type(optimizer) is FUSED[rule]
    groups = [
        {**g, "params": [dict(plain.named_parameters())[n] for n in g["param_names"]]} for g in optimizer.param_groups
    ]
    reference = rule([{"params": g["params"], "weight_decay": g["weight_decay"]} for g in groups], **options)
    train(fused, optimizer, 12)
    train(plain, reference, 12)
    for (name, found), expected in zip(fused.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, expected), name
    state, known = optimizer.state_dict()["state"], reference.state_dict()["state"]
    for index, values in known.items():
        for key, value in values.items():
            assert torch.equal(state[index][key], value)
            assert state[index][key].dtype == value.dtype


@pytest.mark.parametrize("is_own", [True, False])
def test_its_state_can_be_saved_and_goes_on_also_by_pytorchs_own_step(is_own: bool) -> None:
    whole, halves = network(), network()
    factory = partial(Adam, lr=0.01, fused=True)
    train(whole, built(factory, whole), 8)
    first = built(factory, halves)
    train(halves, first, 4)
    second = built(factory, halves) if is_own else build_optimizer(factory, halves)
    assert type(second) is (FusedAdam if is_own else Adam)
    second.load_state_dict(first.state_dict())
    train(halves, second, 4, begin=4)
    # The schedule of the second half starts from where the first one's learning rate is.
    for (name, found), expected in zip(halves.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(found, expected), name
    assert {float(state["step"]) for state in second.state.values()} == {6.0, 8.0}


def test_hooks_of_the_step_are_called() -> None:
    model, calls = network(), []
    optimizer = built(partial(AdamW, lr=0.01, fused=True), model)
    assert type(optimizer) is FusedAdamW
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    train(model, optimizer, 2)
    assert calls == ["before", "after"] * 2


def test_hooks_of_all_optimizers_are_called() -> None:
    model, calls = network(), []
    optimizer = built(partial(Adam, lr=0.01, fused=True), model)
    handles = [
        register_optimizer_step_pre_hook(lambda *_: calls.append("before")),
        register_optimizer_step_post_hook(lambda *_: calls.append("after")),
    ]
    train(model, optimizer, 1)
    for handle in handles:
        handle.remove()
    train(model, optimizer, 1)
    assert calls == ["before", "after"]


def test_a_profiler_sees_the_step() -> None:
    model = network()
    optimizer = built(partial(Adam, lr=0.01, fused=True), model)
    with torch.autograd.profiler.profile() as profile:
        train(model, optimizer, 1)
    assert "Optimizer.step#Adam.step" in {event.key for event in profile.key_averages()}


@pytest.mark.parametrize(
    "factory",
    [
        partial(SGD, lr=0.01, fused=True),
        partial(Adam, lr=0.01),
        partial(Adam, lr=0.01, fused=True, amsgrad=True),
        partial(Adam, lr=0.01, fused=True, maximize=True),
        partial(Adam, lr=torch.tensor(0.01), fused=True),
        partial(type("MyAdam", (Adam,), {}), lr=0.01, fused=True),
    ],
)
def test_what_asks_for_more_is_left_as_it_is(factory: Any) -> None:
    assert type(built(factory, network())) is factory.func
