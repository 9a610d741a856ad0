"""The figures of a sweep as Vega-Lite specifications: which ones it gets, their rows and their marks, by Altair."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import altair as alt
import numpy as np

from mlplab.errors import printable
from mlplab.report.charts import CONFIG, INK, MARKS, MUTED, SERIES, Chart, ChartAxis, ParameterAxis, value_axis
from mlplab.report.learning_curves import median_rows, thinned
from mlplab.report.run_rows import AXIS_LENGTH, RunRows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.sweeps.reading.formatting import number, words_of
from mlplab.sweeps.reading.ranked_settings import Setting, contenders

# Parameters and data sets with figures of their own; the parameters are those with the largest effect.
MOST_PARAMETERS, MOST_DATA_SETS = 24, 4
MOST_PAIRS, LEAST_SHARE = 4, 0.02  # heat maps of pairs, and the share of the variance below which a pair gets none
MOST_ON_A_LINE = 40  # distinct numbers that a line of means joins; more of them are points of a search

# Settings whose curves are shown at once, and those that a choice of runs can bring there.
MOST_CURVES, MOST_DRAWN = 5, 24
# Filters by the runs that are chosen in the page.
CHOSEN, CHOSEN_SETTINGS = "!chosen || chosen.runs[datum.j]", "!chosen || chosen.settings[datum.s]"

WITH_VALUE = "isValid(datum.y) && datum.state == 'finished'"
RUN = [alt.Tooltip("j:Q", title="job")]  # tooltip of a single run, which the page fills with all of its values

WHOLE, PERCENT = alt.Axis(format=",d", tickMinStep=1, tickCount=6), alt.Axis(format=".0%", tickCount=5)
EPOCHS = alt.X("x:Q", title="epoch (number)", scale=alt.Scale(nice=False, zero=False), axis=WHOLE)
WIDTH, WIDE, HEIGHT = 420, 860, 260


@dataclass(frozen=True)
class Panel:
    """Holds the parts that the figures of a sweep share, on one of its data sets (empty if it has one)."""

    analysis: SweepAnalysis
    shared: RunRows
    data: str = ""

    @cached_property
    def y(self) -> ChartAxis:
        """Returns the axis of the objective."""
        scores = [s.score for s in self.analysis.searched if s.data_set == self.data]
        objective = self.analysis.objective
        return value_axis(objective.label, np.array(scores, np.float64), self.sign) if self.data else objective

    @property
    def sign(self) -> int:
        return self.analysis.sweep.objective.sign

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Lists the runs of the search that have a mark."""
        searched = [row for row in self.shared.rows if row["stage"] == "search" and row["state"] in MARKS]
        return [row for row in searched if self.data in ("", row["data"])]

    @property
    def searched(self) -> Any:
        """Returns a chart of those of the search, on this data set."""
        return chosen("runs").transform_filter(self.of_search)

    @property
    def of_search(self) -> str:
        ended = f"datum.stage == 'search' && indexof({json.dumps(list(MARKS))}, datum.state) >= 0"
        return ended + (f" && datum.data == {json.dumps(self.data)}" if self.data else "")

    @property
    def points(self) -> Any:
        """Returns a mark for each of them: what is beyond the axis, or without a value, a little inside its ends."""
        low, high = self.y.at(0.03), self.y.at(0.97)
        inside = f"datum.y > {self.y.high} ? {high} : datum.y < {self.y.low} ? {low} : datum.y"
        place = f"isValid(datum.y) ? ({inside}) : {high if self.sign > 0 else low}"
        placed = chosen("marked").transform_filter(self.of_search).transform_calculate(place=place)
        marks = placed.mark_point(filled=True, size=34, opacity=1, fillOpacity=0.7 if len(self.rows) < 500 else 0.45)
        return marks.encode(y=scaled(self.y, "place"), color=self.colour, shape=self.shape, tooltip=RUN)

    @property
    def sampled(self) -> str:
        n = sum(row["kept"] for row in self.shared.rows)
        sampled = f" Drawn are {n:,} of {len(self.shared.rows):,} runs, the best ones among them."
        return sampled if self.shared.is_thinned else ""

    @property
    def note(self) -> str:
        # Of all runs, not of the means alone from which the axis is made.
        n = sum(not self.y.low <= row["y"] <= self.y.high for row in self.rows if row["y"] is not None)
        return replace(self.y, n_beyond=n).note() + self.sampled

    @property
    def colour(self) -> Any:
        palette = self.shared.palette
        scale = alt.Scale(domain=list(palette), range=list(palette.values()))
        legend = alt.Legend(symbolOpacity=1, symbolStrokeWidth=2)
        colour = alt.Color("c:N", scale=scale, title=self.shared.choice, legend=legend)
        return colour if palette else alt.value(next(iter(SERIES)))

    @property
    def shape(self) -> alt.Shape:
        states = self.shared.states
        scale = alt.Scale(domain=states, range=[MARKS[state] for state in states])
        legend: Any = alt.Undefined if len(states) > 1 else None
        return alt.Shape("state:N", scale=scale, title="run", legend=legend)

    def told(self, **values: str) -> list[alt.Tooltip]:
        """Returns a tooltip of the choice, and of fields with their titles."""
        choice = [alt.Tooltip("c:N", title=self.shared.choice)] if self.shared.palette else []
        return [*choice, *(value(field, title) for field, title in values.items())]

    def chart(
        self, name: str, title: str, caption: str, *layers: Any, height: int = HEIGHT, is_wide: bool = False
    ) -> Chart:
        """Completes a specification."""
        drawn = alt.layer(*layers).properties(width=WIDE if is_wide else WIDTH, height=height)
        spec = drawn.configure(**CONFIG).to_dict()
        spec["params"] = [{"name": "chosen", "value": None}, *spec.get("params", [])]
        on = f", {self.data}" if self.data else ""
        return Chart(name + on, title + on, caption, spec, is_wide)


