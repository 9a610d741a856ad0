"""docs/published-results.md: a row for each recipe."""

import json
from pathlib import Path
from typing import Any

from mlplab.runs.files import write_bytes
from publishing.recipes import RECIPES, Recipe

HEAD = """# Published results

What was published for a data set, and what the recipes of [conf/experiment/published/](../conf/experiment/published)
reach here. Each row is an ordinary sweep over seeds, which the command in it runs, goes on with, and writes into this
page; `FOLDER` is where the data sets lie. The head of a recipe says in what it differs from its source.

Ours is the mean ± one standard deviation over n seeds, on the test part, which chooses nothing; the head of a recipe
says if an earlier one was tested, too. A published figure counts as reached if ours is at most one of our standard
deviations worse. Seconds are those of one seed, the median; they are left out where other programs ran on the machine.
[side-by-side.md](side-by-side.md) compares our networks with those of others on the same splits.

All is measured on two cores. A GPU would make the authors' own networks affordable: their TabM-mini for California, 32
members of four layers of 736, takes a minute of an A100 by their report, and by its operations an hour of two cores.
For MNIST, it would make the million steps of the paper affordable; ours are 13,000 at most.

| data, network, measure | published | ours | n | reached | seconds | command |
|---|---|---|---|---|---|---|
"""

NOT_MEASURED = """
## Not measured

The files of these recipes were not at hand. The head of a recipe names them, their form and where they come from; it is
tested on made files of that form. Their SHA-256 is not known: the first run records it in published-results.json, and
later ones say so if a file differs. The networks in the form of the TabM paper are those of its authors, and need a
GPU; those of the UCI data sets are small.

| data, network, measure | published | files | command |
|---|---|---|---|
"""


def read_rows(page: Path) -> dict[str, dict[str, Any]]:
    """Reads the figures of a page from the .json beside it: name of a recipe → its row."""
    path = page.with_suffix(".json")
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return rows


def write_page(page: Path, name: str, row: dict[str, Any]) -> None:
    """Adds the row of a recipe to the page and to its figures in a .json beside it; other rows stay."""
    rows = {**read_rows(page), name: row}
    rows = {known: rows[known] for known in RECIPES if known in rows}
    write_bytes(page.with_suffix(".json"), (json.dumps(rows, indent=2) + "\n").encode())
    measured = [line_of(known, RECIPES[known], row) for known, row in rows.items()]
    others = [line_of(known, recipe, None) for known, recipe in RECIPES.items() if known not in rows]
    text = HEAD + "\n".join(measured) + "\n"
    if others:
        text += NOT_MEASURED + "\n".join(others) + "\n"
    write_bytes(page, text.encode())


def mean_and_spread(row: dict[str, Any], digits: int) -> str:
    """Writes the mean of the seeds, and behind ± their standard deviation if there are several."""
    spread = "" if row["sd"] is None else f" ± {row['sd']:.{digits}f}"
    return f"{row['mean']:.{digits}f}{spread}"


def line_of(name: str, recipe: Recipe, row: dict[str, Any] | None) -> str:
    """Writes a row of the table in Markdown; None stands for what is not measured."""
    published = "; ".join(f"{figure:.{recipe.digits}f} ({source})" for source, figure in recipe.published.items())
    command = f"python scripts/published.py {name} data=FOLDER"
    if row is None:
        cells = [recipe.title, published, ", ".join(recipe.files.values()), f"`{command}`"]
    else:
        cells = [
            recipe.title, published, mean_and_spread(row, recipe.digits), str(row["n"]), verdict(recipe, row),
            "–" if row["seconds"] is None else f"{row['seconds']:.0f}", f"`{command} seeds={row['n']}`",
        ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def verdict(recipe: Recipe, row: dict[str, Any]) -> str:
    """Says which of the published figures are reached."""
    spread = row["sd"] or 0.0
    sign = 1 if recipe.is_smaller_better else -1
    reached = [sign * row["mean"] <= sign * figure + spread for figure in recipe.published.values()]
    return "yes" if all(reached) else "no" if not any(reached) else f"{sum(reached)} of {len(reached)}"
