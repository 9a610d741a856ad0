import itertools
from typing import Any

import numpy as np
import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlplab.errors import UserError
from mlplab.models.inputs import INPUTS, CategoryInputs, PixelInputs, WithInputs, build_inputs


def test_pixels_by_hand() -> None:
    inputs = PixelInputs(n_features=3, mean=100.0, std=50.0)
    outputs = inputs(torch.tensor([[0, 100, 255], [50, 150, 200]], dtype=torch.uint8))
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, torch.tensor([[-2.0, 0.0, 3.1], [-1.0, 1.0, 2.0]]))
    assert inputs.out_features == 3


def test_pixels_have_nothing_to_train_and_their_statistics_go_with_the_weights() -> None:
    inputs = PixelInputs(n_features=3, mean=100.0, std=50.0)
    assert list(inputs.parameters()) == []
    assert {name: value.item() for name, value in inputs.state_dict().items()} == {"mean": 100.0, "std": 50.0}
    assert inputs.to(torch.float64)(torch.zeros(1, 3, dtype=torch.uint8)).dtype == torch.float64


def test_categories_by_hand() -> None:
    # Two numbers, then three columns of levels: one-hot of 3, vectors of width 2 for 4 levels, one-hot of 2.
    inputs = CategoryInputs(n_features=5, n_levels=[3, 4, 2], embedding_dims=[0, 2, 0])
    with torch.no_grad():
        inputs.embeddings[0].weight[1:] = torch.arange(8.0).reshape(4, 2)
    outputs = inputs(torch.tensor([[0.5, -1.0, 2, 3, 1], [7.0, 8.0, 0, 0, 0], [0.0, 0.0, 3, 1, 2]]))
    assert inputs.out_features == 2 + 3 + 2 + 2
    # Numbers, then all one-hot places, then the vectors.
    assert outputs.tolist() == [
        [0.5, -1.0, 0, 1, 0, 1, 0, 4, 5],
        [7.0, 8.0, 0, 0, 0, 0, 0, 0, 0],
        [0.0, 0.0, 0, 0, 1, 0, 1, 0, 1],
    ]


@settings(max_examples=examples(60))
@given(
    seed=st.integers(0, 2**30),
    n_numeric=st.integers(0, 3),
    columns=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 4)), max_size=4),
    n_rows=st.integers(0, 20),
)
def test_as_in_numpy(seed: int, n_numeric: int, columns: list[tuple[int, int]], n_rows: int) -> None:
    if n_numeric + len(columns) == 0:
        return
    torch.manual_seed(seed)
    inputs = CategoryInputs(
        n_features=n_numeric + len(columns),
        n_levels=[n for n, _ in columns],
        embedding_dims=[width for _, width in columns],
    )
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=(n_rows, n_numeric)).astype(np.float32)
    codes = [generator.integers(0, n + 1, n_rows) for n, _ in columns]
    vectors = iter(inputs.embeddings)
    one_hot, embedded = [], []
    for (n, width), column in zip(columns, codes, strict=True):
        if width:
            embedded.append(next(vectors).weight.detach().numpy()[column])  # type: ignore[union-attr,operator]
        else:
            one_hot.append(np.eye(n + 1)[column][:, 1:])
    expected = np.hstack([numbers, *one_hot, *embedded]).reshape(n_rows, inputs.out_features)
    features = np.hstack([numbers, *(column[:, None] for column in codes)]).astype(np.float32)
    outputs = inputs(torch.from_numpy(features))
    assert outputs.dtype == torch.float32
    np.testing.assert_array_equal(outputs.detach().numpy(), expected.astype(np.float32))


def test_a_category_that_training_never_saw_adds_nothing_and_learns_nothing() -> None:
    inputs = CategoryInputs(n_features=1, n_levels=[5], embedding_dims=[3])
    optimizer = torch.optim.SGD(inputs.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (inputs(torch.tensor([[0.0], [1.0]])) - 1).square().sum().backward()
        optimizer.step()
    assert inputs(torch.tensor([[0.0]])).tolist() == [[0.0, 0.0, 0.0]]
    assert (inputs(torch.tensor([[1.0]])) != 0).all()


def test_one_hot_places_are_no_parameters_and_are_not_stored() -> None:
    inputs = CategoryInputs(n_features=2, n_levels=[5], embedding_dims=[0])
    assert list(inputs.parameters()) == []
    assert inputs.state_dict() == {}


@pytest.mark.parametrize("width", [1, 4, 64])
def test_embeddings_have_about_length_one_to_begin_with(width: int) -> None:
    torch.manual_seed(0)
    (embedding,) = CategoryInputs(n_features=1, n_levels=[20_000], embedding_dims=[width]).embeddings
    squares = embedding.weight[1:].square().sum(1).mean().item()  # type: ignore[union-attr,operator]
    assert squares == pytest.approx(1.0, abs=0.05)


def test_embeddings_follow_the_seed() -> None:
    def vectors(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return CategoryInputs(n_features=1, n_levels=[5], embedding_dims=[3]).state_dict()["embeddings.0.weight"]

    assert torch.equal(vectors(1), vectors(1))
    assert not torch.equal(vectors(1), vectors(2))


def test_rows_do_not_depend_on_each_other() -> None:
    inputs = CategoryInputs(n_features=3, n_levels=[3, 12], embedding_dims=[0, 2])
    features = torch.tensor([[0.5, code, other] for code, other in itertools.product(range(4), range(13))])
    rows = torch.cat([inputs(row.unsqueeze(0)) for row in features])
    assert torch.equal(inputs(features), rows)


@pytest.mark.parametrize(
    ("n_features", "n_levels", "embedding_dims"), [(2, [3], []), (2, [3], [0, 0]), (1, [3, 3], [0, 0])]
)
def test_columns_that_do_not_fit_each_other_are_refused(
    n_features: int, n_levels: list[int], embedding_dims: list[int]
) -> None:
    with pytest.raises(UserError, match="must have a number of categories and an embedding width"):
        CategoryInputs(n_features=n_features, n_levels=n_levels, embedding_dims=embedding_dims)


def test_a_network_stands_behind_its_inputs() -> None:
    inputs = PixelInputs(n_features=2, mean=0.0, std=2.0)
    network = nn.Linear(2, 1)
    model = WithInputs(inputs, network)
    pixels = torch.tensor([[2, 4]], dtype=torch.uint8)
    assert torch.equal(model(pixels), network(torch.tensor([[1.0, 2.0]])))
    assert model.state_dict().keys() == {"inputs.mean", "inputs.std", "network.weight", "network.bias"}


@pytest.mark.parametrize(
    "encoding",
    [
        {"name": "pixels", "mean": 33.0, "std": 78.0},
        {"name": "categories", "n_levels": [3], "embedding_dims": [2]},
    ],
)
def test_a_layer_is_built_from_plain_values_which_stay_as_they_are(encoding: dict[str, Any]) -> None:
    before = dict(encoding)
    assert isinstance(build_inputs(encoding, 4), INPUTS[encoding["name"]])
    assert encoding == before


@pytest.mark.parametrize("name", ["os.system", "torch.nn.Linear", "mlplab.models.inputs.PixelInputs", "", None])
def test_no_name_outside_the_table_is_followed(name: str | None) -> None:
    with pytest.raises(UserError, match="must be one of pixels, categories"):
        build_inputs({"name": name, "mean": 0.0, "std": 1.0}, 4)


def test_a_layer_without_a_name_is_refused() -> None:
    with pytest.raises(UserError, match="must be one of pixels, categories"):
        build_inputs({"_target_": "os.system"}, 4)
