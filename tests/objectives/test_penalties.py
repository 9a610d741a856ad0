import pytest
import torch
from torch import nn

from mlplab.objectives.penalties import l1_l2_penalty

WEIGHTS = [torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([4.0])]


def test_l1_is_the_sum_of_absolute_values() -> None:
    assert l1_l2_penalty(WEIGHTS, l1=0.5).item() == 0.5 * 10


def test_l2_is_half_the_sum_of_squares() -> None:
    assert l1_l2_penalty(WEIGHTS, l2=0.5).item() == 0.5 * 0.5 * 30


def test_both_add_up() -> None:
    assert l1_l2_penalty(WEIGHTS, l1=2.0, l2=4.0).item() == 2 * 10 + 2 * 30


def test_without_penalties_or_without_weights_it_is_zero() -> None:
    assert l1_l2_penalty(WEIGHTS).item() == 0.0
    assert l1_l2_penalty([], l1=1.0, l2=1.0).item() == 0.0
    assert l1_l2_penalty(WEIGHTS).shape == ()


def test_the_gradients_are_the_sign_and_the_weight_itself() -> None:
    weight = torch.tensor([2.0, -3.0, 0.0], requires_grad=True)
    l1_l2_penalty([weight], l1=0.5).backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.5, -0.5, 0.0]
    weight.grad = None
    l1_l2_penalty([weight], l2=0.5).backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, -1.5, 0.0]


def test_weights_are_taken_from_a_generator_once() -> None:
    assert l1_l2_penalty((weight for weight in WEIGHTS), l1=1.0, l2=2.0).item() == 10 + 30


def test_under_plain_gradient_descent_l2_does_what_weight_decay_does() -> None:
    torch.manual_seed(0)
    start, inputs = torch.randn(3, 4), torch.randn(5, 4)
    results = []
    for decay, penalty in ((0.1, 0.0), (0.0, 0.1)):
        weight = nn.Parameter(start.clone())
        optimizer = torch.optim.SGD([weight], lr=0.2, weight_decay=decay)
        for _ in range(4):
            optimizer.zero_grad()
            loss = (inputs @ weight.T).square().mean() + l1_l2_penalty([weight], l2=penalty)
            loss.backward()
            optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(*results, atol=1e-6, rtol=1e-6)


def test_under_adam_l2_is_not_decoupled_weight_decay() -> None:
    results = []
    for rule, decay, penalty in ((torch.optim.AdamW, 0.1, 0.0), (torch.optim.Adam, 0.0, 0.1)):
        weight = nn.Parameter(torch.tensor([1.0, 100.0]))
        optimizer = rule([weight], lr=0.1, weight_decay=decay)
        (weight.sum() + l1_l2_penalty([weight], l2=penalty)).backward()
        optimizer.step()
        results.append(weight.tolist())
    assert results[0][1] == pytest.approx(100 - 0.1 - 0.1 * 0.1 * 100, rel=1e-5)
    assert results[1][1] == pytest.approx(100 - 0.1, rel=1e-5)
