import copy
from typing import Any

import pytest
import torch
from stack_and_alone import N_FEATURES, batch, distance, perceptrons
from torch import Tensor, nn

from mlplab.engine.kernels import ACTIVATION_KERNELS
from mlplab.models import MLP
from mlplab.models.activations import ACTIVATIONS
from mlplab.randomness import seed_generators
from mlplab.stacked.networks.layers import StackedMLP
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_tensors import Workspace, named_tensors

SHAPES: dict[str, dict[str, Any]] = {
    "linear": {"hidden_dims": []},
    "one hidden layer": {"hidden_dims": [5]},
    "batch norm": {"normalization": "batch"},
    "layer norm": {"normalization": "layer"},
    "residual": {"residual": True, "hidden_dims": [6, 6, 6]},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1},
    "all of it": {"dropout": 0.3, "input_dropout": 0.1, "residual": True, "normalization": "batch"},
}


class Own(nn.Module):
    """Somebody's own: two branches, a constant, running statistics."""

    stackable = True

    def __init__(self, share: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(N_FEATURES, 5), nn.Linear(N_FEATURES, 5)
        self.normalization = nn.BatchNorm1d(5)
        self.dropout = nn.Dropout(share)
        self.output = nn.Linear(5, 4)
        self.register_buffer("scale", torch.rand(5))

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.first(features).tanh() * self.second(features).sigmoid()
        return self.output(self.dropout(self.normalization(hidden) * self.scale))  # type: ignore[no-any-return]


class Tied(nn.Module):
    """Somebody's own, whose layers share a weight."""

    stackable = True

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(N_FEATURES, N_FEATURES), nn.Linear(N_FEATURES, N_FEATURES)
        self.second.weight = self.first.weight
        self.output = nn.Linear(N_FEATURES, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.second(self.first(features).tanh()).tanh())  # type: ignore[no-any-return]


def own_networks(n: int = 3, **options: Any) -> list[nn.Module]:
    return [Own(**options).double() for _ in range(n)]


def features_of(n: int, n_rows: int = 9) -> Tensor:
    return torch.stack([batch(member, 0, torch.float64)[0][:n_rows] for member in range(n)])


def step(network: nn.Module, features: Tensor, *, by_kernels: bool = False) -> Tensor:
    """The outputs, and gradients of the sum of z cos z in `.grad`."""
    network.zero_grad()
    if by_kernels:
        assert isinstance(network, StackedNetwork)
        outputs, backward = network.with_backward(features)
        backward(outputs.cos() - outputs * outputs.sin())
    else:
        outputs = network(features)
        (outputs * outputs.cos()).sum().backward()
    return outputs.detach()


def require_alike(networks: list[nn.Module], *, by_kernels: bool, is_training: bool = True, n_rows: int = 9) -> None:
    alone = copy.deepcopy(networks)
    stack = StackedNetwork(networks).train(is_training)
    stack.seeds = [100 + member for member in range(len(networks))]
    features = features_of(len(networks), n_rows)
    outputs = step(stack, features, by_kernels=by_kernels and stack.has_kernels)
    for member, network in enumerate(alone):
        seed_generators(100 + member)
        expected = step(network.train(is_training), features[member])
        assert torch.allclose(outputs[member], expected, rtol=1e-12, atol=1e-12)
        for name, parameter in network.named_parameters():
            found = stack.tensors[name].grad
            assert found is not None
            assert torch.allclose(found[member], parameter.grad, rtol=1e-11, atol=1e-11), name
        assert distance(networks[member], network) < 1e-12  # the running statistics


@pytest.mark.parametrize("by_kernels", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_each_member_alone(shape: str, by_kernels: bool) -> None:
    for is_training, n_rows in ((True, 9), (False, 9), (True, 1)):
        require_alike(perceptrons(**SHAPES[shape]), by_kernels=by_kernels, is_training=is_training, n_rows=n_rows)


@pytest.mark.parametrize("activation", [name for name, a in ACTIVATIONS.items() if a.function in ACTIVATION_KERNELS])
def test_of_every_activation(activation: str) -> None:
    require_alike(perceptrons(activation=activation), by_kernels=True)


def test_a_plain_stack_has_kernels_and_one_with_normalisation_or_a_frozen_layer_has_not() -> None:
    for normalization, has_kernels in (("none", True), ("batch", False), ("layer", False)):
        assert StackedNetwork(perceptrons(normalization=normalization)).has_kernels == has_kernels
    frozen = perceptrons()
    for network in frozen:
        network.get_parameter("output.bias").requires_grad_(False)
    assert not StackedNetwork(frozen).has_kernels


@pytest.mark.parametrize("shape", ["one hidden layer", "residual", "dropout"])
def test_memory_that_is_used_again_is_not_used_too_early(shape: str) -> None:
    stack = StackedNetwork(perceptrons(**SHAPES[shape]))
    stack.seeds = [1, 2, 3]
    batches = [features_of(3), -features_of(3), features_of(3, n_rows=4)]

    def gradients(by_kernels: bool) -> list[Tensor]:
        stack.zero_grad()
        if not by_kernels:
            sum(stack(features).square().sum() for features in batches).backward()
            return [parameter.grad.clone() for parameter in stack.parameters() if parameter.grad is not None]
        stack.with_backward(batches[0])  # a pass that nobody goes back
        found = []
        for outputs, backward in [stack.with_backward(features) for features in batches]:
            backward(2 * outputs)
            found.append([parameter.grad.clone() for parameter in stack.parameters() if parameter.grad is not None])
        return [torch.stack(parts).sum(0) for parts in zip(*found, strict=True)]

    for _ in range(2):
        for found, expected in zip(gradients(True), gradients(False), strict=True):
            assert torch.allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_masks_are_the_bits_that_a_member_draws_alone() -> None:
    shares = [0.0, 0.2, 0.5]
    networks = [
        MLP(in_features=6, out_features=4, hidden_dims=[8, 8], dropout=share, input_dropout=share / 2)
        for share in shares
    ]
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    alone = copy.deepcopy(networks)
    stack = StackedNetwork(networks)
    stack.seeds = [7, 8, 8]
    features = features_of(3).float()
    real = nn.functional.dropout
    assert isinstance(stack._body, StackedMLP)
    masks = stack._body.masks.draw(stack.seeds, features, Workspace(features))
    for member, network in enumerate(alone):
        seen: list[Tensor] = []

        def watched(inputs: Tensor, share: float, training: bool, seen: list[Tensor] = seen) -> Tensor:
            seen.append(real(torch.ones_like(inputs), share, training))
            return inputs

        seed_generators(stack.seeds[member])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn.functional, "dropout", watched)
            network(features[member])
        drawn = [mask[member] for mask in masks if mask is not None]
        assert len(drawn) == 3
        assert all(torch.equal(a, b) for a, b in zip(drawn, seen, strict=True))
    assert all((mask[0] == 1).all() for mask in masks if mask is not None)


def test_rows_that_all_share_are_spread_to_each() -> None:
    shared = features_of(1)[0]
    for networks in (perceptrons(), perceptrons(normalization="batch"), own_networks()):
        stack = StackedNetwork(networks).eval()
        assert torch.equal(stack(shared), stack(shared.repeat(3, 1, 1)))


def test_each_member_is_a_view_of_its_row() -> None:
    networks = perceptrons(normalization="batch")
    stack = StackedNetwork(networks)
    for row, network in enumerate(networks):
        for name, tensor in named_tensors(network):
            assert tensor.data_ptr() == stack.tensors[name][row].data_ptr()
    other = perceptrons(4, normalization="batch")[3]
    networks[1].load_state_dict(other.state_dict())
    assert torch.equal(stack.tensors["output.weight"][1], other.get_parameter("output.weight"))
    stack.eval()
    outputs = stack(features_of(3))
    assert torch.allclose(outputs[1], other.eval()(features_of(3)[1]))
    assert torch.allclose(networks[1].eval()(features_of(3)[1]), outputs[1])


def test_members_that_go_have_memory_of_their_own() -> None:
    networks = perceptrons(4, normalization="batch")
    stack = StackedNetwork(networks)
    step(stack, features_of(4))
    parameters = list(stack.parameters())
    gradients = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    before = copy.deepcopy(networks)
    stack.select([2, 0])
    assert [parameter.shape[0] for parameter in parameters] == [2] * len(parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert torch.equal(parameter.grad, gradient[[2, 0]])  # type: ignore[arg-type]
    step(stack, features_of(2))
    for parameter in parameters:
        parameter.data.fill_(7.0)
    assert all((parameter == 7).all() for row in (0, 2) for parameter in networks[row].parameters())
    assert max(distance(networks[row], before[row]) for row in (1, 3)) == 0.0
    assert all(p.untyped_storage().nbytes() == p.nbytes for row in (1, 3) for p in networks[row].parameters())


def test_the_members_follow_when_the_stack_is_cast() -> None:
    networks = perceptrons(normalization="batch")
    stack = StackedNetwork(networks).float()
    assert networks[0].get_parameter("output.weight").dtype == torch.float32
    assert stack(features_of(3).float()).dtype == torch.float32
    stack.tensors["output.bias"].data.fill_(3.0)
    assert (networks[2].get_parameter("output.bias") == 3).all()


@pytest.mark.parametrize("is_training", [True, False])
def test_a_module_of_somebodys_own(is_training: bool) -> None:
    require_alike(own_networks(), by_kernels=False, is_training=is_training)


def test_layers_of_somebodys_own_that_share_a_weight() -> None:
    require_alike([Tied().double() for _ in range(3)], by_kernels=False)


def test_dropout_of_somebodys_own_differs_from_member_to_member_and_follows_the_seeds() -> None:
    networks = own_networks(share=0.5)
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    stack = StackedNetwork(networks)
    features = features_of(1).repeat(3, 1, 1)
    outputs = []
    for seeds in ([1, 2, 3], [1, 2, 3], [4, 2, 3]):
        stack.seeds = seeds
        outputs.append(stack(features))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0][0], outputs[0][1])
