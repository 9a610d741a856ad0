"""Shares of the variance between settings that are explained by each parameter, and in a grid by each pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from mlplab.report.parameter_axes import MANY

Values = npt.NDArray[np.float64]

LEAST_SETTINGS = 12
"""Settings below which a forest is not fitted."""

LEAST_FILLED = 0.7
"""Share of the cells of a grid that must have a setting."""

LEAST_KEPT = 0.5
"""Share of the cells that must remain after values with empty cells are left out."""

TREES, LEAVES, LEAST_PER_LEAF = 64, 128, 2
POINTS, RESOLUTION = 512, 24
"""Points of the space that a forest's prediction is averaged over, and values of a parameter on its curve."""


@dataclass(frozen=True)
class Effects:
    """Shares of the variance between settings.

    Attributes:
        method: `grid` (exact, from the means of the grid) or `forest` (of a forest's prediction over the space).
        alone: parameter → share of its main effect.
        pairs: two parameters → share of their interaction beyond the two main effects; empty for a forest.
        explained: share of the variance of unseen settings that a forest predicts (R²); None for a grid.
        n: number of settings used.
        without: parameters with the values left out of a grid because some of their cells are empty.
    """

    method: str
    alone: dict[str, float]
    pairs: dict[tuple[str, str], float]
    explained: float | None
    n: int
    without: tuple[tuple[str, float], ...] = ()

    @property
    def rest(self) -> float:
        """Returns the share that is left to further interactions and noise."""
        return max(0.0, 1.0 - sum(self.alone.values()) - sum(self.pairs.values()))


def effects_of(names: Sequence[str], places: Values, values: Values) -> Effects | None:
    """Computes the effects of parameters; None if fewer than two vary or there are too few settings.

    Args:
        names: of the parameters, (P,).
        places: of the settings on their axes, (N, P); finite.
        values: means of the settings, (N,); finite.
    """
    varying = [column for column in range(places.shape[1]) if len(np.unique(places[:, column])) > 1]
    names, places = [names[column] for column in varying], places[:, varying]
    # Two by two is the smallest table with two effects.
    if len(names) < 2 or len(values) < 4 or np.ptp(values) == 0:
        return None
    # A grid is decomposed exactly; only without one is a model of the space needed.
    found = _full_grid(places, values)
    if found is not None:
        cells, left_out = found
        return _of_grid(names, cells, tuple((names[column], place) for column, place in left_out))
    return _of_forest(names, places, values) if len(values) >= LEAST_SETTINGS else None


def _full_grid(places: Values, values: Values) -> tuple[Values, list[tuple[int, float]]] | None:
    """Returns means by cell, with an axis for each parameter, and the values left out; None if this is no grid.

    A value whose cells are empty (all its settings diverged, say) is left out, as long as most cells remain.
    """
    levels, at = zip(*(np.unique(column, return_inverse=True) for column in places.T), strict=True)
    shape = tuple(len(level) for level in levels)
    # As a float, because the cells of a large random search overflow an integer.
    if np.prod(np.array(shape, dtype=np.float64)) > len(values) / LEAST_FILLED:
        return None
    sums, counts = np.zeros(shape), np.zeros(shape)
    # Several settings can share a cell, of which `sums[at] += values` would count only one.
    np.add.at(sums, tuple(at), values)
    np.add.at(counts, tuple(at), 1)
    kept = [list(range(size)) for size in shape]
    left_out: list[tuple[int, float]] = []
    while (empty := counts[np.ix_(*kept)] == 0).any():
        # The value with the largest share of empty cells goes first.
        shares = [
            (float(empty.take(place, axis=axis).mean()), axis, place)
            for axis in range(empty.ndim)
            for place in range(empty.shape[axis])
        ]
        _, axis, place = max(shares)
        left_out.append((axis, float(levels[axis][kept[axis].pop(place)])))
        if np.prod([len(indices) for indices in kept]) < LEAST_KEPT * sums.size:
            return None
    inside = np.ix_(*kept)
    return sums[inside] / counts[inside], left_out


def _of_grid(names: Sequence[str], cells: Values, without: tuple[tuple[str, float], ...]) -> Effects | None:
    """Decomposes the variance of a balanced table; None if there is none."""
    total = float(cells.var())
    if total == 0 or sum(size > 1 for size in cells.shape) < 2:
        return None
    every = range(cells.ndim)

    def share(kept: tuple[int, ...]) -> float:
        # Sobol' (1993): the variance of the means over all other parameters, as a share of the whole.
        return float(cells.mean(axis=tuple(axis for axis in every if axis not in kept)).var()) / total

    alone = [share((axis,)) for axis in every]
    # Rounding can leave a share slightly below 0.
    pairs = {(names[a], names[b]): max(0.0, share((a, b)) - alone[a] - alone[b]) for a, b in combinations(every, 2)}
    return Effects("grid", dict(zip(names, alone, strict=True)), pairs, None, cells.size, without)


def _of_forest(names: Sequence[str], places: Values, values: Values) -> Effects | None:
    """Computes main effects by functional ANOVA of a random forest, uniform over the space of the settings.

    Hutter, Hoos and Leyton-Brown (2014, "An Efficient Approach for Assessing Hyperparameter Importance").
    NOTE[DIFF] Means are taken over points of the space, not over the boxes of each tree; choices are split by their
    order, as scikit-learn's trees do; interactions are left out, because trees find too little of them.
    """
    # Not above: the imports take a second, for which reports of grids need not wait.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import partial_dependence

    # Leaves of two settings and a fixed seed: the same sweep has the same effects.
    forest = RandomForestRegressor(
        TREES, max_leaf_nodes=LEAVES, min_samples_leaf=LEAST_PER_LEAF, oob_score=True, random_state=0
    ).fit(places, values)
    low, high = np.array([_bounds(column) for column in places.T]).T
    space = low + (high - low) * np.random.default_rng(0).uniform(size=(POINTS, len(names)))
    total = float(forest.predict(space).var())
    if total == 0:
        return None
    shares = {}
    for column, name in enumerate(names):
        # Middles of equal stretches: with the ends among them, the ends would count double.
        ends = (0.5 / RESOLUTION, 1 - 0.5 / RESOLUTION)
        # Not by the faster recursion, which weighs the space by where the search has been.
        curve = partial_dependence(
            forest, space, [column], percentiles=ends, grid_resolution=RESOLUTION, method="brute"
        )["average"]
        shares[name] = float(curve.var()) / total
    return Effects("forest", shares, {}, float(forest.oob_score_), len(values))


def _bounds(column: Values) -> tuple[float, float]:
    """Returns the ends of a parameter's space; around few distinct values, each has a stretch of its own."""
    found = np.unique(column)
    if len(found) > MANY:
        return float(found[0]), float(found[-1])
    return float(found[0] - (found[1] - found[0]) / 2), float(found[-1] + (found[-1] - found[-2]) / 2)
