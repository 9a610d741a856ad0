"""The figures of a sweep as Vega-Lite specifications: which ones it gets, their rows and their marks."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np

from mlplab.report.charts import CONFIG, INK, MARKS, MUTED, SERIES, Chart, ChartAxis, value_axis
from mlplab.report.formatting import goal, metric_words, number
from mlplab.report.learning_curves import best_places, median_rows, thinned
from mlplab.report.parameter_axes import ParameterAxis
from mlplab.report.ranked_settings import Setting, contenders
from mlplab.report.run_rows import RunRows, dimension, dimensions, objective_dimension
from mlplab.report.sweep_analysis import SweepAnalysis, tells_data_sets_apart

MOST_PARAMETERS = 24
"""Figures of single parameters; those with the largest effect are drawn."""

MOST_PAIRS, LEAST_SHARE = 4, 0.02
"""Heat maps of pairs, and the share of the variance below which a pair gets none."""

MOST_ON_A_LINE = 40
"""Distinct numbers that a line of means joins; more of them are points of a search."""

MOST_CURVES, MOST_DRAWN = 5, 60
"""Settings whose curves are shown at once, and those that a choice of runs can bring there."""

MOST_DATA_SETS = 4
"""Data sets with figures of their own."""

CHOSEN, CHOSEN_SETTINGS = "!chosen || chosen.runs[datum.j]", "!chosen || chosen.settings[datum.s]"
"""Filters by the runs that are chosen in the page."""

WITH_VALUE = "isValid(datum.y) && datum.state == 'finished'"
WIDTH, WIDE, HEIGHT = 420, 860, 260


def charts_of(analysis: SweepAnalysis, shared: RunRows) -> dict[str, list[Chart]]:
    """Returns section → its figures."""
    return {name: [c for c in make(analysis, shared) if c is not None] for name, make in SECTIONS.items()}


def _overview(analysis: SweepAnalysis, shared: RunRows) -> Iterable[Chart | None]:
    if (axis := main_axis(analysis)) is not None:
        for data in _data_sets(analysis):
            yield lines_chart(analysis, shared, axis, data, is_main=True)
    yield parallel_chart(analysis, shared)


def _comparison(analysis: SweepAnalysis, shared: RunRows) -> Iterable[Chart | None]:
    if analysis.arms:
        yield arms_chart(analysis, shared)
    if analysis.sweep.target is not None:
        yield target_chart(analysis, shared)


def _parameters(analysis: SweepAnalysis, shared: RunRows) -> Iterable[Chart | None]:
    searched, effects = analysis.searched, analysis.effects
    if not np.isfinite([setting.score for setting in searched]).any():
        return
    if effects is not None:
        yield effects_chart(analysis)
    if len(analysis.sweep.objectives) > 1:
        yield front_chart(analysis, shared)
    # The parameters that matter most come first, and are drawn if there are too many.
    shares = effects.alone if effects is not None else {}
    varying = [axis for axis in analysis.axes.values() if axis.n_buckets > 1]
    if analysis.sweep.data_sets:  # which are not compared
        varying = [axis for axis in varying if not tells_data_sets_apart(axis.name, searched)]
    for axis in sorted(varying, key=lambda axis: -shares.get(axis.name, 0.0))[:MOST_PARAMETERS]:
        for data in _data_sets(analysis):
            if axis.choices or not is_on_a_line(analysis, axis):
                yield points_chart(analysis, shared, axis, data)
            elif axis is not main_axis(analysis):
                yield lines_chart(analysis, shared, axis, data)
    # A cell would mix values on different data.
    known_pairs = effects.pairs if effects is not None and not analysis.sweep.data_sets else {}
    pairs = sorted(known_pairs.items(), key=lambda item: -item[1])
    for names, share in pairs[:MOST_PAIRS]:
        if share >= LEAST_SHARE:
            # The parameter with more values lies along the wider side.
            wide, high = sorted((analysis.axes[name] for name in names), key=lambda axis: -axis.n_buckets)
            yield pair_chart(analysis, shared, wide, high)


def _course(analysis: SweepAnalysis, shared: RunRows) -> Iterable[Chart | None]:
    is_search = analysis.sweep.asked.get("sweeper") == "optuna"
    for data in _data_sets(analysis) if is_search else []:
        yield history_chart(analysis, shared, data)
    if len(shared.rows) >= 12 or is_search:
        for data in _data_sets(analysis):
            yield distribution_chart(analysis, shared, data)
    yield timeline_chart(shared)
    yield pruned_chart(analysis, shared)


def _curves(analysis: SweepAnalysis, shared: RunRows) -> Iterable[Chart | None]:
    metric = analysis.sweep.objective.metric
    # Objectives such as the number of parameters have no curve.
    for name in dict.fromkeys([metric, "val/loss"] if metric.startswith("val/") else ["val/loss"]):
        yield curves_chart(analysis, shared, name)
    yield best_epoch_chart(analysis)


SECTIONS = {
    "overview": _overview, "comparison": _comparison, "parameters": _parameters, "course": _course, "curves": _curves,
}  # fmt: skip


def main_axis(analysis: SweepAnalysis) -> ParameterAxis | None:
    """Returns the number against which a study is drawn first: the one that matters most; None in a search."""
    shares = analysis.effects.alone if analysis.effects is not None else {}
    found = [axis for axis in analysis.axes.values() if not axis.choices and is_on_a_line(analysis, axis)]
    return min(found, key=lambda axis: -shares.get(axis.name, 0.0), default=None)


def is_on_a_line(analysis: SweepAnalysis, axis: ParameterAxis) -> bool:
    """Returns whether the numbers of a parameter are those of a grid, over which a line of means can be drawn."""
    if axis.choices or not np.isfinite([setting.score for setting in analysis.searched]).any():
        return False
    values = [setting.values.get(axis.name) for setting in analysis.searched]
    n = len(set(values))
    return n <= MOST_ON_A_LINE and (analysis.sweep.asked.get("sweeper") == "grid" or 2 * n <= len(values))


def _data_sets(analysis: SweepAnalysis) -> Sequence[str]:
    """Returns the data sets that have figures of their own; one without a name if there are not several."""
    return analysis.sweep.data_sets[:MOST_DATA_SETS] or [""]


def _scores(analysis: SweepAnalysis, data: str) -> ChartAxis:
    """Returns the axis of the objective on a data set."""
    if not data:
        return analysis.objective
    scores = np.array([s.score for s in analysis.searched if s.data_set == data], dtype=np.float64)
    return value_axis(analysis.objective.label, scores, analysis.sweep.objective.sign)


def lines_chart(
    analysis: SweepAnalysis, shared: RunRows, axis: ParameterAxis, data: str = "", *, is_main: bool = False
) -> Chart:
    """Shows the objective against a number: mean and standard deviation over seeds, a line for each choice."""
    y, key = _scores(analysis, data), shared.keys[axis.name]
    x = _number_x(axis, key)
    base = _searched(analysis, shared, data)
    zoom = _zoom()
    means = base.transform_filter(WITH_VALUE).transform_aggregate(
        mean="mean(y)", deviation="stdev(y)", runs="count()", groupby=[key, "c"]
    )  # fmt: skip
    means = means.transform_calculate(
        low=f"max(datum.mean - datum.deviation, {y.low})", high=f"min(datum.mean + datum.deviation, {y.high})"
    )
    colour = _colour(shared)
    band = means.mark_area(opacity=0.18, clip=True).encode(x=x, y=_y(y, "low"), y2="high:Q", color=colour, detail="c:N")
    told = [*_choice_tooltip(shared), alt.Tooltip(f"{key}:Q", title=_title_of(axis), format=".4~g")]
    told += [alt.Tooltip("mean:Q", title=f"mean {y.label}", format=".4~g")]
    told += [alt.Tooltip("deviation:Q", title="standard deviation", format=".2~g"), alt.Tooltip("runs:Q", title="runs")]
    line = means.mark_line(strokeWidth=2, clip=True).encode(x=x, y=_y(y, "mean"), color=colour, detail="c:N")
    dots = means.mark_point(filled=True, size=45, opacity=1).encode(x=x, y=_y(y, "mean"), color=colour, tooltip=told)
    layers = [band.add_params(zoom), line, dots]
    rows = [row for row in shared.rows if not data or row["data"] == data]
    lost = [row for row in rows if row["stage"] == "search" and row["y"] is None and row["state"] in MARKS]
    others = [axis for axis in analysis.axes if axis not in (*_telling(analysis), key, shared.choice)]
    others = [name for name in others if name != axis.name and analysis.axes[name].n_buckets > 1]
    caption = f"Mean over {', '.join(['seeds', *others])}, with the standard deviation as a band.{y.note()}"
    if lost:
        layers.append(_edge_marks(base, shared, x, y, analysis.sweep.objective.sign, key))
        caption += f" {len(lost)} runs without a value are marked at the edge."
    title = f"{_capital(y.label)} by {_title_of(axis)}" + (f", {data}" if data else "")
    return _chart("main" if is_main else f"by_{axis.name}", title, caption, alt.layer(*layers), data, is_wide=is_main)


def _edge_marks(
    base: alt.Chart, shared: RunRows, x: alt.X, y: ChartAxis, sign: int, key: str
) -> alt.Chart:
    """Marks runs without a value at the worse end, those of each choice a little further in."""
    edge = [y.at(0.97 - 0.05 * k if sign > 0 else 0.03 + 0.05 * k) for k in range(max(len(shared.palette), 1))]
    where = f"{json.dumps(edge)}[max(0, indexof({json.dumps(list(shared.palette))}, datum.c))]"
    lost = base.transform_filter("!isValid(datum.y)").transform_aggregate(runs="count()", groupby=[key, "c", "state"])
    told = [*_choice_tooltip(shared), alt.Tooltip("state:N"), alt.Tooltip("runs:Q")]
    marks = lost.transform_calculate(edge=where).mark_point(filled=True, size=60, opacity=0.9)
    return marks.encode(x=x, y=_y(y, "edge"), color=_colour(shared), shape=_shape(shared), tooltip=told)


def points_chart(analysis: SweepAnalysis, shared: RunRows, axis: ParameterAxis, data: str = "") -> Chart:
    """Shows the objective against a parameter: a mark for each run, and the mean of each choice."""
    y, key = _scores(analysis, data), shared.keys[axis.name]
    base = _searched(analysis, shared, data).transform_filter(f"isValid(datum.{key})")
    points = _kept_points(base, shared, y, analysis.sweep.objective.sign)
    encoded = {"y": _y(y, "place"), "color": _colour(shared), "shape": _shape(shared), "tooltip": _all_values()}
    caption = f"A mark is a run.{y.note()}"
    if axis.choices:
        x: Any = _choice_x(axis, key)
        # Equal values would hide each other.
        points = points.transform_calculate(aside="(datum.j * 0.618034) % 1")
        marks = points.encode(x=x, xOffset=alt.XOffset("aside:Q", scale=alt.Scale(domain=[-0.6, 1.6])), **encoded)
        told = [alt.Tooltip(f"{key}:N", title=_title_of(axis)), alt.Tooltip("mean(y):Q", title=f"mean {y.label}", format=".4~g")]
        means = base.transform_filter(WITH_VALUE).mark_tick(thickness=2.5, size=34, color=INK)
        layers = [marks, means.encode(x=x, y=_y(y, "y", "mean"), tooltip=told)]
        caption = f"A mark is a run, the bar the mean.{y.note()}"
    else:
        layers = [points.encode(x=_number_x(axis, key), **encoded).add_params(_zoom())]
    title = f"{_capital(y.label)} by {_title_of(axis)}" + (f", {data}" if data else "")
    return _chart(f"by_{axis.name}", title, caption + _sampled(shared), alt.layer(*layers), data)


def parallel_chart(analysis: SweepAnalysis, shared: RunRows) -> Chart | None:
    """Shows each run as a line through its values, on an axis for each parameter; axes are brushed in the page."""
    axes = dimensions(analysis)
    if not axes or len(shared.rows) < 3 or analysis.sweep.data_sets or not _has_scores(analysis):
        return None
    parts = [*(dimension(shared.keys[axis.name], axis) for axis in axes), objective_dimension(analysis)]
    names = [f"d{place}" for place in range(len(parts))]
    titles = [analysis.names.get(axis.name, axis.name) for axis in axes] + [analysis.sweep.objective.metric]
    lines = _runs().transform_filter(CHOSEN)
    lines = lines.transform_filter("datum.kept") if shared.is_thinned else lines
    lines = lines.transform_calculate(**{name: _placed(part) for name, part in zip(names, parts, strict=True)})
    lines = lines.transform_fold(names, as_=["axis", "at"])
    x = alt.X(
        "axis:N", sort=None, scale=alt.Scale(domain=names, padding=0.4), title=None,
        axis=alt.Axis(
            orient="top", domain=False, grid=False, labelAngle=0, labelLimit=120, labelPadding=10, labelOverlap=False,
            labelColor=INK, labelExpr=f"{json.dumps(dict(zip(names, titles, strict=True)))}[datum.value]",
        ),
    )  # fmt: skip
    at = alt.Y("at:Q", scale=alt.Scale(domain=[0, 1]), axis=None)
    few = max(0.15, min(0.8, 30 / len(shared.rows)))
    drawn = lines.mark_line(strokeWidth=1.4, opacity=few).encode(
        x=x, y=at, detail=["j:Q"], color=_colour(shared), tooltip=_all_values()
    )  # fmt: skip
    ticks = [
        {"axis": name, "at": place, "text": text}
        for name, part, axis in zip(names, parts, [*axes, None], strict=True)
        for place, text in _ticks(part, axis)
    ]
    marks = alt.Chart(alt.InlineData(values=ticks))
    rules = alt.Chart(alt.InlineData(values=[{"axis": name, "low": 0, "high": 1} for name in names]))
    brushes = alt.Chart(alt.NamedData(name="brushes")).mark_rule(strokeWidth=16, opacity=0.25, color=INK)
    text = {"align": "left", "dx": 5, "fontSize": 10.5, "limit": 90}
    layers = [
        drawn,
        rules.mark_rule(color=MUTED).encode(x=x, y=alt.Y("low:Q", axis=None), y2="high:Q"),
        brushes.encode(x=x, y=alt.Y("low:Q", axis=None), y2="high:Q"),
        marks.mark_text(**text, stroke="#ffffff", strokeWidth=3, strokeJoin="round").encode(x=x, y=at, text="text:N"),
        marks.mark_text(**text).encode(x=x, y=at, text="text:N"),
    ]
    caption = "A line is a run. Drag along an axis to choose runs, in all figures and in the leaderboard."
    chart = _chart("parallel", "All runs at once", caption + _sampled(shared), alt.layer(*layers), is_wide=True)
    return Chart(chart.name, chart.title, chart.caption, {**chart.spec, "height": 300}, is_wide=True)


def _placed(part: dict[str, Any]) -> str:
    """Returns the expression that places a value between 0 and 1, as page.js does."""
    value = f"datum.{part['key']}"
    if "choices" in part:
        last = max(len(part["choices"]) - 1, 1)
        return f"isValid({value}) ? indexof({json.dumps(part['choices'])}, {value}) / {last} : null"
    inner = f"log(max({value}, 1e-300)) / LN10" if part["log"] else value
    low, span = part["low"], (part["high"] - part["low"]) or 1.0
    return f"isValid({value}) ? clamp(({inner} - {low}) / {span}, 0, 1) : null"


def _ticks(part: dict[str, Any], axis: ParameterAxis | None) -> list[tuple[float, str]]:
    """Returns places and texts along an axis of the parallel coordinates."""
    if "choices" in part:
        last = max(len(part["choices"]) - 1, 1)
        return [(place / last, text[:16]) for place, text in enumerate(part["choices"])]
    low, span = part["low"], (part["high"] - part["low"]) or 1.0
    step = 10.0 ** np.floor(np.log10(span / 3)) if span > 0 else 1.0
    step = step * next(k for k in (5, 2, 1) if k == 1 or span / (k * step) >= 3)
    # Of a logarithmic axis whole powers, if there are some.
    step = max(1.0, np.round(step)) if part["log"] and span >= 1 else step
    places = [step * k for k in range(int(np.ceil(low / step)), int(np.floor((low + span) / step)) + 1)][:12]
    return [((n - low) / span, number(10.0 ** min(max(n, -300), 300) if part["log"] else n, 3)) for n in places]


def pair_chart(analysis: SweepAnalysis, shared: RunRows, wide: ParameterAxis, high: ParameterAxis) -> Chart:
    """Shows the median of the runs in each cell of two parameters."""
    scale, sign, keys = analysis.objective, analysis.sweep.objective.sign, [shared.keys[a.name] for a in (wide, high)]
    low, top = scale.transformed(np.array([scale.low, scale.high])).tolist()
    place = f"(clamp({'log(datum.median) / LN10' if scale.is_log else 'datum.median'}, {low}, {top}) - {low}) / {top - low}"
    cells = _searched(analysis, shared).transform_aggregate(median="median(y)", known="valid(y)", groupby=keys)
    cells = cells.transform_calculate(
        shade=f"datum.known ? {f'1 - {place}' if sign > 0 else place} : null",
        text="datum.known ? format(datum.median, '.2~g') : '×'",
    )
    kinds = [{"sort": list(axis.choices)} if axis.choices else {"sort": "ascending"} for axis in (wide, high)]
    kinds[1] = kinds[1] if high.choices else {"sort": "descending"}
    angle = -40 if sum(map(len, wide.texts)) > 44 else 0
    form = [alt.Axis(labelAngle=angle), alt.Axis()]
    if not wide.choices:
        form[0] = alt.Axis(labelAngle=angle, format=".4~g", formatType="number")
    if not high.choices:
        form[1] = alt.Axis(format=".4~g", formatType="number")
    x, y = (
        axis(f"{key}:O", title=_title_of(parameter), axis=shown, **kind)
        for axis, key, parameter, shown, kind in zip((alt.X, alt.Y), keys, (wide, high), form, kinds, strict=True)
    )
    # The scale is the same in light and dark, and so is the text on it: black on light cells, white on dark ones.
    colours = alt.Scale(scheme="viridis", domain=[0, 1])
    told = [alt.Tooltip(f"{key}:N", title=_title_of(axis)) for key, axis in zip(keys, (wide, high), strict=True)]
    told += [alt.Tooltip("median:Q", title=f"median {scale.label}", format=".4~g"), alt.Tooltip("known:Q", title="runs")]
    boxes = cells.mark_rect().encode(x=x, y=y, color=alt.Color("shade:Q", scale=colours, legend=None), tooltip=told)
    shade = alt.condition("datum.shade > 0.62 || !isValid(datum.shade)", alt.value("#000001"), alt.value("#fffffe"))
    size = min(11, 420 / max(wide.n_buckets, 1) / 3.2)
    words = cells.mark_text(fontSize=size).encode(x=x, y=y, text="text:N", color=shade)
    caption = f"Median of the runs in each cell; lighter is better, × is a cell without a value.{scale.note()}"
    height = 60 + 34 * min(high.n_buckets, 12)
    return _chart(
        f"pair_{wide.name}_{high.name}", f"{_title_of(wide)} × {_title_of(high)}", caption,
        alt.layer(boxes, words), height=height,
    )  # fmt: skip


def effects_chart(analysis: SweepAnalysis) -> Chart:
    """Shows how much parameters matter, then the pairs with the largest interactions, then the noise between seeds."""
    effects, names = analysis.effects, analysis.names
    assert effects is not None
    alone = sorted(((names[name], share) for name, share in effects.alone.items()), key=lambda item: -item[1])
    pairs = sorted(((f"{names[a]} × {names[b]}", s) for (a, b), s in effects.pairs.items()), key=lambda item: -item[1])
    # An interaction of less than half a percent is rounding.
    pairs = [(text, share) for text, share in pairs[:6] if share >= 0.005]
    noise = [("seeds", effects.noise)] if effects.noise is not None else []
    kinds = (("parameter", alone), ("interaction", pairs), ("noise", noise))
    rows = [{"name": text, "share": share, "kind": kind} for kind, bars in kinds for text, share in bars]
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
    title = "share of the variance (percent)" if effects.method == "grid" else "importance (percent)"
    # The axis is longer than the longest bar, so that its label has room beside it.
    scale = alt.Scale(domain=[0, min(1.14, max(row["share"] for row in rows) * 1.2 + 0.02)], nice=False)
    y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelColor=INK))
    x = alt.X("share:Q", scale=scale, title=title, axis=alt.Axis(format=".0%", tickCount=5))
    colour = alt.Scale(domain=[kind for kind, _ in kinds], range=[MUTED, "#8a929b", "#b5bac0"])
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, y=y)
    told = [alt.Tooltip("name:N", title="of"), alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("kind:N")]
    bars = base.mark_bar(size=14).encode(color=alt.Color("kind:N", scale=colour, legend=None), tooltip=told)
    words = base.mark_text(align="left", dx=4).encode(text=alt.Text("share:Q", format=".0%"))
    caption += " Of all runs, whichever are chosen."
    return _chart("effects", "What mattered", caption, alt.layer(bars, words), height=24 * len(rows))


def history_chart(analysis: SweepAnalysis, shared: RunRows, data: str = "") -> Chart:
    """Shows runs in their order, with the best so far."""
    y, objective = _scores(analysis, data), analysis.sweep.objective
    base = _searched(analysis, shared, data)
    points = _kept_points(base, shared, y, objective.sign)
    last = max((row["j"] for row in shared.rows if row["stage"] == "search"), default=0)
    x = alt.X("j:Q", title="job (in the order of the search)", scale=alt.Scale(domain=[-0.5, last + 0.5], nice=False))
    best = base.transform_filter(WITH_VALUE).transform_window(
        best=f"{objective.mode}(y)", sort=[{"field": "j"}], frame=[None, 0]
    )  # fmt: skip
    told = [alt.Tooltip("j:Q", title="job"), alt.Tooltip("best:Q", title="best so far", format=".4~g")]
    line = best.mark_line(interpolate="step-after", color=INK, strokeWidth=1.5, clip=True)
    layers = [
        points.encode(
            x=x, y=_y(y, "place"), color=_colour(shared), shape=_shape(shared), tooltip=_all_values()
        ).add_params(_zoom()),
        line.encode(x=x, y=_y(y, "best"), tooltip=told),
    ]  # fmt: skip
    caption = f"A mark is a run; the line is the best so far.{y.note()}{_sampled(shared)}"
    title = "The course of the search" + (f", {data}" if data else "")
    return _chart("search", title, caption, alt.layer(*layers), data, is_wide=True)


def distribution_chart(analysis: SweepAnalysis, shared: RunRows, data: str = "") -> Chart | None:
    """Shows the share of runs that are at most as good as a value: the empirical distribution."""
    rows = [r for r in shared.rows if r["stage"] == "search" and r["state"] == "finished" and r["data"] == (data or r["data"])]
    if len({row["y"] for row in rows}) < 3:
        return None
    y = _scores(analysis, data)
    base = _searched(analysis, shared, data).transform_filter(WITH_VALUE)
    shares = base.transform_window(share="cume_dist()", sort=[{"field": "y"}], groupby=["c"])
    x = alt.X("y:Q", title=y.label, scale=_scale(y), axis=_number_axis())
    told = [*_choice_tooltip(shared), alt.Tooltip("y:Q", title=y.label, format=".4~g")]
    told += [alt.Tooltip("share:Q", title="share of the runs", format=".1%")]
    line = shares.mark_line(interpolate="step-after", strokeWidth=1.8, clip=True).encode(
        x=x, y=alt.Y("share:Q", title="share of the runs (percent)", axis=alt.Axis(format=".0%", tickCount=5)),
        color=_colour(shared), detail="c:N",
    )  # fmt: skip
    dots = shares.mark_point(opacity=0, size=50, filled=True).encode(x=x, y="share:Q", tooltip=told)
    caption = f"Empirical distribution: the share of finished runs up to a value.{y.note()}"
    title = "How results are spread" + (f", {data}" if data else "")
    layers = [line.add_params(_zoom()), dots.transform_filter("datum.kept") if shared.is_thinned else dots]
    return _chart("distribution", title, caption, alt.layer(*layers), data)


def timeline_chart(shared: RunRows) -> Chart | None:
    """Shows when each job ran, and how it ended."""
    timed = [row for row in shared.rows if "a" in row]
    if len(timed) < 2:
        return None
    base = _runs().transform_filter(CHOSEN).transform_filter("isValid(datum.a)")
    base = base.transform_filter("datum.kept") if shared.is_thinned else base
    end = max(row["b"] for row in timed) or 1.0
    title = f"since the first job began ({shared.unit})"
    x = alt.X("a:Q", title=title, scale=alt.Scale(domain=[0, end], nice=False))
    last = max(row["j"] for row in timed)
    scale = alt.Scale(domain=[-0.8, last + 0.8], nice=False, reverse=True)
    y = alt.Y("j:Q", title="job (number)", scale=scale, axis=_whole_axis())
    height = max(120, min(420, 9 * len(timed)))
    bars = base.mark_rule(strokeWidth=max(1.0, min(6.0, 0.6 * height / len(timed))), strokeCap="butt")
    layers = [bars.encode(x=x, x2="b:Q", y=y, color=_colour(shared), tooltip=_all_values())]
    bad = [state for state in shared.states if state != "finished"]
    if bad:
        ends = base.transform_filter(f"indexof({json.dumps(bad)}, datum.state) >= 0").mark_point(filled=True, size=45)
        x = alt.X("b:Q", title=title, scale=alt.Scale(domain=[0, end], nice=False))
        layers.append(ends.encode(x=x, y=y, color=_colour(shared), shape=_shape(shared), tooltip=_all_values()))
    caption = f"A bar is a job, from its beginning to its end.{_sampled(shared)}"
    return _chart("timeline", "When each job ran", caption, alt.layer(*layers), height=height)


def pruned_chart(analysis: SweepAnalysis, shared: RunRows) -> Chart | None:
    """Shows the intermediate values of pruned runs, above those of finished ones in grey."""
    metric = analysis.sweep.objective.metric
    runs = {
        state: [run for run in analysis.sweep.runs if run.state == state and metric in run.curves]
        for state in ("finished", "pruned")
    }
    if not runs["pruned"]:
        return None
    choices = {row["j"]: row["c"] for row in shared.rows}
    rows = []
    for state, found in runs.items():
        for place in thinned(len(found), MOST_DRAWN):
            run = found[place]
            curve = run.curves[metric]
            for at in thinned(len(curve.values), 40):
                point = {"j": run.entry.number, "x": float(curve.epochs[at]), "c": choices.get(run.entry.number, "")}
                rows.append({**point, "y": _finite(curve.values[at]), "state": state, "end": int(at == len(curve.values) - 1)})
    rows = [row for row in rows if row["y"] is not None]
    values = np.array([row["y"] for row in rows], dtype=np.float64)
    y = value_axis(metric_words(metric), values, analysis.sweep.objective.sign)
    base = alt.Chart(alt.InlineData(values=rows)).transform_filter(CHOSEN)
    x = alt.X("x:Q", title="epoch (number)", scale=alt.Scale(nice=False, zero=False), axis=_whole_axis())
    lines = base.transform_filter("datum.state == 'finished'").mark_line(color=MUTED, opacity=0.3, strokeWidth=1, clip=True)
    pruned = base.transform_filter("datum.state == 'pruned'")
    encoded = {"x": x, "y": _y(y, "y"), "detail": "j:N", "tooltip": _all_values()}
    drawn = pruned.mark_line(strokeWidth=1.4, clip=True).encode(color=_colour(shared), **encoded)
    ends = pruned.transform_filter("datum.end").mark_point(filled=True, size=50, shape=MARKS["pruned"], opacity=1)
    layers = [lines.encode(**encoded).add_params(_zoom()), drawn, ends.encode(color=_colour(shared), **encoded)]
    caption = f"{len(runs['pruned']):,} runs were pruned, at their triangles. Grey: runs that were trained to the end."
    caption += y.note() + (f" {MOST_DRAWN} of each are drawn." if max(map(len, runs.values())) > MOST_DRAWN else "")
    return _chart("pruned", "Intermediate values of pruned runs", caption, alt.layer(*layers))


def curves_chart(analysis: SweepAnalysis, shared: RunRows, metric: str) -> Chart | None:
    """Shows a metric by epoch for the best settings, as medians over seeds with quartiles; None without histories.

    A validation loss has the training loss beside it, so that overfitting can be seen.
    """
    metrics = (metric, "train/loss") if metric == "val/loss" else (metric,)
    places = {id(setting): s for s, setting in enumerate(analysis.settings)}
    settings = [s for s in contenders(analysis.settings) if any(metric in run.curves for run in s.finished)]
    shown = [*range(min(len(settings), MOST_DRAWN // 2))]
    # Others, too, which appear where the best are not among the chosen runs.
    shown += [len(shown) + k for k in thinned(len(settings) - len(shown), MOST_DRAWN // 2).tolist() if len(settings) > len(shown)]
    choices = {row["s"]: row["c"] for row in shared.rows}
    rows: list[dict[str, Any]] = []
    for rank, setting in enumerate(settings[place] for place in shown):
        s = places[id(setting)]
        for name in metrics:
            curves = [run.curves[name] for run in setting.finished if name in run.curves]
            for point in median_rows(curves):
                told = {"s": s, "rank": rank, "c": choices.get(s, ""), "part": name.partition("/")[0], "n": len(curves)}
                rows.append({**told, "label": setting.label, **{k: _finite(v) for k, v in point.items()}})
    best = [row for row in rows if row["rank"] < MOST_CURVES]
    values = np.array([row[name] for row in best for name in ("low", "y", "high")], dtype=np.float64)
    if not len(values):
        return None
    # The direction of the objective is not that of every loss.
    sign = 1 if metric.endswith("loss") else analysis.sweep.objective.sign
    words = metric_words(metric) if len(metrics) == 1 else "loss"
    y = value_axis(words, values, sign, is_whole=True)
    x = alt.X("x:Q", title="epoch (number)", scale=alt.Scale(nice=False, zero=False), axis=_whole_axis())
    base = alt.Chart(alt.InlineData(values=rows)).transform_filter(CHOSEN_SETTINGS).transform_window(
        among="dense_rank()", sort=[{"field": "rank"}]
    ).transform_filter(f"datum.among <= {MOST_CURVES}")  # fmt: skip
    colour = _colour(shared) if len(shared.palette) > 1 else alt.Color(
        "among:O", scale=alt.Scale(domain=list(range(1, MOST_CURVES + 1)), range=list(SERIES)[:MOST_CURVES]), legend=None
    )  # fmt: skip
    dash = alt.StrokeDash("part:N", scale=alt.Scale(domain=["val", "train"], range=[[1, 0], [4, 3]]), legend=None)
    told = [alt.Tooltip("label:N", title="setting"), alt.Tooltip("x:Q", title="epoch"), alt.Tooltip("part:N")]
    told += [alt.Tooltip("y:Q", title=f"median {words}", format=".4~g"), alt.Tooltip("n:Q", title="runs")]
    band = base.mark_area(opacity=0.14, clip=True)
    line, dots = base.mark_line(strokeWidth=1.6, clip=True), base.mark_point(opacity=0, size=60, filled=True, clip=True)
    detail = ["s:N", "part:N"]
    layers: list[Any] = [
        line.encode(x=x, y=_y(y, "y"), color=colour, strokeDash=dash, detail="s:N").add_params(_zoom()),
        dots.encode(x=x, y=_y(y, "y"), tooltip=told),
    ]
    if any(row["n"] > 1 for row in rows):
        layers.insert(0, band.encode(x=x, y=_y(y, "low"), y2="high:Q", color=colour, detail=detail))
    caption = "Solid validation, dashed training. " if len(metrics) > 1 else ""
    caption += f"The best {min(MOST_CURVES, len(settings))} settings: " if len(settings) > 1 else ""
    caption += "median over finished runs, quartiles shaded, as far as half of them came."
    title = "Validation and training loss" if len(metrics) > 1 else _capital(words)
    return _chart(f"curves_{metric}", title, caption + y.note(), alt.layer(*layers))


def best_epoch_chart(analysis: SweepAnalysis) -> Chart | None:
    """Shows where in training the best epoch was, as a histogram."""
    places = best_places(analysis.sweep.runs)
    if len(places) < 3:
        return None
    late = int((places >= 0.95).sum())
    base = _runs().transform_filter(CHOSEN).transform_filter("isValid(datum.p)")
    x = alt.X(
        "p:Q", bin=alt.Bin(extent=[0, 1], step=0.1), title="best epoch (percent of the epochs trained)",
        axis=alt.Axis(format=".0%"),
    )  # fmt: skip
    y = alt.Y("count():Q", title="runs (number)", axis=_whole_axis())
    bars = base.mark_bar(color=MUTED).encode(x=x, y=y, tooltip=[alt.Tooltip("count():Q", title="runs")])
    caption = f"Of {len(places):,} finished runs, {late:,} were best within the last 5 % of their epochs."
    return _chart("best_epoch", "When the best came", caption, bars)


def front_chart(analysis: SweepAnalysis, shared: RunRows) -> Chart | None:
    """Shows two objectives against each other, with the Pareto front; None without a setting that has both."""
    # A figure has two axes; further objectives are in the table alone.
    objectives = analysis.sweep.objectives[:2]
    known = [row for row in shared.rows if row["stage"] == "search" and row.get("o") is not None and row["y"] is not None]
    if not known:
        return None
    axes = [
        value_axis(metric_words(o.metric), np.array([row[key] for row in known]), o.sign)
        for o, key in zip(objectives, ("y", "o"), strict=True)
    ]
    means = _searched(analysis, shared).transform_filter("isValid(datum.y) && isValid(datum.o)")
    means = means.transform_filter("datum.state == 'finished'").transform_aggregate(
        y="mean(y)", o="mean(o)", j="min(j)", groupby=["s", "c", "f"]
    )  # fmt: skip
    x = alt.X("y:Q", title=axes[0].label, scale=_scale(axes[0]), axis=_number_axis())
    encoded = {"x": x, "y": _y(axes[1], "o"), "tooltip": _all_values()}
    front = means.transform_filter("datum.f")
    layers = [
        means.mark_point(filled=True, size=30, opacity=0.45).encode(color=_colour(shared), **encoded).add_params(_zoom()),
        front.mark_line(color=INK, strokeWidth=1.2, interpolate="step-after").encode(x=x, y=_y(axes[1], "o")),
        front.mark_point(filled=True, size=60, opacity=1).encode(color=_colour(shared), **encoded),
    ]
    better = " and ".join(f"{'less' if o.mode == 'min' else 'more'} {o.metric}" for o in objectives)
    caption = f"Better is {better}. Joined: settings that no other one improves on in both."
    return _chart("front", "Two objectives", caption, alt.layer(*layers))


def arms_chart(analysis: SweepAnalysis, shared: RunRows) -> Chart | None:
    """Shows each arm's final runs, tuned and with its defaults."""
    sides = [side for arm in analysis.arms for side in (arm.tuned, arm.default) if side is not None]
    values = [value for side in sides for value in side.validation.values]
    if not values:
        return None
    places = {id(setting): s for s, setting in enumerate(analysis.settings)}
    shown = json.dumps([places[id(side)] for side in sides])
    # The whole range: in a comparison a run that is far off is a result too.
    scale = value_axis(analysis.objective.label, np.array(values), analysis.sweep.objective.sign, is_whole=True)
    base = _runs().transform_filter(CHOSEN).transform_filter(f"indexof({shown}, datum.s) >= 0")
    base = base.transform_filter(WITH_VALUE).transform_calculate(which="datum.stage == 'default' ? 'default' : 'tuned'")
    arms = [arm.name for arm in analysis.arms if arm.tuned or arm.default]
    y = alt.Y("c:N", sort=arms, title=None, axis=alt.Axis(labelColor=INK))
    offset = alt.YOffset("which:N", sort=["tuned", "default"], scale=alt.Scale(paddingInner=0.3))
    x = alt.X("y:Q", title=scale.label, scale=_scale(scale), axis=_number_axis())
    size = alt.condition("datum.which == 'tuned'", alt.value(0.85), alt.value(0.3))
    told = [alt.Tooltip("c:N", title="arm"), alt.Tooltip("which:N"), alt.Tooltip("mean(y):Q", title="mean", format=".4~g")]
    mean = alt.X("mean(y):Q", title=scale.label, scale=_scale(scale), axis=_number_axis())
    layers = [
        base.mark_point(filled=True, size=45).encode(
            x=x, y=y, yOffset=offset, color=_colour(shared), opacity=size, tooltip=_all_values()
        ),
        base.mark_tick(thickness=2.5, size=18, color=INK).encode(x=mean, y=y, yOffset=offset, tooltip=told),
    ]  # fmt: skip
    caption = "A point is a run on a seed that was not used for tuning, the bar the mean. Above tuned, below (pale) default."
    return _chart("arms", "Tuned and default", caption + scale.note(), alt.layer(*layers), height=50 * len(arms) + 20)


