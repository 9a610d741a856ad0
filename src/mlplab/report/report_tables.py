"""The tables of a report: for the page and the terminal as cells of text, for programs as plain values."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from mlplab.errors import printable
from mlplab.report.findings import supported_best
from mlplab.report.paired_tests import p_text
from mlplab.report.sweep_analysis import SweepAnalysis, parameters_of
from mlplab.rules import shown
from mlplab.runs.files import FORMULA_STARTS
from mlplab.sweeps.reading.formatting import number, share, spread_text, value_text
from mlplab.sweeps.reading.ranked_settings import FAILED, UNITS, Setting, names_of, pareto_front
from mlplab.sweeps.reading.sweep_records import RunRecord, Spread, as_list, as_mapping

SETTING, VALIDATION, TEST = "setting", "validation: decides", "test: not used for selection"

WHICH = {"search": "search", "rerun": "tuned", "default": "default"}
COSTS = ("parameters", "seconds", "epochs")  # columns of a run beside its metrics

# Characters, and what prints them in LaTeX.
OF_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$",
    **{one: f"\\{one}" for one in "&%$#_"},
})  # fmt: skip
# In Markdown: a name must be neither markup nor the end of its cell.
OF_MARKDOWN = str.maketrans({one: f"\\{one}" for one in "\\`*_{}[]<>#|~$!&"})
BOLD = "in bold: better than every other setting by more than the seeds vary"


@dataclass(frozen=True)
class Cell:
    """The text of a cell."""

    text: str
    key: float | None = None  # the number that it is sorted by, if its text does not begin with it
    style: str = ""  # classes of page.css
    links: Sequence[tuple[str, str]] = ()  # text and address

    @property
    def html(self) -> str:
        if self.style == "command":
            # Commands are full of apostrophes, which need no escaping between double quotes.
            return '<td data-c="' + str(escape(self.text)).replace("&#39;", "'") + '">'
        style = f' class="{self.style}"' if self.style else ""
        key = f' data-v="{self.key}"' if self.key is not None else ""
        links = " ".join(f'<a href="{escape(address)}">{escape(printable(text))}</a>' for text, address in self.links)
        return f"<td{style}{key}>{escape(printable_lines(self.text))}{links}"


@dataclass(frozen=True)
class Column:
    """A column: its heading, what it shows of an object, and how."""

    heading: str
    value: Callable[[Any], Cell | Spread | str | float | None]
    style: str = ""  # classes of page.css, of which `num` aligns to the right
    group: str = ""  # a heading over several columns
    title: str = ""  # a longer heading

    def cell(self, thing: Any) -> Cell:
        """Returns the cell of an object; numbers have four digits."""
        value = self.value(thing)
        if isinstance(value, Spread):
            # Its mean has as many digits as its deviation allows: too few to be sorted by.
            return Cell(spread_text(value), value.mean if value.deviation else None)
        return value if isinstance(value, Cell) else Cell(value if isinstance(value, str) else number(value))


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
    def html_rows(self) -> Iterator[Markup]:
        """Returns its rows in HTML, without end tags, which HTML does not ask for."""
        # Not in the template, where ten thousand rows take three times as long.
        for thing, row in zip(self.objects, self.rows, strict=True):
            number = f" data-{self.key[0]}={self.key[1](thing)}" if self.key is not None else ""
            yield Markup(f"<tr{number}>{''.join(cell.html for cell in row)}\n")

    @property
    def groups(self) -> list[tuple[str, int, str]]:
        """Returns heading, width and style of each group of columns; empty if there is only one."""
        # Only neighbours are joined, so columns of one group must stand side by side.
        groups = [(name, list(columns)) for name, columns in groupby(self.columns, lambda column: column.group)]
        return [(name, len(part), part[0].style) for name, part in groups] if len(groups) > 1 else []


def printable_lines(text: str) -> str:
    """Escapes control characters, but for the ends of lines."""
    return "\n".join(map(printable, text.split("\n")))


def _runs(setting: Setting) -> str:
    n, n_all = len(setting.finished), len(setting.runs)
    return str(n_all) if n == n_all else share(n, n_all)


RANK = Column("#", lambda setting: str(setting.rank), "num", SETTING)
RUNS = Column("runs", _runs, "num", VALIDATION)


def _objectives(analysis: SweepAnalysis) -> list[Column]:
    # A partial, as a lambda would see the last name of the loop in every column.
    values = {o.metric: partial(Setting.spread, metric=o.metric) for o in analysis.sweep.objectives}
    return [Column(metric, value, "num strong", VALIDATION) for metric, value in values.items()]


def summary_table(analysis: SweepAnalysis, settings: Sequence[Setting], most_objectives: int) -> Table:
    """Makes the leaderboard for a terminal."""
    # One column for all values, as a terminal has no room for one each.
    name = Column("setting", lambda setting: setting.label)
    # Zeros would hide the few settings that have failures.
    failed = Column("failed", lambda setting: str(setting.n_failed or ""), "num")
    return Table("", [RANK, name, *_objectives(analysis)[:most_objectives], RUNS, failed], settings)


def leaderboard(analysis: SweepAnalysis, settings: Sequence[Setting], title: str) -> Table:
    """Makes a table of ranked settings: their values, their validation metrics, and their test metrics apart."""
    letters = {name: chr(0xE000 + place) for place, name in enumerate(parameters_of(analysis))}
    command = partial(_command, analysis, letters)
    # Early, as a table with many metrics reaches beyond the page.
    columns = [RANK, Column("again", command, "command", SETTING, "difference and command")]
    n_stages = len({setting.stage for setting in settings})
    words: dict[str, Callable[[Setting], str]] = {
        "arm": lambda setting: setting.arm or "",
        # With a single stage the column would hold one and the same word.
        "which": lambda setting: WHICH[setting.stage] if n_stages > 1 else "",
        # Where options choose the data, these have columns.
        "data set": lambda setting: setting.data_set if setting.runs[0].data_version else "",
        "name": lambda setting: ", ".join(dict.fromkeys(str(run.manifest.get("name") or "") for run in setting.runs)),
    }
    words = {heading: text for heading, text in words.items() if any(map(text, settings))}
    columns += [Column(h, text, "strong" if h == "arm" else "", SETTING) for h, text in words.items()]
    names = names_of(settings)
    columns += [Column(analysis.names.get(n, n), partial(_value, n), "value", SETTING, n) for n in names]
    columns += _validation(analysis, settings)

    def jobs(setting: Setting) -> Cell:
        folder = analysis.sweep.report_folder
        return Cell("", links=[(str(run.entry.number), link_to(run, folder)) for run in setting.runs])

    columns.append(Column("jobs", jobs, "jobs", VALIDATION, "directories of the runs"))
    tests = metrics_of_test(analysis.settings, analysis.sweep.objective.metric)
    # The first one has a double line on its left, which sets test metrics apart.
    styles = ["num test first", *["num test"] * len(tests)]
    values = [partial(Setting.test, metric=metric) for metric in tests]
    columns += [Column(*parts, TEST) for parts in zip(tests, values, styles, strict=False)]
    places = {setting: place for place, setting in enumerate(analysis.settings)}
    return Table(title, columns, settings, ("s", places.__getitem__))


def _value(name: str, setting: Setting) -> str:
    return value_text(setting.values[name]) if name in setting.values else "–"


def _command(analysis: SweepAnalysis, names: Mapping[str, str], setting: Setting) -> Cell:
    text = printable_lines("\n".join(analysis.commands[setting]))
    # A character for each name, which page.js writes out again; no other text has them, as they are not printable.
    text = re.sub(r"(?<!\S)([^\s=]+)=", lambda found: names.get(found[1], found[0]), text)
    return Cell(text.replace("python train.py ", chr(0xF8FF)), style="command")


def link_to(run: RunRecord, folder: Path) -> str:
    """Returns the address of a run's directory, from the folder of the page."""
    # `quote` leaves no colon, which a browser would read as the end of a scheme.
    return f"{quote(os.path.relpath(run.place or folder / run.entry.directory, folder))}/"


