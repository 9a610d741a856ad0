"""Makes the pages of docs/lessons/: trains small networks, draws their figures, and writes the numbers into the text.

    python scripts/lessons.py [NAME …] [out=docs/lessons]

    NAME …        lessons, such as backpropagation; without one, all of them, in about a minute on two cores
    out=FOLDER    where pages, figures and numbers.json go

The text of a page is scripts/teaching/templates/NAME.md.j2, what it computes scripts/teaching/NAME.py. A page is
written only if each of its statements holds for the numbers that were computed. The same command writes the same files.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from teaching import LESSONS

from mlplab.cli.script import Option, run_script
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = {
    "names": Option("paths", [], is_first=True, example="backpropagation"),
    "out": Option("path", ROOT / "docs" / "lessons", example="lessons"),
}


def main(settings: dict[str, Any]) -> None:
    names = [str(name) for name in settings["names"]]
    require_known(names)
    # Imported here, as --help and a wrong name need no PyTorch.
    from teaching.pages import write_index, write_lesson

    with tempfile.TemporaryDirectory() as logs:
        for name in names or LESSONS:
            write_lesson(name, settings["out"], Path(logs))
            print(f"wrote   {settings['out'] / name}.md", flush=True)
    write_index(settings["out"])


def require_known(names: Sequence[str]) -> None:
    for name in names:
        if name not in LESSONS:
            raise UserError(
                f"NAME must be one of {', '.join(LESSONS)}", name, nearest_name(name, LESSONS) or LESSONS[0]
            )


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
