"""The tables of a report: for the page and the terminal as cells of text, for programs as plain values."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import groupby
from typing import Any

from mlplab.config.rules import shown
from mlplab.errors import printable
from mlplab.report.arm_results import ArmResult
from mlplab.report.formatting import number, p_text, share, spread_text, value_text
from mlplab.report.paired_tests import PairedTest
from mlplab.report.ranked_settings import FAILED, Setting, label, names_of, pareto_front
from mlplab.report.rerun_commands import commands
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.report.sweep_records import RunRecord, Spread

NOT_ENDED = ("running", "waiting", "stopped", "cut off")

MOST_TESTS = 2
"""Test metrics on the page; leaderboard.csv has all."""

TESTS = "test: not used for selection"

LONGEST_REASON = 400

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters at which a spreadsheet begins a formula."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it shows.
        key: what it is sorted by, if not its text.
        style: classes in page.css, beside those of its column; `command` folds it away.
    """

    text: str
    key: float | None = None
    style: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: above it.
        cell: makes the cell of a row's object.
        style: classes in page.css; `num` aligns to the right.
        group: heading over several columns.
        title: a longer heading.
    """

    heading: str
    cell: Callable[[Any], Cell]
    style: str = ""
    group: str = ""
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a row for each object (a setting, an arm, a test or a run)."""

    title: str
    columns: list[Column]
    objects: Sequence[Any]

    @property
    def rows(self) -> list[list[Cell]]:
        return [[column.cell(thing) for column in self.columns] for thing in self.objects]

    @property
    def groups(self) -> list[tuple[str, int, str]]:
        """Returns heading, width and style of each group of columns; empty if there is only one."""
        groups = [(name, list(columns)) for name, columns in groupby(self.columns, lambda column: column.group)]
        return [(name, len(part), part[0].style) for name, part in groups] if len(groups) > 1 else []


def _spread(spread: Spread) -> Cell:
    return Cell(spread_text(spread), spread.mean)


def _number(value: float | None) -> Cell:
    return Cell(number(value), value)


def _count(part: int, whole: int) -> Cell:
    return Cell(str(whole) if part == whole else share(part, whole), part)


def summary_table(analysis: SweepAnalysis, settings: Sequence[Setting], most_objectives: int) -> Table:
    """Makes the leaderboard for a terminal."""
    columns = [
        Column("#", lambda setting: Cell(str(setting.rank)), "num"),
        Column("setting", lambda setting: Cell(label(setting, analysis.names))),
        *_objective_columns(analysis, most_objectives),
        Column("failed", lambda setting: Cell(str(setting.n_failed or "")), "num"),
    ]
    return Table("", columns, settings)


def leaderboard(analysis: SweepAnalysis, settings: Sequence[Setting], title: str) -> Table:
    """Makes the table of a stage: settings ranked by validation, with the test part apart."""
    columns = [Column("#", lambda setting: Cell(str(setting.rank)), "num", "setting")]
    if any(setting.arm for setting in settings):
        columns.append(Column("arm", lambda setting: Cell(setting.arm or ""), "", "setting"))
    columns += [
        Column(analysis.names.get(name, name), partial(_value, name), "", "setting", name)
        for name in names_of(settings)
    ]
    columns += _validation_columns(analysis, settings)
    columns += _test_columns(analysis, lambda setting: setting, MOST_TESTS)
    columns.append(Column("command", partial(_command, analysis), "command"))
    return Table(title, columns, settings)


def _value(name: str, setting: Setting) -> Cell:
    if name not in setting.values:
        return Cell("–", style="none")
    value = setting.values[name]
    # Sorted by the number itself, of which the text shows four digits.
    return Cell(value_text(value), value if isinstance(value, float) else None, "value")


def _command(analysis: SweepAnalysis, setting: Setting) -> Cell:
    return Cell("\n".join(commands(setting, analysis.sweep.constants)), style="command")


def _objective_columns(analysis: SweepAnalysis, most: int | None = None) -> list[Column]:
    group = "validation: decides"
    columns = [
        Column(o.metric, partial(_spread_of, metric=o.metric), "num strong", group)
        for o in analysis.sweep.objectives[:most]
    ]
    return [*columns, Column("runs", lambda s: _count(len(s.finished), len(s.runs)), "num", group)]


def _spread_of(setting: Setting, metric: str) -> Cell:
    return _spread(setting.spread(metric))


def _validation_columns(analysis: SweepAnalysis, settings: Sequence[Setting]) -> list[Column]:
    sweep, group = analysis.sweep, "validation: decides"
    columns = _objective_columns(analysis)
    if len(sweep.objectives) > 1:
        front = pareto_front(settings, sweep.objectives)
        mark = Column("front", lambda s: Cell("●", 0) if s in front else Cell("", 1), "mid", group)
        columns.insert(len(sweep.objectives), mark)
    if any(setting.n_failed or len(setting.finished) < len(setting.runs) for setting in settings):
        columns.append(Column("not finished", _troubles, "", group))
    if "seconds" not in [objective.metric for objective in sweep.objectives]:
        title = "of training, mean over finished runs"
        columns.append(Column("seconds", lambda s: _number(s.spread("seconds").mean), "num", group, title))
    return columns + _target_columns(analysis, lambda setting: setting, ("epochs",), group)