def _validation(analysis: SweepAnalysis, settings: Sequence[Setting]) -> list[Column]:
    sweep, columns = analysis.sweep, _objectives(analysis)
    if len(sweep.objectives) > 1:
        front = pareto_front(settings, sweep.objectives)
        # Keys instead of texts: a click on the heading puts the front first.
        columns.append(Column("front", lambda s: Cell("●", 0) if s in front else Cell("", 1), "mid", VALIDATION))
    columns.append(RUNS)
    if any(setting.n_failed or len(setting.finished) < len(setting.runs) for setting in settings):
        columns.append(Column("not finished", _not_finished, "", VALIDATION))
    # As an objective they have a column already.
    if "seconds" not in [objective.metric for objective in sweep.objectives]:
        title = "of training, mean over finished runs"
        columns.append(Column("seconds", lambda s: s.spread("seconds").mean, "num", VALIDATION, title))
    if sweep.target is not None:
        times = {s: time for s in settings if (time := s.time_to(sweep.target)) is not None}
        reached = {setting: share(time.hits, time.n) for setting, time in times.items()}
        columns.append(Column("reached", reached.get, "num", VALIDATION, "runs that reached the target"))
        for unit in ("seconds", "epochs"):
            medians = {setting: time.median[unit] for setting, time in times.items()}
            title = f"median {unit} to the target; a miss counts as infinite"
            columns.append(Column(f"{unit} to target", medians.get, "num", VALIDATION, title))
    return columns


