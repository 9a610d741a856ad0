"""Trains the recipes of published results over several seeds, and writes what they reach beside what was published.

    python scripts/published.py [NAME …] data=FOLDER [seeds=5] [page=docs/published-results.md]

    NAME …        recipes of conf/experiment/published/; without one, all whose files are in the folder
    data=FOLDER   where the data sets lie, each in a folder of its own as the head of its recipe says
    seeds=5       how many seeds, from 0
    page=FILE     what is written; recipes that are not run keep their rows

Each recipe is an ordinary sweep, logs/sweeps/published_NAME: a second start trains only what is missing. The figures
of the page lie in a .json beside it.
"""

import hashlib
import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from publishing.page import write_page
from publishing.recipes import RECIPES, Recipe

from mlplab.cli.script import Option, run_script
from mlplab.cli.train_command import quoted, run_train
from mlplab.config.suggestions import nearest_name
from mlplab.errors import RunFailed, UserError

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = {
    "data": Option("path", ROOT.parent / "shared" / "data", example="data"),
    "seeds": Option("count", 5, example="5"),
    "page": Option("path", ROOT / "docs" / "published-results.md", example="results.md"),
}


def main(settings: dict[str, Any], names: Sequence[str]) -> int:
    require_known(names)
    folder: Path = settings["data"].absolute()
    for name in names or [name for name, recipe in RECIPES.items() if not missing_files(recipe, folder)]:
        recipe = RECIPES[name]
        missing = missing_files(recipe, folder)
        if missing:
            raise UserError(
                f"data must be a folder with the files of {name}, see conf/experiment/published/{name}.yaml",
                f"{folder} without {missing[0]}", "data=FOLDER",
            )  # fmt: skip
        for file in changed_files(recipe, folder):
            print(f"note    {file} is not the file of the recipe: its SHA-256 is another", file=sys.stderr)
        train(name, recipe, folder, settings["seeds"])
        row = row_of(recipe, results_of(name, recipe), settings["seeds"])
        write_page(settings["page"], name, row)
        print(f"{name}: {row['mean']:.{recipe.digits}f} ± {row['sd']:.{recipe.digits}f} over {row['n']} seeds")
    print(f"wrote   {settings['page']}")
    return 0


def missing_files(recipe: Recipe, folder: Path) -> list[str]:
    return [file for file in recipe.files.values() if not (folder / file).exists()]


def changed_files(recipe: Recipe, folder: Path) -> list[str]:
    """Returns the files that are not those whose checksum the recipe names."""
    return [
        file for file, checksum in recipe.checksums.items()
        if not (folder / file).is_file() or hashlib.sha256((folder / file).read_bytes()).hexdigest() != checksum
    ]  # fmt: skip


def train(name: str, recipe: Recipe, folder: Path, seeds: int) -> None:
    """Runs the sweep of a recipe.

    Raises:
        RunFailed: it was interrupted, or one of its jobs failed.
    """
    words = [
        "-m", f"experiment=published/{name}", f"seed=range(0,{seeds})", f"sweep.name=published_{name}",
        *(f"{option}={quoted(folder / file)}" for option, file in recipe.files.items()),
    ]  # fmt: skip
    status = run_train(ROOT / "train.py", words, folder=ROOT, environment=dict(os.environ))
    if status:
        raise RunFailed(f"the sweep of {name} ended with status {status}; the same command goes on with it")


def results_of(name: str, recipe: Recipe) -> list[tuple[float, float]]:
    """Reads the measure and the seconds of each finished job, in the order of the seeds."""
    results = []
    for path in sorted((ROOT / "logs" / "sweeps" / f"published_{name}").glob("*/result.json"), key=_number):
        value = json.loads(path.read_text(encoding="utf-8"))["test"][recipe.measure]
        seconds = json.loads(path.with_name("status.json").read_text(encoding="utf-8"))["seconds"]
        results.append((float(value), sum(seconds.values())))
    return results


def _number(path: Path) -> int:
    return int(path.parent.name.partition("_")[0])


def row_of(recipe: Recipe, results: Sequence[tuple[float, float]], seeds: int) -> dict[str, Any]:
    """Summarises the first `seeds` results as a row of the page."""
    values = [recipe.shown(value) for value, _ in results[:seeds]]
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else math.nan,
        "n": len(values),
        "seconds": statistics.median(seconds for _, seconds in results[:seeds]),
    }


def require_known(names: Sequence[str]) -> None:
    for name in names:
        if name not in RECIPES:
            near = nearest_name(name, list(RECIPES)) or next(iter(RECIPES))
            raise UserError(f"NAME must be one of {', '.join(RECIPES)}", name, near)


if __name__ == "__main__":
    # Names come without "=": what is left are options.
    recipes = [word for word in sys.argv[1:] if "=" not in word and not word.startswith("-")]
    sys.argv[1:] = [word for word in sys.argv[1:] if word not in recipes]
    sys.exit(run_script(lambda settings: main(settings, recipes), OPTIONS, __doc__))
