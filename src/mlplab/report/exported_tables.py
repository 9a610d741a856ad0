"""Tables for other programs: every run and every setting, of which nothing is cut."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from mlplab.errors import printable
from mlplab.report.findings import supported_best
from mlplab.report.report_tables import RANK, RUNS, VALIDATION, leaderboard, plain_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.rules import shown
from mlplab.runs.files import FORMULA_STARTS
from mlplab.sweeps.reading.sweep_records import as_list, as_mapping

COSTS = ("parameters", "seconds", "epochs")
"""Columns of a run beside its metrics."""

OF_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$",
    **{one: f"\\{one}" for one in "&%$#_"},
}  # fmt: skip
"""Character → what prints it in LaTeX."""

OF_MARKDOWN = {one: f"\\{one}" for one in "\\`*_{}[]<>#|~$!&"}
"""Character → what prints it in Markdown: a name must be neither markup nor the end of its cell."""

BOLD = "in bold: better than every other setting by more than the seeds vary"


def tables_of(analysis: SweepAnalysis) -> dict[str, str]:
    """Returns the content of each file with a table: leaderboard.csv, .tex and .md, and runs.csv."""
    return {
        "leaderboard.csv": leaderboard_csv(analysis),
        "leaderboard.tex": leaderboard_latex(analysis),
        "leaderboard.md": leaderboard_markdown(analysis),
        "runs.csv": runs_csv(analysis),
    }


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


def leaderboard_latex(analysis: SweepAnalysis) -> str:
    """Formats a tabular for the package booktabs."""
    kinds, rows, bold = _leaderboard(analysis, OF_LATEX, r"\textbf{", "}")
    header, *body = (f"{' & '.join(row)} \\\\" for row in rows)
    note = f"% needs \\usepackage{{booktabs}}; mean ± standard deviation over n seeds{bold}"
    lines = [note, f"\\begin{{tabular}}{{{kinds}}}", r"\toprule", header, r"\midrule", *body, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def leaderboard_markdown(analysis: SweepAnalysis) -> str:
    """Formats a table as GitHub and most editors show it."""
    kinds, rows, bold = _leaderboard(analysis, OF_MARKDOWN, "**", "**")
    rows.insert(1, ["---:" if kind == "r" else "---" for kind in kinds])
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"{lines}\nMean ± standard deviation over n seeds{bold}.\n"


def _leaderboard(
    analysis: SweepAnalysis, escapes: Mapping[str, str], begin: str, end: str
) -> tuple[str, list[list[str]], str]:
    """Returns the alignments of the columns, the rows (the first one of headings), and a note if a cell is bold."""
    best = supported_best(analysis.sweep, analysis.settings, analysis.tests)
    every = leaderboard(analysis, analysis.settings, "").columns
    objectives = [column for column in every if column.style == "num strong"]
    columns = [c for c in every if c in (*objectives, RUNS) or (c.group != VALIDATION and c.style != "command")]

    def escaped(text: str) -> str:
        return "".join(escapes.get(one, one) for one in printable(text))

    rows = [[escaped({RANK.heading: "rank", RUNS.heading: "n"}.get(c.heading, c.heading)) for c in columns]]
    for setting in analysis.settings:
        texts = {column: column.cell(setting).text for column in columns}
        # Whole, as these are the values to run it again with.
        texts |= {
            c: shown(setting.values[c.title]) for c in columns if c.style == "value" and c.title in setting.values
        }
        texts[RUNS] = str(len(setting.finished))
        row = {column: escaped(text) for column, text in texts.items()}
        if setting in best:
            row[objectives[0]] = f"{begin}{row[objectives[0]]}{end}"
        rows.append(list(row.values()))
    kinds = "".join("r" if column.style.startswith("num") else "l" for column in columns)
    return kinds, rows, f"; {BOLD}" if best else ""


def _as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Formats a CSV file: numbers in full, names such that no spreadsheet takes them for a formula."""

    def cell(value: Any) -> Any:
        # For Python, true is the integer 1.
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        text = "\n".join(printable(line) for line in shown(value).split("\n"))
        # The apostrophe tells a spreadsheet that the cell is text.
        return f"'{text}" if text.startswith(FORMULA_STARTS) else text

    out = StringIO()
    # The csv module would end lines by \r\n; it makes None an empty cell.
    csv.writer(out, lineterminator="\n").writerows([cell(value) for value in row] for row in (header, *rows))
    return out.getvalue()
