"""What the report says on the terminal, and as JSON."""

import json
import math
import sys
import textwrap
from collections import Counter
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mlplab.errors import printable
from mlplab.report.analysis import Analysis
from mlplab.report.formatting import spread_text
from mlplab.report.leaderboard import as_rows
from mlplab.report.provenance import headline
from mlplab.report.ranked_settings import TITLES, Setting, contenders, label, of_stage

ROWS = 10
MOST_OBJECTIVES = 2
"""That 80 columns have room for."""

WIDTH = 80
STYLES = {"result": "green", "caution": "yellow", "fault": "red"}


def as_text(analysis: Analysis) -> str:
    """The findings and the head of the leaderboard, plain where nobody looks at a terminal."""
    width = None if sys.stdout.isatty() else WIDTH
    console = Console(file=sys.stdout, width=width, emoji=False, highlight=False)
    counts = Counter("diverged" if run.state == "infeasible" else run.state for run in analysis.sweep.runs)
    with console.capture() as capture:
        _print_wrapped(console, "", printable(f"{analysis.sweep.name}  {' · '.join(headline(analysis))}"), "bold")
        console.print(escape(", ".join(f"{n:,} {state}" for state, n in counts.most_common())), end="\n\n")
        for finding in analysis.findings:
            _print_wrapped(console, "• ", finding.sentence, STYLES[finding.level])
            _print_wrapped(console, "  ", finding.evidence, "dim")
        ranked = contenders(analysis.settings)
        if ranked:
            console.print()
            console.print(_table(analysis, ranked))
            if len(ranked) > ROWS:
                console.print(f"… and {len(ranked) - ROWS:,} more in leaderboard.csv")
        rerun = of_stage(analysis.settings, "rerun")
        if rerun and not analysis.arms and ranked[0].stage != "rerun":
            console.print(f"\n{TITLES['rerun']}")
            console.print(_table(analysis, rerun))
    return capture.get()


def _print_wrapped(console: Console, start: str, text: str, style: str) -> None:
    """Prints text within the terminal's width, its first line begun with `start` and the others as far in."""
    for line in textwrap.wrap(text, console.width - 1, initial_indent=start, subsequent_indent=" " * len(start)):
        styled = Text(line, "bold" if start.strip() else "")
        styled.stylize(style, 0, len(start) if start.strip() else None)
        console.print(styled, soft_wrap=True)


def _table(analysis: Analysis, settings: list[Setting]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("#", justify="right")
    table.add_column("setting", overflow="fold", ratio=1)
    objectives = analysis.sweep.objectives[:MOST_OBJECTIVES]
    for objective in objectives:
        table.add_column(escape(printable(objective.metric)), justify="right", no_wrap=True)
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("failed", justify="right", no_wrap=True)
    for setting in settings[:ROWS]:
        n, finished = len(setting.runs), len(setting.finished)
        table.add_row(
            str(setting.rank), escape(label(setting, analysis.names)),
            *(escape(spread_text(setting.spread(objective.metric))) for objective in objectives),
            str(n) if n == finished else f"{finished}/{n}", str(setting.n_failed or ""),
        )  # fmt: skip
    return table


def as_json(analysis: Analysis, written: dict[str, str]) -> str:
    """The report for programs: a number that is infinite or not known is null.

    Args:
        analysis: of the sweep.
        written: what was written, by its kind.
    """
    sweep = analysis.sweep
    content = {
        "sweep": sweep.name,
        "objectives": [asdict(objective) for objective in sweep.objectives],
        "target": None if sweep.target is None else asdict(sweep.target),
        "states": dict(Counter(run.state for run in sweep.runs)),
        "findings": [asdict(finding) for finding in analysis.findings],
        "leaderboard": as_rows(analysis),
        "tests": [
            {
                "first": dict(test.first.values), "second": dict(test.second.values),
                "arms": [test.first.arm, test.second.arm],
                **asdict(test.result), "wins": test.wins, "corrected_p": test.corrected_p,
            }
            for test in analysis.tests
        ],
        "effects": _effects(analysis),
        "written": written,
    }  # fmt: skip
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def _effects(analysis: Analysis) -> dict[str, Any] | None:
    effects = analysis.effects
    if effects is None:
        return None
    pairs = [{"names": list(names), "share": share} for names, share in effects.pairs.items()]
    return {**asdict(effects), "pairs": pairs, "rest": effects.rest}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
