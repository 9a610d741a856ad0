"""The rows that all figures of a report share, one for each run, and the colour of each choice."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlplab.report.charts import DARK, MARKS, SERIES, ParameterAxis
from mlplab.report.learning_curves import thinned
from mlplab.report.rerun_commands import shared_words
from mlplab.report.sweep_analysis import SweepAnalysis, parameters_of, places_of
from mlplab.rules import number_in
from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.reading.formatting import value_text
from mlplab.sweeps.reading.ranked_settings import UNRANKED, Setting, pareto_front, time_of
from mlplab.sweeps.reading.sweep_records import RunRecord, as_number

MOST_MARKS = 500  # runs that figures with a mark for each run show; of more, the best and evenly spaced others

# Values of a parameter that can have a colour each, and parameters in the parallel coordinates.
MOST_CHOICES, MOST_DIMENSIONS = 20, 9
DIGITS = 5  # significant digits of numbers in a page
AXIS_LENGTH = 1000  # places along an axis of the parallel coordinates: finer than pixels, and short to write

TIMES = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}


@dataclass(frozen=True)
class RunRows:
    """Collects the values of a sweep's runs that its figures draw.

    A row has `j` (number of the job), `s` (place of its setting), `c` (its choice), `y` (its objective or None), `o`
    (the second one), `state`, `stage`, `data`, `kept` (it is one of `MOST_MARKS`), `a` and `b` (when it began and
    ended, in `unit`), `h` (seconds to the target), `f` (its setting is on the
    Pareto front), a `v0`, `v1`, … for each swept parameter, and a `d0`, `d1`, … for each axis of the parallel
    coordinates, the objective last: where its value lies on it, from 0 to 1, or None.
    """

    rows: list[dict[str, Any]]  # of the runs
    keys: Mapping[str, str]  # swept parameter → its key in the rows
    choice: str | None  # parameter (`arm` or `data set`, too) whose values have colours; None if there is none
    palette: Mapping[str, str]  # choice → colour
    unit: str  # of the times
    dimensions: Sequence[ParameterAxis]  # of the parallel coordinates, but for the objective

    @cached_property
    def states(self) -> list[str]:
        """Lists the states that have a mark and occur."""
        found = {row["state"] for row in self.rows}
        return [state for state in MARKS if state in found]

    def datasets(self, spec: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Returns the rows that a specification draws, with those of their values that it mentions (maybe a few more).

        `marked` are the rows that have a mark of their own, `runs` all.
        """
        text, names = json.dumps(spec), dict.fromkeys(name for row in self.rows for name in row)
        used = [name for name in names if f'"{name}"' in text or f"datum.{name}" in text]
        drawn = {"runs": self.rows, "marked": [row for row in self.rows if row["kept"]]}
        drawn = {name: rows for name, rows in drawn.items() if f'{{"name": "{name}"}}' in text}
        return {n: [{name: row[name] for name in used if name in row} for row in rows] for n, rows in drawn.items()}

    @property
    def is_thinned(self) -> bool:
        return len(self.rows) > MOST_MARKS

    def columns(self) -> dict[str, Any]:
        """Returns the rows by columns, in as few characters as possible: texts, and few values, as places in a list."""
        table: dict[str, Any] = {}
        for name in dict.fromkeys(name for row in self.rows for name in row):
            values = [row.get(name) for row in self.rows]
            values = [float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for value in values]
            place = {text: index for index, text in enumerate(dict.fromkeys(values))}
            if 10 * len(place) < len(values) or any(isinstance(text, str) for text in place):
                table[name] = {"of": list(place), "at": [place[v] for v in values] if len(place) > 1 else 0}
            else:
                table[name] = values
        return table


