"""Metrics and figure of a trained run, from its checkpoint.

    python scripts/evaluate.py run=logs/runs/…
    python scripts/evaluate.py run=logs/runs/… data.path=other.csv

    run=DIRECTORY      of the run, or one of its checkpoints
    data.path=FILE     rows with the target's column, of which those without a target are left out and counted;
                       without it, a part of the data that the run was trained on. The next nine say how the file is
                       written, where detection takes the wrong one
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
    part=test          of the data that the run was trained on: train, val or test
    out=DIRECTORY      for metrics.json and the figure; a new one within the run's by itself
    --json             the same as one JSON document on standard output, and nothing else

Metrics are those of training, in the unit of the target.
"""

import sys
from typing import Any

from mlplab.cli.script import ACCEPT_UNKNOWN, JSON, WRITTEN, Option, Result, how_written, run_script
from mlplab.config.paths import find_run, require_data_file
from mlplab.engine.startup import quick_imports

OPTIONS = {
    "run": Option("path", example="logs/runs/NAME", is_required=True),
    "data.path": Option("path", example="other.csv", part="tables"),
    "part": Option(default="test", choices=("train", "val", "test")),
    "out": Option("path", example="evaluation"),
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
        from mlplab.errors import UserError, counted, printable
        from mlplab.inference.evaluating import evaluate, write_evaluation
        from mlplab.inference.trained import load_run
        from mlplab.runs.summary import describe_metrics, shortest

    if settings["data.path"] is not None and settings["part"] != "test":
        raise UserError(
            "part must be one of the run's own data", f"part={settings['part']} and data.path", "one of them"
        )
    run = load_run(settings["run"])
    out = settings["out"] or run.own_folder("evaluations") / new_run_name()
    evaluation = evaluate(
        run,
        settings["data.path"],
        settings["part"],
        how_written(settings),
        accepts_unknown=settings["accept_unknown"],
    )
    picture = write_evaluation(evaluation, run, out)
    lines = [f"note    {printable(note)}" for note in evaluation.notes]
    lines.append(describe_metrics({f"{evaluation.name}, {counted(evaluation.n_rows, 'row')}": evaluation.metrics}))
    content = {
        "rows": evaluation.name,
        "n_rows": evaluation.n_rows,
        "metrics": evaluation.metrics,
        "notes": list(evaluation.notes),
        "figure": str(picture),
    }
    return Result("\n".join([*lines, f"figure  {shortest(picture)}"]), content)


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
