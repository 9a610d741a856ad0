import copy
from functools import partial
from typing import Any

import pytest
import torch
from stack_and_alone import Factory, Stack, distance, perceptrons, require_same_state, train_alone
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, NAdam, Optimizer, RMSprop
from torch.optim.lr_scheduler import ExponentialLR

from mlplab.optimization.optimizers import build_optimizer
from mlplab.stacked.eligibility import why_no_stacked_optimizer

ADAMW: Factory = lambda k: partial(AdamW, lr=0.01 * (k + 1), weight_decay=0.1 * k, fused=True)  # noqa: E731
MOMENTUM: Factory = lambda k: partial(SGD, lr=0.01 * (k + 1), momentum=0.9, dampening=0.1 * k)  # noqa: E731
ALIKE: Factory = lambda k: partial(Adam, lr=0.01, fused=True)  # noqa: E731
NADAM: Factory = lambda k: partial(NAdam, lr=0.01, momentum_decay=0.01 * (k + 1))  # noqa: E731


def alone(member: int, network: nn.Module, factory: Factory, steps: range, **options: Any) -> Optimizer:
    optimizer = build_optimizer(factory(member), network)
    train_alone(member, network, optimizer, steps, **options)
    return optimizer


@pytest.mark.parametrize("factory", [ADAMW, MOMENTUM, NADAM])
def test_an_ordinary_optimizer_goes_on_from_what_is_written_to_members(factory: Factory) -> None:
    networks, expected = perceptrons(), perceptrons()
    stack = Stack(networks, factory)
    stack.train(range(10))
    stack.optimizer.write_to_members()
    for member, network in enumerate(expected):
        going_on = copy.deepcopy(networks[member])
        optimizer = build_optimizer(factory(member), going_on)
        optimizer.load_state_dict(stack.optimizers[member].state_dict())
        train_alone(member, going_on, optimizer, range(10, 20))
        whole = alone(member, network, factory, range(20))
        assert distance(going_on, network) < 1e-9
        if factory is not NADAM:  # load_state_dict gives its float32 product the type of the parameters
            require_same_state(optimizer, whole)


@pytest.mark.parametrize("factory", [ADAMW, MOMENTUM, NADAM])
def test_a_stack_goes_on_from_the_state_of_its_members(factory: Factory) -> None:
    networks, expected = perceptrons(), perceptrons()
    begun = [alone(member, network, factory, range(10)) for member, network in enumerate(networks)]
    stack = Stack(networks, factory)
    for mine, its in zip(stack.optimizers, begun, strict=True):
        mine.load_state_dict(its.state_dict())
    stack.optimizer.read_from_members()
    stack.train(range(10, 20))
    stack.optimizer.write_to_members()
    for member, network in enumerate(expected):
        optimizer = alone(member, network, factory, range(20))
        assert distance(networks[member], network) < 1e-9
        if factory is not NADAM:
            require_same_state(stack.optimizers[member], optimizer)


def test_before_the_first_step_there_is_no_state() -> None:
    stack = Stack(perceptrons(), ADAMW)
    stack.optimizer.write_to_members()
    assert all(not optimizer.state_dict()["state"] for optimizer in stack.optimizers)


@pytest.mark.parametrize("factory", [ADAMW, MOMENTUM, ALIKE])
def test_members_may_have_taken_different_numbers_of_steps(factory: Factory) -> None:
    networks, expected = perceptrons(), perceptrons()
    begun = alone(1, networks[1], factory, range(7))
    stack = Stack(networks, factory)
    stack.optimizers[1].load_state_dict(begun.state_dict())
    stack.optimizer.read_from_members()
    stack.train(range(7, 10))
    stack.select([1, 2, 0])
    stack.train(range(10, 12))
    for member, network in enumerate(expected):
        alone(member, network, factory, range(0 if member == 1 else 7, 12))
        assert distance(networks[member], network) < 1e-9


