"""The page's tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlplab.report.analysis import Analysis
from mlplab.report.commands import commands
from mlplab.report.curves import Reaching, reaching
from mlplab.report.finished_runs import Run, as_number
from mlplab.report.formatting import number, spread_text
from mlplab.report.html import Element, part
from mlplab.report.leaderboard import metrics_of_test
from mlplab.report.pareto import front_of
from mlplab.report.ranked_settings import Setting, Spread, value_text

SHOWN = 50
"""Rows of a long table before the reader asks for all."""

NOT_ENDED = ("running", "waiting", "stopped", "cut off")

MOST_TESTS = 2
"""Test metrics on the page; leaderboard.csv has all."""


@dataclass(frozen=True)
class Column:
    """A column of a table that can be sorted.

    Attributes:
        heading: what stands above it.
        cell: what stands in it, of a row's thing.
        style: its classes in the style sheet.
        title: a longer heading.
    """

    heading: str
    cell: Callable[[Any], Element]
    style: str = ""
    title: str | None = None

    def head(self) -> Element:
        button = part("button", self.heading, type="button", title=self.title)
        return part("th", button, scope="col", class_=self.style or None)


def sortable(title: str, columns: Sequence[Column], things: Sequence[Any], groups: Element | None = None) -> Element:
    """A table with a row for each thing.

    Args:
        title: its caption.
        columns: what is told of a thing.
        things: settings, runs, …
        groups: a row above the headings.
    """
    header = part("thead", groups, part("tr", *(column.head() for column in columns)))
    rows = [part("tr", *(column.cell(thing) for column in columns)) for thing in things]
    return _scrolling(part("table", part("caption", title), header, part("tbody", *rows), class_="sortable"), title)


def _scrolling(table: Element, title: str) -> Element:
    """A table in a box that it can be scrolled in, with a button for the rest where it is long."""
    box = part("div", table, class_="scroll", tabindex="0", role="region", aria_label=title)
    n = len(table.find("tbody") or ())
    if n <= SHOWN:
        return box
    button = part("button", f"Show all {n:,}", type="button", class_="all", hidden=True, data_shown=SHOWN)
    return part("div", box, button, class_="long")


def cell(text: str, key: Any = None, style: str | None = None) -> Element:
    """A cell, with what it is sorted by where that is not its text."""
    return part("td", text, data_v=None if key is None or str(key) == text else key, class_=style)


def spread_cell(spread: Spread, style: str = "") -> Element:
    """Mean and deviation, sorted by the mean."""
    return cell(spread_text(spread), "" if spread.mean is None else repr(spread.mean), f"num {style}".strip())


def spread_column(metric: str, spread: Callable[[Any, str], Spread], style: str) -> Column:
    """A column of a metric; `spread` gives its values of a row's thing."""
    return Column(metric, lambda thing: spread_cell(spread(thing, metric), style), f"num {style}")


def number_cell(value: float | None) -> Element:
    """A number, ∞ for infinite, a dash for none."""
    return cell(number(value), "" if value is None else repr(value), "num")


def count_cell(part_: int, whole: int) -> Element:
    """`3`, or `2 of 3`."""
    return cell(str(whole) if part_ == whole else f"{part_} of {whole}", part_, "num")


def leaderboard(analysis: Analysis, settings: Sequence[Setting], title: str) -> Element:
    """Settings of a stage, ranked by validation, with the test part apart."""
    choices = _choices(analysis, settings)
    validation = _validation(analysis, settings)
    names = metrics_of_test(settings, analysis.sweep.objective.metric)[:MOST_TESTS]
    tests = [
        spread_column(name, lambda setting, metric: setting.test(metric), "test first" if name == names[0] else "test")
        for name in names
    ]
    command = Column("command", lambda setting: _command(setting, analysis.sweep.constants), "command")
    headings: list[tuple[str, list[Column], str | None]] = [
        ("setting", choices, None),
        ("validation: decides", validation, None),
        ("test: not used for selection", tests, "test first"),
        ("", [command], "command"),
    ]
    groups = [
        part("th", text, colspan=len(columns), scope="colgroup", class_=style)
        for text, columns, style in headings
        if columns
    ]
    columns = [*choices, *validation, *tests, command]
    return sortable(title, columns, settings, part("tr", *groups, class_="groups"))


