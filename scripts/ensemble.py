"""Several runs of a sweep as one model, whose predictions are the means of theirs.

    python scripts/ensemble.py logs/sweeps/NAME top=5
    python scripts/ensemble.py logs/sweeps/NAME seeds=true

    sweep=DIRECTORY    of the sweep; its name may be left out
    top=5              how many of its best runs by validation
    seeds=true         instead of these, all runs of the best setting, which differ in their seeds
    out=DIRECTORY      for the ensemble; ensembles/NAME within the sweep's by itself
    --json             what was written as one JSON document on standard output, and nothing else

Probabilities are averaged, and values in the target's unit. The new directory is like that of a run: evaluate.py,
predict.py, explain.py and export.py take it as run=DIRECTORY. Its result.json names the members, with the metrics of
validation and test part.
"""

import sys
from pathlib import Path
from typing import Any

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.engine.startup import quick_imports
from mlplab.errors import UserError

OPTIONS = {
    "sweep": Option("path", example="logs/sweeps/NAME", is_required=True, is_first=True),
    "top": Option("count", example="5"),
    "seeds": Option("switch", False),
    "out": Option("path", example="ensemble"),
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    top, seeds = settings["top"], settings["seeds"]
    if top is not None and seeds:
        raise UserError("members must be chosen in one way", "top and seeds=true", "one of them")
    if top == 1:
        raise UserError("an ensemble must have two members or more", "top=1", "top=5")
    with quick_imports():
        from mlplab.inference.ensembling import make_ensemble
        from mlplab.runs.summary import describe_metrics, shortest
        from mlplab.sweeps.best_jobs import best_runs, runs_of_best_setting

    sweep: Path = settings["sweep"]
    members = runs_of_best_setting(sweep) if seeds else best_runs(sweep, top or 5)
    name = "seeds" if seeds else f"top_{top or 5}"
    out = settings["out"] or sweep / "ensembles" / name
    made = make_ensemble([sweep / run.entry.directory for run in members], out, name)
    metrics = made.evaluations["test"].metrics
    of_members = [{key.removeprefix("test/"): value for key, value in run.test.items()} for run in members]
    if not made.has_loss_of_members:  # numbers of another function beside it would mislead
        of_members = [{key: value for key, value in one.items() if key != "loss"} for one in of_members]
    means = {key: sum(one[key] for one in of_members) / len(of_members) for key in metrics if key in of_members[0]}
    lines = [f"member  {shortest(run.directory)}" for run in made.members]
    lines.append(
        describe_metrics({"ensemble": metrics, "its best member": of_members[0], "mean of members": means}, "test")
    )
    lines.append(
        f"wrote   {shortest(out)}, which evaluate.py, predict.py, explain.py and export.py take as run={shortest(out)}"
    )
    content = {
        "directory": str(out),
        "members": [str(run.directory) for run in made.members],
        "validation": made.evaluations["val"].metrics,
        "test": metrics,
        "mean_test_of_members": means,
    }
    return Result("\n".join(lines), content)


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
