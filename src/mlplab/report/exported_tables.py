"""Tables for other programs: every run and every setting, of which nothing is cut."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from mlplab.errors import printable
from mlplab.report.findings import supported_best
from mlplab.report.report_tables import WHICH, metrics_of_test, plain_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.rules import shown
from mlplab.runs.files import FORMULA_STARTS
from mlplab.sweeps.reading.formatting import spread_text
from mlplab.sweeps.reading.ranked_settings import names_of
from mlplab.sweeps.reading.sweep_records import SHOWN_STATES, as_list, as_mapping

COSTS = ("parameters", "seconds", "epochs")
"""Columns of a run beside its metrics."""

OF_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    **{one: f"\\{one}" for one in "&%$#_"},
}  # fmt: skip
"""Character → what prints it in LaTeX."""

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
    runs = analysis.sweep.runs
    swept = dict.fromkeys(name for run in runs for name in run.entry.values)
    # What each job has found for itself, such as a learning rate, stands beside what it was given.
    swept |= dict.fromkeys(name for run in runs for name in as_mapping(run.manifest.get("found")))
    swept = dict.fromkeys(name for name in swept if name != "seed")
    best, last, test = (
        dict.fromkeys(name for run in runs for name in getattr(run, kind) if name not in COSTS)
        for kind in ("measured", "last", "test")
    )
    has_arms, has_data = any(run.entry.arm is not None for run in runs), bool(analysis.sweep.data_sets)
    has_label = any(run.manifest.get("name") or run.manifest.get("tags") for run in runs)
    header = ["run", "directory", "status", *(["name", "tags"] if has_label else []), "stage"]
    header += ["arm"] if has_arms else []
    header += ["data set"] if has_data else []
    header += [
        *swept,
        "seed",
        "best epoch",
        *(f"{name} best" for name in best),
        *(f"{name} last" for name in last),
        *test,
    ]
    header += ["epochs", "steps", "seconds", "parameters", "reason"]
    rows = (
        [
            run.entry.number, run.entry.directory, SHOWN_STATES.get(run.state, run.state),
            *([run.manifest.get("name"), ", ".join(map(str, as_list(run.manifest.get("tags"))))] if has_label else []),
            run.entry.stage, *([run.entry.arm] if has_arms else []), *([run.data_set] if has_data else []),
            *(run.entry.values.get(name, as_mapping(run.manifest.get("found")).get(name)) for name in swept),
            run.entry.values.get("seed", run.manifest.get("seed")), run.best_epoch,
            *(run.measured.get(name) for name in best), *(run.last.get(name) for name in last),
            *(run.test.get(name) for name in test),
            run.epochs, run.steps, run.measured.get("seconds"), run.measured.get("parameters"), run.reason,
        ]
        for run in runs
    )  # fmt: skip
    return _as_csv(header, rows)


def leaderboard_latex(analysis: SweepAnalysis) -> str:
    """Formats a tabular for the package booktabs."""
    header, rows, bold = _leaderboard(analysis)

    def line(cells: Iterable[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    lines = ["% needs \\usepackage{booktabs}; mean ± standard deviation over n seeds" + (f"; {BOLD}" if bold else "")]
    lines += [f"\\begin{{tabular}}{{{''.join(kind for _, kind in header)}}}", r"\toprule"]
    lines += [line(_latex(name) for name, _ in header), r"\midrule"]
    for row, cells in enumerate(rows):
        texts = [_latex(cell).replace("±", r"$\pm$") for cell in cells]
        lines.append(line(rf"\textbf{{{text}}}" if (row, place) in bold else text for place, text in enumerate(texts)))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def leaderboard_markdown(analysis: SweepAnalysis) -> str:
    """Formats a table as GitHub and most editors show it."""
    header, rows, bold = _leaderboard(analysis)
    lines = [[name for name, _ in header], ["---:" if kind == "r" else "---" for _, kind in header]]
    for row, cells in enumerate(rows):
        texts = [_markdown(cell) for cell in cells]
        lines.append([f"**{text}**" if (row, place) in bold else text for place, text in enumerate(texts)])
    lines[0] = [_markdown(name) for name in lines[0]]
    note = f"Mean ± standard deviation over n seeds{f'; {BOLD}' if bold else ''}."
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{note}\n"


def _leaderboard(analysis: SweepAnalysis) -> tuple[list[tuple[str, str]], list[list[str]], set[tuple[int, int]]]:
    """Returns the columns, each with its alignment, the cells of all settings, and the cells that stand out."""
    settings, sweep = analysis.settings, analysis.sweep
    names, best = names_of(settings), supported_best(sweep, settings, analysis.tests)
    words = {
        "arm": [setting.arm or "" for setting in settings] if analysis.arms else [],
        "which": [WHICH.get(s.stage, "search") for s in settings] if len({s.stage for s in settings}) > 1 else [],
        # Where options choose the data, these have columns.
        "data set": [s.data_set for s in settings] if any(s.runs[0].data_version for s in settings) else [],
        "name": [", ".join(_labels(setting.runs)) for setting in settings],
        **{name: [shown(s.values[name]) if name in s.values else "–" for s in settings] for name in names},
    }
    words = {name: cells for name, cells in words.items() if any(cells)}
    metrics = {o.metric: [spread_text(setting.spread(o.metric)) for setting in settings] for o in sweep.objectives}
    numbers = {**metrics, "n": [str(len(setting.finished)) for setting in settings]}
    for metric in metrics_of_test(settings, sweep.objective.metric):
        numbers[metric] = [spread_text(setting.test(metric)) for setting in settings]
    columns = [["rank", *(str(s.rank) for s in settings)], *([name, *cells] for name, cells in words.items())]
    place = len(columns)
    columns += [[name, *cells] for name, cells in numbers.items()]
    kinds = ["r", *("l" * len(words)), *("r" * len(numbers))]
    header = [(str(analysis.names.get(c[0], c[0])), kind) for c, kind in zip(columns, kinds, strict=True)]
    rows = [list(cells) for cells in zip(*(column[1:] for column in columns), strict=True)]
    return header, rows, {(row, place) for row, setting in enumerate(settings) if setting in best}


def _labels(runs: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(str(name) for run in runs if (name := run.manifest.get("name")) is not None))


def _latex(text: str) -> str:
    return "".join(OF_LATEX.get(one, one) for one in printable(text))


def _markdown(text: str) -> str:
    # A name must be neither markup nor the end of its cell.
    return "".join(f"\\{one}" if one in "\\`*_{}[]<>#|~$!&" else one for one in printable(text))


def _as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Formats a CSV file: numbers in full, names such that no spreadsheet takes them for a formula."""
    out = StringIO()
    # The csv module would end lines by \r\n.
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in header])
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    # For Python, true is the integer 1.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = "\n".join(printable(line) for line in shown(value).split("\n"))
    # The apostrophe tells a spreadsheet that the cell is text.
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
