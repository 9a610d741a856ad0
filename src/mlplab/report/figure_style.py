"""How the report's pictures look, and how they become files and parts of a page."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from mlplab.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = npt.NDArray[np.float64]

INK, MUTED, GRID, FAULT = "#1f2328", "#59636e", "#e3e6ea", "#c4301d"
SERIES = ("#2c68b0", "#bf5b17", "#2a7f62", "#7b52ab", "#a8780f", "#5b6470")
THEMED = {INK: "--ink", MUTED: "--muted", GRID: "--grid", FAULT: "--fault"} | {
    colour: f"--series-{place}" for place, colour in enumerate(SERIES)
}
"""Colours of a picture that follow the page's theme, with the style sheet's names for them."""

STYLE: Any = {
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "grid.color": GRID, "grid.linewidth": 0.8, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.size": 0, "ytick.major.size": 0,
    "xtick.minor.size": 0, "ytick.minor.size": 0, "font.size": 9, "legend.frameon": False, "legend.fontsize": 8.5,
    "figure.constrained_layout.h_pad": 0.06, "figure.constrained_layout.w_pad": 0.06,
    "text.parse_math": False,  # a "$" in a name is one
    "svg.fonttype": "none", "svg.hashsalt": "mlplab",
}  # fmt: skip

WIDTH = 4.4
"""Inches: two fit beside each other on a page, and what is written can still be read on a phone."""

MOST_MARKS = 600
"""Points of a picture; of more, evenly chosen ones are drawn."""


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Attributes:
        name: of its files.
        title: what it shows.
        caption: how to read it.
        svg: as a file of its own.
        png: the same in pixels.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


@contextmanager
def styled() -> Iterator[None]:
    """Within it, matplotlib draws in the report's style."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a browser has other fonts
        yield


def picture(
    name: str, title: str, caption: str, draw: "Callable[[Axes], None]", height: float = 3.0, n_entries: int = 0
) -> Picture:
    """Draws on axes of the usual width and gives the files; to be called within `styled`.

    Args:
        name: of the files.
        title: what it shows.
        caption: how to read it.
        draw: puts onto the axes what there is.
        height: of the axes, in inches.
        n_entries: of a legend below the axes.
    """
    from matplotlib.figure import Figure

    legend = 0.19 * n_entries + (0.1 if n_entries else 0)
    figure = Figure(figsize=(WIDTH, height + legend), dpi=160, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    draw(axes)
    if n_entries:
        figure.legend(loc="outside lower left", ncols=1, alignment="left", handlelength=1.6, borderaxespad=0.1)
    return Picture(name, title, caption, *_files(figure))


def _files(figure: "Figure") -> tuple[str, bytes]:
    svg, png = StringIO(), BytesIO()
    figure.savefig(png, format="png")
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return svg.getvalue(), png.getvalue()


def file_name(text: str, taken: Sequence[str]) -> str:
    """A name for a file: letters, digits, dots and dashes, and none that is taken."""
    name = re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._")[:60] or "figure"
    return next(n for n in (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def short(text: str, limit: int = 44) -> str:
    """A label of a few words."""
    text = re.sub("[\ufffe\uffff]", "\ufffd", printable(text))  # which XML cannot hold
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def inline(drawn: Picture) -> ElementTree.Element:
    """The picture as a part of a page, whose colours it takes on."""
    text = drawn.svg
    for colour, name in THEMED.items():
        text = text.replace(colour, f"var({name})")
    root = ElementTree.fromstring(text[text.index("<svg") :])
    prefix = f"{re.sub(r'[^A-Za-z0-9]', '-', drawn.name)}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    background = root.find(".//*[@id='patch_1']")
    if background is not None:
        background.clear()
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        node.attrib = {name.rpartition("}")[2]: _inlined(name, value, prefix) for name, value in node.attrib.items()}
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "role": "img",
        "aria-label": printable(f"{drawn.title}. {drawn.caption}"),
    }
    return root


def _inlined(name: str, value: str, prefix: str) -> str:
    """An attribute with names of its own on the page, and no more digits than can be seen."""
    name = name.rpartition("}")[2]
    if name == "id":
        return prefix + value
    if name == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    value = value.replace("url(#", f"url(#{prefix}")
    return re.sub(r"(\.\d{2})\d+", r"\1", value) if name in ("d", "x", "y", "transform", "points") else value