def target_chart(analysis: SweepAnalysis, shared: RunRows) -> Chart | None:
    """Shows the share of runs that have reached the target by seconds of training: of arms, else of the best."""
    target = analysis.sweep.target
    assert target is not None
    sides: list[Setting] = [arm.tuned for arm in analysis.arms if arm.tuned is not None]
    sides = sides if analysis.arms else contenders(analysis.settings)[:MOST_CURVES]
    places = {id(setting): s for s, setting in enumerate(analysis.settings)}
    shown = [places[id(side)] for side in sides]
    hits = [row["h"] for row in shared.rows if row["s"] in shown and row["h"] is not None]
    if not hits:
        return None
    base = _runs().transform_filter(CHOSEN).transform_filter(f"indexof({json.dumps(shown)}, datum.s) >= 0")
    base = base.transform_joinaggregate(all="count()", groupby=["s"]).transform_filter("isValid(datum.h)")
    # Missed runs stay below the line: shares are of all runs, not of those that got there.
    steps = base.transform_window(nth="row_number()", sort=[{"field": "h"}], groupby=["s"])
    steps = steps.transform_calculate(share="datum.nth / datum.all")
    x = alt.X("h:Q", title="training time (seconds)", scale=alt.Scale(domain=[0, max(hits) * 1.05 or 1.0], nice=False))
    axis = alt.Axis(format=".0%", tickCount=5)
    y = alt.Y("share:Q", title="share of the runs (percent)", scale=alt.Scale(domain=[0, 1.03], nice=False), axis=axis)
    colour = _colour(shared)
    layers = [
        steps.mark_line(interpolate="step-after", strokeWidth=1.8).encode(x=x, y=y, color=colour, detail="s:N"),
        steps.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour, tooltip=_all_values()),
    ]
    return _chart("target", "Time to the target", f"Runs that have reached {goal(target)}.", alt.layer(*layers))


