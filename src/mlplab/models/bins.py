"""Computes bin edges of numeric columns from the rows of the training part."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

N_BINS = 48
"""Default number of bins of a column, as in the authors' package."""

MIN_LEAF_ROWS = 64
"""Minimum of rows in a leaf, as in the example of the authors' package; less if the training part is small."""

MIN_IMPURITY_DECREASE = 1e-4
"""Minimum of impurity decrease for which a tree splits a leaf, from the same example."""


def quantile_edges(numbers: Tensor, n_bins: int) -> list[Tensor]:
    """Returns the edges of bins with equally many rows each (Gorishniy et al. 2022, section 3.2.1).

    Equal quantiles count once, so a column with repeated values has fewer bins.

    Args:
        numbers: (N, F), of the training rows.
        n_bins: the most that a column gets.

    Returns:
        Two or more ascending edges for each column. A constant column has one bin, which begins at its value.
    """
    shares = np.linspace(0, 1, n_bins + 1)
    # Column by column, as NumPy would copy all of them to sort their values.
    return [_edges(np.quantile(column, shares)) for column in numbers.numpy().T]


def tree_edges(
    numbers: Tensor, targets: Tensor, n_bins: int, *, are_classes: bool, weights: Tensor | None = None
) -> list[Tensor]:
    """Returns the edges at which a decision tree splits a column to predict the target (section 3.2.2).

    Args:
        numbers: (N, F), of the training rows.
        targets: (N,) class indices, (N, T) values, or (N, T) labels.
        n_bins: the most that a column gets: the maximum of leaves of its tree.
        are_classes: whether the targets are classes or labels.
        weights: (N,) of the rows.

    Returns:
        As `quantile_edges`.
    """
    # Imported here, as it takes a second and no other embedding needs it.
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    tree = (DecisionTreeClassifier if are_classes else DecisionTreeRegressor)(
        max_leaf_nodes=n_bins,
        min_samples_leaf=max(1, min(MIN_LEAF_ROWS, len(numbers) // n_bins)),
        min_impurity_decrease=MIN_IMPURITY_DECREASE,
        random_state=0,
    )
    own = None if weights is None else weights.numpy()
    known = targets.numpy().astype(np.int64) if are_classes else targets.numpy()
    edges = []
    for column in numbers.numpy().T:
        splits = tree.fit(column[:, np.newaxis], known, sample_weight=own).tree_
        # scikit-learn writes −1 for the missing children of a leaf.
        thresholds = splits.threshold[splits.children_left >= 0]
        edges.append(_edges(np.concatenate([[column.min(), column.max()], thresholds])))
    return edges


def _edges(places: npt.NDArray[np.floating]) -> Tensor:
    # Distinct as float32, the precision of the features, so that no bin has the width 0.
    distinct = np.unique(places.astype(np.float32))
    if len(distinct) == 1:  # wider than 1 for large values, where 1 would be lost in rounding
        distinct = np.append(distinct, distinct + np.maximum(1, np.abs(distinct)))
    return torch.from_numpy(distinct)
