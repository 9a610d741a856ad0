"""The rows that all figures of a report share, one for each run, and the colour of each choice."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlplab.report.charts import DARK, MARKS, SERIES
from mlplab.report.formatting import value_text
from mlplab.report.learning_curves import seconds_to, thinned
from mlplab.report.parameter_axes import ParameterAxis
from mlplab.report.ranked_settings import Setting, pareto_front
from mlplab.report.sweep_analysis import SweepAnalysis, tells_data_sets_apart
from mlplab.report.sweep_records import SHOWN_STATES, RunRecord, as_number
from mlplab.sweeps.ledger import SEEDS

MOST_MARKS = 1500
"""Runs that figures with a mark for each run show; of more, the best and evenly spaced others."""

MOST_CHOICES = 20
"""Values of a parameter that can have a colour each."""

DIGITS = 6
"""Significant digits of numbers in a page."""

TIMES = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}


@dataclass(frozen=True)
class RunRows:
    """What figures show of the runs of a sweep.

    A row has `j` (number of the job), `s` (place of its setting), `y` (its objective; None without one), `o` (the second
    one), `state`, `c` (its choice, which has a colour), `stage`, `data`, `kept` (it is one of `MOST_MARKS`), `a` and
    `b` (when it began and ended, in `unit`), `p` (its best epoch as a share of all), `h` (seconds to the target), `f`
    (its setting is on the Pareto front), and a `v0`, `v1`, … for each swept parameter.

    Attributes:
        rows: of the runs.
        keys: swept parameter → its key in the rows.
        choice: parameter (`arm` or `data set`, too) whose values have colours; None if there is none.
        palette: choice → colour.
        unit: of the times.
    """

    rows: list[dict[str, Any]]
    keys: Mapping[str, str]
    choice: str | None
    palette: Mapping[str, str]
    unit: str

    @cached_property
    def states(self) -> list[str]:
        """Lists the states that have a mark and occur."""
        found = {row["state"] for row in self.rows}
        return [state for state in MARKS if state in found]

    @property
    def is_thinned(self) -> bool:
        return len(self.rows) > MOST_MARKS

    def columns(self) -> dict[str, Any]:
        """Returns the rows by columns, in as few characters as possible: texts as places in a list."""
        table: dict[str, Any] = {}
        for name in dict.fromkeys(name for row in self.rows for name in row):
            values = [row.get(name) for row in self.rows]
            if any(isinstance(value, str) for value in values):
                texts = list(dict.fromkeys(values))
                place = {text: index for index, text in enumerate(texts)}
                table[name] = {"of": texts, "at": [place[value] for value in values]}
            else:
                table[name] = [_short(value) for value in values]
        return table


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def run_rows(analysis: SweepAnalysis) -> RunRows:
    """Collects the rows of a sweep's runs."""
    sweep, settings = analysis.sweep, analysis.settings
    names = dict.fromkeys(name for run in sweep.runs for name in run.entry.values)
    keys = {name: f"v{place}" for place, name in enumerate(names)}
    choice = choice_of(analysis)
    kept = _kept(sum(len(setting.runs) for setting in settings))
    front = {id(setting) for setting in pareto_front(settings, sweep.objectives)} if len(sweep.objectives) > 1 else ()
    begun = [run.period[0] for run in sweep.runs if run.period is not None]
    ended = max((run.period[1] for run in sweep.runs if run.period is not None), default=0.0)
    span = ended - min(begun, default=0.0)
    unit = next((unit for unit, seconds in TIMES.items() if span < 120 * seconds), "days")
    rows: list[dict[str, Any]] = []
    for s, setting in enumerate(settings):
        for run in setting.runs:
            row = {"j": run.entry.number, "s": s, "c": _choice(choice, setting, run), **_outcome(analysis, run)}
            row |= {"stage": setting.stage, "data": setting.data_set, "kept": len(rows) in kept, "f": id(setting) in front}
            if run.period is not None:
                row |= {"a": (run.period[0] - min(begun)) / TIMES[unit], "b": (run.period[1] - min(begun)) / TIMES[unit]}
            for name, value in run.entry.values.items():
                axis = analysis.axes.get(name)
                number = as_number(value) if axis is None or not axis.choices else None
                row[keys[name]] = value_text(value) if number is None else number
            rows.append(row)
    found = list(dict.fromkeys(row["c"] for row in rows)) if choice is not None else []
    axis = analysis.axes.get(choice or "")
    ordered = [text for text in (axis.choices if axis is not None else found) if text in found]
    ordered += [text for text in found if text not in ordered]
    return RunRows(rows, keys, choice, dict(zip(ordered, _colours(len(ordered)), strict=True)), unit)


