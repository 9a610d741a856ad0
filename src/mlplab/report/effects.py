"""How much of what settings differ in goes to each parameter, and to each pair beyond its two."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from mlplab.report.parameters import MANY

Values = npt.NDArray[np.float64]

LEAST_SETTINGS = 12
"""Fewer cannot teach a forest anything."""

LEAST_FILLED = 0.7
"""Share of the cells of a grid that have a setting."""

LEAST_KEPT = 0.5
"""Share of them that must stay when values with empty cells are left out."""

TREES, LEAVES, LEAST_PER_LEAF = 64, 128, 2
MOST_PAIRED = 8
"""Parameters whose pairs are looked at, by their own share."""


@dataclass(frozen=True)
class Effects:
    """Shares of the variance between settings.

    Attributes:
        method: `grid` (exact, from the means of the grid) or `forest` (of a forest's prediction over the space).
        alone: parameter → share of its main effect.
        pairs: two parameters → share of what they do together and neither does alone.
        explained: of a forest, the share of variance that it predicts of settings it has not seen (R²); None of a grid.
        n: settings that it rests on.
        without: of a grid, parameters with values that were left out, as some of their cells are empty.
    """

    method: str
    alone: dict[str, float]
    pairs: dict[tuple[str, str], float]
    explained: float | None
    n: int
    without: tuple[tuple[str, float], ...] = ()

    @property
    def rest(self) -> float:
        """What three or more do together, and noise."""
        return max(0.0, 1.0 - sum(self.alone.values()) - sum(self.pairs.values()))


def effects_of(names: Sequence[str], places: Values, values: Values) -> Effects | None:
    """The effects of parameters; None where fewer than two vary or there is too little to tell.

    Args:
        names: of the parameters, (P,).
        places: where each setting lies on their axes, (N, P); finite.
        values: what each has come to, (N,); finite.
    """
    varying = [column for column in range(places.shape[1]) if len(np.unique(places[:, column])) > 1]
    names, places = [names[column] for column in varying], places[:, varying]
    if len(names) < 2 or len(values) < 4 or np.ptp(values) == 0:
        return None
    found = _full_grid(places, values)
    if found is not None:
        cells, left_out = found
        return _of_grid(names, cells, tuple((names[column], place) for column, place in left_out))
    return _of_forest(names, places, values) if len(values) >= LEAST_SETTINGS else None


def _full_grid(places: Values, values: Values) -> tuple[Values, list[tuple[int, float]]] | None:
    """Means by cell, an axis for each parameter, and the values that were left out; None where it is no grid.

    Where all settings with some value have diverged, say, cells are empty: then that value is left out, as long as
    most of the cells stay.
    """
    levels, at = zip(*(np.unique(column, return_inverse=True) for column in places.T), strict=True)
    shape = tuple(len(level) for level in levels)
    if np.prod(np.array(shape, dtype=np.float64)) > len(values) / LEAST_FILLED:
        return None
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, tuple(at), values)
    np.add.at(counts, tuple(at), 1)
    kept = [list(range(size)) for size in shape]
    left_out: list[tuple[int, float]] = []
    while (empty := counts[np.ix_(*kept)] == 0).any():
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
    """The classical decomposition of a balanced table; None where nothing is left to decompose."""
    if cells.var() == 0 or sum(size > 1 for size in cells.shape) < 2:
        return None
    total, every = cells.var(), range(cells.ndim)

    def marginal(kept: tuple[int, ...]) -> Values:
        return np.asarray(cells.mean(axis=tuple(axis for axis in every if axis not in kept)))

    alone = [float(marginal((axis,)).var()) for axis in every]
    pairs = {
        (names[a], names[b]): max(0.0, float(marginal((a, b)).var()) - alone[a] - alone[b]) / float(total)
        for a, b in combinations(every, 2)
    }
    return Effects(
        "grid", {n: a / float(total) for n, a in zip(names, alone, strict=True)}, pairs, None, cells.size, without
    )


def _of_forest(names: Sequence[str], places: Values, values: Values) -> Effects | None:
    """Functional ANOVA of a random forest, uniform over the space that the settings span.

    Hutter, Hoos and Leyton-Brown (2014, "An Efficient Approach for Assessing Hyperparameter Importance", algorithm 2):
    a tree cuts the space into boxes, so its marginals are sums over boxes and exact. NOTE[DIFF] choices are cut by
    their order, as scikit-learn's trees do, and leaves hold at least two settings. What two parameters do together and
    neither alone is hidden from trees, which cut where a single one helps: its share comes out too small.
    """
    from sklearn.ensemble import RandomForestRegressor  # a second to import

    places = places.astype(np.float32).astype(np.float64)  # as the trees see them, so that their cuts lie within
    forest = RandomForestRegressor(
        TREES, max_leaf_nodes=LEAVES, min_samples_leaf=LEAST_PER_LEAF, bootstrap=True, oob_score=True, random_state=0
    ).fit(places, values)
    bounds = np.stack([_bounds(column) for column in places.T], axis=1)
    trees = [shares for tree in forest.estimators_ if (shares := _of_tree(tree.tree_, bounds)) is not None]
    if not trees:
        return None
    n, columns = len(trees), range(len(names))
    alone = {names[column]: sum(float(mains[column]) for mains, _ in trees) / n for column in columns}
    pairs = {
        (names[a], names[b]): sum(float(both.get((a, b), 0.0)) for _, both in trees) / n
        for a, b in combinations(columns, 2)
    }
    return Effects("forest", alone, pairs, float(forest.oob_score_), len(values))


def _bounds(column: Values) -> Values:
    """The ends of a parameter's space; where its values can be counted, each has a stretch of its own around it."""
    found = np.unique(column)
    if len(found) == 1 or len(found) > MANY:
        return np.array([found[0], found[-1]])
    return np.array([found[0] - (found[1] - found[0]) / 2, found[-1] + (found[-1] - found[-2]) / 2])


def _of_tree(tree: object, bounds: Values) -> tuple[Values, dict[tuple[int, int], float]] | None:
    """Shares of each column (P,) and of pairs, of a tree's own variance; None where it is constant."""
    boxes, leaves = _boxes(tree, bounds)
    sides = (boxes[:, 1] - boxes[:, 0]) / (bounds[1] - bounds[0])  # (leaves, P): the share of each side
    volumes = sides.prod(axis=1)
    mean = float(volumes @ leaves)
    total = float(volumes @ (leaves - mean) ** 2)
    if total <= 0:
        return None
    centred = volumes * (leaves - mean)
    grids = [_within(boxes[:, :, column], sides[:, column], bounds[:, column]) for column in range(boxes.shape[2])]
    alone = np.array([float(widths @ (centred @ inside) ** 2) for inside, widths in grids])
    paired = sorted(np.argsort(-alone)[:MOST_PAIRED].tolist())
    pairs = {}
    for a, b in combinations(paired, 2):
        (inside_a, widths_a), (inside_b, widths_b) = grids[a], grids[b]
        surface = (inside_a * centred[:, None]).T @ inside_b
        variance = float(widths_a @ surface**2 @ widths_b)
        pairs[a, b] = max(0.0, variance - float(alone[a]) - float(alone[b])) / total
    return alone / total, pairs


def _within(sides: Values, shares: Values, bound: Values) -> tuple[Values, Values]:
    """Which leaves cover each stretch between cuts, over their share of the side (leaves, S); the stretches (S,)."""
    cuts = np.unique(np.concatenate([sides.ravel(), bound]))
    widths = np.diff(cuts) / (bound[1] - bound[0])
    middles = (cuts[1:] + cuts[:-1]) / 2
    covers = (sides[:, :1] <= middles) & (middles <= sides[:, 1:])
    return covers / shares[:, None], widths


def _boxes(tree: object, bounds: Values) -> tuple[Values, Values]:
    """The box of each leaf (leaves, 2, P) and what it predicts (leaves,)."""
    left, right = tree.children_left, tree.children_right  # type: ignore[attr-defined]
    feature, threshold, value = tree.feature, tree.threshold, tree.value  # type: ignore[attr-defined]
    boxes, leaves, waiting = [], [], [(0, bounds)]
    while waiting:
        node, box = waiting.pop()
        if left[node] < 0:
            boxes.append(box)
            leaves.append(float(value[node].ravel()[0]))
            continue
        column = feature[node]
        low, high = box.copy(), box.copy()
        low[1, column] = high[0, column] = threshold[node]
        waiting += [(int(left[node]), low), (int(right[node]), high)]
    return np.stack(boxes), np.array(leaves)
