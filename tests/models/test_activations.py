import math

import pytest
import torch
from scipy import integrate

from mlplab.models.activations import ACTIVATIONS, Activation

INPUTS = torch.tensor([-1e4, -2.0, -0.5, 0.0, 0.5, 2.0, 1e4], dtype=torch.float64)


def softplus(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > -700 else 0.0


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

BY_FORMULA = {
    "relu": lambda z: max(z, 0.0),
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "selu": lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * math.expm1(z)),
    "gelu": lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))),
    "silu": lambda z: z * sigmoid(z),
    "mish": lambda z: z * math.tanh(softplus(z)),
    "softplus": softplus,
    "identity": lambda z: z,
}

GAINS_OF_PYTORCH = {
    "relu": "relu",
    "leaky_relu": "leaky_relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "selu": "selu",
    "identity": "linear",
}


def size_preserving_gain(activation: Activation) -> float:
    """1/√E[f(z)²] for z from the standard normal distribution, by quadrature on either side of 0."""

    def integrand(z: float) -> float:
        output = activation.function(torch.tensor(z, dtype=torch.float64)).item()
        return output**2 * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    mean_square = integrate.quad(integrand, -12, 0)[0] + integrate.quad(integrand, 0, 12)[0]
    return 1 / math.sqrt(mean_square)


@pytest.mark.parametrize("name", BY_FORMULA)
def test_values_follow_the_formula_from_very_negative_to_very_positive(name: str) -> None:
    expected = [BY_FORMULA[name](z) for z in INPUTS.tolist()]
    assert ACTIVATIONS[name].function(INPUTS).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_are_finite_at_extreme_inputs(name: str) -> None:
    inputs = torch.tensor([-1e4, -1e-30, 0.0, 1e-30, 1e4], requires_grad=True)
    ACTIVATIONS[name].function(inputs).sum().backward()
    assert inputs.grad is not None
    assert torch.isfinite(inputs.grad).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_inputs_are_left_as_they_were(name: str) -> None:
    inputs = INPUTS.clone()
    ACTIVATIONS[name].function(inputs)
    assert torch.equal(inputs, INPUTS)


@pytest.mark.parametrize(("name", "nonlinearity"), GAINS_OF_PYTORCH.items())
def test_the_gains_that_pytorch_has_are_pytorchs(name: str, nonlinearity: str) -> None:
    parameter = 0.01 if name == "leaky_relu" else None
    expected = torch.nn.init.calculate_gain(nonlinearity, parameter)  # type: ignore[arg-type]
    assert ACTIVATIONS[name].gain == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", [*(name for name in BY_FORMULA if name not in GAINS_OF_PYTORCH), "relu"])
def test_the_other_gains_keep_the_mean_square_of_the_signal_to_four_decimals(name: str) -> None:
    activation = ACTIVATIONS[name]
    assert activation.gain == pytest.approx(size_preserving_gain(activation), abs=0.5001e-4)
