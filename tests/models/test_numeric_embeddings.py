import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlplab.errors import UserError
from mlplab.models.bins import quantile_edges
from mlplab.models.inputs import CategoryInputs
from mlplab.models.numeric_embeddings import (
    EmbeddedInputs,
    LinearEmbedding,
    PeriodicEmbedding,
    PiecewiseEmbedding,
)


@pytest.fixture
def in_64_bits() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_encoding_by_hand() -> None:
    embedding = PiecewiseEmbedding(n_columns=2, n_bins=3, d_embedding=4)
    # The first column has bins of width 1, 2 and 4, the second a single one.
    embedding.set_edges([torch.tensor([0.0, 1.0, 3.0, 7.0]), torch.tensor([0.0, 2.0])])
    of_first = [[-0.5, 0, 0], [0, 0, 0], [0.5, 0, 0], [1, 0.5, 0], [1, 1, 0], [1, 1, 0.25], [1, 1, 2]]
    numbers = torch.tensor([-0.5, 0.0, 0.5, 2.0, 3.0, 4.0, 11.0])
    # Beyond its ends a column goes on as a line.
    of_second = [[value / 2, 0, 0] for value in numbers.tolist()]
    encoded = embedding.encode(numbers.unsqueeze(1).expand(-1, 2))
    assert encoded.tolist() == [list(pair) for pair in zip(of_first, of_second, strict=True)]


def test_version_b_begins_as_a_line() -> None:
    embedding = PiecewiseEmbedding(n_columns=1, n_bins=3, d_embedding=4)
    embedding.set_edges([torch.tensor([0.0, 1.0, 3.0, 7.0])])
    numbers = torch.linspace(-1, 8, 19).unsqueeze(1)
    slopes = embedding(numbers).diff(dim=0)
    torch.testing.assert_close(slopes, slopes[:1].expand_as(slopes))


def test_only_numeric_columns_are_embedded() -> None:
    # Two numbers, an indicator, and a category of three.
    inputs = CategoryInputs(n_features=4, n_levels=[3], embedding_dims=[0])
    embedded = EmbeddedInputs(inputs, n_features=4, name="linear", n_columns=2, d_embedding=5)
    outputs = embedded(torch.tensor([[0.3, -2.0, 1.0, 2.0], [1.0, 0.0, 0.0, 0.0]]))
    assert embedded.column_widths == [5, 5, 1, 3]
    assert embedded.out_features == outputs.shape[1] == 14
    assert outputs[:, 10:].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    # Each by weights of its own.
    alone = torch.relu(0.3 * embedded.embedding.line.slope[0] + embedded.embedding.line.bias[0])
    torch.testing.assert_close(outputs[0, :5], alone)


def test_a_name_from_elsewhere_is_refused() -> None:
    with pytest.raises(UserError, match="must be one of linear, piecewise, periodic"):
        EmbeddedInputs(None, n_features=1, name="os.system", n_columns=1)


def copied(linear: Any, theirs: Any) -> None:
    linear.weight, linear.bias = theirs.weight, theirs.bias


def difference(ours: nn.Module, theirs: nn.Module, numbers: Tensor) -> float:
    return float((ours(numbers) - theirs(numbers)).abs().max().detach())


def numbers_and_edges() -> tuple[Tensor, list[Tensor]]:
    """Rows within and beyond the range, at the edges, with ties; bins of columns with many, few and two values."""
    generator = torch.Generator().manual_seed(0)
    training = torch.randn(300, 4, generator=generator)
    training[:, 1], training[:, 2], training[:, 3] = training[:, 1].round(), (training[:, 2] > 0).double(), 0.0
    edges = [edge.double() for edge in quantile_edges(training, 16)]
    at_edges = torch.stack([edge[torch.arange(20).clamp(max=len(edge) - 1)] for edge in edges], dim=1)
    return torch.cat([training, at_edges, 5 * training]), edges


@pytest.mark.usefixtures("in_64_bits")
@pytest.mark.parametrize("version", ["A", "B"])
def test_piecewise_as_in_the_package_of_the_authors(version: str) -> None:
    package = pytest.importorskip("rtdl_num_embeddings")
    numbers, edges = numbers_and_edges()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns with one bin
        theirs = package.PiecewiseLinearEmbeddings(edges, 8, activation=version == "A", version=version)
    most = max(map(len, edges)) - 1
    ours = PiecewiseEmbedding(n_columns=4, n_bins=most, d_embedding=8, piecewise_version=version)
    ours.set_edges(edges)
    with torch.no_grad():
        theirs.linear.weight.normal_()
        for column, n_bins in enumerate(len(edge) - 1 for edge in edges):
            # Theirs has the last bin of each column in the last place.
            ours.linear.weight[column, : n_bins - 1] = theirs.linear.weight[column, : n_bins - 1]
            ours.linear.weight[column, n_bins - 1] = theirs.linear.weight[column, -1]
    ours.linear.bias = theirs.linear.bias
    if ours.line is not None:
        ours.line.slope, ours.line.bias = theirs.linear0.weight, theirs.linear0.bias
    assert difference(ours, theirs, numbers) < 1e-6


@pytest.mark.usefixtures("in_64_bits")
@pytest.mark.parametrize("lite", [True, False])
def test_periodic_as_in_the_package_of_the_authors(lite: bool) -> None:
    package = pytest.importorskip("rtdl_num_embeddings")
    numbers, _ = numbers_and_edges()
    theirs = package.PeriodicEmbeddings(4, 8, n_frequencies=7, frequency_init_scale=0.5, lite=lite)
    ours = PeriodicEmbedding(n_columns=4, d_embedding=8, n_frequencies=7, frequency_scale=0.5, lite=lite)
    # The same distribution, cut off at three deviations.
    many = PeriodicEmbedding(n_columns=1000, n_frequencies=50, frequency_scale=0.5).frequencies.detach()
    assert float(many.std()) == pytest.approx(0.5, rel=0.02)
    assert float(many.abs().max()) <= 1.5
    ours.frequencies = theirs.periodic.weight
    copied(ours.linear, theirs.linear)
    assert difference(ours, theirs, numbers) < 1e-6


@pytest.mark.usefixtures("in_64_bits")
def test_linear_as_in_the_package_of_the_authors() -> None:
    package = pytest.importorskip("rtdl_num_embeddings")
    numbers, _ = numbers_and_edges()
    theirs, ours = package.LinearReLUEmbeddings(4, 8), LinearEmbedding(n_columns=4, d_embedding=8)
    ours.line.slope, ours.line.bias = theirs.linear.weight, theirs.linear.bias
    assert difference(ours, theirs, numbers) < 1e-6
