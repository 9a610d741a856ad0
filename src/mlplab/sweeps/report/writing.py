"""Writes a sweep's report beside its jobs."""

from pathlib import Path

from mlplab.errors import not_writable
from mlplab.runs.files import write_atomically
from mlplab.sweeps.report.analysis import Analysis
from mlplab.sweeps.report.drawing import file_name
from mlplab.sweeps.report.leaderboard import as_csv
from mlplab.sweeps.report.page import as_page
from mlplab.sweeps.report.pictures import draw


def write_report(analysis: Analysis, root: Path) -> dict[str, Path]:
    """Writes report.html, leaderboard.csv and figures/, each file whole or not at all; gives them by their kind.

    Args:
        analysis: of the sweep.
        root: the project, whose conf/ the page compares with.

    Raises:
        Refusal: the sweep's directory cannot be written to.
    """
    directory = analysis.sweep.directory
    pictures = draw(analysis)
    page, board = directory / "report.html", directory / "leaderboard.csv"
    figures = directory / "figures"
    try:
        figures.mkdir(exist_ok=True)
        taken: list[str] = []
        for drawn in (drawn for section in pictures.values() for drawn in section):
            taken.append(file_name(drawn.name, taken))
            _write(figures / f"{taken[-1]}.svg", drawn.svg.encode())
            _write(figures / f"{taken[-1]}.png", drawn.png)
        _write(board, as_csv(analysis).encode())
        _write(page, as_page(analysis, pictures, root).encode())
    except OSError as error:
        raise not_writable("the sweep's directory", directory, error, f"chmod u+w {directory}") from None
    return {"report": page, "leaderboard": board, "figures": figures}


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
