"""Runs the best setting of a sweep once more, on seeds that had no part in choosing it."""

import math
from collections import defaultdict
from collections.abc import Sequence

from mlplab.errors import UserError, counted
from mlplab.sweeps.launch import progress_of, run_jobs, select_to_do
from mlplab.sweeps.ledger import SEEDS, Assignment, Entry, key_of
from mlplab.sweeps.search.outcomes import Objective, value_of
from mlplab.sweeps.sweep import Sweep


def rerun_best(sweep: Sweep) -> None:
    """Runs the best setting, or that of each arm of a comparison, on `sweep.rerun` new seeds.

    Raises:
        UserError: no run has finished yet, or there is more than one objective.
        RunStopped: by a signal.
    """
    n_seeds = sweep.config.sweep.rerun
    match sweep.ledger.metadata.get("search"):
        case {"objectives": [_, _, *_]}:
            raise UserError(
                "a sweep must have one objective to have a best", "this search has several, and a front of best ones",
                "seed='range(1,11)' with the values of one of them",
            )  # fmt: skip
    best = best_settings(sweep)
    if not best:
        raise UserError(
            "a sweep must have a finished run to have a best", f"{sweep.shown} has none", "letting it finish one"
        )  # fmt: skip
    seeds = _seeds(sweep, n_seeds)
    entries = [entry for setting in best for entry in on_seeds(sweep, setting[0], seeds)]
    to_do = select_to_do(sweep, entries)
    for setting in best:
        print(f"best    {_objective(sweep).metric} {_mean(_objectives(sweep, setting)):.4g}, {setting[0].directory}")
    print(f"rerun   on {counted(n_seeds, 'new seed')}: {counted(len(entries), 'job')}, {len(to_do)} to do")
    sweep.save()
    run_jobs(sweep, to_do, progress_of(sweep))


def best_settings(sweep: Sweep) -> list[list[Entry]]:
    """Returns for each arm the jobs of the setting with the best mean over its seeds."""
    settings: dict[tuple[str | None, frozenset[tuple[str, str]]], list[Entry]] = defaultdict(list)
    for entry in sweep.ledger.entries:
        if entry.stage == "search":  # reruns and defaults had no part in the choice
            without_seeds = {name: value for name, value in entry.values.items() if name not in SEEDS}
            settings[entry.arm, key_of(without_seeds)].append(entry)
    best: dict[str | None, tuple[tuple[bool, float], list[Entry]]] = {}
    sign = 1.0 if _objective(sweep).mode == "min" else -1.0
    for (arm, _), entries in settings.items():
        values = _objectives(sweep, entries)
        # A setting with a run that did not finish ranks after those without, as in the report.
        rank = (len(values) < len(entries), sign * _mean(values))
        if values and (arm not in best or rank < best[arm][0]):
            best[arm] = (rank, entries)
    return [entries for _, entries in best.values()]


def _objective(sweep: Sweep) -> Objective:
    """Returns the objective of a search, which may be another than the monitor; else the monitor."""
    match sweep.ledger.metadata.get("search"):  # from a file that somebody may have sent
        case {"objectives": [{"metric": str(metric), "mode": str(mode)}]}:
            return Objective(metric, mode)
    return Objective(str(sweep.config.monitor), str(sweep.config.mode))


def _objectives(sweep: Sweep, entries: Sequence[Entry]) -> list[float]:
    """Reads the objective of each job of a setting that has one."""
    done = [entry for entry in entries if sweep.state(entry).name == "finished"]
    values = [value_of(sweep.directory / entry.directory, _objective(sweep).metric) for entry in done]
    return [value for value in values if math.isfinite(value)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _seeds(sweep: Sweep, n_seeds: int) -> list[int]:
    """Returns the seeds of earlier reruns, and then new ones: the same for every arm."""
    had = dict.fromkeys(entry.values["seed"] for entry in sweep.ledger.entries if entry.stage != "search")
    known = [entry.values[name] for entry in sweep.ledger.entries for name in SEEDS if name in entry.values]
    # Never used in the choice.
    first = 1 + max([int(sweep.config.seed), *(seed for seed in known if isinstance(seed, int))])
    return [*had, *range(first, first + n_seeds)][:n_seeds]


def on_seeds(sweep: Sweep, best: Entry, seeds: Sequence[int]) -> list[Entry]:
    """Returns the jobs of a setting on other seeds; where the split's seed was swept too, on other splits.

    Raises:
        UserError: the setting is from a received sweep.json, and names code.
    """
    sweep.require_trusted(best.overrides)  # they come from the file, and not from the command line
    names = ["seed", *(name for name in SEEDS[1:] if name in best.values)]
    others = [one for one in best.assignments if one.name not in names]
    stage = {"arm": best.arm, "stage": "rerun", "trial": best.trial}
    return [
        sweep.entry([*others, *(Assignment(name, seed, f"{name}={seed}") for name in names)], **stage) for seed in seeds
    ]
