"""Draws charts with matplotlib, as files and as parts of a page that take on its colours."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

import numpy as np

from mlplab.errors import printable
from mlplab.report.charts import FAULT, INK, MUTED, SERIES, Chart, ChartAxis, Layer
from mlplab.report.formatting import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = "#e3e6ea"
THEMED = {INK: "--ink", MUTED: "--muted", GRID: "--grid", FAULT: "--fault"} | {
    colour: f"--series-{place}" for place, colour in enumerate(SERIES)
}
"""Colours that follow the page's theme, with their names in page.css."""

STYLE: Any = {
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "grid.color": GRID, "grid.linewidth": 0.8, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.size": 0, "ytick.major.size": 0,
    "xtick.minor.size": 0, "ytick.minor.size": 0, "font.size": 9, "legend.frameon": False, "legend.fontsize": 8.5,
    "figure.constrained_layout.h_pad": 0.06, "figure.constrained_layout.w_pad": 0.06,
    "text.parse_math": False,  # a "$" in a name is a character
    # Text stays text, which a browser can find; without a fixed salt, ids would differ each time.
    "svg.fonttype": "none", "svg.hashsalt": "mlplab",
}  # fmt: skip

WIDTH = 4.4
"""Inches: two charts fit beside each other on a page, and their text is legible on a phone."""

POINTS: Any = {
    "point": {"marker": "o", "markersize": 4.5, "alpha": 0.55, "markeredgewidth": 0},
    "cross": {"marker": "x", "markersize": 6, "markeredgewidth": 1.6},
}

LONG_TICKS = 44
"""Characters of all tick labels from which they are rotated."""


@dataclass(frozen=True)
class Picture:
    """A drawn chart, as the content of its two files."""

    chart: Chart
    svg: str
    png: bytes


def draw(charts: Sequence[Chart]) -> list[Picture]:
    """Draws charts in the report's style."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a browser has other fonts
        return [_draw(chart) for chart in charts]


def _draw(chart: Chart) -> Picture:
    # The plain Figure, because pyplot would look for a display.
    from matplotlib.figure import Figure

    n_entries = sum(layer.label is not None for layer in chart.layers)
    height = chart.height + (0.19 * n_entries + 0.1 if n_entries else 0)
    figure = Figure(figsize=(WIDTH, height), dpi=160, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    _set_axis(axes, chart.x, "x")
    _set_axis(axes, chart.y, "y")
    for layer in chart.layers:
        _draw_layer(axes, chart, layer)
    if n_entries:
        figure.legend(loc="outside lower left", ncols=1, alignment="left", handlelength=1.6, borderaxespad=0.1)
    # Without the date the same sweep gives the same files.
    svg, png = StringIO(), BytesIO()
    figure.savefig(png, format="png")
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(chart, svg.getvalue(), png.getvalue())


def _set_axis(axes: "Axes", axis: ChartAxis, on: Literal["x", "y"]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axes.set(**{f"{on}label": short(axis.label)})
    ticks = axes.xaxis if on == "x" else axes.yaxis
    if axis.categories:
        texts = [short(text, 30 if on == "y" else 16) for text in axis.categories]
        ticks.set_ticks(range(len(texts)), texts)
        ends = (-0.5, len(texts) - 0.5)
        # Names are read from above, numbers from below.
        axes.set(**{f"{on}lim": ends if on == "x" else ends[::-1]})
        axes.grid(visible=False, axis=on)
        if on == "x" and sum(map(len, texts)) > LONG_TICKS:
            axes.tick_params(axis="x", rotation=60 if len(texts) > 8 else 30)
        return
    axes.set(**{f"{on}scale": "log" if axis.is_log else "linear"})
    if np.isfinite(axis.high):
        axes.set(**{f"{on}lim": (axis.low, axis.high)})
    if axis.is_log:
        decades = np.log10(axis.high / axis.low)
        ticks.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,), numticks=9))
        # Labels between decades would overlap on so small a chart.
        ticks.set_minor_locator(NullLocator())
        ticks.set_minor_formatter(NullFormatter())
    else:
        ticks.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10), integer=axis.unit == "integer"))
    form = (lambda value, _: f"{value:.0%}") if axis.unit == "percent" else (lambda value, _: number(value))
    ticks.set_major_formatter(FuncFormatter(form))


def _column(axis: ChartAxis, layer: Layer, name: str) -> Any:
    """Returns a column of a layer's rows as coordinates; (N,)."""
    values = [row[name] for row in layer.rows]
    if axis.categories:
        place = {category: index for index, category in enumerate(axis.categories)}
        return np.array([place[value] for value in values], dtype=np.float64) + layer.offset
    return np.clip(np.array(values, dtype=np.float64), axis.low, axis.high)