def _runs() -> alt.Chart:
    return alt.Chart(alt.NamedData(name="runs"))


def _searched(analysis: SweepAnalysis, shared: RunRows, data: str = "") -> alt.Chart:
    """Returns a chart of the chosen runs of the search, on a data set."""
    base = _runs().transform_filter(CHOSEN)
    if any(row["stage"] != "search" for row in shared.rows):
        base = base.transform_filter("datum.stage == 'search'")
    base = base.transform_filter(f"indexof({json.dumps(list(MARKS))}, datum.state) >= 0")
    return base.transform_filter(f"datum.data == {json.dumps(data)}") if data else base


def _kept_points(base: alt.Chart, shared: RunRows, y: ChartAxis, sign: int) -> alt.Chart:
    """Returns points of single runs; one without a value is placed at the worse end of the axis, a little inside."""
    base = base.transform_filter("datum.kept") if shared.is_thinned else base
    edge = y.at(0.97 if sign > 0 else 0.03)
    base = base.transform_calculate(place=f"isValid(datum.y) ? datum.y : {edge}")
    return base.mark_point(filled=True, size=34, opacity=0.7 if len(shared.rows) < 500 else 0.45)


def _telling(analysis: SweepAnalysis) -> list[str]:
    """Returns the parameters that only tell data sets apart."""
    if not analysis.sweep.data_sets:
        return []
    return [name for name in analysis.axes if tells_data_sets_apart(name, analysis.searched)]


