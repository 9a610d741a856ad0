"""Writes a sweep's report beside its jobs."""

from pathlib import Path

from mlplab.errors import not_writable
from mlplab.report.analysis import Analysis
from mlplab.report.figure_style import file_name
from mlplab.report.leaderboard import as_csv
from mlplab.report.page import as_page
from mlplab.report.picture_files import draw
from mlplab.runs.files import remove_temporary_files, write_bytes


def write_report(analysis: Analysis, root: Path) -> dict[str, Path]:
    """Writes report.html, leaderboard.csv and figures/, each file whole or not at all; gives them by their kind.

    Args:
        analysis: of the sweep.
        root: the project, whose conf/ the page compares with.

    Raises:
        UserError: the sweep's directory cannot be written to.
    """
    directory = analysis.sweep.directory
    pictures = draw(analysis)
    page, board = directory / "report.html", directory / "leaderboard.csv"
    figures = directory / "figures"
    try:
        figures.mkdir(exist_ok=True)
        for folder in (directory, figures):
            remove_temporary_files(folder)
        taken: list[str] = []
        for drawn in (drawn for section in pictures.values() for drawn in section):
            taken.append(file_name(drawn.name, taken))
            write_bytes(figures / f"{taken[-1]}.svg", drawn.svg.encode())
            write_bytes(figures / f"{taken[-1]}.png", drawn.png)
        write_bytes(board, as_csv(analysis).encode())
        write_bytes(page, as_page(analysis, pictures, root).encode())
    except OSError as error:
        raise not_writable("the sweep's directory", directory, error, f"chmod u+w {directory}") from None
    return {"report": page, "leaderboard": board, "figures": figures}