def _draw_layer(axes: "Axes", chart: Chart, layer: Layer) -> None:
    x, y = _column(chart.x, layer, "x"), _column(chart.y, layer, "y")
    style: Any = {"color": layer.colour, "label": None if layer.label is None else short(layer.label, 52)}
    match layer.mark:
        case "point" | "cross":
            if chart.x.categories and not chart.y.categories:  # equal values would hide each other
                x = x + np.random.default_rng(0).uniform(-0.18, 0.18, len(x))
            axes.plot(x, y, linestyle="none", **POINTS[layer.mark], **style)
        case "line" | "step":
            style["linestyle"] = (0, (3, 2)) if layer.is_dashed else "-"
            style["drawstyle"] = "steps-post" if layer.mark == "step" else "default"
            axes.plot(x, y, linewidth=1.4, **style)
        case "band":
            low, high = _column(chart.y, layer, "low"), _column(chart.y, layer, "high")
            axes.fill_between(x, low, high, color=layer.colour, alpha=0.18, linewidth=0)
        case "bar" if chart.y.categories:
            bars = axes.barh(y, x, color=layer.colour, height=0.62)
            axes.bar_label(bars, [row["text"] for row in layer.rows], padding=3, fontsize=8.5, color=INK)
        case "bar":
            axes.bar(x, y, color=layer.colour, width=0.9 * (x[1] - x[0]))
            axes.grid(visible=False, axis="x")
        case "tick" if chart.x.categories:
            axes.hlines(y, x - 0.3, x + 0.3, color=layer.colour, linewidth=1.6)
        case "tick":
            axes.vlines(x, y - 0.13, y + 0.13, color=layer.colour, linewidth=1.8)
        case "cell":
            _draw_cells(axes, chart, layer)


def _draw_cells(axes: "Axes", chart: Chart, layer: Layer) -> None:
    from matplotlib import colormaps

    shades = np.full((len(chart.y.categories), len(chart.x.categories)), np.nan)
    size = min(8.5, 60 / len(chart.x.categories))
    columns, rows = (_column(axis, layer, name).astype(int) for axis, name in ((chart.x, "x"), (chart.y, "y")))
    for column, row, cell in zip(columns, rows, layer.rows, strict=True):
        shades[row, column] = cell["shade"]
        # Text is black on light cells and white on dark ones, by the luminance that the eye sees.
        red, green, blue, _ = colormaps["viridis"](cell["shade"])
        colour = "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#ffffff"
        axes.text(column, row, cell["text"], ha="center", va="center", fontsize=size, color=colour)
    axes.pcolormesh(np.ma.masked_invalid(shades), cmap="viridis", vmin=0, vmax=1, shading="nearest")


def file_name(text: str, taken: Sequence[str] = ()) -> str:
    """Returns a name for a file of letters, digits, dots and dashes, which is not taken."""
    name = re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._")[:60] or "figure"
    return next(n for n in (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def short(text: str, limit: int = 44) -> str:
    """Cuts a label to a limit."""
    text = re.sub("[\ufffe\uffff]", "\ufffd", printable(text))  # which XML cannot hold
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def inline(picture: Picture, prefix: str) -> str:
    """Returns a picture as an svg element of a page, with the colours of the page's theme.

    Args:
        picture: to be shown.
        prefix: of its ids, which no other picture of the page has.
    """
    text = picture.svg
    for colour, name in THEMED.items():
        text = text.replace(colour, f"var({name})")
    # Names were escaped when the file was written; parsed and written again, they stay text.
    root = ElementTree.fromstring(text[text.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    # The page has a background of its own.
    background = root.find(".//*[@id='patch_1']")
    if background is not None:
        background.clear()
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        attributes = ((name.rpartition("}")[2], value) for name, value in node.attrib.items())
        node.attrib = {name: _inlined(name, value, prefix) for name, value in attributes}
    label = printable(f"{picture.chart.title}. {picture.chart.caption}")
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode", method="html")


def _inlined(name: str, value: str, prefix: str) -> str:
    """Makes ids unique on the page, and drops digits that cannot be seen."""
    if name == "id":
        return prefix + value
    if name == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    value = value.replace("url(#", f"url(#{prefix}")
    return re.sub(r"(\.\d{2})\d+", r"\1", value) if name in ("d", "x", "y", "transform", "points") else value
