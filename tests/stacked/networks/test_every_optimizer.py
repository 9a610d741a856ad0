"""Each member of a stack against the same member alone: all rules, options that differ inside the stack."""

import copy
from functools import partial

import pytest
import torch
from stack_and_alone import Factory, Stack, distance, perceptrons, require_same_state, train_alone
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop

from mlplab.optimization.optimizers import build_optimizer
from mlplab.stacked.networks.stacked_optimizer import STACKABLE

# What differs from member to member (0, 1, 2) is there for each rule; decay of 0 puts all parameters into one group.
FACTORIES: dict[str, Factory] = {
    "sgd": lambda k: partial(SGD, lr=0.05 * (k + 1), weight_decay=0.01 * k, fused=True),
    "momentum": lambda k: partial(SGD, lr=0.02 * (k + 1), momentum=0.9 - 0.1 * k, dampening=0.1 * k),
    "nesterov": lambda k: partial(SGD, lr=0.02, momentum=0.9 - 0.1 * k, nesterov=True, weight_decay=0.01 * k),
    "adam": lambda k: partial(Adam, lr=0.001 * (k + 1), betas=(0.9 - 0.1 * (k // 2), 0.99), fused=True),
    "adam, decay": lambda k: partial(Adam, lr=0.001 * (k + 1), eps=1e-6, weight_decay=0.01 * k, fused=True),
    "adam, own eps": lambda k: partial(Adam, lr=0.002, eps=1e-6 * (k + 1), weight_decay=0.01, fused=True),
    "adamw": lambda k: partial(AdamW, lr=0.001 * (k + 1), weight_decay=0.1 * k, fused=True),
    "adamw, unfused": lambda k: partial(AdamW, lr=0.001 * (k + 1), weight_decay=0.1),
    "nadam": lambda k: partial(NAdam, lr=0.002, betas=(0.9 - 0.01 * k, 0.99), eps=1e-6, momentum_decay=0.004 * (k + 1)),
    "nadam, decay": lambda k: partial(NAdam, lr=0.001 * (k + 1), weight_decay=0.01 * k, eps=1e-6),
    "nadam, decoupled": lambda k: partial(NAdam, weight_decay=0.1 * k, decoupled_weight_decay=True, eps=1e-6),
    "radam": lambda k: partial(RAdam, lr=0.001 * (k + 1), betas=(0.9, 0.9 + 0.03 * k), weight_decay=0.01 * k),
    "radam, decoupled": lambda k: partial(RAdam, lr=0.01, weight_decay=0.1 * k, decoupled_weight_decay=True),
    "adamax": lambda k: partial(Adamax, lr=0.002 * (k + 1), betas=(0.9 - 0.1 * k, 0.99), weight_decay=0.01 * k),
    "rmsprop": lambda k: partial(RMSprop, lr=0.001 * (k + 1), alpha=0.9 + 0.02 * k, eps=1e-6, weight_decay=0.01 * k),
    "rmsprop, centred": lambda k: partial(RMSprop, lr=1e-3, centered=True, momentum=0.5 + 0.1 * k, eps=1e-4),
    "adagrad": lambda k: partial(Adagrad, lr=0.02, lr_decay=0.01 * k, initial_accumulator_value=0.1 * k, fused=True),
    "adadelta": lambda k: partial(Adadelta, lr=1 - 0.1 * k, rho=0.9 - 0.1 * k, weight_decay=0.01 * k),
}

SHAPES = {
    "plain": {},
    "batch norm": {"normalization": "batch"},
    "layer norm": {"normalization": "layer"},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1},
    "residual": {"residual": True, "activation": "tanh"},
}

EXACT = (torch.float64, 200, 1e-9)
ROUNDED = (torch.float32, 50, 1e-5)


def require_equal(rule: str, shape: str, dtype: torch.dtype, n_steps: int, within: float) -> None:
    networks = perceptrons(dtype=dtype, **SHAPES[shape])
    alone = copy.deepcopy(networks)
    begun = copy.deepcopy(networks[0])
    stack = Stack(networks, FACTORIES[rule])
    stack.train(range(n_steps))
    stack.optimizer.write_to_members()
    for member, network in enumerate(alone):
        optimizer = build_optimizer(FACTORIES[rule](member), network)
        train_alone(member, network, optimizer, range(n_steps))
        # A bias before a batch norm has no effect, and rounding alone for its gradient: rules that divide a gradient by
        # its size make steps of that.
        of_rounding = (".linear.bias", ".running_mean") if shape == "batch norm" else ()
        assert distance(networks[member], network, of_rounding) < within
        if dtype == torch.float64:
            require_same_state(stack.optimizers[member], optimizer, within)
    assert distance(networks[0], begun) > 100 * within


def test_no_rule_is_forgotten() -> None:
    kinds = {type(build_optimizer(factory(0), perceptrons()[0])) for factory in FACTORIES.values()}
    assert kinds == set(STACKABLE)


def test_a_member_ends_where_it_ends_alone() -> None:
    require_equal("adamw", "plain", *EXACT)


@pytest.mark.parametrize("rule", FACTORIES)
def test_so_do_members_under_every_rule(rule: str) -> None:
    require_equal(rule, "residual", torch.float64, 40, 1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_and_members_of_every_shape(shape: str) -> None:
    require_equal("adamw", shape, torch.float64, 40, 1e-9)


@pytest.mark.parametrize(("rule", "shape"), [("adam", "plain"), ("momentum", "dropout"), ("rmsprop", "batch norm")])
def test_and_members_of_half_the_bits(rule: str, shape: str) -> None:
    require_equal(rule, shape, *ROUNDED)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [EXACT, ROUNDED])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", FACTORIES)
def test_every_rule_with_every_shape(rule: str, shape: str, precision: tuple[torch.dtype, int, float]) -> None:
    require_equal(rule, shape, *precision)
