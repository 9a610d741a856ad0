"""Networks behind input layers, each member against itself alone."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlplab.models import MLP
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.stacked.networks.network import StackedNetwork


def behind(build: Any, n: int = 3) -> list[nn.Module]:
    networks: list[nn.Module] = []
    for member in range(n):
        torch.manual_seed(member)
        inputs = build(member)
        networks.append(WithInputs(inputs, MLP(in_features=inputs.out_features, out_features=2, hidden_dims=[5])))
    return [network.double() for network in networks]


def pixels(member: int) -> PixelInputs:
    return PixelInputs(n_features=4, mean=10.0 * member, std=1.0 + member)


def categories(widths: list[int]) -> Any:
    return lambda member: CategoryInputs(n_features=4, n_levels=[3, 2], embedding_dims=widths)


def table(n_members: int) -> Tensor:
    codes = torch.stack([torch.randint(0, n + 1, (n_members, 7)) for n in (3, 2)], dim=2)
    return torch.cat([torch.randn(n_members, 7, 2), codes], dim=2).double()


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize(
    ("build", "features"),
    [
        (pixels, torch.randint(0, 256, (3, 7, 4), dtype=torch.uint8)),
        (categories([0, 0]), table(3)),
        (categories([2, 0]), table(3)),
        (categories([2, 3]), table(3)),
    ],
)
def test_each_member_sees_what_it_sees_alone(build: Any, features: Tensor, is_shared: bool) -> None:
    networks = behind(build)
    alone = copy.deepcopy(networks)
    stack = StackedNetwork(networks)
    given = features[0] if is_shared else features
    assert stack.has_kernels == (not any("embeddings" in name for name in stack.tensors))
    if stack.has_kernels:
        outputs, backward = stack.with_backward(given)
        backward(2 * outputs)
    else:
        outputs = stack(given)
        outputs.square().sum().backward()
    for member, network in enumerate(alone):
        expected = network(given if is_shared else given[member])
        expected.square().sum().backward()
        assert torch.allclose(outputs[member], expected, rtol=1e-12, atol=1e-12)
        for name, parameter in network.named_parameters():
            found = stack.tensors[name].grad
            assert found is not None
            assert torch.allclose(found[member], parameter.grad, rtol=1e-11, atol=1e-11), name


def test_a_level_that_training_never_saw_teaches_nothing() -> None:
    networks = behind(categories([2, 3]))
    stack = StackedNetwork(networks)
    stack(torch.zeros(3, 7, 4).double()).sum().backward()
    for index in (0, 1):
        gradient = stack.tensors[f"inputs.embeddings.{index}.weight"].grad
        assert gradient is not None
        assert not gradient.any()
