"""The look of the lessons' figures: SVG that follows the light or dark theme of the reader."""

import io
import re
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, RED, GREEN, YELLOW, CYAN, PURPLE = "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"
"""Colours of Paul Tol's scheme `bright`, which colour-blind readers can tell apart; they show on white and on black."""

INK, PAPER, FAINT = "#010203", "#fdfeff", "#c0c1c2"
"""Stand for the colours of a theme in what matplotlib draws; nothing else has them."""

THEMES = {
    INK: ("ink", "#1f2328", "#e6edf3"),
    PAPER: ("paper", "#ffffff", "#0d1117"),
    FAINT: ("faint", "#d1d9e0", "#3d444d"),
}
"""Colour → its name, in a light theme, in a dark theme."""

STYLE = {
    "figure.facecolor": PAPER, "axes.facecolor": "none", "savefig.facecolor": PAPER, "text.color": INK,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "grid.color": FAINT,
    "axes.grid": True, "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 11, "axes.titlelocation": "left", "legend.frameon": False,
    "legend.fontsize": 9, "font.size": 10, "lines.linewidth": 1.8, "axes.linewidth": 0.8,
    # Text as outlines is the same with any reader's fonts; the salt gives elements the same names each time.
    "svg.fonttype": "path", "svg.hashsalt": "mlplab",
}  # fmt: skip


def in_style() -> AbstractContextManager[None]:
    """Gives `STYLE` to all that is drawn and saved within it."""
    return mpl.rc_context(STYLE)


def panels(n_rows: int = 1, n_columns: int = 1, height: float = 3.2, **options: Any) -> tuple[Figure, list[Axes]]:
    """Makes a figure as wide as a page, and its panels row by row.

    Args:
        n_rows: of panels.
        n_columns: of panels.
        height: of a row, in inches.
        **options: of `Figure.subplots`, such as `sharey=True`.
    """
    figure = Figure(figsize=(8.8, height * n_rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # so that nothing touches the edge of a dark page
    return figure, list(figure.subplots(n_rows, n_columns, squeeze=False, **options).flat)


def as_svg(figure: Figure) -> bytes:
    """Encodes a figure as SVG. The colours of the theme become CSS variables; no date, no program."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    for colour, (name, light, _) in THEMES.items():
        # Programs that know no CSS variables take the declaration before.
        text = re.sub(rf"([a-z-]+): {colour}", rf"\1: {light}; \1: var(--{name})", text)
    of_light, of_dark = (";".join(f"--{theme[0]}:{theme[place]}" for theme in THEMES.values()) for place in (1, 2))
    themes = f":root{{{of_light}}}@media (prefers-color-scheme: dark){{:root{{{of_dark}}}}}"
    text = text.replace('<style type="text/css">', f'<style type="text/css">{themes}', 1)
    # Trailing blanks are no part of a line of text that people keep under version control.
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines()).encode()
