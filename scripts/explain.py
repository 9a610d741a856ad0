"""Explains on which columns a trained run depends: permutation importance and partial dependence.

    python scripts/explain.py run=logs/runs/…
    python scripts/explain.py run=logs/runs/… data.path=other.csv

    run=DIRECTORY      of the run, or one of its checkpoints
    data.path=FILE     rows with the target's column; without it, a part of the data that the run was trained on
    data.delimiter=…   the character between values, or comma, semicolon, tab, blank, bar
    data.quote=…       double, single, none
    data.header=…      true or false: whether the first line names the columns
    data.encoding=…    such as cp1251
    data.decimal=…     the decimal mark, . or ,
    data.skip_lines=…  lines before the header
    data.sheet=…       of a spreadsheet
    data.date_format=… such as '"%d/%m/%Y"'
    data.missing_values=[…]  texts that stand for a missing value, beside those of training
    accept_unknown=true  if a column holds hardly any category that training had; otherwise that is refused
    part=test          that part: train, val or test
    score=accuracy     f1, auroc or log_loss; for a regression r2, rmse, mae or mse
    repeats=5          permutations of each column
    rows=10000         the most rows to take; of more, a sample is drawn
    top=6              columns whose partial dependence is computed, the most important ones
    columns=A,B        these columns instead
    target=NAME        which of several targets is explained
    classes=A,B        whose probabilities are drawn; all of up to ten by itself
    seed=0             of permutations and sample
    out=DIRECTORY      for tables and figures; a new one within the run's by itself
    --json             the same as one JSON document on standard output, and nothing else

It writes importance.csv, partial_dependence.csv and a figure of each. docs/explaining.md says what not to conclude.
"""

import sys
from typing import Any

from mlplab.cli.script import ACCEPT_UNKNOWN, JSON, WRITTEN, Option, Result, how_written, run_script
from mlplab.config.paths import find_run, require_data_file
from mlplab.engine.startup import quick_imports
from mlplab.rules import WHOLE

OPTIONS = {
    "run": Option("path", example="logs/runs/NAME", is_required=True),
    "data.path": Option("path", example="other.csv"),
    "part": Option(choices=("train", "val", "test")),
    "score": Option(example="accuracy"),
    "repeats": Option("count", 5, example="5"),
    "rows": Option("count", 10_000, example="10000"),
    "top": Option("count", 6, example="6"),
    "columns": Option(example="NAME"),
    "target": Option(example="NAME"),
    "classes": Option(example="NAME"),
    "seed": Option("setting", 0, example="0", rule=WHOLE),
    "out": Option("path", example="explanation"),
    **WRITTEN,
    **ACCEPT_UNKNOWN,
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    find_run(settings["run"])
    if settings["data.path"] is not None:
        require_data_file(settings["data.path"], "data.path")
    with quick_imports():
        from mlplab.config.resolvers import new_run_name
        from mlplab.errors import UserError, printable
        from mlplab.inference.explaining import describe_importances, explain, split_names, write_explanation
        from mlplab.inference.output_files import directory_exists
        from mlplab.inference.trained import load_run
        from mlplab.runs.summary import shortest

    if settings["data.path"] is not None and settings["part"] is not None:
        raise UserError(
            "part must be one of the run's own data", f"part={settings['part']} and data.path", "one of them"
        )
    run = load_run(settings["run"])
    out = settings["out"] or run.own_folder("explain") / new_run_name()
    if out.exists():  # known before the work is done
        raise directory_exists(out)
    explanation = explain(
        run,
        settings["data.path"],
        settings["part"] or "test",
        score=settings["score"],
        repeats=settings["repeats"],
        most_rows=settings["rows"],
        seed=settings["seed"],
        top=settings["top"],
        columns=split_names(settings["columns"] or ""),
        classes=split_names(settings["classes"] or ""),
        target=settings["target"],
        written=how_written(settings),
        accepts_unknown=settings["accept_unknown"],
        tell=lambda text: print(f"note    {text}", file=sys.stderr, flush=True),
    )
    files = write_explanation(explanation, out)
    lines = [f"note    {printable(note)}" for note in explanation.notes]
    lines.append(describe_importances(explanation))
    content = {
        "rows": explanation.rows,
        "n_rows": explanation.n_rows,
        "score": explanation.score,
        "base": explanation.base,
        "importances": [vars(one) for one in explanation.importances],
        "notes": explanation.notes,
        "files": [str(file) for file in files],
    }
    return Result("\n".join([*lines, f"wrote   {', '.join(file.name for file in files)} to {shortest(out)}"]), content)


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
