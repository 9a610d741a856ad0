"""Trains the recipes of published results over several seeds, and writes what they reach beside what was published.

    python scripts/published.py [NAME …] data=FOLDER [seeds=5] [seconds=true] [page=docs/published-results.md]

    NAME …         recipes of conf/experiment/published/; without one, all whose files are in the folder
    data=FOLDER    where the data sets lie, each in a folder of its own as the head of its recipe says
    seeds=5        how many seeds, from 0; without it, as many as the recipe has splits, or five
    seconds=false  leaves out the seconds, where other programs run on the machine
    page=FILE      what is written; recipes that are not run keep their rows

Each recipe is an ordinary sweep, logs/sweeps/published_NAME: a second start trains only what is missing. The figures
of the page lie in a .json beside it. Files that are no tables become one each in logs/published/.
"""

import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from publishing.forms import FORMS, SPLIT, digest
from publishing.page import mean_and_spread, read_rows, write_page
from publishing.recipes import RECIPES, Recipe

from mlplab.cli.script import Option, run_script
from mlplab.cli.train_command import quoted, run_train
from mlplab.config.suggestions import nearest_name
from mlplab.errors import RunFailed, UserError, counted
from mlplab.runs.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]

OPTIONS = {
    "data": Option("path", ROOT.parent / "shared" / "data", example="data"),
    "seeds": Option("count", None, example="5"),
    "seconds": Option("switch", True),
    "page": Option("path", ROOT / "docs" / "published-results.md", example="results.md"),
}


def main(settings: dict[str, Any], names: Sequence[str]) -> int:
    require_known(names)
    folder: Path = settings["data"].absolute()
    for name in names or [name for name, recipe in RECIPES.items() if not missing_files(recipe, folder)]:
        recipe = RECIPES[name]
        seeds = settings["seeds"] or recipe.seeds
        missing = missing_files(recipe, folder)
        if missing:
            raise UserError(
                f"data must be a folder with the files of {name}, see conf/experiment/published/{name}.yaml",
                f"{folder} without {missing[0]}", "data=FOLDER",
            )  # fmt: skip
        checksums = checksums_of(recipe, folder)
        known = recipe.checksums or read_rows(settings["page"]).get(name, {}).get("checksums", {})
        for note in notes_of(checksums, known):
            print(f"note    {note}", file=sys.stderr)
        words = ["-m", f"experiment=published/{name}", f"seed=range(0,{seeds})", f"sweep.name=published_{name}"]
        status = run_train(
            ROOT / "train.py", [*words, *words_of(name, recipe, folder, ROOT / "logs" / "published", seeds)],
            folder=ROOT, environment=dict(os.environ),
        )  # fmt: skip
        if status:
            raise RunFailed(f"the sweep of {name} ended with status {status}; the same command goes on with it")
        row = row_of(recipe, results_of(name, recipe), seeds) | {"checksums": checksums}
        if not settings["seconds"]:
            row["seconds"] = None
        write_page(settings["page"], name, row)
        print(f"{name}: {mean_and_spread(row, recipe.digits)} over {counted(row['n'], 'seed')}")
    print(f"wrote   {settings['page']}")
    return 0


def missing_files(recipe: Recipe, folder: Path) -> list[str]:
    return [file for file in recipe.files.values() if not (folder / file).exists()]


def checksums_of(recipe: Recipe, folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of the files of a recipe: of those that it names, or of each of its files and folders."""
    files = recipe.checksums or recipe.files.values()
    return {file: digest(folder / file) if (folder / file).exists() else "" for file in files}


def notes_of(checksums: Mapping[str, str], known: Mapping[str, str]) -> list[str]:
    """Says which files are recorded for the first time, and which are not those of the recipe or of its row."""
    return [
        f"{file} is not the file of the recipe: its SHA-256 is another"
        if file in known
        else f"{file}: its SHA-256 was not known; {checksum or 'nothing'} is recorded"
        for file, checksum in checksums.items()
        if known.get(file) != checksum
    ]


def words_of(name: str, recipe: Recipe, folder: Path, tables: Path, seeds: int) -> list[str]:
    """Returns the words that name the files of a recipe; makes tables of those that are none, in `tables`."""
    words = [f"{option}={quoted(folder / file)}" for option, file in recipe.files.items()]
    if recipe.form is None:
        return words
    # Each seed of the indexed form has a split, and so a table, of its own.
    is_by_seed = recipe.form == "indexed"
    path = tables / (f"{name}_${{seed}}.parquet" if is_by_seed else f"{name}.parquet")
    tables.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds if is_by_seed else 1):
        table = FORMS[recipe.form](folder / recipe.files["data.path"], seed)
        target = Path(str(path).replace("${seed}", str(seed)))
        write_atomically(target, table.write_parquet)
    # The files say what their columns are: nothing is left to the values.
    numeric = [column for column in table.columns if column.startswith(("num_", "bin_", "x_"))]
    categorical = [column for column in table.columns if column.startswith("cat_")]
    return [
        f"data.path={quoted(path)}", f"data.split_column={SPLIT}",
        *(f"data.{kind}=[{','.join(columns)}]" for kind, columns in
          (("numeric", numeric), ("categorical", categorical)) if columns),
    ]  # fmt: skip


def results_of(name: str, recipe: Recipe) -> list[tuple[float, float]]:
    """Reads the measure and the seconds of each finished job, in the order of the seeds."""
    results = []
    for path in sorted((ROOT / "logs" / "sweeps" / f"published_{name}").glob("*/result.json"), key=_number):
        status = json.loads(path.with_name("status.json").read_text(encoding="utf-8"))
        if status["state"] != "finished":  # of an earlier start with more seeds, which was stopped
            continue
        value = json.loads(path.read_text(encoding="utf-8"))["test"][recipe.measure]
        results.append((float(value), sum(status["seconds"].values())))
    return results


def _number(path: Path) -> int:
    return int(path.parent.name.partition("_")[0])


def row_of(recipe: Recipe, results: Sequence[tuple[float, float]], seeds: int) -> dict[str, Any]:
    """Summarises the first `seeds` results as a row of the page."""
    values = [recipe.shown(value) for value, _ in results[:seeds]]
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
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
