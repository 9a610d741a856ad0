"""Predictions of a cross-validation, each row by the run that has not learned from it.

    python train.py -m data.folds=5 sweep.name=NAME
    python scripts/out_of_fold.py logs/sweeps/NAME

    sweep=DIRECTORY  of the sweep; its name may be left out
    job=NAME         one job of the setting to take; without it, the setting that is best
    out=FILE         .csv, .tsv or .parquet; out_of_fold.csv in the sweep's directory by itself
    overwrite=true   replaces that file
    --json           the scores as one JSON document on standard output, and nothing else

The file has a row for each prediction, in the order of the rows: row, fold, job, target, prediction, and probabilities.
The scores are those of all rows together; the report has their mean and deviation over the folds.
"""

import sys
from pathlib import Path
from typing import Any

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.config.suggestions import nearest_name
from mlplab.engine.startup import quick_imports
from mlplab.errors import UserError, counted

OPTIONS = {
    "sweep": Option("path", example="logs/sweeps/NAME", is_required=True, is_first=True),
    "job": Option("text", example="0_fold-0"),
    "out": Option("path", example="out_of_fold.csv"),
    "overwrite": Option("switch", False),
    **JSON,
}


def main(settings: dict[str, Any]) -> Result:
    directory: Path = settings["sweep"]
    jobs = jobs_of_setting(directory, settings["job"])
    with quick_imports():
        from mlplab.inference.out_of_fold import out_of_fold
        from mlplab.inference.output_files import require_writable, without_formulas, write_once
        from mlplab.inference.prediction_columns import SEPARATORS, write_frames
        from mlplab.inference.trained import load_run
        from mlplab.runs.summary import describe_metrics, shortest

    out = settings["out"] or directory / "out_of_fold.csv"
    require_writable(out, settings["overwrite"], [*SEPARATORS, ".parquet"])
    frame, scores = out_of_fold({job: load_run(directory / job) for job in jobs})
    # A spreadsheet would run text that begins like a formula.
    written = without_formulas(frame)[0] if out.suffix in SEPARATORS else frame
    write_once(out, lambda file: write_frames(iter([written]), file, out.suffix), settings["overwrite"])
    title = f"{counted(frame.height, 'row')} of {counted(len(jobs), 'fold')}"
    content = {"rows": frame.height, "jobs": jobs, "metrics": scores, "file": str(out)}
    return Result(f"{describe_metrics({title: scores})}\nrows    {shortest(out)}", content)


def jobs_of_setting(directory: Path, job: str | None) -> list[str]:
    """Returns the finished jobs that have the values of one, except for seeds and folds; by default of the best one."""
    from mlplab.sweeps.best_jobs import rank_jobs
    from mlplab.sweeps.ledger import read_ledger

    ranking = rank_jobs(directory)  # refuses a directory that holds no sweep
    ledger = read_ledger(directory)
    assert ledger is not None
    names = {entry.number: entry.directory for entry in ledger.entries}
    if not ranking:
        raise UserError("a job of the sweep must have finished", "none has", "the sweep's own command, which goes on")
    if job is None:
        return [names[number] for number in ranking[0].numbers]
    found = [one for one in ranking if job in [names[number] for number in one.numbers]]
    if not found:
        near = nearest_name(job, list(names.values())) or names[ranking[0].numbers[0]]
        raise UserError("job must be the name of a finished job's directory", f"job={job}", f"job={near}")
    return [names[number] for number in found[0].numbers]


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