def _target_columns(
    analysis: SweepAnalysis, setting_of: Callable[[Any], Setting], units: Sequence[str], group: str
) -> list[Column]:
    target = analysis.sweep.target
    if target is None:
        return []

    def hits(row: Any) -> Cell:
        time = setting_of(row).time_to(target)
        return Cell("–") if time is None else Cell(share(time.hits, time.n), time.hits)

    def median(row: Any, unit: str) -> Cell:
        time = setting_of(row).time_to(target)
        return _number(None if time is None else time.median[unit])

    columns = [Column("reached", hits, "num", group, "runs that reached the target")]
    for unit in units:
        title = f"median {unit} to the target; a miss counts as infinite"
        columns.append(Column(f"{unit} to target", partial(median, unit=unit), "num", group, title))
    return columns


def _test_columns(analysis: SweepAnalysis, setting_of: Callable[[Any], Setting], most: int) -> list[Column]:
    names = metrics_of_test(analysis.settings, analysis.sweep.objective.metric)[:most]

    def test(row: Any, name: str) -> Cell:
        return _spread(setting_of(row).test(name))

    return [
        Column(
            name,
            partial(test, name=name),
            "num test first" if name == names[0] else "num test",
            TESTS,
        )
        for name in names
    ]


def _troubles(setting: Setting) -> Cell:
    counts = {"diverged": setting.states["infeasible"], "failed": _n_failed(setting)}
    counts |= {state: setting.states[state] for state in ("pruned", *NOT_ENDED)}
    text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return Cell(text, setting.n_failed, "bad" if setting.n_failed else "")


def _n_failed(setting: Setting) -> int:
    """Counts runs that failed, except by divergence."""
    return setting.n_failed - setting.states["infeasible"]


def arms_table(analysis: SweepAnalysis) -> Table:
    """Makes the table of a comparison: each arm tuned, and with its defaults."""
    rows = [(a, setting, setting is a.tuned) for a in analysis.arms for setting in (a.tuned, a.default) if setting]
    objective = analysis.sweep.objective

    def tuned_only(row: tuple[ArmResult, Setting, bool], text: str) -> Cell:
        return Cell(text if row[2] else "–")

    columns = [
        Column("arm", lambda row: Cell(row[0].name), "strong", "validation"),
        Column("which", lambda row: Cell("tuned" if row[2] else "default"), "", "validation"),
        Column("setting", lambda row: tuned_only(row, label(row[1], analysis.names)), "", "validation"),
        Column("trials", lambda row: tuned_only(row, str(row[0].n_trials)), "num", "validation"),
        Column(objective.metric, lambda row: _spread(row[1].validation), "num strong", "validation"),
        Column("runs", lambda row: _count(len(row[1].finished), len(row[1].runs)), "num", "validation"),
        *_target_columns(analysis, lambda row: row[1], ("seconds", "steps", "epochs"), "validation"),
        *_test_columns(analysis, lambda row: row[1], 1),
    ]
    return Table("Arms, on seeds that were not used for tuning", columns, rows)


def tests_table(analysis: SweepAnalysis) -> Table:
    """Makes the table of paired tests."""

    def p(value: float) -> Cell:
        return Cell(p_text(value), value)

    def name(setting: Setting) -> Cell:
        return Cell(label(setting, analysis.names), style="value")

    columns: list[tuple[str, Callable[[PairedTest], Cell]]] = [
        ("seeds won", lambda test: Cell(share(test.wins, test.result.n), test.wins)),
        ("median difference", lambda test: _number(test.result.median)),
        ("rank-biserial", lambda test: Cell(f"{test.result.rank_biserial:+.2f}")),
        ("p", lambda test: p(test.result.p)),
        ("p after Holm", lambda test: p(test.corrected_p)),
        ("least p", lambda test: p(test.result.least_p)),
    ]
    names = [Column("better", lambda test: name(test.first)), Column("other", lambda test: name(test.second))]
    numbers = [Column(heading, cell, "num") for heading, cell in columns]
    return Table("Wilcoxon's signed-rank test on paired seeds", [*names, *numbers], analysis.tests)


def failures_table(runs: Sequence[RunRecord]) -> Table:
    """Makes the table of runs that failed or diverged, with their reasons."""

    def reason(run: RunRecord) -> Cell:
        text = "result.json cannot be read" if run.state == "damaged" else run.reason[:LONGEST_REASON]
        return Cell(text, style="reason")

    columns = [
        Column("job", lambda run: Cell(str(run.entry.number)), "num"),
        Column("directory", lambda run: Cell(run.entry.directory, style="value")),
        Column("state", lambda run: Cell("diverged" if run.state == "infeasible" else run.state)),
        Column("why", reason),
    ]
    return Table("Runs that failed or diverged", columns, [run for run in runs if run.state in FAILED])


def metrics_of_test(settings: Sequence[Setting], metric: str) -> list[str]:
    """Lists metrics of the test part, the counterpart of a validation metric first."""
    found = dict.fromkeys(name for setting in settings for run in setting.finished for name in run.test)
    first = f"test/{metric.partition('/')[2]}"
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
        row |= {name: setting.values.get(name) for name in analysis.axes}
        for objective in sweep.objectives:
            row |= _mean_and_std(objective.metric, setting.spread(objective.metric))
        row |= {"runs": len(setting.runs), "finished": len(setting.finished)}
        row |= {state: setting.states[state] for state in ("pruned", "infeasible")}
        row |= {"failed": _n_failed(setting), "unfinished": setting.n_left}
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


def as_csv(analysis: SweepAnalysis) -> str:
    """Formats leaderboard.csv: numbers in full, names such that no spreadsheet takes them for a formula."""
    rows = plain_rows(analysis)
    header = list(rows[0]) if rows else ["stage", "rank"]
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in header])
    writer.writerows([_csv_cell(row[name]) for name in header] for row in rows)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = "\n".join(printable(line) for line in shown(value).split("\n"))
    return f"'{text}" if text.startswith(FORMULA) else text
