"""The tables of a report: for the page and the terminal as cells of text, for programs as plain values."""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlplab.errors import printable
from mlplab.report.rerun_commands import commands
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.reading.formatting import number, p_text, share, spread_text, value_text
from mlplab.sweeps.reading.ranked_settings import FAILED, Setting, names_of, pareto_front
from mlplab.sweeps.reading.sweep_records import SHOWN_STATES, RunRecord, Spread

SETTING, VALIDATION, TEST = "setting", "validation: decides", "test: not used for selection"

WHICH = {"rerun": "tuned", "default": "default"}


@dataclass(frozen=True)
class Cell:
    """The text of a cell, the number that it is sorted by instead, classes of page.css, and links: text and address."""

    text: str
    key: float | None = None
    style: str = ""
    links: Sequence[tuple[str, str]] = ()

    @property
    def hidden_key(self) -> float | None:
        """Returns the key if its text does not begin with it."""
        try:
            shown = float(self.text.split()[0])
        except (ValueError, IndexError):
            return self.key
        return None if self.key is None or math.isclose(shown, self.key, rel_tol=1e-3) else self.key


@dataclass(frozen=True)
class Column:
    """A column: its heading, how it makes the cell of an object, and how it is shown.

    `style` are classes of page.css, of which `num` aligns to the right; `group` is a heading over several columns,
    `title` a longer heading.
    """

    heading: str
    cell: Callable[[Any], Cell]
    style: str = ""
    group: str = ""
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a row for each object: a setting, a test or a run; `key` numbers them for the page's script."""

    title: str
    columns: list[Column]
    objects: Sequence[Any]
    key: tuple[str, Callable[[Any], int]] | None = None

    @property
    def rows(self) -> Iterator[list[Cell]]:
        return ([column.cell(thing) for column in self.columns] for thing in self.objects)

    @property
    def groups(self) -> list[tuple[str, int, str]]:
        """Returns heading, width and style of each group of columns; empty if there is only one."""
        # Only neighbours are joined, so columns of one group must stand side by side.
        groups = [(name, list(columns)) for name, columns in groupby(self.columns, lambda column: column.group)]
        return [(name, len(part), part[0].style) for name, part in groups] if len(groups) > 1 else []


def _number(value: float | None) -> Cell:
    return Cell(number(value), value)


def _count(part: int, whole: int) -> Cell:
    return Cell(str(whole) if part == whole else share(part, whole), part)


def _spread(spread: Spread) -> Cell:
    return Cell(spread_text(spread), spread.mean)


def summary_table(analysis: SweepAnalysis, settings: Sequence[Setting], most_objectives: int) -> Table:
    """Makes the leaderboard for a terminal."""
    # One column for all values, as a terminal has no room for one each.
    name = Column("setting", lambda setting: Cell(setting.label))
    # Zeros would hide the few settings that have failures.
    failed = Column("failed", lambda setting: Cell(str(setting.n_failed or "")), "num")
    return Table("", [_rank(), name, *_objectives(analysis)[:most_objectives], _runs(), failed], settings)


def leaderboard(analysis: SweepAnalysis, settings: Sequence[Setting], title: str) -> Table:
    """Makes a table of ranked settings: their values, their validation metrics, and their test metrics apart."""
    # Early, as a table with many metrics reaches beyond the page.
    columns = [
        _rank(),
        Column(
            "again", partial(_command, analysis, parameters_of(analysis)), "command", SETTING, "difference and command"
        ),
    ]
    if analysis.arms:
        columns.append(Column("arm", lambda setting: Cell(setting.arm or ""), "strong", SETTING))
    # With a single stage the column would hold one and the same word.
    if {setting.stage for setting in settings} == set(WHICH):
        columns.append(Column("which", lambda setting: Cell(WHICH[setting.stage]), "", SETTING))
    columns += [
        # partial, as a lambda would see the last name of the loop in every column.
        Column(analysis.names.get(name, name), partial(_value, name), "value", SETTING, name)
        for name in names_of(settings)
    ]
    columns += _validation(analysis, settings)
    columns += [
        Column("jobs", partial(_jobs, analysis.sweep.directory), "jobs", VALIDATION, "directories of the runs"),
        *_tests(analysis),
    ]
    places = {setting: place for place, setting in enumerate(analysis.settings)}
    return Table(title, columns, settings, ("s", places.__getitem__))