def chosen(rows: str) -> Any:
    """Returns a chart of the chosen ones among `runs`, or among those with a mark of their own, `marked`."""
    return alt.Chart(alt.NamedData(name=rows)).transform_filter(CHOSEN)


def value(field: str, title: str, form: str = ".4~g") -> alt.Tooltip:
    """Returns the line of a tooltip for a number."""
    return alt.Tooltip(f"{field}:Q", title=title, format=form)


def zoom() -> Any:
    """Returns what moves and zooms a figure."""
    # Without a key a wheel scrolls the page. A pinch on a trackpad arrives as a wheel with Ctrl.
    return alt.selection_interval(bind="scales", zoom="wheel![event.ctrlKey || event.shiftKey]")


def scaled(axis: ChartAxis, field: str, channel: Any = alt.Y, values: Sequence[float] = ()) -> Any:
    """Encodes a field along an axis of numbers."""
    low, high = axis.ends
    if not values and axis.is_log and high - low >= 2:  # lines at other numbers would be a thicket
        values = [10.0**k for k in range(int(np.ceil(low)), int(np.floor(high)) + 1)]
    scale = alt.Scale(type="log" if axis.is_log else "linear", domain=[axis.low, axis.high], nice=False, clamp=True)
    ticks = alt.Axis(format=".4~g", tickCount=6, values=values or alt.Undefined)
    return channel(f"{field}:Q", scale=scale, title=axis.label, axis=ticks)


def span(field: str, title: str, low: float, high: float, axis: Any = alt.Undefined, channel: Any = alt.X) -> Any:
    """Encodes a field from one number to another."""
    # Not a domain from high to low, which has no ticks.
    scale = alt.Scale(domain=sorted([low, high]), nice=False, reverse=low > high)
    return channel(f"{field}:Q", title=title, scale=scale, axis=axis)


def parameter_x(axis: ParameterAxis, key: str) -> Any:
    """Encodes a parameter along the x axis."""
    if not axis.choices:
        return scaled(axis.chart_axis(), key, alt.X, axis.numbers)
    angle = -35 if sum(map(len, axis.choices)) > 44 else 0
    shown = alt.Axis(labelAngle=angle, labelLimit=110, labelOverlap=False, grid=False)
    return alt.X(f"{key}:N", sort=list(axis.choices), title=axis.chart_axis().label, axis=shown)


def inline(rows: list[dict[str, Any]]) -> alt.Chart:
    """Returns a chart of rows of its own."""
    return alt.Chart(alt.InlineData(values=rows))


def charts_of(analysis: SweepAnalysis, shared: RunRows) -> dict[str, list[Chart]]:
    """Returns section → its figures."""
    whole, effects = Panel(analysis, shared), analysis.effects
    # The number against which a study is drawn first: the one that matters most; none in a search.
    main = next((axis for axis in analysis.by_effect if is_on_a_line(analysis, axis)), None)
    panels = [replace(whole, data=data) for data in analysis.sweep.data_sets[:MOST_DATA_SETS] or [""]]
    metric, is_search = analysis.sweep.objective.metric, analysis.sweep.asked.get("sweeper") == "optuna"
    parameters: list[Chart | None] = []
    if np.isfinite([setting.score for setting in analysis.searched]).any():
        parameters += [effects_chart(whole), front_chart(whole)]
        for axis in (axis for axis in analysis.by_effect[:MOST_PARAMETERS] if axis is not main):
            draw = lines_chart if is_on_a_line(analysis, axis) else points_chart
            parameters += [draw(panel, axis) for panel in panels]
        # A cell would mix values on different data.
        known = effects.pairs if effects is not None and not analysis.sweep.data_sets else {}
        for names, share in sorted(known.items(), key=lambda item: -item[1])[:MOST_PAIRS]:
            # The parameter with more values lies along the wider side.
            axes = sorted((analysis.axes[name] for name in names), key=lambda axis: -len(axis.texts))
            parameters += [pair_chart(whole, *axes)] if share >= LEAST_SHARE else []
    found: dict[str, list[Chart | None]] = {
        "overview": [*(lines_chart(panel, main, is_main=True) for panel in panels if main), parallel_chart(whole)],
        "comparison": [arms_chart(whole), target_chart(whole)],
        "parameters": parameters,
        "course": [
            *(history_chart(panel) for panel in panels if is_search),
            *(distribution_chart(panel) for panel in panels if is_search or len(whole.rows) >= 12),
            timeline_chart(whole),
            pruned_chart(whole),
        ],
        # Objectives such as the number of parameters have no curve.
        "curves": [curves_chart(whole, n) for n in dict.fromkeys([metric, "val/loss"]) if n.startswith("val/")],
    }
    return {name: [chart for chart in charts if chart is not None] for name, charts in found.items()}


