"""The charts of a sweep: which ones it gets, and their rows."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mlplab.report.charts import FAULT, INK, MUTED, SERIES, Chart, ChartAxis, Layer, Row, rows_of, value_axis
from mlplab.report.formatting import goal, number
from mlplab.report.learning_curves import best_places, median_rows
from mlplab.report.parameter_axes import ParameterAxis
from mlplab.report.ranked_settings import Setting, contenders, pareto_front, table_of
from mlplab.report.sweep_analysis import SweepAnalysis, tells_data_sets_apart
from mlplab.report.sweep_records import RunRecord

MOST_PARAMETERS = 24
"""Charts of single parameters; those with the largest effect are drawn."""

MOST_PAIRS, LEAST_SHARE = 4, 0.02
"""Heat maps of pairs, and the share of the variance below which a pair gets none."""

MOST_CURVES = 5
"""Settings in a chart of curves; more lines cannot be told apart."""

PARTS = {"val": "Validation", "train": "Training"}


def charts_of(analysis: SweepAnalysis) -> dict[str, list[Chart]]:
    """Returns section → its charts: comparison, parameters, curves."""
    # Each section has an entry, if only an empty one, as the page looks them up by name.
    sections = {"comparison": _comparison, "parameters": _parameters, "curves": _curves}
    return {name: [chart for chart in make(analysis) if chart is not None] for name, make in sections.items()}


def _comparison(analysis: SweepAnalysis) -> Iterable[Chart | None]:
    if analysis.arms:
        yield arms_chart(analysis)
    if analysis.sweep.target is not None:
        yield target_chart(analysis)


def _parameters(analysis: SweepAnalysis) -> Iterable[Chart | None]:
    searched, objective, effects = analysis.searched, analysis.objective, analysis.effects
    if not np.isfinite([setting.score for setting in searched]).any():
        return
    if effects is not None:
        yield effects_chart(analysis)
    if len(analysis.sweep.objectives) > 1:
        yield front_chart(analysis)
    if analysis.sweep.asked.get("sweeper") == "optuna":
        yield search_chart(analysis)
    # The parameters that matter most come first, and are drawn if there are too many.
    shares = effects.alone if effects is not None else {}
    varying = [axis for axis in analysis.axes.values() if axis.n_buckets > 1]
    if analysis.sweep.data_sets:  # which are not compared
        varying = [axis for axis in varying if not tells_data_sets_apart(axis.name, searched)]
    for axis in sorted(varying, key=lambda axis: -shares.get(axis.name, 0.0))[:MOST_PARAMETERS]:
        yield parameter_chart(axis, searched, objective)
    # A cell would mix values on different data.
    known_pairs = effects.pairs if effects is not None and not analysis.sweep.data_sets else {}
    pairs = sorted(known_pairs.items(), key=lambda item: -item[1])
    for names, share in pairs[:MOST_PAIRS]:
        if share >= LEAST_SHARE:
            # The parameter with more values lies along the wider side.
            wide, high = sorted((analysis.axes[name] for name in names), key=lambda axis: -axis.n_buckets)
            yield pair_chart(wide, high, searched, objective)


def _curves(analysis: SweepAnalysis) -> Iterable[Chart | None]:
    metric = analysis.sweep.objective.metric
    # Objectives such as the number of parameters have no curve.
    for name in dict.fromkeys([metric, "val/loss"] if metric.startswith("val/") else ["val/loss"]):
        yield curves_chart(analysis, name)
    yield best_epoch_chart(analysis.sweep.runs)


def parameter_chart(axis: ParameterAxis, settings: Sequence[Setting], y: ChartAxis) -> Chart:
    """Shows a parameter against the objective: a point for each setting, a cross if one of its runs failed."""
    with_parameter = [setting for setting in settings if axis.name in setting.values]
    objective = with_parameter[0].objective
    groups = list(dict.fromkeys(setting.arm or setting.data_set for setting in with_parameter))
    # More arms, or data sets, than colours cannot be told apart.
    coloured = groups if 1 < len(groups) <= len(SERIES) else [None]
    layers = []
    for colour, group in zip(SERIES, coloured, strict=False):
        known = [s for s in with_parameter if s.validation.mean is not None and group in (None, s.arm or s.data_set)]
        places = axis.places([setting.values[axis.name] for setting in known])
        scores = np.array([setting.score for setting in known], dtype=np.float64)
        layers.append(Layer("point", rows_of(map(axis.value, places), scores), colour, group))
        best = axis.best_by_bucket(places, scores, objective.sign)
        rows = rows_of((axis.value(axis.middles[bucket]) for bucket in best), best.values())
        layers.append(Layer("tick" if axis.choices else "line", rows, INK if axis.choices or group is None else colour))
    failed = [setting.values[axis.name] for setting in with_parameter if setting.n_failed]
    # A little inside the axis, so that crosses are whole.
    worst = y.at(0.965 if objective.sign > 0 else 0.035)
    layers.append(Layer("cross", rows_of(map(axis.value, axis.places(failed)), [worst] * len(failed)), FAULT))
    caption = f"A point is a setting's mean over seeds; the line shows the best of each value.{y.note()}"
    if failed:
        caption += f" Red crosses: {len(failed)} with a run that diverged or failed."
    return Chart(f"by_{axis.name}", f"By {axis.name}", caption, axis.chart_axis(), y, tuple(layers))


def effects_chart(analysis: SweepAnalysis) -> Chart:
    """Shows how much parameters matter, then the pairs with the largest interactions, then the noise between seeds."""
    effects, names = analysis.effects, analysis.names
    assert effects is not None
    alone = sorted(((names[name], share) for name, share in effects.alone.items()), key=lambda item: -item[1])[:10]
    pairs = sorted(((f"{names[a]} × {names[b]}", s) for (a, b), s in effects.pairs.items()), key=lambda item: -item[1])
    # An interaction of less than half a percent is rounding.
    pairs = [(text, share) for text, share in pairs[:6] if share >= 0.005]
    noise = [("seeds", effects.noise)] if effects.noise is not None else []
    layers = tuple(
        Layer("bar", [{"x": share, "y": text, "text": f"{share:.0%}"} for text, share in bars], colour)
        for bars, colour in ((alone, SERIES[0]), (pairs, SERIES[5]), (noise, SERIES[4]))
        if bars
    )
    if effects.method == "grid":
        left = "." if noise else ", and to the noise between seeds, which one seed cannot show."
        caption = (
            f"Shares of the variance of the runs, from {effects.n:,} settings of the full grid. × is an interaction "
            f"beyond the two effects; {effects.rest:.0%} is left to interactions of three or more{left}"
        )
        left_out = [f"{name}={analysis.axes[name].text_at(place)}" for name, place in effects.without]
        caption += f" Left out because some of it has no value: {', '.join(left_out)}." if left_out else ""
    else:
        caption = (
            f"PED-ANOVA (Watanabe et al. 2023) of {effects.n:,} settings, pruned ones included: what tells the best "
            f"from the others, in shares of 1. A random forest predicts {effects.explained or 0.0:.0%} of the variance "
            "of the ranks of settings it has not seen: trust it no further."
        )
    # The axis is longer than the longest bar, so that its label has room beside it.
    longest = max(share for _, share in [*alone, *pairs, *noise])
    x = ChartAxis(
        "share of variance" if effects.method == "grid" else "importance",
        0.0,
        min(1.12, longest * 1.2 + 0.02),
        unit="percent",
    )
    y = ChartAxis("", categories=tuple(text for text, _ in [*alone, *pairs, *noise]))
    return Chart("effects", "What mattered", caption, x, y, layers, 0.75 + 0.27 * len(y.categories))


def pair_chart(wide: ParameterAxis, high: ParameterAxis, settings: Sequence[Setting], scale: ChartAxis) -> Chart:
    """Shows the median of the settings in each cell of two parameters' buckets."""
    with_parameter = [setting for setting in settings if wide.name in setting.values and high.name in setting.values]
    objective = with_parameter[0].objective
    x, y = (axis.buckets(axis.places([s.values[axis.name] for s in with_parameter])) for axis in (wide, high))
    scores = np.array([setting.score for setting in with_parameter], dtype=np.float64)
    cells: list[dict[str, Any]] = []
    crosses: list[Row] = []
    for column, row in sorted({(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True) if a >= 0 and b >= 0}):
        inside = scores[(x == column) & (y == row) & np.isfinite(scores)]
        place = {"x": wide.texts[column], "y": high.texts[row]}
        if len(inside):
            # The median, as one diverged setting would decide on the mean of its cell.
            cells.append({**place, "value": float(np.median(inside))})
        else:
            crosses.append(place)
    # Shades are distances from the worst end on the axis of the objective, so that they agree with the other charts.
    worst = scale.high if objective.sign > 0 else scale.low
    places = scale.transformed(np.array([worst, *(cell["value"] for cell in cells)]))
    distances = np.abs(places[1:] - places[0])
    for cell, shade in zip(cells, distances / (distances.max(initial=0.0) or 1.0), strict=True):
        cell |= {"shade": float(shade), "text": number(cell["value"], 2)}
    caption = f"Median {objective.metric} of the settings in each cell; lighter is better."
    if crosses:
        caption += " Red crosses: cells without a value."
    axes = ChartAxis(wide.name, categories=wide.texts), ChartAxis(high.name, categories=high.texts[::-1])
    layers = (Layer("cell", cells), Layer("cross", crosses, FAULT))
    height = 0.9 + min(3.2, 0.36 * high.n_buckets + 0.6)
    return Chart(f"pair_{wide.name}_{high.name}", f"{wide.name} × {high.name}", caption, *axes, layers, height)


