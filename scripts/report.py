"""What a sweep has taught so far: a page, a leaderboard and pictures, beside its jobs.

    python scripts/report.py logs/sweeps/NAME
    python scripts/report.py logs/sweeps/NAME --json

writes report.html (one file, to be opened in a browser, offline), leaderboard.csv and figures/ into the sweep's
directory, and prints the findings. It can be asked at any time, while the sweep runs too.

    sweep=DIRECTORY    of the sweep; its name may be left out
    --json             the findings and the leaderboard as JSON on standard output, and nothing else
"""

import os
import sys
from pathlib import Path
from typing import Any

from mlplab.config.words import Word, quick_imports, run_script

ROOT = Path(__file__).resolve().parents[1]

WORDS = {
    "sweep": Word("path", example="logs/sweeps/NAME", is_required=True, is_first=True),
    "json": Word("switch", False),
}


def main(settings: dict[str, Any]) -> None:
    with quick_imports():
        from mlplab.config.paths import shortest
        from mlplab.sweeps.report.analysis import analyse
        from mlplab.sweeps.report.terminal import as_json, as_text
        from mlplab.sweeps.report.writing import write_report

    analysis = analyse(settings["sweep"])
    written = write_report(analysis, ROOT)
    if settings["json"]:
        print(as_json(analysis, {kind: str(path) for kind, path in written.items()}))
        return
    try:
        print(as_text(analysis))
        for kind, path in written.items():
            print(f"{kind:<12}{shortest(path)}", flush=True)
    except BrokenPipeError:  # `| head` has seen enough, and all is written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--json"] + ["json=true"] * ("--json" in sys.argv)
    sys.exit(run_script(main, WORDS, __doc__))
