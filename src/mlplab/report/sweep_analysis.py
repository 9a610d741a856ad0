"""Everything that a report says about a sweep, computed from its directory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Any

import numpy as np

from mlplab.report.charts import ChartAxis, ParameterAxis, axis_of, value_axis
from mlplab.report.findings import ArmResult, arms_of, findings_of
from mlplab.report.paired_tests import PairedTest, tests_between
from mlplab.report.parameter_effects import MOST_SETTINGS, Effects, grid_effects, search_effects
from mlplab.report.rerun_commands import commands
from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.reading.formatting import value_text, words_of
from mlplab.sweeps.reading.ranked_settings import (
    VALUELESS,
    Setting,
    by_data_set,
    names_of,
    of_stage,
    settings_of,
    short_names,
)
from mlplab.sweeps.reading.sweep_records import Finding, SweepRecord, Values


@dataclass(frozen=True)
class SweepAnalysis:
    """A sweep and the conclusions from it."""

    sweep: SweepRecord
    settings: list[Setting]  # ranked
    names: Mapping[str, str]  # swept parameter → short name
    axes: dict[str, ParameterAxis]  # of the swept parameters
    objective: ChartAxis  # on which the objective of searched settings is drawn
    effects: Effects | None  # None if there are too few settings
    arms: list[ArmResult]  # empty unless the sweep is a comparison
    tests: list[PairedTest]  # between settings that ran on the same seeds
    findings: list[Finding]  # results first, then caveats

    @cached_property
    def searched(self) -> list[Setting]:
        return of_stage(self.settings, "search")

    @cached_property
    def commands(self) -> dict[Setting, list[str]]:
        """Maps each setting to the commands that run it again."""
        return {setting: commands(setting, self.sweep.constants) for setting in self.settings}

    @property
    def by_effect(self) -> list[ParameterAxis]:
        """Lists the axes of the parameters that vary on some data set, those that matter most first."""
        shares = self.effects.alone if self.effects is not None else {}
        varying = [axis for axis in self.axes.values() if len(axis.texts) > 1]
        if self.sweep.data_sets:  # which are not compared
            varying = [axis for axis in varying if not tells_data_sets_apart(axis.name, self.searched)]
        return sorted(varying, key=lambda axis: -shares.get(axis.name, 0.0))


def conclusions(sweep: SweepRecord) -> SweepAnalysis:
    """Draws the conclusions from a sweep, or from runs that were pooled."""
    settings = settings_of(sweep)
    # Of the search alone, as its reruns only repeat values of it.
    searched, axes = of_stage(settings, "search"), {}
    for name in names_of(searched):
        # Arms have parameters of their own, and others are drawn under a condition only.
        values = [setting.values[name] for setting in searched if name in setting.values]
        axes[name] = axis_of(name, values, [spaces[name] for spaces in sweep.spaces.values() if name in spaces])
    scores = np.array([setting.score for setting in searched], dtype=np.float64)
    objective = value_axis(words_of(sweep.objective.metric), scores, sweep.objective.sign)
    arms = arms_of(settings)
    # With several objectives no setting is the best one against which others could be tested.
    # Folds share their training rows, so that their differences are not independent, as a test wants them.
    tests = tests_between(settings) if len(sweep.objectives) == 1 and sweep.repetition == "seed" else []
    findings = findings_of(sweep, settings, axes, arms, tests)
    effects = _effects(sweep, searched, axes, objective)
    return SweepAnalysis(sweep, settings, short_names(list(axes)), axes, objective, effects, arms, tests, findings)


def _effects(
    sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis], objective: ChartAxis
) -> Effects | None:
    """Computes how much parameters matter: from the means of a full grid, else from the ranks of all settings."""
    found: Effects | None
    ranked = [setting for setting in settings if setting.sort_key[0] < VALUELESS]
    finished = [setting for setting in ranked if setting.validation.mean is not None]
    names = [name for name in axes if not (sweep.data_sets and tells_data_sets_apart(name, ranked))]
    # Pruned settings have no comparable mean, but a place behind the others.
    if len(finished) == len(ranked):
        common = [name for name in names if all(name in setting.values for setting in finished)]
        places = places_of(axes, common, finished)
        is_whole = np.isfinite(places).all(axis=1)
        means, variances = _scaled(sweep, finished, objective)
        noise = variances[is_whole & np.isfinite(variances)]
        noise_of_all = float(noise.mean()) if len(noise) else None
        if (found := grid_effects(common, places[is_whole], means[is_whole], noise_of_all)) is not None:
            return found
    # On each data set by themselves; equal keys share a rank.
    keys = {data: sorted({s.sort_key for s in those}) for data, those in by_data_set(ranked).items()}
    orders = {data: {key: rank / len(those) for rank, key in enumerate(those)} for data, those in keys.items()}
    ranks = np.array([orders[setting.data_set][setting.sort_key] for setting in ranked])
    choices, ends = [bool(axes[name].choices) for name in names], [axes[name].ends for name in names]
    # scikit-learn takes more memory than thousands of runs, and keeps it until its process ends.
    with calling(apart=len(ranked) > MOST_SETTINGS) as call:
        found = call(search_effects, names, places_of(axes, names, ranked), ranks, choices, ends)
    return found


def tells_data_sets_apart(name: str, settings: Sequence[Setting]) -> bool:
    """Returns whether a parameter has one value on each data set, within which alone values are compared."""
    groups = by_data_set(settings).values()
    return all(len({value_text(s.values.get(name)) for s in those}) == 1 for those in groups)


def places_of(axes: Mapping[str, ParameterAxis], names: Sequence[str], those: Sequence[Setting | Entry]) -> Values:
    """Returns the places of settings or jobs on axes, NaN where one has no such parameter; (N, P)."""
    places = np.full((len(those), len(names)), np.nan)
    for column, name in enumerate(names):
        having = [row for row, one in enumerate(those) if name in one.values]
        places[having, column] = axes[name].places([those[row].values[name] for row in having])
    return places


def _scaled(sweep: SweepRecord, settings: Sequence[Setting], objective: ChartAxis) -> tuple[Values, Values]:
    """Returns means of settings, and the variances of their runs (NaN for one run), on the axis of the charts."""
    # On the axis as drawn: on a linear one, a few diverged losses would be nearly all of the variance.
    means = objective.transformed(np.array([setting.score for setting in settings], dtype=np.float64))
    runs = [objective.transformed(np.array(setting.validation.values)) for setting in settings]
    variances = np.array([values.var() if len(values) > 1 else np.nan for values in runs])
    data_sets = np.array([setting.data_set for setting in settings])
    for data_set in {*data_sets} if sweep.data_sets else ():
        # Values on different data have no common level and scale.
        inside = data_sets == data_set
        deviation = float(means[inside].std()) or 1.0
        means[inside] = (means[inside] - means[inside].mean()) / deviation
        variances[inside] /= deviation**2
    return means, variances


@contextmanager
def calling(*, apart: bool) -> Iterator[Callable[..., Any]]:
    """Provides a function that calls another one, in a process of its own if asked for: some keep much memory."""
    if not apart:
        yield lambda function, *given: function(*given)
        return
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *given: pool.submit(function, *given).result()


def parameters_of(analysis: SweepAnalysis) -> list[str]:
    """Lists the swept parameters, seeds last."""
    names = dict.fromkeys(name for run in analysis.sweep.runs for name in run.entry.values)
    return sorted(names, key=lambda name: name in SEEDS)[:0x1000]