def _not_finished(setting: Setting) -> Cell:
    counts = {**setting.states, "finished": 0, "without a value": setting.n_valueless}
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return Cell(text, setting.n_failed or None, "bad" if setting.n_failed else "")


def tests_table(analysis: SweepAnalysis) -> Table:
    """Makes the table of paired tests."""
    pairs = "that so many pairs can give"
    # With p as a key, as "below 0.0001" would be sorted among texts.
    columns = [
        Column("better", lambda test: Cell(test.first.label, style="value")),
        Column("other", lambda test: Cell(test.second.label, style="value")),
        Column("seeds won", lambda test: share(test.result.wins, test.result.n), "num"),
        Column("median difference", lambda test: test.result.median, "num"),
        Column("rank-biserial", lambda test: f"{test.result.rank_biserial:+.2f}", "num"),
        Column("p", lambda test: Cell(p_text(test.result.p), test.result.p), "num"),
        Column("p after Holm", lambda test: Cell(p_text(test.corrected_p), test.corrected_p), "num"),
        Column("least p", lambda test: Cell(p_text(test.result.least_p), test.result.least_p), "num", "", pairs),
    ]
    return Table("Wilcoxon's signed-rank test on paired seeds", columns, analysis.tests)


def failures_table(analysis: SweepAnalysis) -> Table:
    """Makes the table of runs that failed, diverged or violate a constraint, with their reasons."""
    folder = analysis.sweep.report_folder
    columns = [
        Column("job", lambda run: str(run.entry.number), "num"),
        Column("directory", lambda run: Cell("", None, "value", [(run.entry.directory, link_to(run, folder))])),
        Column("state", lambda run: run.state),
        Column("why", lambda run: Cell(run.reason, style="reason")),
    ]
    title, failed = "Runs that failed, diverged or violate a constraint", (*FAILED, "infeasible")
    runs = [run for run in analysis.sweep.runs if run.state in failed]
    return Table(title, columns, runs, ("j", lambda run: run.entry.number))


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
        row |= {"arm": setting.arm} if analysis.arms else {}
        # All rows have all columns, though arms can differ in their parameters.
        row |= {name: setting.values.get(name) for name in analysis.axes}
        for objective in sweep.objectives:
            row |= _plain(objective.metric, setting.spread(objective.metric))
        row |= {"runs": len(setting.runs), "finished": len(setting.finished)}
        row |= {state: setting.states[state] for state in ("pruned", "infeasible", "diverged")}
        # Divergence has a column of its own.
        row |= {"failed": setting.n_failed - setting.states["diverged"], "unfinished": setting.n_left}
        row["seconds mean"] = setting.spread("seconds").mean
        if sweep.target is not None:
            time = setting.time_to(sweep.target)
            row["target hits"] = time.hits if time else None
            row |= {f"median {unit} to target": time.median[unit] if time else None for unit in UNITS}
        for metric in tests:
            row |= _plain(metric, setting.test(metric))
        row["command"] = "\n".join(analysis.commands[setting])
        rows.append(row)
    return rows


def _plain(metric: str, spread: Spread) -> dict[str, float | None]:
    return {f"{metric} mean": spread.mean, f"{metric} std": spread.deviation}


def leaderboard_csv(analysis: SweepAnalysis) -> str:
    """Formats a row of plain numbers for each setting."""
    rows = plain_rows(analysis)
    header = list(rows[0]) if rows else ["stage", "rank"]
    return _as_csv(header, ([row[name] for name in header] for row in rows))