def search_chart(analysis: SweepAnalysis) -> Chart:
    """Shows trials in their order, with the best so far."""
    objective, y = analysis.sweep.objective, analysis.objective
    ordered = sorted(analysis.searched, key=lambda setting: setting.runs[0].entry.number)
    # With the sign smaller is better, so that a running minimum is the best so far.
    scores = objective.sign * np.array([setting.score for setting in ordered], dtype=np.float64)
    # A NaN would be carried on to the end.
    best = np.minimum.accumulate(np.where(np.isfinite(scores), scores, np.inf))
    trials = np.arange(1, len(ordered) + 1)
    layers = []
    for mark, column, colour in (("point", scores, SERIES[0]), ("step", best, INK)):
        known = np.isfinite(column)
        layers.append(Layer(mark, rows_of(trials[known], objective.sign * column[known]), colour))
    caption = (
        f"A point is a trial; the line is the best so far, found with trial {int(np.nanargmin(scores)) + 1:,} "
        f"of {len(ordered):,}.{y.note()}"
    )
    x = ChartAxis("trial", 0.5, len(ordered) + 0.5, unit="integer")
    return Chart("search", "The course of the search", caption, x, y, tuple(layers))


def front_chart(analysis: SweepAnalysis) -> Chart | None:
    """Shows two objectives against each other, with the Pareto front; None without a setting that has both."""
    # A chart has two axes; further objectives are in the table alone.
    objectives = analysis.sweep.objectives[:2]
    known, table = table_of(analysis.searched, objectives)
    if not known:
        return None
    front = pareto_front(known, objectives)
    # Points that are not on the front are grey, behind it.
    others = [place for place, setting in enumerate(known) if setting not in front]
    _, on_front = table_of(front, objectives)
    on_front = on_front[np.argsort(on_front[:, 0])]
    layers = [Layer("point", rows_of(*table[others].T), MUTED)]
    layers += [Layer(mark, rows_of(*on_front.T), SERIES[0]) for mark in ("line", "point")]
    better = " and ".join(f"{'less' if o.mode == 'min' else 'more'} {o.metric}" for o in objectives)
    caption = f"Better is {better}. Joined: settings that no other one improves on in both."
    axes = [value_axis(o.metric, column, o.sign) for column, o in zip(table.T, objectives, strict=True)]
    return Chart("front", "Two objectives", caption, axes[0], axes[1], tuple(layers))


