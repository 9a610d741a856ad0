"""Gradients three ways: autograd, backpropagation by hand, and finite differences."""

import numpy as np
import pytest
import torch
from reference.numpy_mlp import ACTIVATIONS as BY_HAND
from reference.numpy_mlp import loss_and_gradients

from mlplab.models import MLP
from mlplab.models.activations import ACTIVATIONS
from mlplab.objectives.losses import cross_entropy, huber, mae, mse
from mlplab.objectives.penalties import l1_l2_penalty
from mlplab.optimization.parameter_groups import regularized_parameters

STEP = 1e-6


def make_batch(n_outputs: int, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    if loss == "cross_entropy":
        return features, torch.randint(n_outputs, (6,), generator=generator)
    return features, torch.randn(6, n_outputs, generator=generator, dtype=torch.float64)


def make_network(activation: str, n_outputs: int = 3, **options: object) -> MLP:
    torch.manual_seed(5)
    network = MLP(
        in_features=4,
        out_features=n_outputs,
        hidden_dims=[5, 5],
        activation=activation,
        bias_initialization="normal",
        bias_std=0.3,
        **options,  # type: ignore[arg-type]
    )
    return network.double()


def finite_differences(network: MLP, objective: object) -> list[torch.Tensor]:
    """(L(w + h) − L(w − h)) / 2h for every parameter, one by one."""
    gradients = []
    with torch.no_grad():
        for parameter in network.parameters():
            gradient = torch.zeros_like(parameter)
            for index in np.ndindex(*parameter.shape):
                values = []
                for sign in (1, -1):
                    parameter[index] += sign * STEP
                    values.append(objective())  # type: ignore[operator]
                    parameter[index] -= sign * STEP
                gradient[index] = (values[0] - values[1]) / (2 * STEP)
            gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("activation", BY_HAND)
def test_backpropagation_by_hand_agrees_with_autograd(activation: str, loss: str) -> None:
    network = make_network(activation)
    features, targets = make_batch(3, loss)
    l1, l2 = 0.01, 0.1
    value = {"cross_entropy": cross_entropy, "mse": mse}[loss](network(features), targets)
    value = value + l1_l2_penalty(regularized_parameters(network), l1=l1, l2=l2)
    value.backward()  # type: ignore[no-untyped-call]
    by_hand, gradients = loss_and_gradients(
        [p.detach().numpy() for p in network.parameters()],
        features.numpy(),
        targets.numpy(),
        activation=activation,
        loss=loss,
        l1=l1,
        l2=l2,
    )
    assert value.item() == pytest.approx(by_hand, rel=1e-13)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_finite_differences_confirm_autograd_for_every_activation(activation: str, normalization: str) -> None:
    network = make_network(activation, normalization=normalization, residual=True)
    features, targets = make_batch(3, "cross_entropy")

    def objective() -> torch.Tensor:
        return cross_entropy(network(features), targets)

    objective().backward()  # type: ignore[no-untyped-call]
    for parameter, estimate in zip(network.parameters(), finite_differences(network, objective), strict=True):
        torch.testing.assert_close(parameter.grad, estimate, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("function", [mse, mae, huber])
def test_finite_differences_confirm_autograd_for_every_regression_loss(function: object) -> None:
    network = make_network("tanh", n_outputs=1)
    features, targets = make_batch(1, "mse")

    def objective() -> torch.Tensor:
        return function(network(features), targets)  # type: ignore[no-any-return,operator]

    objective().backward()  # type: ignore[no-untyped-call]
    for parameter, estimate in zip(network.parameters(), finite_differences(network, objective), strict=True):
        torch.testing.assert_close(parameter.grad, estimate, rtol=1e-5, atol=1e-7)