def _rank() -> Column:
    return Column("#", lambda setting: Cell(str(setting.rank)), "num", SETTING)


def _value(name: str, setting: Setting) -> Cell:
    if name not in setting.values:
        return Cell("–")
    value = setting.values[name]
    # The text has four digits only, so numbers are sorted by the value itself.
    return Cell(value_text(value), value if isinstance(value, float) else None)


def _command(analysis: SweepAnalysis, names: Sequence[str], setting: Setting) -> Cell:
    from markupsafe import Markup, escape

    text = "\n".join(map(printable, commands(setting, analysis.sweep.constants)))
    # A character for each name, which page.js writes out again; no other text has them, as they are not printable.
    for place, name in enumerate(names):
        text = re.sub(rf"(?<!\S){re.escape(name)}=", chr(0xE000 + place), text)
    return Cell(Markup(escape(text.replace("python train.py ", chr(0xF8FF)))), style="command")


def parameters_of(analysis: SweepAnalysis) -> list[str]:
    """Lists the swept parameters, seeds last."""
    names = dict.fromkeys(name for run in analysis.sweep.runs for name in run.entry.values)
    return sorted(names, key=lambda name: name in SEEDS)[:0x1000]


def _jobs(folder: Path, setting: Setting) -> Cell:
    return Cell("", links=[(str(r.entry.number), link_to(r, folder)) for r in setting.runs])


def link_to(run: RunRecord, folder: Path) -> str:
    """Returns the address of a run's directory, from the folder of the page."""
    # The dot, as a name with a colon would be read as a scheme.
    return f"./{quote(os.path.relpath(run.place or folder / run.entry.directory, folder))}/"


def _objectives(analysis: SweepAnalysis) -> list[Column]:
    def cell(metric: str, setting: Setting) -> Cell:
        return _spread(setting.spread(metric))

    metrics = [objective.metric for objective in analysis.sweep.objectives]
    return [Column(metric, partial(cell, metric), "num strong", VALIDATION) for metric in metrics]


def _runs() -> Column:
    return Column("runs", lambda s: _count(len(s.finished), len(s.runs)), "num", VALIDATION)


def _validation(analysis: SweepAnalysis, settings: Sequence[Setting]) -> list[Column]:
    sweep, columns = analysis.sweep, _objectives(analysis)
    if len(sweep.objectives) > 1:
        front = pareto_front(settings, sweep.objectives)
        # Keys instead of texts: a click on the heading puts the front first.
        columns.append(Column("front", lambda s: Cell("●", 0) if s in front else Cell("", 1), "mid", VALIDATION))
    columns.append(_runs())
    if any(setting.n_failed or len(setting.finished) < len(setting.runs) for setting in settings):
        columns.append(Column("not finished", _not_finished, "", VALIDATION))
    # As an objective they have a column already.
    if "seconds" not in [objective.metric for objective in sweep.objectives]:
        title = "of training, mean over finished runs"
        columns.append(Column("seconds", lambda s: _number(s.spread("seconds").mean), "num", VALIDATION, title))
    if sweep.target is not None:
        # Computed once, because three columns and their sorting keys use them.
        times = {setting: setting.time_to(sweep.target) for setting in settings}

        def reached(setting: Setting) -> Cell:
            return Cell(share(time.hits, time.n), time.hits) if (time := times[setting]) is not None else Cell("–")

        def median(unit: str, setting: Setting) -> Cell:
            return _number(time.median[unit] if (time := times[setting]) is not None else None)

        columns.append(Column("reached", reached, "num", VALIDATION, "runs that reached the target"))
        for unit in ("seconds", "epochs"):
            title = f"median {unit} to the target; a miss counts as infinite"
            columns.append(Column(f"{unit} to target", partial(median, unit), "num", VALIDATION, title))
    return columns


def _not_finished(setting: Setting) -> Cell:
    counts = {SHOWN_STATES.get(state, state): n for state, n in setting.states.items() if state != "finished"}
    counts["without a value"] = setting.n_valueless
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return Cell(text, setting.n_failed or None, "bad" if setting.n_failed else "")


def _tests(analysis: SweepAnalysis) -> list[Column]:
    def cell(metric: str, setting: Setting) -> Cell:
        return _spread(setting.test(metric))

    metrics = metrics_of_test(analysis.settings, analysis.sweep.objective.metric)
    # The first one has a double line on its left, which sets test metrics apart.
    styles = ["num test first", *["num test"] * len(metrics)]
    return [Column(name, partial(cell, name), style, TEST) for name, style in zip(metrics, styles, strict=False)]