def run_rows(analysis: SweepAnalysis) -> RunRows:
    """Collects the rows of a sweep's runs."""
    sweep, settings = analysis.sweep, analysis.settings
    keys = {name: f"v{place}" for place, name in enumerate(parameters_of(analysis))}
    choice = choice_of(analysis)
    kept, n = set(range(sum(len(setting.runs) for setting in settings))), MOST_MARKS // 5
    if len(kept) > MOST_MARKS:  # of settings in the order of their ranks
        kept = {*range(n), *(n + thinned(len(kept) - n, MOST_MARKS - n)).tolist()}
    front = {id(setting) for setting in pareto_front(settings, sweep.objectives)} if len(sweep.objectives) > 1 else ()
    periods = [run.period for run in sweep.runs if run.period is not None] or [(0.0, 0.0)]
    first, last = min(begun for begun, _ in periods), max(ended for _, ended in periods)
    unit = next((unit for unit, seconds in TIMES.items() if last - first < 120 * seconds), "days")
    rows: list[dict[str, Any]] = []
    for s, setting in enumerate(settings):
        for run in setting.runs:
            row = {"j": run.entry.number, "s": s, "c": _choice(choice, setting, run), **_outcome(analysis, run)}
            row |= {"stage": setting.stage, "data": setting.data_set, "kept": int(len(rows) in kept)}
            row |= {"f": int(id(setting) in front)} if front else {}
            for name, moment in zip("ab", run.period or (), strict=False):
                row[name] = (moment - first) / TIMES[unit]
            for name, value in run.entry.values.items():
                axis = analysis.axes.get(name)
                number = as_number(value) if axis is None or not axis.choices else None
                row[keys[name]] = value_text(value) if number is None else number
            rows.append(row)
    found = dict.fromkeys(row["c"] for row in rows) if choice is not None else {}
    axis = analysis.axes.get(choice or "")
    ordered = [text for text in (axis.choices if axis is not None else ()) if text in found]
    ordered += [text for text in found if text not in ordered]
    # Beyond those of the series, hues a golden angle apart stay apart, however many there are.
    colours = [*SERIES, *(f"hsl({137.5 * place % 360:.0f},45%,52%)" for place in range(len(ordered)))]
    # Of a comparison, the parameters that most arms have.
    n_having = Counter(name for setting in analysis.searched for name in setting.values)
    along = [a for a in analysis.by_effect if 2 * n_having[a.name] >= len(analysis.searched)][:MOST_DIMENSIONS]
    entries = [run.entry for setting in settings for run in setting.runs]
    values = analysis.objective.transformed(np.array([row["y"] for row in rows], dtype=np.float64))
    places = np.column_stack([places_of(analysis.axes, [axis.name for axis in along], entries), values])
    low, high = np.array([*(axis.ends for axis in along), analysis.objective.ends]).T
    placed = np.clip((places - low) / np.where(high > low, high - low, 1.0), 0, 1)
    for row, shares in zip(rows, placed.tolist(), strict=True):
        row |= {f"d{k}": None if math.isnan(share) else round(share * AXIS_LENGTH) for k, share in enumerate(shares)}
    return RunRows(rows, keys, choice, dict(zip(ordered, colours, strict=False)), unit, along)


def _outcome(analysis: SweepAnalysis, run: RunRecord) -> dict[str, Any]:
    objectives, has_value = analysis.sweep.objectives, run.state in ("finished", *UNRANKED)
    value = run.measured.get(objectives[0].metric) if has_value else None
    # It has ended, and what it is judged by is no number.
    row: dict[str, Any] = {"y": value, "state": "failed" if run.state == "finished" and value is None else run.state}
    if len(objectives) > 1 and has_value:
        row["o"] = run.measured.get(objectives[1].metric)
    if analysis.sweep.target is not None:
        seconds, *_ = time_of(run, analysis.sweep.target)
        row["h"] = seconds if math.isfinite(seconds) else None
    return row


def choice_of(analysis: SweepAnalysis) -> str | None:
    """Chooses the parameter whose values have a colour each: the arms, else the choice that matters most."""
    if analysis.arms:
        return "arm"
    choices = [axis for axis in analysis.by_effect if 1 < len(axis.choices) <= MOST_CHOICES]
    # Names before numbers, of which an axis can be made.
    choices.sort(key=lambda axis: all(number_in(text) is not None for text in axis.choices))
    return choices[0].name if choices else "data set" if analysis.sweep.data_sets else None


def _choice(choice: str | None, setting: Setting, run: RunRecord) -> str:
    if choice in ("arm", "data set"):
        return setting.data_set if choice == "data set" else setting.arm or ""
    value = run.entry.values.get(choice) if choice is not None else None
    return "" if value is None else value_text(value)


def page_data(shared: RunRows, analysis: SweepAnalysis) -> dict[str, Any]:
    """Returns what the page's script has to know beside the figures."""
    return {
        "n": len(shared.rows),
        "columns": shared.columns(),
        "parameters": [[key, name] for name, key in shared.keys.items()],
        "shared": shared_words(analysis.sweep.constants),
        "seeds": SEEDS,
        "objective": analysis.objective.label,
        "unit": shared.unit,
        "choice": shared.choice,
        "palette": shared.palette,
        "marks": {state: MARKS[state] for state in shared.states},
        "dark": DARK,
    }


def as_json(value: Any) -> str:
    """Formats data for a script element, which no text in it can end."""
    # Other characters beyond ASCII are escaped by themselves, line separators among them.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")