def runs_csv(analysis: SweepAnalysis) -> str:
    """Formats a row for each run: where it is, what it was given, and what came out."""
    rows: list[list[dict[str, Any]]] = []
    for run in analysis.sweep.runs:
        entry, manifest, costs = run.entry, run.manifest, run.measured
        # What each job has found for itself, such as a learning rate, stands beside what it was given.
        values = {**as_mapping(manifest.get("found")), **entry.values}
        tags = ", ".join(map(str, as_list(manifest.get("tags"))))
        asked = {"name": manifest.get("name"), "tags": tags, "stage": entry.stage}
        asked |= {"arm": entry.arm, "data set": run.data_set}
        parts = [
            {"run": entry.number, "directory": entry.directory, "status": run.state},
            {name: text for name, text in asked.items() if text},
            {name: value for name, value in values.items() if name != "seed"},
            {"seed": entry.values.get("seed", manifest.get("seed")), "best epoch": run.best_epoch},
            {f"{name} best": value for name, value in run.measured.items() if name not in COSTS},
            {f"{name} last": value for name, value in run.last.items()},
            dict(run.test),
            {"epochs": run.epochs, "steps": run.steps, "seconds": costs.get("seconds")},
            {"parameters": costs.get("parameters"), "reason": run.reason},
        ]
        rows.append(parts)
    # What some run has is a column of all.
    names = [list(dict.fromkeys(name for part in parts for name in part)) for parts in zip(*rows, strict=True)]
    cells = ([p.get(n) for those, p in zip(names, parts, strict=True) for n in those] for parts in rows)
    return _as_csv([name for those in names for name in those], cells)


def leaderboard_texts(analysis: SweepAnalysis) -> tuple[str, str]:
    """Formats the leaderboard as a LaTeX tabular for booktabs, and in the Markdown of GitHub and most editors."""
    best = supported_best(analysis.sweep, analysis.settings, analysis.tests)
    every = leaderboard(analysis, analysis.settings, "").columns
    objectives = [column for column in every if column.style == "num strong"]
    columns = [c for c in every if c in (*objectives, RUNS) or (c.group != VALIDATION and c.style != "command")]
    kinds = ["r" if column.style.startswith("num") else "l" for column in columns]

    def text(column: Column, setting: Setting) -> str:
        if column.style == "value" and column.title in setting.values:
            return shown(setting.values[column.title])  # whole, as these are the values to run it again with
        return str(len(setting.finished)) if column is RUNS else column.cell(setting).text

    head = [{RANK.heading: "rank", RUNS.heading: "n"}.get(column.heading, column.heading) for column in columns]
    rows = [[text(column, setting) for column in columns] for setting in analysis.settings]
    rows = [list(map(printable, row)) for row in [head, *rows]]
    bold = [1 + place for place, setting in enumerate(analysis.settings) if setting in best]
    latex, markdown = ([[text.translate(to) for text in row] for row in rows] for to in (OF_LATEX, OF_MARKDOWN))
    for table, begin, end in ((latex, r"\textbf{", "}"), (markdown, "**", "**")):
        for row in bold:
            table[row][columns.index(objectives[0])] = f"{begin}{table[row][columns.index(objectives[0])]}{end}"
    note = f"mean ± standard deviation over n seeds{f'; {BOLD}' if bold else ''}"
    top, *body = (f"{' & '.join(row)} \\\\" for row in latex)
    lines = [f"% needs \\usepackage{{booktabs}}; {note}", f"\\begin{{tabular}}{{{''.join(kinds)}}}"]
    lines += [r"\toprule", top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]
    markdown.insert(1, ["---:" if kind == "r" else "---" for kind in kinds])
    return "\n".join(lines), "".join(f"| {' | '.join(row)} |\n" for row in markdown) + f"\n{note.capitalize()}.\n"


def _as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Formats a CSV file: numbers in full, names such that no spreadsheet takes them for a formula."""

    def cell(value: Any) -> Any:
        # For Python, true is the integer 1.
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        text = printable_lines(shown(value))
        # The apostrophe tells a spreadsheet that the cell is text.
        return f"'{text}" if text.startswith(FORMULA_STARTS) else text

    out = StringIO()
    # The csv module would end lines by \r\n; it makes None an empty cell.
    csv.writer(out, lineterminator="\n").writerows([cell(value) for value in row] for row in (header, *rows))
    return out.getvalue()


def files_of(analysis: SweepAnalysis) -> dict[str, str]:
    """Formats the tables that are written as files, by their names."""
    latex, markdown = leaderboard_texts(analysis)
    return {
        "leaderboard.csv": leaderboard_csv(analysis),
        "leaderboard.tex": latex,
        "leaderboard.md": markdown,
        "runs.csv": runs_csv(analysis),
    }