def is_on_a_line(analysis: SweepAnalysis, axis: ParameterAxis) -> bool:
    """Returns whether the numbers of a parameter are those of a grid, over which a line of means can be drawn."""
    values = [setting.values[axis.name] for setting in analysis.searched if axis.name in setting.values]
    if axis.choices or len(values) < len(analysis.searched) or not any(s.validation.values for s in analysis.searched):
        return False
    n = len(set(values))
    return n <= MOST_ON_A_LINE and (analysis.sweep.asked.get("sweeper") == "grid" or 2 * n <= len(values))


def lines_chart(panel: Panel, axis: ParameterAxis, *, is_main: bool = False) -> Chart:
    """Shows the objective against a number: mean and standard deviation over seeds, a line for each choice."""
    y, key, palette = panel.y, panel.shared.keys[axis.name], panel.shared.palette
    x, words = parameter_x(axis, key), axis.chart_axis().label
    aggregated = {"mean": "mean(y)", "deviation": "stdev(y)", "runs": "count()"}
    means = panel.searched.transform_filter(WITH_VALUE).transform_aggregate(**aggregated, groupby=[key, "c"])
    low, high = f"max(datum.mean - datum.deviation, {y.low})", f"min(datum.mean + datum.deviation, {y.high})"
    band = means.transform_calculate(low=low, high=high).mark_area(opacity=0.18, clip=True)
    told = panel.told(**{key: words}, mean=f"mean {y.label}", deviation="standard deviation", runs="runs")
    encoded = {"x": x, "y": scaled(y, "mean"), "color": panel.colour}
    layers = [
        means.mark_line(strokeWidth=2, clip=True).encode(detail="c:N", **encoded).add_params(zoom()),
        band.encode(**{**encoded, "y": scaled(y, "low")}, y2="high:Q", detail="c:N"),
        means.mark_point(filled=True, size=45, opacity=1).encode(tooltip=told, **encoded),
    ]
    names = [a.name for a in panel.analysis.by_effect if a.name not in (axis.name, panel.shared.choice)]
    over = ", ".join([f"{panel.analysis.sweep.repetition}s", *names])
    caption = f"Mean over {over}, with the standard deviation as a band.{y.note()}"
    if lost := sum(row["y"] is None for row in panel.rows):
        # At the worse end, those of each choice a little further in.
        edge = [y.at(0.97 - 0.05 * k if panel.sign > 0 else 0.03 + 0.05 * k) for k in range(max(len(palette), 1))]
        place = f"{json.dumps(edge)}[max(0, indexof({json.dumps(list(palette))}, datum.c))]"
        marks = panel.searched.transform_filter("!isValid(datum.y)")
        marks = marks.transform_aggregate(runs="count()", groupby=[key, "c", "state"]).transform_calculate(edge=place)
        told = [alt.Tooltip("state:N"), *panel.told(**{key: words}, runs="runs")]
        encoded |= {"y": scaled(y, "edge"), "shape": panel.shape, "tooltip": told}
        layers.append(marks.mark_point(filled=True, size=60, opacity=0.9).encode(**encoded))
        caption += f" {lost:,} runs without a value are marked at the edge."
    name = "main" if is_main else f"by_{axis.name}"
    return panel.chart(name, f"{y.label.capitalize()} by {words}", caption, *layers, is_wide=is_main)


