import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.models.bins import quantile_edges, tree_edges


def test_quantiles_by_hand() -> None:
    numbers = torch.tensor([[0.0, 5.0, 0.0], [1.0, 5.0, 0.0], [2.0, 5.0, 0.0], [3.0, 5.0, 0.0], [8.0, 5.0, 1.0]])
    # Four bins; of a constant one; of repeated values fewer.
    assert [edges.tolist() for edges in quantile_edges(numbers, 4)] == [[0, 1, 2, 3, 8], [5, 10], [0, 1]]


def test_a_tree_splits_where_the_target_changes() -> None:
    numbers = torch.arange(100.0).reshape(-1, 1)
    steps = (numbers >= 30).float() + 2 * (numbers >= 60).float()
    for targets, are_classes in (
        (steps, False),
        (steps.long().squeeze(1), True),
        (torch.cat([steps, 1 - steps], 1), False),
    ):
        (edges,) = tree_edges(numbers, targets, 8, are_classes=are_classes)
        assert edges.tolist() == [0.0, 29.5, 59.5, 99.0]
    # Rows that do not count are not told apart.
    (edges,) = tree_edges(numbers, steps, 8, are_classes=False, weights=(numbers < 60).float().squeeze(1))
    assert edges.tolist() == [0.0, 29.5, 99.0]


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=30), st.integers(2, 9))
def test_edges_ascend_whatever_the_values(values: list[float], n_bins: int) -> None:
    numbers = torch.tensor(values).reshape(-1, 1)
    for edges in (*quantile_edges(numbers, n_bins), *tree_edges(numbers, numbers, n_bins, are_classes=False)):
        assert 2 <= len(edges) <= n_bins + 1
        assert (edges.diff() > 0).all()
        assert edges[0] == numbers.min()


@pytest.mark.filterwarnings("ignore:The .* feature has just two bin edges")
def test_as_in_the_package_of_the_authors() -> None:
    package = pytest.importorskip("rtdl_num_embeddings")
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(1000, 4, generator=generator)
    numbers[:, 1], numbers[:, 2] = numbers[:, 1].round(), (numbers[:, 2] > 0).float()  # ties, and two values
    values = numbers[:, :1] * numbers[:, 3:] + numbers[:, 1:2]
    expected = package.compute_bins(numbers, 16)
    torch.testing.assert_close(quantile_edges(numbers, 16), expected, rtol=1e-6, atol=1e-6)
    options = {"min_samples_leaf": 1000 // 16, "min_impurity_decrease": 1e-4}
    expected = package.compute_bins(numbers, 16, tree_kwargs=options, y=values.squeeze(1), regression=True)
    torch.testing.assert_close(tree_edges(numbers, values, 16, are_classes=False), expected)
    classes = (values.squeeze(1) > 0).long()
    expected = package.compute_bins(numbers, 16, tree_kwargs=options, y=classes, regression=False)
    torch.testing.assert_close(tree_edges(numbers, classes, 16, are_classes=True), expected)
