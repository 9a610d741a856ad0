import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlplab.errors import UserError
from mlplab.models import MLP, MODELS
from mlplab.models.activations import ACTIVATIONS
from mlplab.models.mlp import NORMALIZATIONS, BatchNorm


def network(**options: Any) -> MLP:
    torch.manual_seed(0)
    return MLP(**{"in_features": 3, "out_features": 2, **options})


def with_weights(model: MLP, *pairs: tuple[list[list[float]], list[float]]) -> MLP:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, pairs, strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    return model


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(module.weight.shape) for module in model.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize(
    ("hidden_dims", "expected"),
    [
        ([], [(2, 3)]),
        ([5], [(5, 3), (2, 5)]),
        ([5, 4], [(5, 3), (4, 5), (2, 4)]),
        ((1, 1, 1), [(1, 3), (1, 1), (1, 1), (2, 1)]),
    ],
)
def test_hidden_dims_say_which_linear_layers_there_are(hidden_dims: Any, expected: list[tuple[int, ...]]) -> None:
    model = network(hidden_dims=hidden_dims)
    assert shapes(model) == expected
    assert model(torch.zeros(7, 3)).shape == (7, 2)


def test_without_hidden_layers_it_is_a_linear_model_whatever_the_activation() -> None:
    model = with_weights(
        network(hidden_dims=[], activation="relu"), ([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]], [10.0, -10.0])
    )
    assert model(torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])).tolist() == [[9.0, -8.0], [10.0, -10.0]]


def test_a_hidden_layer_by_hand() -> None:
    model = with_weights(
        MLP(in_features=2, out_features=1, hidden_dims=[2], activation="relu"),
        ([[1.0, 1.0], [1.0, -1.0]], [0.0, -1.0]),
        ([[2.0, -3.0]], [0.5]),
    )
    # Row 1: relu(3, -2) = (3, 0), 2·3 + ½ = 6½. Row 2: relu(1, 2) = (1, 2), 2 − 6 + ½ = −3½. Row 3: all off.
    inputs = torch.tensor([[1.0, 2.0], [2.0, -1.0], [-1.0, -1.0]])
    assert model(inputs).squeeze(1).tolist() == [6.5, -3.5, 0.5]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_is_applied_after_each_hidden_layer_and_not_after_the_output(activation: str) -> None:
    model = network(hidden_dims=[4, 5], activation=activation)
    inputs = torch.randn(6, 3)
    function = ACTIVATIONS[activation].function
    first, second = (layer.linear for layer in model.hidden)
    expected = model.output(function(second(function(first(inputs)))))
    assert torch.equal(model(inputs), expected)


def test_the_outputs_are_raw() -> None:
    outputs = network()(1000 * torch.randn(50, 3))
    assert outputs.min() < -1
    assert outputs.max() > 1