def _outcome(analysis: SweepAnalysis, run: RunRecord) -> dict[str, Any]:
    objectives = analysis.sweep.objectives
    has_value = run.state in ("finished", "pruned")
    value = run.measured.get(objectives[0].metric) if has_value else None
    # It has ended, and what it is judged by is no number.
    state = "failed" if run.state == "finished" and value is None else SHOWN_STATES.get(run.state, run.state)
    row: dict[str, Any] = {"y": value, "state": state}
    if len(objectives) > 1 and has_value:
        row["o"] = run.measured.get(objectives[1].metric)
    if run.state == "finished" and run.best_epoch is not None and run.epochs >= 3:
        row["p"] = min(run.best_epoch / run.epochs, 1.0)
    if analysis.sweep.target is not None:
        seconds = seconds_to(run, analysis.sweep.target)
        row["h"] = seconds if math.isfinite(seconds) else None
    return row


def _kept(n: int) -> set[int]:
    """Returns which of n runs, the best ones first, have a mark of their own."""
    if n <= MOST_MARKS:
        return set(range(n))
    best = MOST_MARKS // 5
    return {*range(best), *(best + thinned(n - best, MOST_MARKS - best)).tolist()}


def choice_of(analysis: SweepAnalysis) -> str | None:
    """Chooses the parameter whose values have a colour each: the arms, else the choice that matters most."""
    if analysis.arms:
        return "arm"
    axes, settings = analysis.axes.values(), analysis.searched
    shares = analysis.effects.alone if analysis.effects is not None else {}
    choices = [axis for axis in axes if 1 < len(axis.choices) <= MOST_CHOICES]
    if analysis.sweep.data_sets:
        choices = [axis for axis in choices if not tells_data_sets_apart(axis.name, settings)]
    # Names before numbers, of which an axis can be made.
    choices.sort(key=lambda axis: (all(_is_number(text) for text in axis.choices), -shares.get(axis.name, 0.0)))
    return choices[0].name if choices else "data set" if analysis.sweep.data_sets else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _choice(choice: str | None, setting: Setting, run: RunRecord) -> str:
    if choice == "arm":
        return setting.arm or ""
    if choice == "data set":
        return setting.data_set
    value = run.entry.values.get(choice) if choice is not None else None
    return "" if value is None else value_text(value)


def _colours(n: int) -> list[str]:
    """Returns n colours, no two of them alike."""
    # Hues a golden angle apart stay apart, however many there are.
    return [*SERIES, *(f"hsl({137.5 * place % 360:.0f},45%,52%)" for place in range(n))][:n]


def page_data(shared: RunRows, analysis: SweepAnalysis) -> dict[str, Any]:
    """Returns what the page's script has to know beside the figures."""
    seeds = [name for name in shared.keys if name in SEEDS]
    named = [name for name in shared.keys if name not in seeds] + seeds
    return {
        "columns": shared.columns(),
        "parameters": [[shared.keys[name], name] for name in named],
        "objective": analysis.objective.label,
        "unit": shared.unit,
        "choice": shared.choice,
        "palette": shared.palette,
        "marks": {state: MARKS[state] for state in shared.states},
        "dark": DARK,
        "dimensions": [dimension(shared.keys[axis.name], axis) for axis in dimensions(analysis)]
        + [objective_dimension(analysis)],
    }


def dimensions(analysis: SweepAnalysis, most: int = 9) -> list[ParameterAxis]:
    """Returns the parameters of the parallel coordinates: those that vary, the most important ones first."""
    shares = analysis.effects.alone if analysis.effects is not None else {}
    varying = [axis for axis in analysis.axes.values() if axis.n_buckets > 1]
    return sorted(varying, key=lambda axis: -shares.get(axis.name, 0.0))[:most]


def dimension(key: str, axis: ParameterAxis) -> dict[str, Any]:
    """Describes how values of a parameter are placed between 0 and 1."""
    if axis.choices:
        return {"key": key, "choices": list(axis.choices)}
    low, high = axis.ends or (0.0, 1.0)
    return {"key": key, "log": axis.is_log, "low": low, "high": high}


def objective_dimension(analysis: SweepAnalysis) -> dict[str, Any]:
    """Describes the same for the objective, of which worse values than the axis shows are at its end."""
    low, high = analysis.objective.transformed(np.array([analysis.objective.low, analysis.objective.high])).tolist()
    return {"key": "y", "log": analysis.objective.is_log, "low": low, "high": high}


def as_json(value: Any) -> str:
    """Formats data for a script element, which no text in it can end."""
    # Other characters beyond ASCII are escaped by themselves, line separators among them.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")


