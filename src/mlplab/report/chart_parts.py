"""The parts of which figures are made: their rows, axes, colours, marks and tooltips, by Altair."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import numpy as np

from mlplab.report.charts import CONFIG, MARKS, SERIES, Chart, ChartAxis, value_axis
from mlplab.report.parameter_axes import ParameterAxis
from mlplab.report.run_rows import RunRows
from mlplab.report.sweep_analysis import SweepAnalysis

CHOSEN, CHOSEN_SETTINGS = "!chosen || chosen.runs[datum.j]", "!chosen || chosen.settings[datum.s]"
"""Filters by the runs that are chosen in the page."""

WITH_VALUE = "isValid(datum.y) && datum.state == 'finished'"
RUN = [alt.Tooltip("j:Q", title="job")]
"""Tooltip of a single run, which the page fills with all of its values."""

EPOCHS = alt.X(
    "x:Q",
    title="epoch (number)",
    scale=alt.Scale(nice=False, zero=False),
    axis=alt.Axis(format=",d", tickMinStep=1, tickCount=6),
)
WHOLE, PERCENT = alt.Axis(format=",d", tickMinStep=1, tickCount=6), alt.Axis(format=".0%", tickCount=5)
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
        if not self.data:
            return self.analysis.objective
        scores = np.array([s.score for s in self.analysis.searched if s.data_set == self.data], dtype=np.float64)
        return value_axis(self.analysis.objective.label, scores, self.sign)

    @property
    def sign(self) -> int:
        return self.analysis.sweep.objective.sign

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Lists the runs of the search that have a mark."""
        searched = [row for row in self.shared.rows if row["stage"] == "search" and row["state"] in MARKS]
        return [row for row in searched if row["data"] == self.data or not self.data]

    @property
    def runs(self) -> Any:
        """Returns a chart of the chosen runs."""
        return alt.Chart(alt.NamedData(name="runs")).transform_filter(CHOSEN)

    @property
    def searched(self) -> Any:
        """Returns a chart of those of the search, on this data set."""
        marked = f"datum.stage == 'search' && indexof({json.dumps(list(MARKS))}, datum.state) >= 0"
        return self.runs.transform_filter(marked + (f" && datum.data == {json.dumps(self.data)}" if self.data else ""))

    @property
    def points(self) -> Any:
        """Returns a mark for each of them: what is beyond the axis, or without a value, a little inside its ends."""
        low, high = self.y.at(0.03), self.y.at(0.97)
        inside = f"datum.y > {self.y.high} ? {high} : datum.y < {self.y.low} ? {low} : datum.y"
        place = f"isValid(datum.y) ? ({inside}) : {high if self.sign > 0 else low}"
        placed = self.kept(self.searched).transform_calculate(place=place)
        return placed.mark_point(filled=True, size=34, opacity=1, fillOpacity=0.7 if len(self.rows) < 500 else 0.45)

    def kept(self, chart: Any) -> Any:
        """Leaves out runs that have no mark of their own, as there are too many."""
        return chart.transform_filter("datum.kept") if self.shared.is_thinned else chart

    @property
    def note(self) -> str:
        n = sum(row["kept"] for row in self.shared.rows)
        sampled = f" Drawn are {n:,} of {len(self.shared.rows):,} runs, the best ones among them."
        return self.y.note() + (sampled if self.shared.is_thinned else "")

    @property
    def colour(self) -> Any:
        palette = self.shared.palette
        if not palette:
            return alt.value(next(iter(SERIES)))
        scale = alt.Scale(domain=list(palette), range=list(palette.values()))
        legend = alt.Legend(symbolOpacity=1, symbolStrokeWidth=2)
        return alt.Color("c:N", scale=scale, title=self.shared.choice, legend=legend)

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
        """Completes a specification, which Altair checks against the schema of Vega-Lite."""
        drawn = alt.layer(*layers).properties(width=WIDE if is_wide else WIDTH, height=height)
        spec = drawn.configure(**CONFIG).to_dict()
        spec["params"] = [{"name": "chosen", "value": None}, *spec.get("params", [])]
        on = f", {self.data}" if self.data else ""
        return Chart(name + on, title + on, caption, spec, is_wide)


def value(field: str, title: str) -> alt.Tooltip:
    """Returns the line of a tooltip for a number."""
    return alt.Tooltip(f"{field}:Q", title=title, format=".4~g")


def zoom() -> Any:
    """Returns what moves and zooms a figure."""
    # Without a key a wheel scrolls the page. A pinch on a trackpad arrives as a wheel with Ctrl.
    return alt.selection_interval(bind="scales", zoom="wheel![event.ctrlKey || event.shiftKey]")


def scaled(axis: ChartAxis, field: str, channel: Any = alt.Y, values: Sequence[float] = ()) -> Any:
    """Encodes a field along an axis of numbers."""
    decades = np.log10([axis.low, axis.high]) if axis.is_log else np.zeros(2)
    if not values and decades[1] - decades[0] >= 2:  # lines at other numbers would be a thicket
        values = [10.0**k for k in range(int(np.ceil(decades[0])), int(np.floor(decades[1])) + 1)]
    scale = alt.Scale(type="log" if axis.is_log else "linear", domain=[axis.low, axis.high], nice=False, clamp=True)
    ticks = alt.Axis(format=".4~g", tickCount=6, values=values or alt.Undefined)
    return channel(f"{field}:Q", scale=scale, title=axis.label, axis=ticks)


def span(field: str, title: str, low: float, high: float, axis: Any = alt.Undefined, channel: Any = alt.X) -> Any:
    """Encodes a field from one number to another."""
    scale = alt.Scale(domain=[min(low, high), max(low, high)], nice=False, reverse=low > high)
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
