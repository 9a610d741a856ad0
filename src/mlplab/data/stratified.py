"""Rows drawn at random, with the shares of the classes kept.

The draws are those of scikit-learn's `train_test_split` for the same seed, to the row, which a test holds them to;
importing that takes longer than a short training.
"""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def draw(n_rows: int, size: int, seed: int, labels: npt.NDArray[np.generic] | None = None) -> tuple[Rows, Rows]:
    """The rows that are left, and `size` rows that are drawn, each in an order of its own.

    Args:
        n_rows: there are.
        size: how many are drawn.
        seed: decides which.
        labels: (n_rows,) whose shares both keep as nearly as whole rows can; None draws from all alike.

    Raises:
        ValueError: a class has a single row, or one of the two has fewer rows than there are classes.
    """
    generator = np.random.RandomState(seed)
    if labels is None:
        order = generator.permutation(n_rows)
        return order[size:], order[:size]
    classes, members = np.unique(labels, return_inverse=True)
    counts = np.bincount(members)
    if counts.min() < 2 or min(size, n_rows - size) < len(classes):
        raise ValueError("too few rows of a class, or for the classes")
    n_left = _whole_shares(counts, n_rows - size, generator)
    n_drawn = _whole_shares(counts - n_left, size, generator)
    left, drawn = [], []
    for label, (stays, goes) in enumerate(zip(n_left, n_drawn, strict=True)):
        rows = np.flatnonzero(members == label)[generator.permutation(counts[label])]
        left.append(rows[:stays])
        drawn.append(rows[stays : stays + goes])
    return generator.permutation(np.concatenate(left)), generator.permutation(np.concatenate(drawn))


def _whole_shares(counts: npt.NDArray[np.int64], total: int, generator: np.random.RandomState) -> npt.NDArray[np.int64]:
    """Whole numbers that add up to `total`, as near as can be to the shares of `counts`.

    What is over after rounding down goes to the classes that lost most by it; among equals it is drawn.
    """
    exact = counts / counts.sum() * total
    whole = np.floor(exact)
    over = int(total - whole.sum())
    lost = exact - whole
    for loss in np.unique(lost)[::-1]:
        if over <= 0:
            break
        equals = np.flatnonzero(lost == loss)
        chosen = generator.choice(equals, size=min(over, len(equals)), replace=False)
        whole[chosen] += 1
        over -= len(chosen)
    shares: npt.NDArray[np.int64] = whole.astype(np.int64)
    return shares
