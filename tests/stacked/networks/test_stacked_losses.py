"""Losses and penalties of several members against each member's own."""

from typing import Any

import pytest
import torch
from stack_and_alone import perceptrons
from torch import Tensor

from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from mlplab.objectives.objective import Objective
from mlplab.objectives.penalties import l1_l2_penalty
from mlplab.stacked.eligibility import loss_shape
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_losses import StackedObjective, StackedPenalty

SMOOTHED = [{"label_smoothing": share} for share in (0.0, 0.1, 0.3)]


def weights(n: int) -> list[Tensor]:
    return [torch.rand(n, generator=torch.Generator().manual_seed(member)) + 0.5 for member in range(3)]


def objectives(function: Any, options: Any = ({}, {}, {}), class_weights: Any = (None,) * 3) -> list[Objective]:
    return [Objective(function, options=o, class_weights=w) for o, w in zip(options, class_weights, strict=True)]


def median_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Somebody's own, with a branch on the values."""
    errors = (outputs - targets).abs()
    return errors.mean() if errors.max() < 1 else errors.median()


CASES = {
    "cross-entropy": objectives(cross_entropy),
    "smoothed": objectives(cross_entropy, SMOOTHED),
    "weighted": objectives(cross_entropy, class_weights=weights(4)),
    "smoothed and weighted": objectives(cross_entropy, SMOOTHED, weights(4)),
    "mse": objectives(mse),
    "mae": objectives(mae),
    "huber": objectives(huber, [{"delta": 0.5}] * 3),
    "binary": objectives(binary_cross_entropy),
    "binary, smoothed": objectives(binary_cross_entropy, SMOOTHED),
    "binary, smoothed and weighted": objectives(binary_cross_entropy, SMOOTHED, weights(2)),
    "somebody's own": objectives(median_error),
}


def rows(objective: Objective, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Outputs and targets of three members."""
    generator = torch.Generator().manual_seed(0)
    is_binary = objective.function is binary_cross_entropy
    outputs = 3 * torch.randn(3, 7, 1 if is_binary else 4, generator=generator, dtype=dtype)
    if objective.function in (cross_entropy, binary_cross_entropy):
        return outputs, torch.randint(0, 2 if is_binary else 4, (3, 7), generator=generator)
    return outputs, torch.randn(3, 7, 4, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_those_of_each_member_alone(name: str, dtype: torch.dtype) -> None:
    own = CASES[name]
    outputs, targets = rows(own[0], dtype)
    stacked, alone = outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    losses = StackedObjective(own)(stacked, targets)
    expected = torch.stack([one(x, y) for one, x, y in zip(own, alone, targets, strict=True)])
    pull = torch.tensor([1.0, 2.0, -0.5])
    (losses * pull).sum().backward()
    (expected * pull).sum().backward()
    assert losses.shape == (3,)
    assert torch.allclose(losses, expected, rtol=1e-6 if dtype == torch.float32 else 1e-12)
    assert torch.allclose(stacked.grad, alone.grad, atol=1e-7 if dtype == torch.float32 else 1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_with_backward_gives_autograds_gradient(name: str) -> None:
    """Autograd through the same forward pass is the reference, which the test before holds to each member's own."""
    objective = StackedObjective(CASES[name])
    assert objective.has_kernels == (name.startswith(("cross", "smoothed", "weighted", "mse")))
    outputs, targets = rows(CASES[name][0])
    by_autograd = outputs.clone().requires_grad_()
    pull = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    expected = objective(by_autograd, targets)
    (expected * pull).sum().backward()
    losses, backward = objective.with_backward(outputs.clone(), targets)
    assert not losses.requires_grad
    assert torch.equal(losses, expected.detach())
    assert torch.allclose(backward(pull), by_autograd.grad, rtol=1e-12, atol=1e-15)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_members_that_stay_keep_their_losses(name: str) -> None:
    objective = StackedObjective(CASES[name])
    outputs, targets = rows(CASES[name][0])
    before = objective(outputs, targets)
    objective.select([2, 0])
    assert torch.allclose(objective(outputs[[2, 0]], targets[[2, 0]]), before[[2, 0]], rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_nan_stays_with_its_member(name: str) -> None:
    outputs, targets = rows(CASES[name][0])
    outputs[1, 3, 0] = torch.nan
    outputs.requires_grad_()
    losses = StackedObjective(CASES[name])(outputs, targets)
    losses.sum().backward()
    assert losses.isfinite().tolist() == [True, False, True]
    assert outputs.grad is not None
    assert outputs.grad[[0, 2]].isfinite().all()


@pytest.mark.parametrize(
    "others",
    [
        [Objective(mse)],
        [Objective(cross_entropy, class_weights=torch.ones(4))],
    ],
)
def test_losses_that_differ_in_more_than_numbers_are_refused(others: list[Objective]) -> None:
    assert loss_shape(others[0]) != loss_shape(Objective(cross_entropy))


def test_another_delta_makes_another_kind_and_another_smoothing_does_not() -> None:
    assert loss_shape(Objective(huber, options={"delta": 1.0})) != loss_shape(Objective(huber, options={"delta": 2.0}))
    assert loss_shape(CASES["smoothed"][0]) == loss_shape(CASES["smoothed"][1])


PENALTIES = [(0.0, 0.0), (0.1, 0.0), (0.02, 0.3)]


def test_penalties_are_those_of_each_member_alone() -> None:
    networks = perceptrons()
    names = [name for name, _ in networks[0].named_parameters() if name.endswith("weight")]
    stack = StackedNetwork(networks)
    penalty = StackedPenalty(*zip(*PENALTIES, strict=True), names)
    stack.tensors[names[0]].data[:, 0, 0] = 0.0  # where |w| has no derivative

    def require_equal(members: list[int]) -> None:
        for name in names[:-1]:  # the gradient of the loss is there already; the last has none
            stack.tensors[name].grad = torch.ones_like(stack.tensors[name])
        stack.tensors[names[-1]].grad = None
        penalty.add_gradients(stack)
        for row, member in enumerate(members):
            l1, l2 = PENALTIES[member]
            own = [networks[member].get_parameter(name) for name in names]
            value = l1_l2_penalty(own, l1=l1, l2=l2)
            if not value.requires_grad:
                continue
            for name, gradient in zip(names, torch.autograd.grad(value, own), strict=True):
                found = stack.tensors[name].grad
                assert found is not None
                assert torch.allclose(found[row], gradient + (name != names[-1]), rtol=1e-12)

    require_equal([0, 1, 2])
    stack.select([2, 0])
    penalty.select([2, 0])
    require_equal([2, 0])
    assert stack.tensors["output.bias"].grad is None


def test_no_penalty_adds_nothing() -> None:
    stack = StackedNetwork(perceptrons())
    penalty = StackedPenalty([0.0] * 3, [0.0] * 3, ["output.weight"])
    penalty.add_gradients(stack)
    assert stack.tensors["output.weight"].grad is None
