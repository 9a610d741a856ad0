"""Logarithms of softmax across rows: those of PyTorch to the last bit, and their gradient."""

import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mlplab.engine.log_softmax import LEAST_CLASSES, LEAST_ROWS, REGISTER_BYTES, log_softmax, log_softmax_backward
from mlplab.objectives import log_softmax as module

KINDS = [torch.float32, torch.float64]


def logits(n_rows: int, n_classes: int, kind: torch.dtype, scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n_rows, n_classes, dtype=kind, generator=generator)


def gradients(logarithms: Tensor, outputs: Tensor) -> Tensor:
    targets = torch.arange(len(outputs)) % outputs.shape[1]
    (gradient,) = torch.autograd.grad(functional.nll_loss(logarithms, targets), outputs)
    return gradient


@given(
    st.integers(1, 200),
    st.integers(1, 20),
    st.sampled_from(KINDS),
    st.floats(0.01, 1000),
    st.integers(0, 10**6),
)
@settings(max_examples=examples(200))
def test_values_and_gradients_are_those_of_pytorch_to_the_last_bit(
    n_rows: int, n_classes: int, kind: torch.dtype, scale: float, seed: int
) -> None:
    outputs = logits(n_rows, n_classes, kind, scale, seed).requires_grad_()
    mine, expected = log_softmax(outputs), torch.log_softmax(outputs, 1)
    assert torch.equal(mine, expected)
    assert torch.equal(gradients(mine, outputs), gradients(expected, outputs))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_rows", [64, 112, 128, 1024])
def test_where_rows_are_taken_at_once_the_bits_are_the_same(n_rows: int, kind: torch.dtype) -> None:
    lanes = REGISTER_BYTES // kind.itemsize
    for n_classes in range(LEAST_CLASSES, lanes):
        outputs = logits(n_rows, n_classes, kind, scale=3.0)
        assert module._pays(outputs)
        assert torch.equal(log_softmax(outputs), torch.log_softmax(outputs, 1))


def test_the_gradient_written_out_is_autograds() -> None:
    for n_rows, n_classes in ((LEAST_ROWS, 5), (LEAST_ROWS, 40), (3, 5)):
        outputs = logits(n_rows, n_classes, torch.float32).requires_grad_()
        gradient = logits(n_rows, n_classes, torch.float32, seed=1)
        logarithms = log_softmax(outputs)
        (expected,) = torch.autograd.grad(logarithms, outputs, gradient)
        assert torch.equal(log_softmax_backward(gradient, logarithms.detach()), expected)


def test_infinite_and_missing_numbers_are_as_ever() -> None:
    outputs = logits(LEAST_ROWS, 5, torch.float32)
    outputs[0, 0], outputs[1, 1], outputs[2] = torch.inf, torch.nan, -torch.inf
    assert torch.equal(log_softmax(outputs).isnan(), torch.log_softmax(outputs, 1).isnan())


def test_ragged_rows_and_many_classes_are_left_to_the_last_dimension() -> None:
    assert not any(
        module._pays(logits(n, c, torch.float32)) for n, c in ((LEAST_ROWS + 1, 5), (LEAST_ROWS, 16), (0, 5))
    )
