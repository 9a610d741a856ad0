"""Assigns rows to the test parts of a k-fold cross-validation."""

import numpy as np
import numpy.typing as npt

from mlplab.data.stratified import Rows
from mlplab.errors import UserError


def rows_of_fold(
    n_rows: int,
    fold: int,
    n_folds: int,
    *,
    seed: int,
    labels: npt.NDArray[np.int64] | None = None,
    groups: npt.NDArray[np.int64] | None = None,
    times: npt.NDArray[np.float64] | None = None,
) -> tuple[Rows, Rows]:
    """Returns the rows that a fold may learn from and its test rows, both ascending.

    Without times each row is tested in exactly one fold: drawn at random, each class spread evenly over the folds
    (Kohavi 1995, "A study of cross-validation and bootstrap"); with groups, whole groups. With times the rows are cut
    into `n_folds` + 1 blocks of rising time: fold i learns from the first i + 1 blocks and is tested on the next. Later
    rows are in no part, as a fold must not learn from rows after its test.

    Args:
        n_rows: number of rows.
        fold: from 0 to `n_folds` - 1.
        n_folds: at least 2.
        seed: of the draw, the same for all folds.
        labels: (n_rows,) class of each row, to stratify by.
        groups: (n_rows,) group of each row; groups stay together.
        times: (n_rows,) time of each row.

    Raises:
        UserError: there are fewer rows, groups or times than folds.
    """
    if times is not None:
        block_of = _blocks(times, n_folds + 1)
        return np.flatnonzero(block_of <= fold), np.flatnonzero(block_of == fold + 1)
    generator = np.random.default_rng(seed)
    if groups is not None:
        fold_of = _folds_of_groups(groups, n_folds, generator)
    else:
        _require(n_rows, n_folds, "rows")
        classes = np.zeros(n_rows, np.int64) if labels is None else labels
        # In random order, then by class: dealt out in turn, folds differ by one row at most, and so does each class.
        order = generator.permutation(n_rows)
        order = order[np.argsort(classes[order], kind="stable")]
        fold_of = np.empty(n_rows, np.int64)
        fold_of[order] = np.arange(n_rows) % n_folds
    return np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def _folds_of_groups(
    groups: npt.NDArray[np.int64], n_folds: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Assigns groups, largest first and ties at random, to the fold with the fewest rows so far."""
    names, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
    _require(len(names), n_folds, "groups in data.group_column")
    order = generator.permutation(len(names))
    sizes = np.zeros(n_folds, np.int64)
    fold_of_group = np.empty(len(names), np.int64)
    for group in order[np.argsort(-counts[order], kind="stable")]:
        smallest = int(sizes.argmin())
        fold_of_group[group] = smallest
        sizes[smallest] += counts[group]
    found: npt.NDArray[np.int64] = fold_of_group[members]
    return found


def _blocks(times: npt.NDArray[np.float64], n_blocks: int) -> npt.NDArray[np.int64]:
    """Cuts rows into blocks of rising time and nearly equal size; rows of equal time stay together."""
    moments, members, counts = np.unique(times, return_inverse=True, return_counts=True)
    _require(len(moments), n_blocks, "different times in data.time_column, one more than folds")
    # The middle of a time's rows decides on its block; then every block must get at least one time.
    middle = np.cumsum(counts) - counts / 2
    block_of = np.minimum((middle * n_blocks / len(times)).astype(np.int64), n_blocks - 1)
    places = np.arange(len(moments))
    first = np.searchsorted(block_of, np.arange(n_blocks))
    for block in range(1, n_blocks):
        first[block] = max(first[block], first[block - 1] + 1)
    for block in range(n_blocks - 1, 0, -1):
        first[block] = min(first[block], len(moments) - (n_blocks - block))
    found: npt.NDArray[np.int64] = (np.searchsorted(first, places, side="right") - 1)[members]
    return found


def _require(n_found: int, n_least: int, what: str) -> None:
    if n_found < n_least:
        raise UserError(
            f"data.folds must leave a test part to each fold: at least {n_least} {what}", f"there are {n_found:,}",
            "fewer data.folds",
        )  # fmt: skip
