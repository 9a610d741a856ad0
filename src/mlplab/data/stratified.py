"""Draws rows at random, stratified by class.

For the same seed the rows are exactly those of scikit-learn's `train_test_split`, as a test checks. Importing
scikit-learn takes longer than a short training.
"""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def draw(n_rows: int, size: int, seed: int, labels: npt.NDArray[np.generic] | None = None) -> tuple[Rows, Rows]:
    """Draws `size` of `n_rows` rows; returns the remaining and the drawn ones, both shuffled.

    Args:
        n_rows: number of rows.
        size: number of rows to draw.
        seed: of the generator.
        labels: (n_rows,) class of each row, to stratify by; None draws uniformly.

    Raises:
        ValueError: a class has a single row, or there are more classes than drawn or remaining rows.
    """
    # The legacy generator and the order of the draws are those of scikit-learn, or the rows would differ.
    generator = np.random.RandomState(seed)
    if labels is None:
        order = generator.permutation(n_rows)
        return order[size:], order[:size]
    classes, members = np.unique(labels, return_inverse=True)
    counts = np.bincount(members)
    if counts.min() < 2 or min(size, n_rows - size) < len(classes):
        raise ValueError("too few rows of a class, or for the classes")
    # The remaining rows are rounded first, then the drawn ones, from the counts that are left.
    n_left = _whole_shares(counts, n_rows - size, generator)
    n_drawn = _whole_shares(counts - n_left, size, generator)
    left, drawn = [], []
    for label, (stays, goes) in enumerate(zip(n_left, n_drawn, strict=True)):
        # First a permutation per class, then one of all, as scikit-learn does.
        rows = np.flatnonzero(members == label)[generator.permutation(counts[label])]
        left.append(rows[:stays])
        drawn.append(rows[stays : stays + goes])
    return generator.permutation(np.concatenate(left)), generator.permutation(np.concatenate(drawn))


def _whole_shares(counts: npt.NDArray[np.int64], total: int, generator: np.random.RandomState) -> npt.NDArray[np.int64]:
    """Rounds the shares of `counts` to whole numbers that add up to `total`.

    After rounding down, the classes with the largest remainders get one more each; among equal remainders, at random.
    """
    exact = counts / counts.sum() * total
    whole = np.floor(exact)
    over = int(total - whole.sum())
    lost = exact - whole
    # From the largest remainder down; equal ones together, as only among them the choice is random.
    for loss in np.unique(lost)[::-1]:
        if over <= 0:
            break
        equals = np.flatnonzero(lost == loss)
        chosen = generator.choice(equals, size=min(over, len(equals)), replace=False)
        whole[chosen] += 1
        over -= len(chosen)
    shares: npt.NDArray[np.int64] = whole.astype(np.int64)
    return shares
