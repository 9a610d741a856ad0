"""The model of a trained run with its preprocessing, as a file for other programs.

    python scripts/export.py run=logs/runs/… format=onnx

    run=DIRECTORY      of the run, or one of its checkpoints
    format=FORMAT      onnx (needs the extra: pip install -c constraints.txt -e ".[onnx]"), torch_export or safetensors
    out=FILE           .onnx, .pt2 or .safetensors; exports/model.… within the run's directory by itself
    data.path=FILE     rows to check with; without it, those of the test part
    data.delimiter=…   and other options that say how the file is written, as for predict.py
    overwrite=true     if out is there already
    --json             what was written as one JSON document on standard output, and nothing else

After writing, the file is read again and run on real rows beside the model that it came from. A card of the same
name, ending in .json, says what the model takes and gives.
"""

import sys
from typing import Any

from mlplab.cli.script import JSON, WRITTEN, Option, Result, how_written, run_script
from mlplab.config.paths import find_run, require_data_file
from mlplab.engine.startup import quick_imports

FORMATS = ("onnx", "torch_export", "safetensors")

OPTIONS = {
    "run": Option("path", example="logs/runs/NAME", is_required=True),
    "format": Option(example="onnx", is_required=True, choices=FORMATS),
    "out": Option("path", example="model.onnx"),
    "data.path": Option("path", example="rows.csv", part="tables"),
    "overwrite": Option("switch", False),
    **WRITTEN,
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    find_run(settings["run"])
    if settings["data.path"] is not None:
        require_data_file(settings["data.path"], "data.path")
    with quick_imports():
        from mlplab.errors import counted
        from mlplab.inference.exporting import export
        from mlplab.inference.trained import load_run
        from mlplab.runs.summary import shortest

    made = export(
        load_run(settings["run"]),
        settings["format"],
        settings["out"],
        rows_of=settings["data.path"],
        overwrite=settings["overwrite"],
        written=how_written(settings),
    )
    text = (
        f"wrote   {shortest(made.path)} and its card {shortest(made.card)}\n"
        f"checked on {counted(made.n_rows, 'row')}: {made.what} differ from the model's by at most "
        f"{made.largest_difference:.1e}"
    )
    content = {
        "path": str(made.path),
        "card": str(made.card),
        "format": settings["format"],
        "checked_rows": made.n_rows,
        "compared": made.what,
        "largest_difference": made.largest_difference,
    }
    return Result(text, content)


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
