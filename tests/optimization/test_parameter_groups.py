from typing import Any

import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mlplab.models import MLP
from mlplab.optimization.names import KINDS
from mlplab.optimization.parameter_groups import parameter_groups, parameter_kinds, regularized_parameters


class Foreign(nn.Module):
    """A network that is not ours: a shared layer, a raw parameter, raw biases, nested normalisation, a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.bias = nn.Parameter(torch.zeros(3))
        self.encoder = nn.Linear(3, 3)
        self.again = self.encoder
        self.decoder = nn.Linear(3, 3, bias=False)
        self.decoder.weight = self.encoder.weight
        self.blocks = nn.ModuleList([nn.Sequential(nn.GroupNorm(1, 3), nn.Linear(3, 3)), nn.RMSNorm(3)])
        self.attention = nn.MultiheadAttention(3, 1)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decoder(self.again(self.encoder(inputs))) * self.scale + self.bias  # type: ignore[no-any-return]


FOREIGN_KINDS = {
    "scale": "weight",
    "bias": "bias",
    "encoder.weight": "weight",
    "encoder.bias": "bias",
    "blocks.0.0.weight": "normalization",
    "blocks.0.0.bias": "normalization",
    "blocks.0.1.weight": "weight",
    "blocks.0.1.bias": "bias",
    "blocks.1.weight": "normalization",
    "attention.in_proj_weight": "weight",
    "attention.in_proj_bias": "bias",
    "attention.out_proj.weight": "weight",
    "attention.out_proj.bias": "bias",
}


def mlp(normalization: str = "none", hidden_dims: tuple[int, ...] = (4,)) -> MLP:
    return MLP(in_features=3, out_features=2, hidden_dims=hidden_dims, normalization=normalization)


def names(group: dict[str, Any]) -> list[str]:
    return [name for name, _ in group["params"]]


def test_the_kinds_of_an_mlp_without_normalisation() -> None:
    assert parameter_kinds(mlp()) == {
        "hidden.0.linear.weight": "weight",
        "hidden.0.linear.bias": "bias",
        "output.weight": "weight",
        "output.bias": "bias",
    }


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_scale_and_shift_of_a_normalisation_layer_are_of_its_kind(normalization: str) -> None:
    assert parameter_kinds(mlp(normalization)) == {
        "hidden.0.linear.weight": "weight",
        "hidden.0.linear.bias": "bias",
        "hidden.0.normalization.weight": "normalization",
        "hidden.0.normalization.bias": "normalization",
        "output.weight": "weight",
        "output.bias": "bias",
    }


def test_the_kinds_of_a_foreign_network_with_shared_raw_and_frozen_parameters() -> None:
    assert parameter_kinds(Foreign()) == FOREIGN_KINDS


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm2d(3), nn.InstanceNorm1d(3, affine=True), nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.RMSNorm(3)],
)
def test_all_normalisation_layers_of_pytorch_are_known(layer: nn.Module) -> None:
    assert set(parameter_kinds(layer).values()) == {"normalization"}


def test_a_module_that_is_nothing_but_a_parameter_is_named_without_a_dot() -> None:
    assert parameter_kinds(nn.Linear(2, 2)) == {"weight": "weight", "bias": "bias"}


def test_decay_is_for_weights_alone_unless_told_otherwise() -> None:
    decayed, spared = parameter_groups(mlp("batch"), weight_decay=0.1)
    assert (decayed["name"], decayed["weight_decay"]) == ("decayed", 0.1)
    assert names(decayed) == ["hidden.0.linear.weight", "output.weight"]
    assert (spared["name"], spared["weight_decay"]) == ("spared", 0.0)
    assert names(spared) == [
        "hidden.0.linear.bias",
        "hidden.0.normalization.weight",
        "hidden.0.normalization.bias",
        "output.bias",
    ]


def test_a_group_without_parameters_is_left_out() -> None:
    (only,) = parameter_groups(mlp("layer"), weight_decay=0.1, applies_to=KINDS)
    assert only["name"] == "decayed"
    assert len(only["params"]) == 6
    (only,) = parameter_groups(mlp("layer"), weight_decay=0.1, applies_to=())
    assert (only["name"], only["weight_decay"]) == ("spared", 0.0)


def test_without_weight_decay_there_is_one_group_that_does_not_speak_of_it() -> None:
    (group,) = parameter_groups(mlp(), weight_decay=None)
    assert group["name"] == "all"
    assert "weight_decay" not in group
    assert names(group) == list(parameter_kinds(mlp()))


def test_a_decay_of_zero_is_one_group_whose_optimizer_has_no_decay_of_its_own() -> None:
    (group,) = parameter_groups(mlp(), weight_decay=0.0)
    assert (group["name"], group["weight_decay"]) == ("all", 0.0)
    assert names(group) == list(parameter_kinds(mlp()))


@settings(max_examples=examples(60))
@given(
    applies_to=st.lists(st.sampled_from(KINDS), unique=True),
    weight_decay=st.none() | st.floats(0, 1),
    normalization=st.sampled_from(["none", "batch", "layer", "foreign"]),
    hidden_dims=st.lists(st.integers(1, 4), max_size=4).map(tuple),
)
def test_every_trainable_parameter_is_in_exactly_one_group_under_its_own_name(
    applies_to: list[str], weight_decay: float | None, normalization: str, hidden_dims: tuple[int, ...]
) -> None:
    model = Foreign() if normalization == "foreign" else mlp(normalization, hidden_dims)
    groups = parameter_groups(model, weight_decay=weight_decay, applies_to=applies_to)
    claimed = [(name, id(parameter)) for group in groups for name, parameter in group["params"]]
    trainable = [(name, id(parameter)) for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sorted(claimed) == sorted(trainable)
    assert len({identity for _, identity in claimed}) == len(claimed)
    assert all(group["params"] for group in groups)
    kinds = parameter_kinds(model)
    if weight_decay:
        for group in groups:
            decays = {kinds[name] in applies_to for name in names(group)}
            assert decays == {group["name"] == "decayed"}
            assert group["weight_decay"] == (weight_decay if group["name"] == "decayed" else 0.0)


@pytest.mark.parametrize("weight_decay", [None, 0.1])
def test_the_optimizers_of_pytorch_take_the_groups_with_their_names(weight_decay: float | None) -> None:
    model = Foreign()
    optimizer = torch.optim.SGD(parameter_groups(model, weight_decay=weight_decay), lr=0.1)
    held = [name for group in optimizer.param_groups for name in group["param_names"]]
    assert sorted(held) == sorted(FOREIGN_KINDS)


def test_regularized_parameters_are_those_of_the_kinds_in_the_models_order() -> None:
    model = mlp("batch")
    hidden = model.hidden[0]
    expected = {
        ("weight",): [hidden.linear.weight, model.output.weight],
        ("bias",): [hidden.linear.bias, model.output.bias],
        ("normalization", "bias"): [
            hidden.linear.bias,
            hidden.normalization.weight,
            hidden.normalization.bias,
            model.output.bias,
        ],
        (): [],
    }
    for kinds, parameters in expected.items():
        assert list(map(id, regularized_parameters(model, kinds))) == list(map(id, parameters))


def test_a_shared_or_frozen_weight_is_not_regularized_twice_or_at_all() -> None:
    model = Foreign()
    regularized = regularized_parameters(model, KINDS)
    assert len(regularized) == len(set(map(id, regularized))) == len(FOREIGN_KINDS)
    assert id(model.frozen.weight) not in set(map(id, regularized))


def test_frozen_parameters_are_in_no_group() -> None:
    assert parameter_kinds(nn.Linear(2, 2).requires_grad_(False)) == {}