def points_chart(panel: Panel, axis: ParameterAxis) -> Chart:
    """Shows the objective against a parameter: a mark for each run, and the mean of each choice."""
    y, key = panel.y, panel.shared.keys[axis.name]
    x, words = parameter_x(axis, key), axis.chart_axis().label
    points, caption = panel.points.transform_filter(f"isValid(datum.{key})").encode(x=x), "A mark is a run."
    layers = [points.add_params(zoom())]
    if axis.choices:
        # Equal values would hide each other.
        aside = alt.XOffset("aside:Q", scale=alt.Scale(domain=[-0.6, 1.6]))
        points = points.transform_calculate(aside="(datum.j * 0.618034) % 1").encode(xOffset=aside)
        means = panel.searched.transform_filter(f"{WITH_VALUE} && isValid(datum.{key})")
        means = means.transform_aggregate(mean="mean(y)", groupby=[key]).mark_tick(thickness=2.5, size=34, color=INK)
        told = [alt.Tooltip(f"{key}:N", title=words), value("mean", f"mean {y.label}")]
        layers = [points, means.encode(x=x, y=scaled(y, "mean"), tooltip=told)]
        caption = "A mark is a run, the bar the mean."
    return panel.chart(f"by_{axis.name}", f"{y.label.capitalize()} by {words}", caption + panel.note, *layers)


def parallel_chart(panel: Panel) -> Chart | None:
    """Shows each run as a line through its values, on an axis for each parameter; axes are brushed in the page."""
    analysis = panel.analysis
    along: list[ParameterAxis | ChartAxis] = [*panel.shared.dimensions, analysis.objective]
    if len(along) < 2 or len(panel.rows) < 3 or analysis.sweep.data_sets:
        return None
    axes = {f"d{place}": axis for place, axis in enumerate(along)}
    # Over axes that a run does not have, its line goes on to the next one.
    lines = chosen("marked").transform_fold([*axes], as_=["axis", "at"])
    lines = lines.transform_filter("isValid(datum.at)")
    words = [analysis.names[axis.name] for axis in panel.shared.dimensions]
    titles = json.dumps(dict(zip(axes, [*words, analysis.sweep.objective.metric], strict=True)))
    head = alt.Axis(
        orient="top", domain=False, grid=False, labelAngle=0, labelLimit=110, labelPadding=12, labelOverlap=False,
        labelColor=INK, labelExpr=f"{titles}[datum.value]",
    )  # fmt: skip
    x = alt.X("axis:N", sort=None, scale=alt.Scale(domain=[*axes], padding=0.4), title=None, axis=head)
    at, low = alt.Y("at:Q", scale=alt.Scale(domain=[0, AXIS_LENGTH]), axis=None), alt.Y("low:Q", axis=None)
    places = [(name, *tick) for name, axis in axes.items() for tick in _ticks(axis)]
    ticks = [{"axis": name, "at": AXIS_LENGTH * share, "text": text} for name, share, text in places]
    rules = inline([{"axis": name, "low": 0, "high": AXIS_LENGTH} for name in axes]).mark_rule(color=MUTED)
    brushes = alt.Chart(alt.NamedData(name="brushes")).mark_rule(strokeWidth=16, opacity=0.25, color=INK)
    text: dict[str, Any] = {"align": "left", "dx": 5, "fontSize": 10.5, "limit": 90}
    halo: dict[str, Any] = {"stroke": "#ffffff", "strokeWidth": 3, "strokeJoin": "round"}
    lines = lines.mark_line(strokeWidth=1.4, strokeOpacity=max(0.15, min(0.8, 30 / len(panel.rows))))
    layers = [
        lines.encode(x=x, y=at, detail="j:Q", color=panel.colour, tooltip=RUN),
        *(layer.encode(x=x, y=low, y2="high:Q") for layer in (rules, brushes)),
        *(inline(ticks).mark_text(**text, **more).encode(x=x, y=at, text="text:N") for more in (halo, {})),
    ]
    caption = "A line is a run. Drag along an axis to choose runs, in all figures and in the leaderboard."
    return panel.chart("parallel", "All runs at once", caption + panel.note, *layers, height=300, is_wide=True)


def _ticks(axis: ParameterAxis | ChartAxis) -> list[tuple[float, str]]:
    """Returns the shares of an axis of the parallel coordinates at which texts stand, and the texts."""
    low, span = axis.ends[0], (axis.ends[1] - axis.ends[0]) or 1.0
    if isinstance(axis, ParameterAxis) and axis.choices:
        return [(k / span, text[:16]) for k, text in enumerate(axis.choices)]
    step = 10.0 ** np.floor(np.log10(span / 3))
    step *= next(k for k in (5, 2, 1) if k == 1 or span / (k * step) >= 3)
    # Of a logarithmic axis whole powers, if there are some.
    step = max(1.0, np.round(step)) if axis.is_log and span >= 1 else step
    places = [step * k for k in range(int(np.ceil(low / step)), int(np.floor((low + span) / step)) + 1)]
    return [((n - low) / span, number(10.0 ** min(max(n, -300), 300) if axis.is_log else n, 3)) for n in places]


