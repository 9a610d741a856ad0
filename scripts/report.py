"""Writes what a sweep, or several of them, or plain runs have taught so far: a page, tables and charts.

    python scripts/report.py logs/sweeps/NAME
    python scripts/report.py NAME OTHER_NAME
    python scripts/report.py logs/runs
    python scripts/report.py logs/runs/RUN logs/runs/OTHER_RUN

writes report.html (one file, to be opened in a browser, offline), leaderboard.csv, .tex and .md, runs.csv and figures/
into the sweep's directory, else into logs/reports/, and prints the findings. Several sweeps and plain runs are pooled:
the options in which they differ are compared. It can be run at any time, also while a sweep runs.

    sweep=DIRECTORY    of a sweep, of a run, or with runs; its name may be left out, and there may be several
    out=FOLDER         where the report is written
    figures=true       the figures as PNG, SVG and PDF too, which is the default up to 2,000 runs; or false
    --json             the findings and the leaderboard as JSON on standard output, and nothing else
"""

import sys
from pathlib import Path
from typing import Any

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.engine.startup import quick_imports

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = {
    "sweep": Option("paths", example="logs/sweeps/NAME", is_required=True, is_first=True),
    "out": Option("path", example="logs/reports/NAME"),
    "figures": Option("switch", example="true"),
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    with quick_imports():
        from mlplab.config.paths import shortest
        from mlplab.report.pooled_runs import read_records
        from mlplab.report.report_files import write_report
        from mlplab.report.sweep_analysis import conclusions
        from mlplab.report.terminal_summary import as_content, as_text

    texts, contents = [], []
    for record in read_records(settings["sweep"], ROOT / "logs", settings["out"]):
        analysis = conclusions(record)
        written = write_report(analysis, ROOT, with_figures=settings["figures"])
        files = [f"{kind:<16}{shortest(path)}" for kind, path in written.items()]
        files += [] if "figures" in written else ["figures         on the page only; figures=true writes them as files"]
        texts.append("\n".join([as_text(analysis), *files]))
        if settings["--json"]:
            contents.append({**as_content(analysis), "written": {kind: str(path) for kind, path in written.items()}})
    return Result("\n\n".join(texts), contents[0] if len(contents) == 1 else {"reports": contents})


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
