import warnings
from typing import Any

import pytest
import torch

from mlplab.errors import UserError
from mlplab.models import MODELS, TabM
from mlplab.models.tabm import MemberBatchNorm, average_members

FEATURES = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def ensemble(**options: Any) -> TabM:
    torch.manual_seed(0)
    return TabM(**{"in_features": 4, "out_features": 3, "k": 5, "hidden_dims": [8, 7], **options})


@pytest.mark.parametrize("mini", [False, True])
@pytest.mark.parametrize("hidden_dims", [[], [8], [8, 8]])
def test_its_outputs_are_those_of_members_in_training_and_of_one_network_in_evaluation(
    mini: bool, hidden_dims: list[int]
) -> None:
    model = ensemble(mini=mini, hidden_dims=hidden_dims, average_of="softmax", residual=True)
    of_members, averaged = model(FEATURES), model.eval()(FEATURES)
    assert of_members.shape == (6, 5, 3)
    assert averaged.shape == (6, 3)
    torch.testing.assert_close(averaged.softmax(1), of_members.softmax(2).mean(1))


def test_averages_are_those_of_predictions() -> None:
    outputs = 50 * torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(average_members(outputs, "values"), outputs.mean(1))
    torch.testing.assert_close(average_members(outputs, "softmax").softmax(1), outputs.softmax(2).mean(1))
    # Also as logarithms, where a probability is far below what a number can hold.
    torch.testing.assert_close(average_members(outputs, "sigmoid").sigmoid(), outputs.sigmoid().mean(1))
    assert average_members(torch.full((1, 2, 1), -500.0), "sigmoid").tolist() == [[-500.0]]


@pytest.mark.parametrize("mini", [False, True])
def test_each_member_is_a_perceptron_of_its_own(mini: bool) -> None:
    model = ensemble(mini=mini, activation="tanh")
    with torch.no_grad():  # as after training
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    of_members = model(FEATURES)
    for member in range(5):
        alone = FEATURES if not mini else FEATURES * model.scaling[member]
        for hidden in model.hidden:
            layer = hidden.linear
            if mini:
                alone = torch.tanh(alone @ layer.weight.T + layer.bias)
            else:
                alone = torch.tanh((alone * layer.r[member]) @ layer.weight.T * layer.s[member] + layer.bias[member])
        alone = alone @ model.output.weight[member].T + model.output.bias[member]
        torch.testing.assert_close(of_members[:, member], alone)


def test_before_training_members_differ_in_the_scaling_of_columns_and_in_their_output_layers() -> None:
    model = ensemble(column_widths=[1, 3], scaling_initialization="normal")
    first, second = model.hidden[0].linear, model.hidden[1].linear
    # One number for each member and column, whatever the column's width.
    torch.testing.assert_close(first.r[:, 1:2].expand(-1, 3), first.r[:, 1:])
    assert len(first.r.unique()) == 10
    for ones in (first.s, second.r, second.s):
        assert bool((ones == 1).all())
    for bias in (first.bias, second.bias):
        torch.testing.assert_close(bias, bias[:1].expand_as(bias))
        assert bool((bias != 0).any())
    assert len(model.output.weight.unique()) == 5 * 7 * 3
    assert bool((model.output.weight.abs() <= 7**-0.5).all())
    assert set(ensemble().hidden[0].linear.r.unique().tolist()) == {-1.0, 1.0}
    assert set(ensemble(mini=True).scaling.unique().tolist()) == {-1.0, 1.0}


def test_each_member_has_batch_statistics_of_its_own() -> None:
    inputs = torch.randn(9, 2, 3) * torch.tensor([1.0, 20.0])[:, None]
    outputs = MemberBatchNorm(6)(inputs)
    torch.testing.assert_close(outputs.mean(0), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.std(0, correction=0), torch.ones(2, 3), atol=1e-3, rtol=0)
    # A batch of one row by the running statistics, as in an MLP.
    assert ensemble(normalization="batch")(FEATURES[:1]).shape == (1, 5, 3)


def test_the_architecture_builds_the_same_network_again() -> None:
    model = ensemble(column_widths=(1, 3), mini=True, average_of="softmax")
    again = TabM(**model.architecture)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(FEATURES), model.eval()(FEATURES))
    assert MODELS["tabm"] is TabM


@pytest.mark.parametrize("k", [0, 1025, True, "8"])
def test_a_wrong_number_of_members_is_refused(k: Any) -> None:
    with pytest.raises(UserError, match="k must be an integer from 1 to 1024"):
        ensemble(k=k)


@pytest.mark.parametrize("kind", ["tabm", "tabm-mini"])
@pytest.mark.parametrize("embeds", [False, True])
def test_as_in_the_package_of_the_authors(kind: str, embeds: bool) -> None:
    package, embeddings = pytest.importorskip("tabm"), pytest.importorskip("rtdl_num_embeddings")
    torch.manual_seed(0)
    embedding = embeddings.LinearReLUEmbeddings(4, 2) if embeds else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = package.TabM.make(
            n_num_features=4, d_out=3, num_embeddings=embedding, k=5, n_blocks=2, d_block=8, dropout=0.0, arch_type=kind
        )
    ours = TabM(
        in_features=8 if embeds else 4, out_features=3, k=5, hidden_dims=[8, 8], mini=kind == "tabm-mini",
        scaling_initialization="normal" if embeds else "random_signs", column_widths=[2] * 4 if embeds else None,
    )  # fmt: skip
    state = {
        name.replace("backbone.affine.weight", "scaling")
        .replace("backbone.blocks.", "hidden.")
        .replace(".0.", ".linear.", 1 if "blocks.1" in name else 0): value
        for name, value in theirs.state_dict().items()
        if not name.startswith("num_module")
    }
    state = {name.replace("hidden.0.0.", "hidden.0.linear."): value for name, value in state.items()}
    state["output.weight"] = state["output.weight"].transpose(1, 2)
    ours.load_state_dict(state)
    ours, theirs = ours.double(), theirs.double()
    features = 3 * FEATURES.double()
    inputs = features if embedding is None else embedding(features).flatten(1)
    torch.testing.assert_close(ours(inputs), theirs(features), rtol=0, atol=1e-6)
    # Before training both are drawn from the same distributions.
    for name, value in TabM(**ours.architecture).state_dict().items():
        assert bool((value == 1).all()) == bool((state[name] == 1).all()), name
        assert float(value.abs().max()) == pytest.approx(float(state[name].abs().max()), rel=0.6), name


@pytest.mark.parametrize("mini", [False, True])
def test_dropout_is_drawn_for_each_member(mini: bool) -> None:
    model = ensemble(mini=mini, input_dropout=0.5)
    with torch.no_grad():
        model.output.weight.copy_(model.output.weight[:1].expand_as(model.output.weight))
        model.output.bias.zero_()
        (model.scaling if mini else model.hidden[0].linear.r).fill_(1.0)
    # Otherwise all members would give the same.
    assert bool((model(FEATURES)[..., 0].std(dim=1) > 0).all())
