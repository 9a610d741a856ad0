"""Everything that a report says about a sweep, computed from its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlplab.report.arm_results import ArmResult, arm_findings, arms_of
from mlplab.report.caveats import caveats_of
from mlplab.report.charts import ChartAxis, value_axis
from mlplab.report.findings import results_of
from mlplab.report.paired_tests import PairedTest, tests_between
from mlplab.report.parameter_axes import ParameterAxis, axis_of
from mlplab.report.parameter_effects import Effects, effects_of
from mlplab.report.ranked_settings import Setting, names_of, of_stage, settings_of, short_names
from mlplab.report.sweep_reading import read_sweep
from mlplab.report.sweep_records import Finding, SweepRecord


@dataclass(frozen=True)
class SweepAnalysis:
    """A sweep and the conclusions from it.

    Attributes:
        sweep: as it was read.
        settings: ranked.
        names: swept parameter → short name.
        axes: swept parameter → axis.
        objective: axis on which the objective of searched settings is drawn.
        effects: None if there are too few settings.
        arms: empty unless the sweep is a comparison.
        tests: between settings that ran on the same seeds.
        findings: results first, then caveats.
    """

    sweep: SweepRecord
    settings: list[Setting]
    names: Mapping[str, str]
    axes: dict[str, ParameterAxis]
    objective: ChartAxis
    effects: Effects | None
    arms: list[ArmResult]
    tests: list[PairedTest]
    findings: list[Finding]

    @property
    def searched(self) -> list[Setting]:
        return of_stage(self.settings, "search")


def analyse(directory: Path) -> SweepAnalysis:
    """Reads a sweep and draws the conclusions.

    Raises:
        UserError: the directory holds no sweep.
    """
    sweep = read_sweep(directory)
    settings = settings_of(sweep)
    searched = of_stage(settings, "search")
    axes = {}
    # Of the search alone, as its reruns only repeat values of it.
    for name in names_of(searched):
        # Arms have parameters of their own, and others are drawn under a condition only.
        values = [setting.values[name] for setting in searched if name in setting.values]
        axes[name] = axis_of(name, values, sweep.spaces_of(name))
    scores = np.array([setting.score for setting in searched], dtype=np.float64)
    objective = value_axis(sweep.objective.metric, scores, sweep.objective.sign)
    arms = arms_of(settings)
    # With several objectives no setting is the best one against which others could be tested.
    tests = tests_between(settings) if len(sweep.objectives) == 1 else []
    findings = [*results_of(sweep, settings, tests), *arm_findings(sweep, arms), *caveats_of(sweep, settings, axes)]
    effects = _effects(sweep, searched, axes, objective)
    return SweepAnalysis(sweep, settings, short_names(list(axes)), axes, objective, effects, arms, tests, findings)


def _effects(
    sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis], objective: ChartAxis
) -> Effects | None:
    """Computes effects of the parameters that every setting has, on the axis of the charts."""
    known = [setting for setting in settings if setting.validation.mean is not None]
    # The decomposition needs a value of each parameter for each setting.
    names = [name for name in axes if all(name in setting.values for setting in known)]
    if not known or not names:
        return None
    places = np.stack([axes[name].places([s.values[name] for s in known]) for name in names], axis=1)
    is_whole = np.isfinite(places).all(axis=1)
    # On the axis as drawn: on a linear one, a few diverged losses would be nearly all of the variance.
    means = objective.transformed(np.array([setting.score for setting in known], dtype=np.float64))
    data_sets = np.array([setting.data_set for setting in known])
    for data_set in np.unique(data_sets):
        # Values on different data have no common level and scale.
        own = means[data_sets == data_set]
        means[data_sets == data_set] = (own - own.mean()) / (own.std() or 1.0) if sweep.data_sets else own
    return effects_of(names, places[is_whole], means[is_whole])