def _has_scores(analysis: SweepAnalysis) -> bool:
    return bool(np.isfinite([setting.score for setting in analysis.settings]).any())


def _zoom() -> Any:
    # Without a key a wheel scrolls the page. A pinch on a trackpad arrives as a wheel with Ctrl.
    return alt.selection_interval(bind="scales", zoom="wheel![event.ctrlKey || event.shiftKey]")


def _all_values() -> Any:
    """Returns the tooltip of a single run, which the page fills with all of its values."""
    return alt.Tooltip("j:Q", title="job")


def _choice_tooltip(shared: RunRows) -> list[Any]:
    return [alt.Tooltip("c:N", title=shared.choice)] if shared.palette else []


def _colour(shared: RunRows) -> Any:
    if not shared.palette:
        return alt.value(next(iter(SERIES)))
    scale = alt.Scale(domain=list(shared.palette), range=list(shared.palette.values()))
    return alt.Color("c:N", scale=scale, title=shared.choice, legend=alt.Legend(symbolOpacity=1, symbolStrokeWidth=2))


def _shape(shared: RunRows) -> Any:
    scale = alt.Scale(domain=shared.states, range=[MARKS[state] for state in shared.states])
    title = "run" if len(shared.states) > 1 else None
    return alt.Shape("state:N", scale=scale, title=title, **({} if title else {"legend": None}))


