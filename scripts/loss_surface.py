"""The loss around the weights of a run, along two random directions; or on the line between two runs.

    python scripts/loss_surface.py logs/runs/RUN
    python scripts/loss_surface.py logs/runs/RUN logs/runs/OTHER_RUN

    run=DIRECTORY      of one run or of two; the name may be left out
    part=train         whose loss is shown around one run: train, val or test. Between two runs it is train and val
    points=31          points along each direction
    reach=1            how far to go from one run; 1 is as far as its weights are long
    seed=0             of the two directions
    rows=5000          the most rows of a part to take; of more, an evenly spaced sample
    out=DIRECTORY      for the files; a new one within the first run's by itself
    --json             the same as one JSON document on standard output, and nothing else

It writes loss_surface.png and loss_surface.csv. Data, split, preprocessing and loss are those of the (first) run; its
best weights are taken, and nothing in it is changed. docs/pictures.md says what the directions are.
"""

import sys
from typing import Any

from mlplab.cli.script import JSON, Option, Result, run_script
from mlplab.config.paths import find_run
from mlplab.engine.startup import quick_imports
from mlplab.rules import POSITIVE, WHOLE

OPTIONS = {
    "run": Option("paths", example="logs/runs/NAME", is_required=True, is_first=True),
    "part": Option(choices=("train", "val", "test")),
    "points": Option("count", 31, example="31"),
    "reach": Option("setting", example="1", rule=POSITIVE),
    "seed": Option("setting", example="0", rule=WHOLE),
    "rows": Option("count", 5000, example="5000"),
    "out": Option("path", example="loss_surface"),
    **JSON,
}

OF_ONE_RUN = ("part", "reach", "seed")
FEWEST_POINTS = 3


def main(settings: dict[str, Any]) -> Result:
    for path in settings["run"]:
        find_run(path)
    with quick_imports():
        from mlplab.config.resolvers import new_run_name
        from mlplab.errors import UserError
        from mlplab.inference.loss_surface import describe_surface, loss_around, loss_between, write_surface
        from mlplab.inference.output_files import directory_exists
        from mlplab.inference.trained import load_run
        from mlplab.runs.summary import shortest

    paths, n_points = settings["run"], settings["points"]
    if len(paths) > 2:
        raise UserError("there must be one run or two", f"{len(paths)} are given", "two of them")
    if n_points < FEWEST_POINTS:
        raise UserError(f"points must be {FEWEST_POINTS} or more", f"points={n_points}", "points=31")
    given = [name for name in OF_ONE_RUN if settings[name] is not None]
    if len(paths) == 2 and given:
        raise UserError(f"{given[0]} must be given for one run alone", "there are two", f"leaving {given[0]} out")
    runs = [load_run(path) for path in paths]
    out = settings["out"] or runs[0].own_folder("loss_surface") / new_run_name()
    if out.exists():  # known before the work is done
        raise directory_exists(out)
    if len(runs) == 2:
        surface = loss_between(*runs, most_rows=settings["rows"], n_points=n_points)
    else:
        surface = loss_around(
            runs[0],
            settings["part"] or "train",
            most_rows=settings["rows"],
            n_points=n_points,
            reach=float(settings["reach"] or 1),
            seed=settings["seed"] or 0,
        )
    files = write_surface(surface, [run.directory.name for run in runs], out)
    lines = [f"note    {note}" for note in surface.notes] + describe_surface(surface)
    content = {
        "positions": surface.positions.tolist(),
        "losses": {part: losses.tolist() for part, losses in surface.losses.items()},
        "at_runs": surface.at_runs,
        "notes": surface.notes,
        "files": [str(file) for file in files],
    }
    return Result("\n".join([*lines, f"wrote   {', '.join(file.name for file in files)} to {shortest(out)}"]), content)


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
