import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from mlplab.models.initialization import WEIGHT_METHODS, initialize

FAN_IN, FAN_OUT = 400, 600
GAIN = 1.7
STD = 0.05

# Distribution of the weights by method, for a hidden layer: its standard deviation, and its bound where it has one.
EXPECTED_STD = {
    "normal": STD,
    "uniform": STD,
    "xavier_uniform": GAIN * math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "xavier_normal": GAIN * math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "kaiming_uniform": GAIN / math.sqrt(FAN_IN),
    "kaiming_normal": GAIN / math.sqrt(FAN_IN),
    "pytorch": math.sqrt(1 / (3 * FAN_IN)),
}
UNIFORM = [name for name in EXPECTED_STD if name.endswith("uniform") or name == "pytorch"]
NORMAL = [name for name in EXPECTED_STD if name not in UNIFORM]


def linear_layers(widths: list[int]) -> list[nn.Linear]:
    return [nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(widths)]


def hidden_and_output(weights: str, biases: str = "zeros", **options: float) -> list[nn.Linear]:
    torch.manual_seed(0)
    layers = linear_layers([FAN_IN, FAN_OUT, FAN_OUT])
    initialize(layers, weights=weights, biases=biases, gain=GAIN, **{"weight_std": STD, "bias_std": 0.3, **options})
    return layers


@pytest.mark.parametrize("method", EXPECTED_STD)
def test_weights_have_mean_zero_and_the_standard_deviation_of_the_method(method: str) -> None:
    weight = hidden_and_output(method)[0].weight.detach().double()
    # 240 000 draws: the relative standard error of the deviation is at most 1/√480000 = 0.0014, five of them 0.0072.
    assert weight.std().item() == pytest.approx(EXPECTED_STD[method], rel=0.0072)
    assert abs(weight.mean().item()) < 5 * EXPECTED_STD[method] / math.sqrt(weight.numel())


@pytest.mark.parametrize("method", UNIFORM)
def test_uniform_weights_fill_their_interval_evenly_and_stay_inside(method: str) -> None:
    weight = hidden_and_output(method)[0].weight.detach().double()
    bound = math.sqrt(3) * EXPECTED_STD[method]
    largest = weight.abs().max().item()
    assert 0.9999 * bound < largest <= bound * (1 + 1e-6)
    # The kurtosis of a uniform distribution is 9/5; the standard error over these draws is below 0.004.
    assert (weight**4).mean().item() / (weight**2).mean().item() ** 2 == pytest.approx(1.8, abs=0.02)


@pytest.mark.parametrize("method", NORMAL)
def test_normal_weights_have_the_tails_of_a_normal_distribution(method: str) -> None:
    weight = hidden_and_output(method)[0].weight.detach().double()
    # Kurtosis 3, with a standard error of √(24/N) = 0.01.
    assert (weight**4).mean().item() / (weight**2).mean().item() ** 2 == pytest.approx(3.0, abs=0.05)
    beyond = (weight.abs() > 2 * EXPECTED_STD[method]).double().mean().item()
    assert beyond == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize(
    ("method", "std"),
    [
        ("normal", STD),
        ("uniform", STD),
        ("xavier_uniform", math.sqrt(1 / FAN_OUT)),
        ("xavier_normal", math.sqrt(1 / FAN_OUT)),
        ("kaiming_uniform", 1 / math.sqrt(FAN_OUT)),
        ("kaiming_normal", 1 / math.sqrt(FAN_OUT)),
    ],
)
def test_the_output_layer_has_gain_one(method: str, std: float) -> None:
    weight = hidden_and_output(method)[-1].weight.detach()
    assert weight.std().item() == pytest.approx(std, rel=0.0072)


def test_a_network_of_one_layer_has_only_an_output_layer() -> None:
    torch.manual_seed(0)
    layers = linear_layers([FAN_IN, FAN_OUT])
    initialize(layers, weights="kaiming_normal", biases="zeros", gain=GAIN)
    assert layers[0].weight.std().item() == pytest.approx(1 / math.sqrt(FAN_IN), rel=0.0072)


@pytest.mark.parametrize(("fan_in", "fan_out"), [(40, 40), (60, 40), (40, 60)])
def test_orthogonal_weights_are_orthogonal_along_their_shorter_side(fan_in: int, fan_out: int) -> None:
    torch.manual_seed(0)
    layers = linear_layers([fan_in, fan_out, 3])
    initialize(layers, weights="orthogonal", biases="zeros", gain=GAIN)
    weight = layers[0].weight.detach().double()
    product = weight.T @ weight if fan_out > fan_in else weight @ weight.T
    torch.testing.assert_close(product, GAIN**2 * torch.eye(len(product), dtype=torch.float64), atol=1e-5, rtol=0)
    output = layers[-1].weight.detach().double()
    torch.testing.assert_close(output @ output.T, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_zeros_are_zeros() -> None:
    for layer in hidden_and_output("zeros"):
        assert not layer.weight.any()
        assert not layer.bias.any()


def test_constant_weights_are_the_number_that_is_given() -> None:
    for layer in hidden_and_output("constant"):
        assert torch.equal(layer.weight, torch.full_like(layer.weight, STD))


def test_biases_can_be_drawn_on_their_own() -> None:
    normal = hidden_and_output("zeros", "normal")[0].bias.detach()
    uniform = hidden_and_output("zeros", "uniform")[0].bias.detach()
    # 600 draws: the relative standard error of the deviation is 0.03.
    assert normal.std().item() == pytest.approx(0.3, rel=0.12)
    assert uniform.std().item() == pytest.approx(0.3, rel=0.12)
    assert uniform.abs().max().item() <= 0.3 * math.sqrt(3) * (1 + 1e-6)
    assert normal.abs().max().item() > 0.3 * math.sqrt(3)


def test_the_method_pytorch_draws_what_linear_draws_biases_included() -> None:
    layers = linear_layers([5, 4, 3])
    torch.manual_seed(1)
    initialize(layers, weights="pytorch", biases="zeros", gain=GAIN)
    torch.manual_seed(1)
    for layer, fresh in zip(layers, [nn.Linear(5, 4), nn.Linear(4, 3)], strict=True):
        assert torch.equal(layer.weight, fresh.weight)
        assert torch.equal(layer.bias, fresh.bias)
    assert layers[0].bias.any()


def small(weights: str, seed: int) -> list[nn.Linear]:
    torch.manual_seed(seed)
    layers = linear_layers([4, 6, 5])
    initialize(layers, weights=weights, biases="normal", gain=GAIN)
    return layers


@pytest.mark.parametrize("method", [*WEIGHT_METHODS, "pytorch"])
def test_the_same_seed_gives_the_same_parameters(method: str) -> None:
    for first, second in zip(small(method, 0), small(method, 0), strict=True):
        assert torch.equal(first.weight, second.weight)
        assert torch.equal(first.bias, second.bias)


@pytest.mark.parametrize("method", [*(name for name in WEIGHT_METHODS if name not in ("zeros", "constant")), "pytorch"])
def test_another_seed_gives_other_parameters(method: str) -> None:
    for first, second in zip(small(method, 0), small(method, 1), strict=True):
        assert not torch.equal(first.weight, second.weight)
        assert not torch.equal(first.bias, second.bias)


@pytest.mark.parametrize("method", [*WEIGHT_METHODS, "pytorch"])
def test_parameters_stay_leaves_that_are_trained(method: str) -> None:
    for layer in small(method, 0):
        for parameter in (layer.weight, layer.bias):
            assert parameter.is_leaf
            assert parameter.requires_grad