def pair_chart(panel: Panel, wide: ParameterAxis, high: ParameterAxis) -> Chart:
    """Shows the median of the runs in each cell of two parameters."""
    scale, axes = panel.y, (wide, high)
    keys: list[Any] = [panel.shared.keys[axis.name] for axis in axes]
    low, top = scale.ends
    place = f"(clamp({'log(datum.median) / LN10' if scale.is_log else 'datum.median'}, {low}, {top}) - {low})"
    place = f"{place} / {top - low}"
    lightness = f"datum.known ? {f'1 - {place}' if panel.sign > 0 else place} : null"
    cells = panel.searched.transform_aggregate(median="median(y)", known="valid(y)", groupby=keys)
    cells = cells.transform_calculate(shade=lightness, text="datum.known ? format(datum.median, '.2~g') : '×'")
    words = [axis.chart_axis().label for axis in axes]
    encoded = {}
    for name, channel, key, axis, title in zip("xy", (alt.X, alt.Y), keys, axes, words, strict=True):
        # Names are read from above, numbers from below.
        order: Any = list(axis.choices) or ("descending" if name == "y" else "ascending")
        form: dict[str, Any] = {} if axis.choices else {"format": ".4~g", "formatType": "number"}
        angle: dict[str, Any] = {"labelAngle": -40 if sum(map(len, axis.texts)) > 44 else 0} if name == "x" else {}
        encoded[name] = channel(f"{key}:O", title=title, sort=order, axis=alt.Axis(**form, **angle))
    told = [alt.Tooltip(f"{key}:N", title=title) for key, title in zip(keys, words, strict=True)]
    told += [value("median", f"median {scale.label}"), value("known", "runs")]
    shade = alt.Color("shade:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None)
    # Black on light cells and white on dark ones, which are the same on a light and a dark page.
    ink = alt.condition("datum.shade > 0.62", alt.value("#000001"), alt.value("#fffffe"))
    filled, empty = cells.transform_filter("datum.known"), cells.transform_filter("!datum.known")
    text = filled.mark_text(fontSize=min(11.0, 130 / len(wide.texts)), stroke=None)
    layers = [
        filled.mark_rect().encode(color=shade, tooltip=told, **encoded),
        text.encode(text="text:N", color=ink, **encoded),
        empty.mark_text(color=MUTED).encode(text="text:N", **encoded),
    ]
    caption = f"Median of the runs in each cell; lighter is better, × is a cell without a value.{scale.note()}"
    title, height = " × ".join(words), 60 + 34 * min(len(high.texts), 12)
    return panel.chart(f"pair_{wide.name}_{high.name}", title.capitalize(), caption, *layers, height=height)


def effects_chart(panel: Panel) -> Chart | None:
    """Shows how much parameters matter, then the pairs with the largest interactions, then the noise between seeds."""
    analysis, names, effects = panel.analysis, panel.analysis.names, panel.analysis.effects
    if effects is None:
        return None
    alone = [(names[name], share) for name, share in effects.alone.items()]
    pairs = [(f"{names[a]} × {names[b]}", share) for (a, b), share in effects.pairs.items()]
    alone, pairs = (sorted(part, key=lambda item: -item[1]) for part in (alone, pairs))
    # An interaction of less than half a percent is rounding.
    pairs = [(text, share) for text, share in pairs[:6] if share >= 0.005]
    noise = [(f"{analysis.sweep.repetition}s", effects.noise)] if effects.noise is not None else []
    colours = {MUTED: alone, "#8a929b": pairs, "#b5bac0": noise}
    rows = [{"name": text, "share": share, "of": c} for c, bars in colours.items() for text, share in bars]
    if effects.method == "grid":
        title, axes = "share of the variance (percent)", [(analysis.axes[n], place) for n, place in effects.without]
        left = "." if noise else ", and to the noise between runs of one setting, of which there is one."
        caption = f"Shares of the variance of the runs, from {effects.n:,} settings of the full grid. × is an "
        caption += f"interaction beyond the two effects; {effects.rest:.0%} is left to interactions of more{left}"
        left_out = ", ".join(f"{a.name}={a.texts[int(a.buckets(np.array([place]))[0])]}" for a, place in axes)
        caption += f" Left out because some of it has no value: {left_out}." if left_out else ""
    else:
        title, explained = "importance (percent)", f"{effects.explained or 0.0:.0%}"
        caption = f"PED-ANOVA (Watanabe et al. 2023) of {effects.n:,} settings, pruned ones included: what tells the "
        caption += f"best from the others, in shares of 1. A random forest predicts {explained} of the variance of "
        caption += "the ranks of settings it has not seen: trust it no further."
    # The axis is longer than the longest bar, so that its label has room beside it.
    longest = max(share for bars in colours.values() for _, share in bars)
    x = span("share", title, 0, min(1.14, longest * 1.2 + 0.02), PERCENT)
    base = inline(rows).encode(x=x, y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelColor=INK)))
    bars = base.mark_bar(size=14).encode(color=alt.Color("of:N", scale=None))
    text = base.mark_text(align="left", dx=4).encode(text=alt.Text("share:Q", format=".0%"))
    caption += " Of all runs, whichever are chosen."
    return panel.chart("effects", "What mattered", caption, bars, text, height=24 * len(rows))


