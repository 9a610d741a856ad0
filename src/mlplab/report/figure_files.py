"""Renders figures as files: PNG, SVG and PDF from one specification."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlplab.report.charts import Chart

RESOLUTION = 2
"""Pixels of a PNG for each of the page."""


def render(chart: Chart, runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Yields the ending and the content of each file of a figure.

    Args:
        chart: to be rendered.
        runs: the rows that all figures share.
    """
    import vl_convert

    shared = {"runs": runs, "brushes": []}
    # Only in files: the page has one background, and one legend for all figures.
    spec = {**chart.spec, "datasets": {**chart.spec.get("datasets", {}), **shared}}
    spec["config"] = {**spec["config"], "background": "white"}
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    yield "svg", svg.encode()
    yield "png", vl_convert.svg_to_png(svg, scale=RESOLUTION)
    yield "pdf", vl_convert.svg_to_pdf(svg)


def browser_bundle() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    return str(vl_convert.javascript_bundle())


def file_name(text: str, taken: Sequence[str] = ()) -> str:
    """Returns a name for a file of letters, digits, dots and dashes, which is not taken."""
    name = re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._")[:60] or "figure"
    return next(n for n in (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))) if n not in taken)