@pytest.mark.parametrize("factory", [ADAMW, MOMENTUM, NADAM])
def test_members_that_leave_stay_as_they_were_and_the_others_go_on(factory: Factory) -> None:
    networks, expected = perceptrons(4), perceptrons(4)
    stack = Stack(networks, factory)
    optimizers = list(stack.optimizers)
    parameters = list(stack.network.parameters())
    stack.train(range(6))
    stack.select([3, 1])
    stack.train(range(6, 12))
    stack.select([1])
    stack.train(range(12, 20))
    stack.optimizer.write_to_members()
    assert all(a is b for a, b in zip(parameters, stack.network.parameters(), strict=True))
    for member, n_steps in enumerate((6, 20, 6, 12)):
        # Rows 3 and 1 became 0 and 1, and of these row 1 stayed: the second member.
        optimizer = alone(member, expected[member], factory, range(n_steps))
        assert distance(networks[member], expected[member]) < 1e-9
        require_same_state(optimizers[member], optimizer)


@pytest.mark.parametrize("factory", [ADAMW, MOMENTUM, NADAM, lambda k: partial(RMSprop, lr=0.01, momentum=0.9)])
@pytest.mark.parametrize("options", [{}, {"normalization": "batch"}])
def test_a_nan_in_one_member_does_not_reach_the_others(factory: Factory, options: dict[str, Any]) -> None:
    networks, expected = perceptrons(**options), perceptrons(**options)
    stack = Stack(networks, factory)
    stack.optimizer.clip_norm = [1.0, None, 1.0]

    def spoil(features: torch.Tensor) -> torch.Tensor:
        features[1, 0, 0] = torch.nan
        return features

    stack.train(range(3))
    stack.train(range(3, 4), change=spoil)
    stack.train(range(4, 10))
    assert not any(parameter.isfinite().all() for parameter in networks[1].parameters())
    for member in (0, 2):
        alone(member, expected[member], factory, range(10), clip=lambda p: nn.utils.clip_grad_norm_(p, 1.0))
        # Apart from what has no effect, and rounding alone for its gradient.
        of_rounding = (".linear.bias", ".running_mean") if options else ()
        assert distance(networks[member], expected[member], of_rounding) < 1e-9


def test_each_member_is_clipped_by_its_own_limit() -> None:
    networks, expected = perceptrons(4), perceptrons(4)
    stack = Stack(networks, MOMENTUM)
    stack.optimizer.clip_norm = [0.1, None, 0.3, None]
    stack.optimizer.clip_value = [None, 0.01, 0.005, None]
    stack.train(range(5))
    stack.select([3, 2, 1, 0])
    stack.train(range(5, 10))
    for member, (norm, value) in enumerate([(0.1, None), (None, 0.01), (0.3, 0.005), (None, None)]):

        def clip(parameters: list[nn.Parameter], norm: float | None = norm, value: float | None = value) -> None:
            if norm is not None:
                nn.utils.clip_grad_norm_(parameters, norm)
            if value is not None:
                nn.utils.clip_grad_value_(parameters, value)

        alone(member, expected[member], MOMENTUM, range(10), clip=clip)
        assert distance(networks[member], expected[member]) < 1e-9


def test_a_gradient_without_limit_keeps_its_infinity() -> None:
    stack = Stack(perceptrons(2), MOMENTUM)
    stack.optimizer.clip_norm = [1.0, None]
    for parameter in stack.network.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    stack.optimizer.clip()
    assert all(parameter.grad[1].isinf().all() for parameter in stack.network.parameters())  # type: ignore[index]


@pytest.mark.parametrize("factory", [ADAMW, MOMENTUM, NADAM])
def test_schedules_go_on_changing_the_members_own_options(factory: Factory) -> None:
    networks, expected = perceptrons(), perceptrons()
    stack = Stack(networks, factory)
    schedules = [ExponentialLR(optimizer, 0.9 - 0.1 * k) for k, optimizer in enumerate(stack.optimizers)]
    for step in range(8):
        stack.train([step])
        for schedule in schedules:
            schedule.step()
    for member, network in enumerate(expected):
        optimizer = build_optimizer(factory(member), network)
        its_schedule = ExponentialLR(optimizer, 0.9 - 0.1 * member)
        for step in range(8):
            train_alone(member, network, optimizer, [step])
            its_schedule.step()
        assert distance(networks[member], network) < 1e-9


