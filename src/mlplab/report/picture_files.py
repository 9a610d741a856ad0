"""Which pictures a sweep gets."""

from collections.abc import Iterable

from mlplab.report.analysis import Analysis
from mlplab.report.arms import Side
from mlplab.report.curve_figures import (
    arms_picture,
    best_places_picture,
    best_runs,
    best_runs_picture,
    medians_picture,
    profile_picture,
)
from mlplab.report.curves import reaching
from mlplab.report.figure_style import Picture, styled
from mlplab.report.parameter_figures import (
    LEAST_SHARE,
    MOST_PAIRS,
    effects_picture,
    pair_picture,
    parameter_picture,
)
from mlplab.report.ranked_settings import contenders, label
from mlplab.report.search_figures import front_picture, search_picture

MOST_PARAMETERS = 24
"""Pictures of single parameters; those with the largest effect are drawn."""


def draw(analysis: Analysis) -> dict[str, list[Picture]]:
    """Section → its pictures: comparison, parameters, curves."""
    with styled():
        return {
            "comparison": _whole(_comparison(analysis)),
            "parameters": _whole(_parameters(analysis)),
            "curves": _whole(_curves(analysis)),
        }


def _whole(pictures: Iterable[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def _comparison(analysis: Analysis) -> Iterable[Picture | None]:
    sweep = analysis.sweep
    if analysis.arms:
        yield arms_picture(sweep, analysis.arms)
    if sweep.target is not None:
        sides = [(arm.name, arm.tuned) for arm in analysis.arms if arm.tuned is not None]
        if not analysis.arms:
            best = contenders(analysis.settings)[:5]
            sides = [(label(s, analysis.names), Side(s, reaching(s.runs, sweep.target))) for s in best]
        yield profile_picture(sides, sweep.target)


def _parameters(analysis: Analysis) -> Iterable[Picture | None]:
    searched, scale = analysis.searched, analysis.scale
    if not any(setting.validation.mean is not None for setting in searched):
        return
    if analysis.effects is not None:
        yield effects_picture(analysis.effects, analysis.axes, analysis.names)
    if len(analysis.sweep.objectives) > 1 and any(
        all(s.spread(o.metric).mean is not None for o in analysis.sweep.objectives[:2]) for s in searched
    ):
        yield front_picture(analysis.sweep, searched)
    if analysis.sweep.asked.get("sweeper") == "optuna":
        yield search_picture(analysis.sweep, searched, scale)
    shares = analysis.effects.alone if analysis.effects is not None else {}
    varying = [axis for axis in analysis.axes.values() if axis.n_buckets > 1]
    for axis in sorted(varying, key=lambda axis: -shares.get(axis.name, 0.0))[:MOST_PARAMETERS]:
        yield parameter_picture(axis, searched, scale)
    pairs = sorted((analysis.effects.pairs if analysis.effects is not None else {}).items(), key=lambda item: -item[1])
    for (first, second), share in pairs[:MOST_PAIRS]:
        if share >= LEAST_SHARE:
            # The parameter with more values lies along the wider side.
            a, b = sorted((analysis.axes[first], analysis.axes[second]), key=lambda axis: -axis.n_buckets)
            yield pair_picture(a, b, searched, scale)


def _curves(analysis: Analysis) -> Iterable[Picture | None]:
    sweep, best = analysis.sweep, contenders(analysis.settings)
    yield best_runs_picture(sweep, *best_runs(best, dict(analysis.names)))
    metrics = ["val/loss", "train/loss"]
    if sweep.objective.metric.startswith("val/") and sweep.objective.metric not in metrics:
        metrics.insert(0, sweep.objective.metric)
    for metric in metrics:
        yield medians_picture(sweep, metric, best, [label(setting, analysis.names) for setting in best])
    yield best_places_picture(sweep.runs)