def curves_chart(analysis: SweepAnalysis, metric: str) -> Chart | None:
    """Shows a metric by epoch for the best settings, as medians over seeds with quartiles; None without histories.

    A validation loss has the training loss beside it, so that overfitting can be seen.
    """
    metrics = (metric, "train/loss") if metric == "val/loss" else (metric,)
    settings = [s for s in contenders(analysis.settings) if any(metric in run.curves for run in s.finished)]
    layers: list[Layer] = []
    for colour, setting in zip(SERIES, settings[:MOST_CURVES], strict=False):
        for name in metrics:
            curves = [run.curves[name] for run in setting.finished if name in run.curves]
            rows = median_rows(curves)
            if len(curves) > 1:
                layers.append(Layer("band", rows, colour))
            text = f"{setting.label[:44]} ({len(curves)})" if name == metric else None
            layers.append(Layer("line", rows, colour, text, is_dashed=name != metric))
    values = np.array([row[name] for layer in layers for row in layer.rows for name in ("low", "y", "high")])
    if not len(values):
        return None
    # The direction of the objective is not that of every loss.
    sign = 1 if metric.endswith("loss") else analysis.sweep.objective.sign
    y = value_axis(metric if len(metrics) == 1 else "loss", values, sign, is_whole=True)
    caption = "Solid validation, dashed training. " if len(metrics) > 1 else ""
    caption += "Median over finished runs (their number in brackets), quartiles shaded; as far as half of them came."
    part, _, name = metric.partition("/")
    title = "Validation and training loss" if len(metrics) > 1 else f"{PARTS.get(part, part)} {name}"
    x = ChartAxis("epoch", unit="integer")
    return Chart(f"curves_{metric}", title, caption + y.note(), x, y, tuple(layers))


