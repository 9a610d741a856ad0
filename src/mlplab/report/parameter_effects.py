"""Importance of each parameter: exactly in a grid, by Optuna's importances in a search."""

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from mlplab.report.learning_curves import thinned

Values = npt.NDArray[np.float64]

LEAST_SETTINGS = 12
"""Settings below which there is no model of a search."""

LEAST_FILLED = 0.7
"""Share of the cells of a grid that must have a setting."""

LEAST_KEPT = 0.5
"""Share of the cells that must remain after values with empty cells are left out."""

BEST_SHARE, LEAST_BEST = 0.1, 5
"""Share of a search's settings that count as its best, and how many must be among them, as Optuna advises."""

MOST_SETTINGS = 2_000
"""Settings from which importances are computed; of more, those at evenly spaced ranks."""

TREES, LEAST_PER_LEAF = 64, 2


@dataclass(frozen=True)
class Effects:
    """Holds how much each parameter matters.

    Attributes:
        method: `grid` (shares of the variance of the runs) or `ped_anova` (of what tells the best settings from all).
        alone: parameter → share of its main effect; for `ped_anova` they add up to 1.
        pairs: two parameters → share of their interaction beyond the two main effects; of a grid alone.
        noise: share of the variance between seeds; None where it is not known.
        explained: share of the variance of unseen settings' ranks that a forest predicts (R²); None for a grid.
        n: number of settings used.
        without: parameters with the values left out of a grid because some of their cells are empty.
    """

    method: str
    alone: dict[str, float]
    pairs: dict[tuple[str, str], float]
    noise: float | None
    explained: float | None
    n: int
    without: tuple[tuple[str, float], ...] = ()

    @property
    def rest(self) -> float:
        """Returns the share that is left to further interactions, and to noise where that is not known."""
        return max(0.0, 1.0 - sum(self.alone.values()) - sum(self.pairs.values()) - (self.noise or 0.0))


def grid_effects(names: Sequence[str], places: Values, values: Values, noise: float | None = None) -> Effects | None:
    """Decomposes the variance of a grid; None if fewer than two parameters vary, or it is no grid.

    Args:
        names: of the parameters, (P,).
        places: of the settings on their axes, (N, P); finite.
        values: means of the settings, (N,); finite.
        noise: mean variance of a setting's runs around its mean; None where it is not known.
    """
    varying = [column for column in range(places.shape[1]) if len(np.unique(places[:, column])) > 1]
    names, places = [names[column] for column in varying], places[:, varying]
    # Two by two is the smallest table with two effects.
    if len(names) < 2 or len(values) < 4 or np.ptp(values) == 0:
        return None
    found = _full_grid(places, values)
    if found is None:
        return None
    cells, left_out = found
    return _of_grid(names, cells, noise, tuple((names[column], place) for column, place in left_out))


def search_effects(
    names: Sequence[str], places: Values, ranks: Values, is_choice: Sequence[bool], ends: Sequence[tuple[float, float]]
) -> Effects | None:
    """Computes importances by PED-ANOVA; None if there are too few settings, or ranks do not depend on parameters.

    Watanabe, Bansal and Hutter (2023, "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
    subspaces"), by Optuna.

    Args:
        names: of the parameters, (P,).
        places: of the settings on their axes, (N, P); NaN where a setting has no such parameter.
        ranks: of the settings, the best first, (N,); finite.
        is_choice: whether the values of a parameter have no order, (P,).
        ends: of the space of each parameter, (P,).
    """
    varying = [c for c in range(len(names)) if len(np.unique(places[np.isfinite(places[:, c]), c])) > 1]
    if len(ranks) < LEAST_SETTINGS or len(varying) < 2 or importlib.util.find_spec("optuna") is None:
        return None
    n = len(ranks)
    chosen = np.argsort(ranks, kind="stable")[thinned(n, MOST_SETTINGS)]
    places, ranks = places[chosen], ranks[chosen]
    # Importances of noise add up to 1 as well, so a model has to predict settings that it has not seen.
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(TREES, min_samples_leaf=LEAST_PER_LEAF, oob_score=True, random_state=0)
    explained = float(forest.fit(places[:, varying], ranks).oob_score_)
    if explained <= 0:
        return None
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    kinds = {
        names[c]: CategoricalDistribution(range(int(np.nanmax(places[:, c])) + 1))
        if is_choice[c]
        else FloatDistribution(*ends[c])
        for c in varying
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of the study that is made here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study()
        for row, rank in zip(places, ranks, strict=True):
            known = {names[c]: _param(row[c], is_choice[c], ends[c]) for c in varying if np.isfinite(row[c])}
            study.add_trial(
                optuna.trial.create_trial(
                    value=float(rank), params=known, distributions={name: kinds[name] for name in known}
                )
            )
        quantile = max(BEST_SHARE, min(0.5, LEAST_BEST / len(ranks)))
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    return Effects("ped_anova", shares, {}, None, explained, n)


def _param(place: float, is_choice: bool, ends: tuple[float, float]) -> int | float:
    # Rounding can move a place beyond the end of its space.
    return int(place) if is_choice else float(np.clip(place, *ends))


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


def _of_grid(
    names: Sequence[str], cells: Values, noise: float | None, without: tuple[tuple[str, float], ...]
) -> Effects | None:
    """Decomposes the variance of a balanced table; None if there is none."""
    # Of a parameter with one value left nothing is known.
    kept = [axis for axis, size in enumerate(cells.shape) if size > 1]
    names, cells = [names[axis] for axis in kept], cells.squeeze()
    total = float(cells.var()) + (noise or 0.0)
    if cells.var() == 0 or cells.ndim < 2:
        return None
    every = range(cells.ndim)

    def share(kept: tuple[int, ...]) -> float:
        # Sobol' (1993): the variance of the means over all other parameters, as a share of the whole.
        return float(cells.mean(axis=tuple(axis for axis in every if axis not in kept)).var()) / total

    alone = [share((axis,)) for axis in every]
    # Rounding can leave a share slightly below 0.
    pairs = {(names[a], names[b]): max(0.0, share((a, b)) - alone[a] - alone[b]) for a, b in combinations(every, 2)}
    spread = None if noise is None else noise / total
    return Effects("grid", dict(zip(names, alone, strict=True)), pairs, spread, None, cells.size, without)