def test_inputs_so_large_that_they_saturate_give_finite_outputs_and_gradients() -> None:
    for activation in ACTIVATIONS:
        model = network(activation=activation, hidden_dims=[8])
        outputs = model(torch.tensor([[1e4, -1e4, 1e4]]))
        outputs.sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        assert torch.isfinite(outputs).all()
        assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_normalisation_stands_between_the_weighted_sums_and_the_activation() -> None:
    for normalization in ("batch", "layer"):
        model = network(hidden_dims=[4], activation="sigmoid", normalization=normalization)
        inputs = torch.randn(10, 3)
        sums = model.hidden[0].linear(inputs)
        dim = 0 if normalization == "batch" else 1
        centred = sums - sums.mean(dim, keepdim=True)
        normal = centred / (centred.square().mean(dim, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(model(inputs), model.output(torch.sigmoid(normal)), atol=1e-6, rtol=1e-5)


def test_without_normalisation_there_is_no_such_layer() -> None:
    model = network(normalization="none")
    assert not any(isinstance(module, nn.LayerNorm | nn.BatchNorm1d) for module in model.modules())


def test_batch_normalisation_of_two_rows_or_more_is_pytorchs_bit_for_bit() -> None:
    ours, theirs = BatchNorm(4), nn.BatchNorm1d(4)
    for n_rows in (2, 3, 50):
        inputs = torch.randn(n_rows, 4)
        assert torch.equal(ours(inputs), theirs(inputs))
    ours.eval(), theirs.eval()
    inputs = torch.randn(1, 4)
    assert torch.equal(ours(inputs), theirs(inputs))
    for name, buffer in theirs.named_buffers():
        assert torch.equal(ours.get_buffer(name), buffer)


def test_a_training_batch_of_one_row_is_normalised_by_the_running_statistics_and_leaves_them() -> None:
    layer = BatchNorm(2)
    layer.running_mean.copy_(torch.tensor([1.0, -1.0]))  # type: ignore[union-attr]
    layer.running_var.copy_(torch.tensor([4.0, 9.0]))  # type: ignore[union-attr]
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    outputs = layer(torch.tensor([[3.0, 2.0]]))
    expected = [2 / math.sqrt(4 + 1e-5), 3 / math.sqrt(9 + 1e-5)]
    assert outputs[0].tolist() == pytest.approx(expected, rel=1e-6)
    assert all(torch.equal(buffer, before[name]) for name, buffer in layer.named_buffers())
    outputs.sum().backward()
    assert layer.weight.grad is not None
    assert torch.isfinite(layer.weight.grad).all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_training_batch_of_one_row_passes_with_every_normalisation(normalization: str) -> None:
    model = network(normalization=normalization).train()
    assert torch.isfinite(model(torch.randn(1, 3))).all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_an_empty_batch_gives_empty_outputs_that_have_gradients(normalization: str) -> None:
    # A process whose share of a small last batch is empty still takes part in the exchange of gradients.
    model = network(normalization=normalization).train()
    outputs = model(torch.empty(0, 3))
    outputs.sum().backward()
    assert outputs.shape == (0, 2)
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_dropout_zeroes_its_share_of_hidden_activations_and_grows_the_rest() -> None:
    model = network(hidden_dims=[1000], activation="identity", dropout=0.25).train()
    layer = model.hidden[0]
    inputs = torch.randn(100, 3)
    kept = layer.linear(inputs)
    outputs = layer(inputs)
    dropped = outputs == 0
    # 100 000 draws: the standard error of the share is 0.0014.
    assert dropped.double().mean().item() == pytest.approx(0.25, abs=0.007)
    torch.testing.assert_close(outputs[~dropped], (kept / 0.75)[~dropped])


def test_input_dropout_zeroes_features_and_grows_the_rest() -> None:
    model = MLP(in_features=1000, out_features=1000, hidden_dims=[], input_dropout=0.5)
    with torch.no_grad():
        model.output.weight.copy_(torch.eye(1000))
    torch.manual_seed(0)
    outputs = model.train()(torch.ones(100, 1000))
    assert set(outputs.unique().tolist()) == {0.0, 2.0}
    assert outputs.mean().item() == pytest.approx(1.0, abs=0.016)


def test_dropout_is_off_in_evaluation() -> None:
    options = {"hidden_dims": [20], "dropout": 0.9, "input_dropout": 0.9}
    model, without = network(**options), network(hidden_dims=[20])
    inputs = torch.randn(5, 3)
    assert torch.equal(model.eval()(inputs), without.eval()(inputs))
    assert not torch.equal(model.train()(inputs), without(inputs))


def test_dropout_follows_the_default_generator() -> None:
    model = network(dropout=0.5, input_dropout=0.2).train()
    inputs = torch.randn(5, 3)
    torch.manual_seed(7)
    first = model(inputs)
    assert not torch.equal(model(inputs), first)
    torch.manual_seed(7)
    assert torch.equal(model(inputs), first)


def test_a_residual_layer_adds_its_input_where_the_widths_agree_only() -> None:
    model = network(hidden_dims=[4, 4, 5], residual=True)
    inputs = torch.randn(6, 3)
    first, second, third = (layer.linear for layer in model.hidden)
    one = torch.relu(first(inputs))
    two = torch.relu(second(one)) + one
    three = torch.relu(third(two))
    assert torch.equal(model(inputs), model.output(three))


def test_a_residual_connection_spares_the_first_layer_no_more_than_the_others() -> None:
    model = network(in_features=4, hidden_dims=[4], residual=True)
    inputs = torch.randn(6, 4)
    assert torch.equal(model(inputs), model.output(torch.relu(model.hidden[0].linear(inputs)) + inputs))


def test_the_gain_of_the_activation_reaches_the_weights() -> None:
    relu, linear = (network(hidden_dims=[50], activation=name) for name in ("relu", "identity"))
    torch.testing.assert_close(relu.hidden[0].linear.weight, math.sqrt(2) * linear.hidden[0].linear.weight)
    assert torch.equal(relu.output.weight, linear.output.weight)


def test_options_of_the_initialisation_reach_the_weights() -> None:
    model = network(
        hidden_dims=[300, 300],
        initialization="normal",
        initialization_std=0.2,
        bias_initialization="normal",
        bias_std=3.0,
    )
    linear = model.hidden[1].linear
    assert linear.weight.std().item() == pytest.approx(0.2, rel=0.02)
    assert linear.bias.std().item() == pytest.approx(3.0, rel=0.2)


def test_with_zeros_every_hidden_unit_learns_the_same() -> None:
    model = network(hidden_dims=[5], initialization="zeros", activation="sigmoid")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    inputs, targets = torch.randn(20, 3), torch.randint(0, 2, (20,))
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    weight = model.hidden[0].linear.weight
    assert weight.any()
    torch.testing.assert_close(weight, weight[:1].expand_as(weight))


def trained_a_little(model: nn.Module, inputs: Tensor) -> nn.Module:
    model.train()
    for _ in range(3):
        model(inputs).square().sum().backward()
    return model.eval()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_architecture_is_plain_and_builds_the_same_network_again(normalization: str) -> None:
    model = network(
        hidden_dims=(6, 6),
        activation="gelu",
        normalization=normalization,
        residual=True,
        dropout=0.3,
        input_dropout=0.1,
        initialization="orthogonal",
        initialization_std=0.7,
        bias_initialization="uniform",
        bias_std=0.2,
    )
    architecture = json.loads(json.dumps(model.architecture))
    again = MLP(**architecture)
    assert again.architecture == model.architecture == architecture
    inputs = torch.randn(8, 3)
    trained_a_little(model, inputs)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(inputs), model(inputs))
    torch.manual_seed(5)
    dropped = model.train()(inputs)
    torch.manual_seed(5)
    assert torch.equal(again.train()(inputs), dropped)


def test_the_architecture_does_not_change_with_the_list_that_was_given() -> None:
    hidden_dims = [4, 4]
    model = network(hidden_dims=hidden_dims)
    hidden_dims.append(9)
    assert model.architecture["hidden_dims"] == [4, 4]


def test_the_mlp_can_be_named_by_a_checkpoint() -> None:
    assert MODELS["mlp"] is MLP


@pytest.mark.parametrize("width", [0, -1, 2.0, "8", True, None, math.nan])
@pytest.mark.parametrize("place", ["in_features", "out_features", "hidden_dims"])
def test_a_width_that_is_no_positive_integer_is_refused(place: str, width: Any) -> None:
    with pytest.raises(UserError) as refusal:
        network(**{place: [4, width] if place == "hidden_dims" else width})
    assert "positive integer" in refusal.value.requirement
    assert refusal.value.actual == f"{place}={[4, width] if place == 'hidden_dims' else width!r}"


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_a_dropout_share_outside_the_interval_is_refused(name: str, share: float) -> None:
    with pytest.raises(UserError) as refusal:
        network(**{name: share})
    assert refusal.value.requirement == f"{name} must be a number in [0, 1)"
    assert refusal.value.actual == f"{name}={share}"


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("activation", ACTIVATIONS),
        ("normalization", NORMALIZATIONS),
        ("initialization", ["kaiming_uniform", "pytorch"]),
        ("bias_initialization", ["zeros", "normal", "uniform"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_names_that_exist(option: str, names: Any) -> None:
    with pytest.raises(UserError) as refusal:
        network(**{option: "batsch"})
    assert refusal.value.requirement.startswith(f"{option} must be one of")
    assert all(name in refusal.value.requirement for name in names)
    assert refusal.value.actual == f"{option}='batsch'"
