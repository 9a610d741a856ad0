"""The report on the terminal, and as JSON."""

import re
import sys
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from mlplab.config.commands import command
from mlplab.config.paths import shortest
from mlplab.errors import printable
from mlplab.report.provenance import headline
from mlplab.report.report_tables import Table, plain_rows, summary_table
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.sweeps.reading.ranked_settings import TITLES, contenders, of_stage

ROWS = 10
MOST_OBJECTIVES = 2  # objectives for which 80 columns have room

WIDTH = 80
STYLES = {"result": "green", "caution": "yellow", "fault": "red"}


def as_text(analysis: SweepAnalysis) -> str:
    """Formats the findings and the head of the leaderboard; without colours if standard output is no terminal."""
    # Piped output has 80 columns, the width that rich takes where a terminal does not tell its own.
    # rich would colour numbers, and turn `:smile:` in a name into a picture.
    console = Console(width=None if sys.stdout.isatty() else WIDTH, emoji=False, highlight=False)
    # A grid indents wrapped lines below the text, not below the bullet.
    findings = RichTable.grid(padding=(0, 1, 0, 0))
    # The page, which may be read elsewhere, has the command as it is in the project's folder.
    from_here = f"{command('scripts/rerun_best.py')} {shortest(analysis.sweep.directory)}"
    for finding in analysis.findings:
        evidence = re.sub(r"python scripts/rerun_best\.py \S+(?= seeds)", lambda _: from_here, finding.evidence)
        findings.add_row(Text("•", STYLES[finding.level]), Text(finding.sentence, "bold"))
        if evidence:
            findings.add_row("", Text(evidence, "dim"))
    with console.capture() as capture:
        console.print(Text(printable(f"{analysis.sweep.name}  {' · '.join(headline(analysis))}"), "bold"))
        counts = Counter(run.state for run in analysis.sweep.runs).most_common()
        console.print(", ".join(f"{n:,} {state}" for state, n in counts), end="\n\n", markup=False)
        console.print(findings)
        ranked, rerun = contenders(analysis.settings), of_stage(analysis.settings, "rerun")
        if ranked:
            console.print()
            console.print(_rich(summary_table(analysis, ranked, MOST_OBJECTIVES)))
            if len(ranked) > ROWS:
                console.print(f"… and {len(ranked) - ROWS:,} more in leaderboard.csv")
        if rerun and not analysis.arms and ranked[0].stage != "rerun":
            console.print(f"\n{TITLES['rerun']}")
            console.print(_rich(summary_table(analysis, rerun, MOST_OBJECTIVES)))
    # A grid of rich fills each line with spaces.
    return "\n".join(line.rstrip() for line in capture.get().split("\n"))


def _rich(table: Table) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in table.columns:
        is_number = column.style.startswith("num")
        heading = Text(printable(column.heading))
        # Long settings are wrapped, so that numbers stay whole.
        shown.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in replace(table, objects=table.objects[:ROWS]).rows:
        shown.add_row(*(Text(printable(cell.text)) for cell in row))
    return shown


def as_content(analysis: SweepAnalysis) -> dict[str, Any]:
    """Returns the report as plain values, for programs."""
    sweep, effects = analysis.sweep, analysis.effects
    tests = []
    for test in analysis.tests:
        sides: dict[str, Any] = {"first": dict(test.first.values), "second": dict(test.second.values)}
        arms = {"arms": [test.first.arm, test.second.arm]}
        tests.append({**sides, **arms, **asdict(test.result), "corrected_p": test.corrected_p})
    # A pair of names cannot be a key in JSON.
    pairs = [{"names": names, "share": share} for names, share in effects.pairs.items()] if effects else []
    return {
        "sweep": sweep.name,
        "objectives": [asdict(objective) for objective in sweep.objectives],
        "target": None if sweep.target is None else asdict(sweep.target),
        "states": dict(Counter(run.state for run in sweep.runs)),
        "findings": [asdict(finding) for finding in analysis.findings],
        "leaderboard": plain_rows(analysis),
        "tests": tests,
        "effects": {**asdict(effects), "pairs": pairs, "rest": effects.rest} if effects else None,
    }