def history_chart(panel: Panel) -> Chart:
    """Shows runs in their order, with the best so far."""
    last = max((row["j"] for row in panel.rows), default=0)
    x = span("j", "job (in the order of the search)", -0.5, last + 0.5, WHOLE)
    so_far = f"{panel.analysis.sweep.objective.mode}(y)"
    best = panel.searched.transform_filter(WITH_VALUE)
    best = best.transform_window(best=so_far, sort=[alt.SortField("j")], frame=[None, 0])
    line = best.mark_line(interpolate="step-after", color=INK, strokeWidth=1.5, clip=True)
    layers = [panel.points.encode(x=x).add_params(zoom()), line.encode(x=x, y=scaled(panel.y, "best"))]
    caption = f"A mark is a run; the line is the best so far.{panel.note}"
    return panel.chart("search", "The course of the search", caption, *layers, is_wide=True)


def distribution_chart(panel: Panel) -> Chart | None:
    """Shows the share of runs that are at most as good as a value: the empirical distribution."""
    if len({row["y"] for row in panel.rows if row["state"] == "finished"}) < 3:
        return None
    ranked = panel.searched.transform_filter(WITH_VALUE)
    ranked = ranked.transform_window(share="cume_dist()", sort=[alt.SortField("y")], groupby=["c"])
    y = alt.Y("share:Q", title="share of the runs (percent)", axis=PERCENT)
    # Only now, as the shares are those of all runs.
    ranked = ranked.transform_filter("datum.kept").encode(x=scaled(panel.y, "y", alt.X), y=y)
    line = ranked.mark_line(interpolate="step-after", strokeWidth=1.8, clip=True)
    dots = ranked.mark_point(opacity=0, size=50, filled=True)
    told = [*panel.told(y=panel.y.label), value("share", "share of the runs", ".1%")]
    layers = [line.encode(color=panel.colour, detail="c:N").add_params(zoom()), dots.encode(tooltip=told)]
    caption = f"Empirical distribution: the share of finished runs up to a value.{panel.y.note()}{panel.sampled}"
    return panel.chart("distribution", "How results are spread", caption, *layers)


def timeline_chart(panel: Panel) -> Chart | None:
    """Shows when each job ran, and how it ended."""
    timed = [row for row in panel.shared.rows if "a" in row]
    if len(timed) < 2:
        return None
    y = span("j", "job (number)", max(row["j"] for row in timed) + 0.8, -0.8, WHOLE, alt.Y)
    base = chosen("marked").transform_filter("isValid(datum.a)")
    base = base.encode(y=y, color=panel.colour, tooltip=RUN)
    end, title = max(row["b"] for row in timed) or 1.0, f"since the first job began ({panel.shared.unit})"
    height = max(120, min(420, 9 * len(timed)))
    bars = base.mark_rule(strokeWidth=max(1.0, min(6.0, 0.6 * height / len(timed))))
    layers = [bars.encode(x=span("a", title, 0, end), x2="b:Q")]
    if len(panel.shared.states) > 1:
        ends = base.transform_filter("datum.state != 'finished'").mark_point(filled=True, size=45, opacity=1)
        layers.append(ends.encode(x=span("b", title, 0, end), shape=panel.shape))
    caption = f"A bar is a job, from its beginning to its end.{panel.sampled}"
    return panel.chart("timeline", "When each job ran", caption, *layers, height=height)


def pruned_chart(panel: Panel) -> Chart | None:
    """Shows the intermediate values of pruned runs, above those of finished ones in grey."""
    metric = panel.analysis.sweep.objective.metric
    known = [run for run in panel.analysis.sweep.runs if metric in run.curves]
    runs = {state: [run for run in known if run.state == state] for state in ("finished", "pruned")}
    if not runs["pruned"]:
        return None
    choices = {row["j"]: row["c"] for row in panel.shared.rows}
    rows: list[dict[str, Any]] = []
    for state, found in runs.items():
        for run in (found[place] for place in thinned(len(found), MOST_DRAWN)):
            kept, j = thinned(len(run.curves[metric].values), 30), run.entry.number
            at = zip(run.curves[metric].epochs[kept].tolist(), run.curves[metric].values[kept].tolist(), strict=True)
            rows += [{"j": j, "c": choices.get(j, ""), "state": state, "x": x, "y": y} for x, y in at if np.isfinite(y)]
            if rows:
                rows[-1]["end"] = 1
    y = value_axis(words_of(metric), np.array([row["y"] for row in rows], dtype=np.float64), panel.sign)
    base = inline(rows).transform_filter(CHOSEN).encode(x=EPOCHS, y=scaled(y, "y"), detail="j:N", tooltip=RUN)
    finished, pruned = (base.transform_filter(f"datum.state == '{state}'") for state in runs)
    ends = pruned.transform_filter("datum.end").mark_point(filled=True, size=50, shape=MARKS["pruned"], opacity=1)
    layers = [
        finished.mark_line(color=MUTED, strokeOpacity=0.3, strokeWidth=1, clip=True).add_params(zoom()),
        pruned.mark_line(strokeWidth=1.4, clip=True).encode(color=panel.colour),
        ends.encode(color=panel.colour),
    ]
    caption = f"{len(runs['pruned']):,} runs were pruned, at their triangles. Grey: runs that were trained to the end."
    caption += y.note() + (f" {MOST_DRAWN} of each are drawn." if max(map(len, runs.values())) > MOST_DRAWN else "")
    return panel.chart("pruned", "Intermediate values of pruned runs", caption, *layers)


