"""Predictions of a trained run for the rows of a file.

    python scripts/predict.py run=logs/runs/… data.path=new.csv out=predictions.csv

    run=DIRECTORY      of the run, or one of its checkpoints
    data.path=FILE     a table in any format that training takes; columns are found by name, in any order
    data.delimiter=…   the character between values, or comma, semicolon, tab, blank, bar
    data.quote=…       double, single, none
    data.header=…      true or false: whether the first line names the columns
    data.encoding=…    such as cp1251
    data.decimal=…     the decimal mark, . or ,
    data.skip_lines=…  lines before the header
    data.sheet=…       of a spreadsheet
    data.date_format=… such as '"%d/%m/%Y"'
    data.missing_values=[…]  texts that stand for a missing value, beside those of training
    out=FILE           .csv, .tsv or .parquet; a row for each row of data.path, in the same order
    id=COLUMN          a column of data.path to copy into it
    proba=true         the probability of every class, beside the class
    temperature=fitted  divides the network's outputs by the temperature of the run before; off leaves probabilities as
                       they are trained
    intervals=0.9      lower and upper around each value, or for classes the set of likely ones, which hold the truth
                       for so many of new rows
    formulas=true      in CSV and TSV, leaves text as it is that a spreadsheet would take for a formula (=…, @…);
                       otherwise it is written with an apostrophe before it, and counted
    accept_unknown=true  if a column holds hardly any category that training had; otherwise that is refused
    overwrite=true     if out is there already
    --json             what was written as one JSON document on standard output, and nothing else

The file appears whole or not at all. Categories that training did not have are counted
and told. Options that begin with data. say how the file is written, where detection takes the wrong one. Intervals and
temperature come from the validation part: docs/explaining.md says what they are worth.
"""

import sys
from dataclasses import replace
from typing import Any

from mlplab.cli.script import ACCEPT_UNKNOWN, JSON, WRITTEN, Option, Result, how_written, run_script
from mlplab.config.paths import find_run, require_data_file
from mlplab.engine.startup import quick_imports
from mlplab.errors import counted, printable
from mlplab.rules import PROPER_SHARE

OPTIONS = {
    "run": Option("path", example="logs/runs/NAME", is_required=True),
    "data.path": Option("path", example="new.csv", is_required=True),
    "out": Option("path", example="predictions.csv", is_required=True),
    "id": Option(example="COLUMN"),
    "proba": Option("switch", False),
    "temperature": Option(default="off", choices=("off", "fitted")),
    "intervals": Option("setting", example="0.9", rule=replace(PROPER_SHARE, example="0.9")),
    "formulas": Option("switch", False),
    "overwrite": Option("switch", False),
    **WRITTEN,
    **ACCEPT_UNKNOWN,
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    find_run(settings["run"])
    require_data_file(settings["data.path"], "data.path")
    with quick_imports():
        from mlplab.inference.predicting import predict_file
        from mlplab.inference.trained import load_run

    made = predict_file(
        load_run(settings["run"]),
        settings["data.path"],
        settings["out"],
        id_column=settings["id"],
        probabilities=settings["proba"],
        temperature=settings["temperature"] == "fitted",
        intervals=settings["intervals"],
        formulas=settings["formulas"],
        overwrite=settings["overwrite"],
        written=how_written(settings),
        accepts_unknown=settings["accept_unknown"],
    )
    lines = [f"note    {printable(note)}" for note in made.notes]
    lines.append(f"wrote   {settings['out']}: {counted(made.n_rows, 'row')}")
    content = {"out": str(settings["out"]), "n_rows": made.n_rows, "notes": list(made.notes)}
    return Result("\n".join(lines), content)


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