def best_epoch_chart(runs: Sequence[RunRecord]) -> Chart | None:
    """Shows where in training the best epoch was, as a histogram."""
    places = best_places(runs)
    if not len(places):
        return None
    counts, edges = np.histogram(places, bins=10, range=(0, 1))
    late = int((places >= 0.95).sum())
    caption = f"Of {len(places):,} finished runs, {late:,} were best within the last 5 % of their epochs."
    x = ChartAxis("best epoch as a share of the epochs trained", 0.0, 1.0, unit="percent")
    y = ChartAxis("runs", 0.0, 1.05 * counts.max(), unit="integer")
    rows = rows_of((edges[1:] + edges[:-1]) / 2, counts)
    return Chart("best_epoch", "When the best came", caption, x, y, (Layer("bar", rows),), 2.6)


def arms_chart(analysis: SweepAnalysis) -> Chart | None:
    """Shows each arm's final runs, tuned and with its defaults."""
    objective = analysis.sweep.objective
    layers, values = [], []
    for which, offset, colour in (("tuned", -0.16, SERIES[0]), ("default", 0.16, SERIES[1])):
        sides = [(arm.name, getattr(arm, which)) for arm in analysis.arms]
        spreads = [(name, side.validation) for name, side in sides if side is not None and side.validation.values]
        points = [{"x": value, "y": name} for name, spread in spreads for value in spread.values]
        means = [{"x": spread.mean, "y": name} for name, spread in spreads]
        values += [point["x"] for point in points]
        layers += [Layer("point", points, colour, which, offset=offset), Layer("tick", means, INK, offset=offset)]
    if not values:
        return None
    # The whole range: in a comparison a run that is far off is a result too.
    x = value_axis(objective.metric, np.array(values), objective.sign, is_whole=True)
    y = ChartAxis("", categories=tuple(arm.name for arm in analysis.arms if arm.tuned or arm.default))
    caption = f"A point is a run on a seed that was not used for tuning; the bar is the mean.{x.note()}"
    return Chart("arms", "Tuned and default", caption, x, y, tuple(layers), 0.8 + 0.5 * len(y.categories))


def target_chart(analysis: SweepAnalysis) -> Chart | None:
    """Shows the share of runs that have reached the target by seconds of training: of arms, else of the best."""
    target = analysis.sweep.target
    assert target is not None
    sides = [(arm.name, arm.tuned) for arm in analysis.arms if arm.tuned is not None]
    if not analysis.arms:
        sides = [(s.label, s) for s in contenders(analysis.settings)[:MOST_CURVES]]
    timed = [(name, time) for name, side in sides[: len(SERIES)] if (time := side.time_to(target)) is not None]
    finite = [value for _, time in timed for value in time.seconds if np.isfinite(value)]
    if not finite:
        return None
    # Steps go on to the right edge, where the last share can be read.
    last = max(finite) * 1.05 or 1.0
    layers = []
    for colour, (name, time) in zip(SERIES, timed, strict=False):
        # Missed runs stay below the line: shares are of all runs, not of those that got there.
        hits = np.sort([value for value in time.seconds if np.isfinite(value)])
        shares = np.arange(len(hits) + 1) / time.n
        layers.append(Layer("step", rows_of([0, *hits, last], [*shares, shares[-1]]), colour, name))
    # A little more than 0 to 1, as lines at the very edge would be cut in half.
    axes = ChartAxis("seconds of training", 0.0, last), ChartAxis("share of the runs", -0.03, 1.03, unit="percent")
    caption = f"Runs that have reached {goal(target)}."
    return Chart("target", "Time to the target", caption, *axes, tuple(layers))