def curves_chart(panel: Panel, metric: str) -> Chart | None:
    """Shows a metric by epoch for the best settings, as medians over seeds with quartiles; None without histories.

    A validation loss has the training loss beside it, so that overfitting can be seen.
    """
    metrics = (metric, "train/loss") if metric == "val/loss" else (metric,)
    places = {setting: s for s, setting in enumerate(panel.analysis.settings)}
    settings = [s for s in contenders(panel.analysis.settings) if any(metric in run.curves for run in s.finished)]
    # Others, too, which appear where the best are not among the chosen runs.
    best, others = settings[: MOST_DRAWN // 2], settings[MOST_DRAWN // 2 :]
    shown = [*best, *(others[place] for place in thinned(len(others), MOST_DRAWN // 2))] if others else best
    choices = {row["s"]: row["c"] for row in panel.shared.rows}
    rows: list[dict[str, Any]] = []
    for rank, setting in enumerate(shown):
        of_setting = {"s": places[setting], "rank": rank, "c": choices.get(places[setting], "")}
        for name in metrics:
            curves = [run.curves[name] for run in setting.finished if name in run.curves]
            ends = ("x", "low", "y", "high") if len(curves) > 1 else ("x", "y")
            points = [{k: float(f"{point[k]:.5g}") for k in ends} for point in median_rows(curves)]
            rows += [{**of_setting, "part": name.partition("/")[0], **point} for point in points]
    values = [row[k] for row in rows if row["rank"] < MOST_CURVES for k in ("low", "y", "high") if k in row]
    if not values:
        return None
    # The direction of the objective is not that of every loss.
    sign, words = (1, "loss") if metric.endswith("loss") else (panel.sign, words_of(metric))
    y = value_axis(words, np.array(values, dtype=np.float64), sign, is_whole=True)
    base = inline(rows).transform_filter(CHOSEN_SETTINGS)
    base = base.transform_window(among="dense_rank()", sort=[alt.SortField("rank")])
    base = base.transform_filter(f"datum.among <= {MOST_CURVES}").encode(x=EPOCHS)
    has_band = any("low" in row for row in rows)
    several = alt.Scale(domain=list(range(1, MOST_CURVES + 1)), range=list(SERIES)[:MOST_CURVES])
    colour = panel.colour if panel.shared.palette else alt.Color("among:O", scale=several, legend=None)
    dash = alt.StrokeDash("part:N", scale=alt.Scale(domain=["val", "train"], range=[[1, 0], [4, 3]]), legend=None)
    told = [alt.Tooltip("s:Q", title="setting"), alt.Tooltip("x:Q", title="epoch"), alt.Tooltip("part:N", title="of")]
    line = base.mark_line(strokeWidth=1.6, clip=True).encode(y=scaled(y, "y"), color=colour, strokeDash=dash)
    dots = base.mark_point(opacity=0, size=60, filled=True, clip=True).encode(y=scaled(y, "y"))
    told += [value("y", f"median {words}")]
    layers = [line.encode(detail="s:N").add_params(zoom()), dots.encode(tooltip=told)]
    if has_band:
        band = base.mark_area(opacity=0.14, clip=True)
        layers.append(band.encode(y=scaled(y, "low"), y2="high:Q", color=colour, detail=["s:N", "part:N"]))
    caption = "Solid validation, dashed training. " if len(metrics) > 1 else ""
    caption += f"The best {min(MOST_CURVES, len(settings))} settings. " if len(settings) > 1 else ""
    caption += "Median over finished runs, quartiles shaded, as far as half of them came. " if has_band else ""
    caption = f"{caption.strip()}{y.note()}" or "Of one run."
    title = "Validation and training loss" if len(metrics) > 1 else words.capitalize()
    return panel.chart(f"curves_{metric}", title, caption, *layers)


def front_chart(panel: Panel) -> Chart | None:
    """Shows two objectives against each other, with the Pareto front; None without a setting that has both."""
    # A figure has two axes; further objectives are in the table alone.
    objectives = panel.analysis.sweep.objectives[:2]
    known = [row for row in panel.rows if row.get("o") is not None and row["y"] is not None]
    if not known or len(objectives) < 2:
        return None
    values = [np.array([row[key] for row in known]) for key in "yo"]
    x, y = (value_axis(words_of(o.metric), those, o.sign) for o, those in zip(objectives, values, strict=True))
    means = panel.searched.transform_filter(f"{WITH_VALUE} && isValid(datum.o)")
    means = means.transform_aggregate(y="mean(y)", o="mean(o)", j="min(j)", groupby=["s", "c", "f"])
    means = means.encode(x=scaled(x, "y", alt.X), y=scaled(y, "o"), tooltip=RUN)
    front = means.transform_filter("datum.f")
    layers = [
        means.mark_point(filled=True, size=30, opacity=0.45).encode(color=panel.colour).add_params(zoom()),
        front.mark_line(color=INK, strokeWidth=1.2, interpolate="step-after"),
        front.mark_point(filled=True, size=60, opacity=1).encode(color=panel.colour),
    ]
    better = " and ".join(f"{'less' if o.mode == 'min' else 'more'} {o.metric}" for o in objectives)
    caption = f"Better is {better}. Joined: settings that no other one improves on in both."
    return panel.chart("front", "Two objectives", caption, *layers)


def _of_settings(panel: Panel, settings: list[Setting]) -> Any:
    """Returns a chart of the chosen runs of some settings."""
    places = [s for s, setting in enumerate(panel.analysis.settings) if setting in settings]
    return chosen("runs").transform_filter(f"indexof({json.dumps(places)}, datum.s) >= 0")


def arms_chart(panel: Panel) -> Chart | None:
    """Shows each arm's final runs, tuned and with its defaults."""
    arms = panel.analysis.arms
    sides = [side for arm in arms for side in (arm.tuned, arm.default) if side is not None]
    values = [value for side in sides for value in side.validation.values]
    if not values:
        return None
    # The whole range: in a comparison a run that is far off is a result too.
    scale = value_axis(panel.y.label, np.array(values), panel.sign, is_whole=True)
    y = alt.Y("c:N", sort=[arm.name for arm in arms], title=None, axis=alt.Axis(labelColor=INK))
    offset = alt.YOffset("which:N", sort=["tuned", "default"], scale=alt.Scale(paddingInner=0.3))
    base = _of_settings(panel, sides).transform_filter(WITH_VALUE).encode(y=y, yOffset=offset)
    base = base.transform_calculate(which="datum.stage == 'default' ? 'default' : 'tuned'")
    pale = alt.condition("datum.which == 'tuned'", alt.value(0.85), alt.value(0.3))
    points = base.mark_point(filled=True, size=45).encode(color=panel.colour, opacity=pale, tooltip=RUN)
    means = base.transform_aggregate(mean="mean(y)", groupby=["c", "which"])
    told = [alt.Tooltip("c:N", title="arm"), alt.Tooltip("which:N"), value("mean", f"mean {scale.label}")]
    ticks = means.mark_tick(thickness=2.5, size=18, color=INK).encode(x=scaled(scale, "mean", alt.X), tooltip=told)
    layers = [points.encode(x=scaled(scale, "y", alt.X)), ticks]
    caption = "A point is a run on a seed that was not used for tuning, the bar the mean. Above tuned, below (pale) "
    caption += f"default.{scale.note()}"
    return panel.chart("arms", "Tuned and default", caption, *layers, height=50 * len(arms) + 20)


def target_chart(panel: Panel) -> Chart | None:
    """Shows the share of runs that have reached the target by seconds of training: of arms, else of the best."""
    analysis, target = panel.analysis, panel.analysis.sweep.target
    sides = [arm.tuned for arm in analysis.arms if arm.tuned is not None]
    sides = sides if analysis.arms else contenders(analysis.settings)[:MOST_CURVES]
    rows = [row for row in panel.shared.rows if analysis.settings[row["s"]] in sides]
    hits = [row["h"] for row in rows if row.get("h") is not None]
    if target is None or not hits:
        return None
    # Missed runs stay below the line: shares are of all runs, not of those that got there.
    base = _of_settings(panel, sides).transform_joinaggregate(all="count()", groupby=["s"])
    base = base.transform_filter("isValid(datum.h)")
    steps = base.transform_window(nth="row_number()", sort=[alt.SortField("h")], groupby=["s"])
    x = span("h", "training time (seconds)", 0, max(hits) * 1.05 or 1.0)
    y = span("share", "share of the runs (percent)", 0, 1.03, PERCENT, alt.Y)
    steps = steps.transform_calculate(share="datum.nth / datum.all").encode(x=x, y=y, color=panel.colour)
    line = steps.mark_line(interpolate="step-after", strokeWidth=1.8).encode(detail="s:N")
    dots = steps.mark_point(filled=True, size=40, opacity=1).encode(tooltip=RUN)
    return panel.chart("target", "Time to the target", f"Runs that have reached {printable(target)}.", line, dots)
