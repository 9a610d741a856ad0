from typing import Any

import pytest
import torch
from torch import nn

from mlplab.models import MLP, TabM
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.numeric_embeddings import EmbeddedInputs
from mlplab.stacked.eligibility import network_shape, why_no_stacked_network


def network(**options: Any) -> MLP:
    return MLP(**{"in_features": 6, "out_features": 4, "hidden_dims": [5, 5], **options})


class Own(nn.Module):
    stackable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.settings = settings


def changed(how: str) -> nn.Module:
    model = network(normalization="batch")
    if how == "layer":
        model.hidden[1] = nn.Linear(5, 5)  # type: ignore[assignment]
    if how == "parametrized":
        nn.utils.parametrizations.weight_norm(model.output)
    if how == "half":
        model.half()
    if how == "momentum":
        model.hidden[0].normalization.momentum = None  # type: ignore[union-attr]
    if how == "statistics":
        model.hidden[0].normalization = nn.BatchNorm1d(5, track_running_stats=False)  # type: ignore[union-attr]
    if how == "scale":
        layer = model.hidden[0].normalization
        layer.weight = layer.bias = None  # type: ignore[union-attr]
    if how == "sums":
        model.output = nn.Linear(5, 4, bias=False)
    if how == "activation":
        model.hidden[1].activation = nn.functional.relu6  # type: ignore[union-attr]
    return model


@pytest.mark.parametrize(
    "model",
    [
        network(),
        network(normalization="batch", dropout=0.5, residual=True),
        WithInputs(PixelInputs(n_features=6, mean=0.5, std=0.1), network()),
        WithInputs(CategoryInputs(n_features=6, n_levels=[3], embedding_dims=[1]), network()),
        WithInputs(PixelInputs(n_features=6, mean=0.5, std=0.1), Own()),
        Own(),
    ],
)
def test_what_can_be_stacked(model: nn.Module) -> None:
    assert why_no_stacked_network(model) is None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(6, 4)), "Sequential does not say stackable = True"),
        (type("Child", (MLP,), {})(in_features=6, out_features=4), "Child does not say"),
        (WithInputs(nn.Identity(), network()), "input layer Identity"),
        (WithInputs(EmbeddedInputs(None, n_features=6, name="linear", n_columns=6), network()), "layer EmbeddedInputs"),
        (TabM(in_features=6, out_features=4, k=2), "its class TabM does not say"),
        (changed("layer"), "Linear is not a layer of MLP"),
        (changed("parametrized"), "weighted sums are not those of nn.Linear"),
        (changed("momentum"), "BatchNorm is not a normalisation of MLP"),
        (changed("statistics"), "BatchNorm1d is not a normalisation of MLP"),
        (changed("scale"), "BatchNorm is not a normalisation of MLP"),
        (changed("sums"), "weighted sums are not those of nn.Linear"),
        (changed("activation"), "the activation relu6 has no kernel"),
        (changed("half"), "float32"),
    ],
)
def test_what_cannot_be_stacked_has_a_reason(model: nn.Module, words: str) -> None:
    assert words in str(why_no_stacked_network(model))


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"input_dropout": 0.1}, {"initialization": "zeros"}])
def test_shares_of_dropout_and_first_weights_make_no_other_architecture(options: dict[str, Any]) -> None:
    assert network_shape(network()) == network_shape(network(**options))


@pytest.mark.parametrize(
    "options", [{"hidden_dims": [5]}, {"activation": "tanh"}, {"normalization": "batch"}, {"residual": True}]
)
def test_all_else_does(options: dict[str, Any]) -> None:
    assert network_shape(network()) != network_shape(network(**options))


def test_a_frozen_layer_makes_another_architecture() -> None:
    frozen = network()
    frozen.output.bias.requires_grad_(False)
    assert network_shape(network()) != network_shape(frozen)


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": [1, (2, "x")]}, {"a": [1, (2, "x")]}, True),
        ({"a": torch.relu}, {"a": torch.relu}, True),
        ({"a": torch.relu}, {"a": torch.tanh}, False),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}, True),
        ({"a": torch.ones(2)}, {"a": torch.zeros(2)}, False),
        ({"a": object()}, {"a": object()}, False),
        ({"a": bytearray()}, {"a": bytearray()}, False),
    ],
)
def test_settings_of_somebodys_own_module_count(one: dict[str, Any], other: dict[str, Any], is_equal: bool) -> None:
    assert (network_shape(Own(**one)) == network_shape(Own(**other))) == is_equal