def _choices(analysis: Analysis, settings: Sequence[Setting]) -> list[Column]:
    columns = [Column("#", lambda setting: cell(str(setting.rank), style="num"), "num")]
    if any(setting.arm for setting in settings):
        columns.append(Column("arm", lambda setting: cell(setting.arm or "")))
    swept = dict.fromkeys(name for setting in settings for name in setting.values)
    return columns + [Column(analysis.names.get(name, name), partial(_value, name), title=name) for name in swept]


def _value(name: str, setting: Setting) -> Element:
    if name not in setting.values:
        return cell("–", "", "none")
    value = setting.values[name]
    return cell(value_text(value), None if as_number(value) is None else repr(value), "value")


def _validation(analysis: Analysis, settings: Sequence[Setting]) -> list[Column]:
    sweep = analysis.sweep
    columns = [
        spread_column(objective.metric, lambda setting, metric: setting.spread(metric), "strong")
        for objective in sweep.objectives
    ]
    if len(sweep.objectives) > 1:
        front = {id(setting) for setting in front_of(settings, sweep.objectives)}
        columns.append(
            Column("front", lambda s: cell("●" if id(s) in front else "", int(id(s) not in front), "mid"), "mid")
        )
    has_troubles = any(setting.n_failed or len(setting.finished) < len(setting.runs) for setting in settings)
    columns += [
        Column("runs", lambda s: count_cell(len(s.finished), len(s.runs)), "num"),
        *([Column("not finished", _troubles)] if has_troubles else []),
        Column("seconds", lambda s: _seconds(s.spread("seconds")), "num", "of training, mean over finished runs"),
    ]
    if sweep.target is not None:
        target = sweep.target
        reached = {id(setting): reaching(setting.runs, target) for setting in settings}
        columns.append(Column("reached", lambda s: hits_cell(reached[id(s)]), "num", "runs that reached the target"))
        columns.append(
            Column(
                "epochs to target", lambda s: median_cell(reached[id(s)], "epochs"), "num",
                "median; a miss counts as infinite",
            )
        )  # fmt: skip
    return columns


def _troubles(setting: Setting) -> Element:
    failed = setting.states["failed"] + setting.states["damaged"] + setting.n_valueless
    counts = {"diverged": setting.states["infeasible"], "failed": failed, "pruned": setting.states["pruned"]}
    counts |= {state: setting.states[state] for state in NOT_ENDED}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return cell(told, setting.n_failed, "bad" if setting.n_failed else None)


def _seconds(spread: Spread) -> Element:
    mean = spread.mean
    return cell("–" if mean is None else f"{mean:.3g}", "" if mean is None else repr(mean), "num")


def hits_cell(reached: Reaching | None) -> Element:
    """How many runs reached the target."""
    return cell("–", "", "num") if reached is None else cell(f"{reached.hits} of {reached.n}", reached.hits, "num")


def median_cell(reached: Reaching | None, unit: str) -> Element:
    """The median time to the target."""
    return number_cell(None if reached is None else reached.median[unit])


def _command(setting: Setting, constants: Sequence[str]) -> Element:
    code = part("code", "\n".join(commands(setting, constants)))
    return part("td", part("details", part("summary", "show"), code), class_="command")


def ended_badly(runs: Sequence[Run]) -> Element | None:
    """Runs that failed or diverged, with the reason of each; None without any."""
    bad = [run for run in runs if run.state in ("failed", "infeasible", "damaged")]
    columns = [
        Column("job", lambda run: cell(str(run.entry.number), style="num"), "num"),
        Column("directory", lambda run: cell(run.entry.directory, style="value")),
        Column("state", lambda run: cell("diverged" if run.state == "infeasible" else run.state)),
        Column("why", lambda run: cell(_reason(run), style="reason")),
    ]
    return sortable("Runs that failed or diverged", columns, bad) if bad else None


def _reason(run: Run) -> str:
    return "result.json cannot be read" if run.state == "damaged" else run.reason[:400]