def _scale(axis: ChartAxis) -> Any:
    return alt.Scale(type="log" if axis.is_log else "linear", domain=[axis.low, axis.high], nice=False, clamp=True)


def _number_axis(values: Sequence[float] | None = None) -> Any:
    return alt.Axis(format=".4~g", tickCount=6, **({"values": values} if values else {}))


def _whole_axis() -> Any:
    return alt.Axis(format=",d", tickMinStep=1, tickCount=6)


def _y(axis: ChartAxis, field: str, aggregate: str = "") -> Any:
    shorthand = f"{aggregate}({field}):Q" if aggregate else f"{field}:Q"
    return alt.Y(shorthand, scale=_scale(axis), title=axis.label, axis=_number_axis())


def _number_x(axis: ParameterAxis, key: str) -> Any:
    shown = axis.chart_axis()
    return alt.X(f"{key}:Q", scale=_scale(shown), title=shown.label, axis=_number_axis(axis.numbers))


def _choice_x(axis: ParameterAxis, key: str) -> Any:
    angle = -35 if sum(map(len, axis.choices)) > 44 else 0
    shown = alt.Axis(labelAngle=angle, labelLimit=110, labelOverlap=False, grid=False)
    return alt.X(f"{key}:N", sort=list(axis.choices), title=_title_of(axis), axis=shown)


def _title_of(axis: ParameterAxis) -> str:
    return axis.chart_axis().label


def _sampled(shared: RunRows) -> str:
    n = sum(row["kept"] for row in shared.rows)
    return f" Drawn are {n:,} of {len(shared.rows):,} runs, the best ones among them." if shared.is_thinned else ""


def _finite(value: Any) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _chart(
    name: str, title: str, caption: str, chart: Any, data: str = "", *, height: int = HEIGHT, is_wide: bool = False
) -> Chart:
    """Completes a specification, which altair checks against the schema of Vega-Lite."""
    spec = chart.properties(width=WIDE if is_wide else WIDTH, height=height).configure(**CONFIG).to_dict()
    spec["params"] = [{"name": "chosen", "value": None}, *spec.get("params", [])]
    return Chart(f"{name}_{data}" if data else name, title, caption, spec, is_wide)
