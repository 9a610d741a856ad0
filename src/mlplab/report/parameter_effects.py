"""Importance of each parameter: exactly in a grid, by Optuna's importances in a search."""

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mlplab.report.learning_curves import thinned
from mlplab.sweeps.reading.sweep_records import Values

LEAST_SETTINGS = 12  # settings below which there is no model of a search

# Share of a grid's cells that must have a setting, and that must remain without the values with empty cells.
LEAST_FILLED, LEAST_KEPT = 0.7, 0.5
# Share of a search's settings that count as its best, and how many must be among them, as Optuna advises.
BEST_SHARE, LEAST_BEST = 0.1, 5
MOST_SETTINGS = 1_000  # settings from which importances are computed; of more, those at evenly spaced ranks

TREES, LEAST_PER_LEAF = 64, 2


@dataclass(frozen=True)
class Effects:
    """Holds how much each parameter matters."""

    method: str  # `grid` (shares of the variance of the runs) or `ped_anova` (of what tells the best settings from all)
    alone: dict[str, float]  # parameter → share of its main effect; for `ped_anova` they add up to 1
    pairs: dict[tuple[str, str], float]  # of a grid: share of an interaction beyond the two main effects
    noise: float | None  # share of the variance between seeds; None where it is not known
    explained: float | None  # R² of a forest on the ranks of settings that it has not seen; None for a grid
    n: int  # number of settings used
    without: tuple[tuple[str, float], ...] = ()  # values left out of a grid because some of their cells are empty

    @property
    def rest(self) -> float:
        """Returns the share that is left to further interactions, and to noise where that is not known."""
        return max(0.0, 1.0 - sum(self.alone.values()) - sum(self.pairs.values()) - (self.noise or 0.0))


def grid_effects(names: Sequence[str], places: Values, values: Values, noise: float | None = None) -> Effects | None:
    """Decomposes the variance of a grid; None if fewer than two parameters vary, or it is no grid.

    A value whose cells are empty (all its settings diverged, say) is left out, as long as most cells remain.

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
    levels, at = zip(*(np.unique(column, return_inverse=True) for column in places.T), strict=True)
    shape = tuple(map(len, levels))
    # As a float, because the cells of a large random search overflow an integer.
    if np.prod(np.array(shape, dtype=np.float64)) > len(values) / LEAST_FILLED:
        return None
    sums, counts = np.zeros(shape), np.zeros(shape)
    # Several settings can share a cell, of which `sums[at] += values` would count only one.
    np.add.at(sums, at, values)
    np.add.at(counts, at, 1)
    kept = [list(range(size)) for size in shape]
    without: list[tuple[str, float]] = []
    while (empty := counts[np.ix_(*kept)] == 0).any():
        # The value with the largest share of empty cells goes first.
        sizes = [(axis, place) for axis in range(empty.ndim) for place in range(empty.shape[axis])]
        _, axis, place = max((float(empty.take(place, axis=axis).mean()), axis, place) for axis, place in sizes)
        without.append((names[axis], float(levels[axis][kept[axis].pop(place)])))
        if np.prod([len(indices) for indices in kept]) < LEAST_KEPT * sums.size:
            return None
    cells = (sums[np.ix_(*kept)] / counts[np.ix_(*kept)]).squeeze()
    # Of a parameter with one value left nothing is known.
    names = [name for name, those in zip(names, kept, strict=True) if len(those) > 1]
    total = float(cells.var()) + (noise or 0.0)
    if cells.var() == 0 or cells.ndim < 2:
        return None
    every = range(cells.ndim)

    def share(*kept: int) -> float:
        # Sobol' (1993): the variance of the means over all other parameters, as a share of the whole.
        return float(cells.mean(axis=tuple(axis for axis in every if axis not in kept)).var()) / total

    alone = [share(axis) for axis in every]
    # Rounding can leave a share slightly below 0.
    pairs = {(names[a], names[b]): max(0.0, share(a, b) - alone[a] - alone[b]) for a, b in combinations(every, 2)}
    spread = None if noise is None else noise / total
    return Effects("grid", dict(zip(names, alone, strict=True)), pairs, spread, None, cells.size, tuple(without))


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
    chosen = np.argsort(ranks, kind="stable")[thinned(len(ranks), MOST_SETTINGS)]
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

    def kind(c: int) -> CategoricalDistribution | FloatDistribution:
        last = int(np.nanmax(places[:, c]))
        return CategoricalDistribution(range(last + 1)) if is_choice[c] else FloatDistribution(*ends[c])

    kinds = {c: kind(c) for c in varying}
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of the study that is made here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study()
        for row, rank in zip(places, ranks, strict=True):
            known = [c for c in varying if np.isfinite(row[c])]
            # Rounding can move a place beyond the end of its space.
            params = {names[c]: int(row[c]) if is_choice[c] else float(np.clip(row[c], *ends[c])) for c in known}
            spaces: dict[str, optuna.distributions.BaseDistribution] = {names[c]: kinds[c] for c in known}
            study.add_trial(optuna.trial.create_trial(value=float(rank), params=params, distributions=spaces))
        quantile = max(BEST_SHARE, min(0.5, LEAST_BEST / len(ranks)))
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    return Effects("ped_anova", shares, {}, None, explained, len(ranks))
