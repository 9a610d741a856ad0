"""The ranking of a sweep's settings: for what is run once more, and what is printed as best."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.config.commands import command
from mlplab.parts import is_there

if TYPE_CHECKING:
    from mlplab.sweeps.sweep import Sweep

MOST_SHOWN = 8
"""Best settings in the terminal: of each data set those that no other is better than, or a Pareto front."""


@dataclass(frozen=True)
class RankedJobs:
    """The jobs of a setting that has a value, ranked within its stage, arm and data set.

    Attributes:
        numbers: of the jobs, one for each seed.
        arm: of a comparison.
        stage: as in sweep.json.
        data_set: on which they are ranked; empty if the sweep has one.
        is_best: whether it is a result of the sweep: no other is better on its data set, or it is on the Pareto front.
        text: its value and name.
    """

    numbers: tuple[int, ...]
    arm: str | None
    stage: str
    data_set: str
    is_best: bool
    text: str


Ranking = Callable[[Path], list[RankedJobs]]
"""Ranks the settings in a sweep's directory, the best first: `best_jobs`, imported when a sweep ends."""


def print_best(sweep: "Sweep", *, of_reruns: bool = False) -> bool:
    """Prints the best settings, or the reruns, and the command of the report; returns whether there is a best one."""
    ranking = sweep.ranking(sweep.directory)
    best = [ranked.text for ranked in ranking if (ranked.stage == "rerun" if of_reruns else ranked.is_best)]
    for text in best[:MOST_SHOWN]:
        print(f"{'anew' if of_reruns else 'best':<8}{text}")
    if len(best) > MOST_SHOWN:
        print(f"        and {len(best) - MOST_SHOWN} more")
    # Jobs that cannot be ranked can be looked at.
    if is_there("report") and any(sweep.state(entry).name == "finished" for entry in sweep.ledger.entries):
        print(f"report  {command('scripts/report.py')} {sweep.shown}")
    return bool(best)