def tests_table(analysis: SweepAnalysis) -> Table:
    """Makes the table of paired tests."""

    def name(setting: Setting) -> Cell:
        return Cell(setting.label, style="value")

    def p(value: float) -> Cell:
        # The key, as "below 0.0001" would be sorted among texts.
        return Cell(p_text(value), value)

    columns = [
        Column("better", lambda test: name(test.first)),
        Column("other", lambda test: name(test.second)),
        Column("seeds won", lambda test: Cell(share(test.wins, test.result.n), test.wins), "num"),
        Column("median difference", lambda test: _number(test.result.median), "num"),
        Column("rank-biserial", lambda test: Cell(f"{test.result.rank_biserial:+.2f}"), "num"),
        Column("p", lambda test: p(test.result.p), "num"),
        Column("p after Holm", lambda test: p(test.corrected_p), "num"),
        Column("least p", lambda test: p(test.result.least_p), "num", title="that so many pairs can give"),
    ]
    return Table("Wilcoxon's signed-rank test on paired seeds", columns, analysis.tests)


def failures_table(analysis: SweepAnalysis) -> Table:
    """Makes the table of runs that failed or diverged, with their reasons."""

    def number_of(run: RunRecord) -> int:
        return run.entry.number

    def reason(run: RunRecord) -> str:
        return "result.json cannot be read" if run.state == "damaged" else run.reason

    columns = [
        Column("job", lambda run: Cell(str(run.entry.number)), "num"),
        Column(
            "directory",
            lambda run: Cell("", style="value", links=[(run.entry.directory, link_to(run, analysis.sweep.directory))]),
        ),
        Column("state", lambda run: Cell(SHOWN_STATES.get(run.state, run.state))),
        Column("why", lambda run: Cell(reason(run), style="reason")),
    ]
    return Table(
        "Runs that failed or diverged",
        columns,
        [run for run in analysis.sweep.runs if run.state in FAILED],
        ("j", number_of),
    )


def metrics_of_test(settings: Sequence[Setting], metric: str) -> list[str]:
    """Lists metrics of the test part, the counterpart of a validation metric first."""
    found = dict.fromkeys(name for setting in settings for run in setting.finished for name in run.test)
    # Of val/accuracy it is test/accuracy.
    first = f"test/{metric.partition('/')[2]}"
    # Sorting is stable, so the others stay in the order in which runs have them.
    return sorted(found, key=lambda name: (name != first, name != "test/accuracy"))


def plain_rows(analysis: SweepAnalysis) -> list[dict[str, Any]]:
    """Returns a row of plain values for each setting: None if not known, infinite if a target was missed."""
    sweep = analysis.sweep
    tests = metrics_of_test(analysis.settings, sweep.objective.metric)
    rows = []
    for setting in analysis.settings:
        row: dict[str, Any] = {"stage": setting.stage, "rank": setting.rank}
        if analysis.arms:
            row["arm"] = setting.arm
        # All rows have all columns, though arms can differ in their parameters.
        row |= {name: setting.values.get(name) for name in analysis.axes}
        for objective in sweep.objectives:
            row |= _mean_and_std(objective.metric, setting.spread(objective.metric))
        row |= {"runs": len(setting.runs), "finished": len(setting.finished)}
        row |= {state: setting.states[state] for state in ("pruned", "infeasible")}
        # Divergence has a column of its own.
        row |= {"failed": setting.n_failed - setting.states["infeasible"], "unfinished": setting.n_left}
        row["seconds mean"] = setting.spread("seconds").mean
        if sweep.target is not None:
            time = setting.time_to(sweep.target)
            row["target hits"] = time.hits if time else None
            for unit in ("seconds", "steps", "epochs"):
                row[f"median {unit} to target"] = time.median[unit] if time else None
        for metric in tests:
            row |= _mean_and_std(metric, setting.test(metric))
        row["command"] = "\n".join(commands(setting, sweep.constants))
        rows.append(row)
    return rows


def _mean_and_std(metric: str, spread: Spread) -> dict[str, float | None]:
    return {f"{metric} mean": spread.mean, f"{metric} std": spread.deviation}
