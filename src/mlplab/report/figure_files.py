"""Renders figures as files: PNG, SVG and PDF from one specification. A process of its own needs nothing else."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import vl_convert

RESOLUTION = 2  # pixels of a PNG for each of the page
# Characters, as JSON writes them, on which the renderer would end this process.
_NOT_IN_XML = re.compile(r"((?<!\\)(?:\\\\)*)\\(?:u00[01][0-9a-f]|[bf])|[\ud800-\udfff\ufffe\uffff]")


def with_rows(spec: Mapping[str, Any], datasets: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns a specification, as JSON, with its rows and on white."""
    rows = {**spec.get("datasets", {}), **datasets, "brushes": []}
    whole = {**spec, "datasets": rows, "config": {**spec["config"], "background": "white"}}
    # Without zoom nothing needs to be clipped, which takes long for each line.
    text = json.dumps(whole, ensure_ascii=False).replace('"clip": true', '"clip": false')
    return _NOT_IN_XML.sub(lambda found: f"{found[1] or ''}\ufffd", text)


def render(spec: str) -> dict[str, bytes]:
    """Returns the content of the files of a figure, by their endings."""
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return {"svg": svg.encode(), "png": vl_convert.svg_to_png(svg, scale=RESOLUTION), "pdf": vl_convert.svg_to_pdf(svg)}


def browser_bundle() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed as one script, which defines `vegaEmbed`."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Maps the names of figures to names of files, of letters, digits, dots and dashes."""
    found: dict[str, str] = {}
    for name in names:
        short = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._")[:60] or "figure"
        # Different names can become equal.
        numbered = (short, *(f"{short}_{k}" for k in range(2, len(names) + 1)))
        found[name] = next(n for n in numbered if n not in found.values())
    return found