@pytest.mark.parametrize(
    ("rates", "betas", "n_calls"),
    [
        ([0.01] * 4, [0.9] * 4, 1),
        ([0.01, 0.02, 0.01, 0.02], [0.9] * 4, 1),
        ([0.01] * 4, [0.9, 0.8, 0.8, 0.7], 3),
        ([0.01, 0.02, 0.01, 0.01], [0.9, 0.9, 0.8, 0.8], 2),
    ],
)
def test_neighbours_share_an_optimizer(rates: list[float], betas: list[float], n_calls: int) -> None:
    networks = perceptrons(4, torch.float32, hidden_dims=[8, 8])
    expected = copy.deepcopy(networks)
    factory: Factory = lambda k: partial(Adam, lr=rates[k], betas=(betas[k], 0.99), fused=True)  # noqa: E731
    stack = Stack(networks, factory)
    for name, parameter in stack.network.tensors.items():
        parameter.grad = torch.randn_like(parameter)
        for row, network in enumerate(expected):
            network.get_parameter(name).grad = parameter.grad[row].clone()
    stack.optimizer.step()
    for row, network in enumerate(expected):
        build_optimizer(factory(row), network).step()
    assert len(stack.optimizer._blocks) == n_calls
    assert max(map(distance, networks, expected)) < 1e-7


def test_members_whose_rates_part_on_the_way_go_on() -> None:
    networks, expected = perceptrons(), perceptrons()
    stack = Stack(networks, ALIKE)
    stack.train(range(4))
    stack.optimizers[1].param_groups[0]["lr"] = 0.05
    stack.train(range(4, 8))
    for member, network in enumerate(expected):
        optimizer = alone(member, network, ALIKE, range(4))
        if member == 1:
            optimizer.param_groups[0]["lr"] = 0.05
        train_alone(member, network, optimizer, range(4, 8))
        assert distance(networks[member], network) < 1e-9


def test_a_parameter_without_gradient_takes_no_step() -> None:
    networks, expected = perceptrons(), perceptrons()
    stack = Stack(networks, NADAM)
    optimizers = [build_optimizer(NADAM(member), network) for member, network in enumerate(expected)]
    for step in range(6):
        for name, parameter in stack.network.tensors.items():
            is_there = step % 3 == 1 or "output" not in name
            parameter.grad = torch.randn_like(parameter) if is_there else None
            for row, network in enumerate(expected):
                network.get_parameter(name).grad = parameter.grad[row].clone() if parameter.grad is not None else None
        stack.optimizer.step()
        for optimizer in optimizers:
            optimizer.step()
    stack.optimizer.write_to_members()
    for row, network in enumerate(expected):
        assert distance(networks[row], network) < 1e-9
        require_same_state(stack.optimizers[row], optimizers[row])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (partial(LBFGS), "LBFGS has no stacked form"),
        (partial(Adam, amsgrad=True), "amsgrad"),
        (partial(SGD, maximize=True), "maximize"),
        (partial(SGD, lr=torch.tensor(0.1)), "tensor"),
        (partial(type("Mine", (Adam,), {})), "Mine has no stacked form"),
    ],
)
def test_what_cannot_be_stacked_is_refused_with_the_reason(rule: Any, words: str) -> None:
    optimizer = build_optimizer(rule, perceptrons()[0])
    assert words in str(why_no_stacked_optimizer(optimizer))


def test_an_optimizer_with_hooks_is_refused() -> None:
    optimizer = build_optimizer(partial(SGD, lr=0.1), perceptrons()[0])
    assert why_no_stacked_optimizer(optimizer) is None
    optimizer.register_step_post_hook(lambda *_: None)
    assert "hooks" in str(why_no_stacked_optimizer(optimizer))
