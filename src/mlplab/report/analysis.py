"""From a sweep's directory to all that its report tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlplab.report.arms import Arm, arms_of
from mlplab.report.caveats import cautions
from mlplab.report.collecting import gather
from mlplab.report.comparison_findings import of_arms
from mlplab.report.effects import Effects, effects_of
from mlplab.report.findings import Finding, results
from mlplab.report.finished_runs import Gathered
from mlplab.report.paired_comparisons import Tested, tests_between
from mlplab.report.parameters import Axis, axis_of
from mlplab.report.ranked_settings import Setting, names_of, of_stage, settings_of, short_names
from mlplab.report.scales import Scale, scale_of


@dataclass(frozen=True)
class Analysis:
    """What is known of a sweep.

    Attributes:
        sweep: as it was gathered.
        settings: ranked.
        names: of what was swept, with their short forms.
        axes: of what was swept, by name.
        scale: on which the objective is drawn.
        effects: of the search's settings; None where there is too little to tell.
        arms: of a comparison.
        tests: between settings.
        findings: the most telling first.
    """

    sweep: Gathered
    settings: list[Setting]
    names: Mapping[str, str]
    axes: dict[str, Axis]
    scale: Scale
    effects: Effects | None
    arms: list[Arm]
    tests: list[Tested]
    findings: list[Finding]

    @property
    def searched(self) -> list[Setting]:
        return of_stage(self.settings, "search")


def analyse(directory: Path) -> Analysis:
    """Reads a sweep and draws its conclusions.

    Raises:
        UserError: there is no sweep in the directory.
    """
    sweep = gather(directory)
    settings = settings_of(sweep)
    searched = of_stage(settings, "search")
    axes = {}
    for name in names_of(searched):
        taken = [setting.values[name] for setting in searched if name in setting.values]
        axes[name] = axis_of(name, taken, sweep.space.get(name, {}))
    means = np.array([np.nan if s.validation.mean is None else s.validation.mean for s in searched], dtype=np.float64)
    scale = scale_of(means, sweep.objective.sign)
    arms = arms_of(sweep, settings)
    # By one of several objectives none is the best, that others could be tested against.
    tests = tests_between(settings) if len(sweep.objectives) == 1 else []
    findings = [*results(sweep, settings, tests), *of_arms(sweep, arms), *cautions(sweep, settings, axes)]
    effects = _effects(searched, axes, scale)
    return Analysis(sweep, settings, short_names(list(axes)), axes, scale, effects, arms, tests, findings)


def _effects(settings: Sequence[Setting], axes: Mapping[str, Axis], scale: Scale) -> Effects | None:
    """Of the parameters that every setting has, on the scale that the pictures have."""
    known = [setting for setting in settings if setting.validation.mean is not None]
    names = [name for name in axes if all(name in setting.values for setting in known)]
    if not known or not names:
        return None
    places = np.stack([axes[name].places([s.values[name] for s in known]) for name in names], axis=1)
    whole = np.isfinite(places).all(axis=1)
    means = np.array([setting.validation.mean for setting in known], dtype=np.float64)
    return effects_of(names, places[whole], scale.transformed(means[whole]))
