"""Writes what a sweep has taught so far: a page, a leaderboard and charts, beside its jobs.

    python scripts/report.py logs/sweeps/NAME
    python scripts/report.py logs/sweeps/NAME --json

writes report.html (one file, to be opened in a browser, offline), leaderboard.csv and figures/ into the sweep's
directory, and prints the findings. It can be run at any time, also while the sweep runs.

    sweep=DIRECTORY    of the sweep; its name may be left out
    --json             the findings and the leaderboard as JSON on standard output, and nothing else
"""

import sys
from pathlib import Path
from typing import Any

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.engine.startup import quick_imports

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = {
    "sweep": Option("path", example="logs/sweeps/NAME", is_required=True, is_first=True),
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    with quick_imports():
        from mlplab.config.paths import shortest
        from mlplab.report.report_files import write_report
        from mlplab.report.sweep_analysis import analyse
        from mlplab.report.terminal_summary import as_content, as_text

    analysis = analyse(settings["sweep"])
    written = write_report(analysis, ROOT)
    files = [f"{kind:<12}{shortest(path)}" for kind, path in written.items()]
    content = {**as_content(analysis), "written": {kind: str(path) for kind, path in written.items()}}
    return Result("\n".join([as_text(analysis), *files]), content)


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
