"""Runs the best settings of a sweep once more, on seeds that had no part in choosing them."""

from collections.abc import Sequence

from mlplab.errors import UserError, counted
from mlplab.sweeps.job_values import FOLD, SEEDS
from mlplab.sweeps.launch import progress_of, run_jobs, select_to_do
from mlplab.sweeps.ledger import Assignment, Entry
from mlplab.sweeps.ranking import RankedJobs, print_best
from mlplab.sweeps.sweep import Sweep


def rerun_best(sweep: Sweep) -> None:
    """Runs the first `sweep.rerun_top` settings on `sweep.rerun` new seeds; of a comparison the best of each arm.

    Raises:
        UserError: no run has finished yet, or there is more than one objective.
        RunStopped: by a signal.
    """
    n_seeds, top = sweep.config.sweep.rerun, sweep.config.sweep.rerun_top
    match sweep.ledger.metadata.get("search"):
        case {"objectives": [_, _, *_]}:
            raise UserError(
                "a sweep must have one objective to have a best", "this search has several, and a front of best ones",
                "seed='range(1,11)' with the values of one of them",
            )  # fmt: skip
    best = best_settings(sweep, top)
    if not best:
        raise UserError(
            "a sweep must have a finished run to have a best", f"{sweep.shown} has none", "letting it finish one"
        )  # fmt: skip
    # Of several settings of an arm, the new seeds would choose the best once more.
    if top > 1 and best[0].arm is not None:
        raise UserError("a comparison must run the best of each arm alone", f"sweep.rerun_top={top}", "top=1")
    seeds = _seeds(sweep, n_seeds)
    entries = [entry for setting in best for entry in on_seeds(sweep, first_job(sweep, setting), seeds)]
    to_do = select_to_do(sweep, entries)
    for setting in best:
        print(f"chosen  {setting.text}")
    print(f"rerun   on {counted(n_seeds, 'new seed')}: {counted(len(entries), 'job')}, {len(to_do)} to do")
    sweep.save()
    run_jobs(sweep, to_do, progress_of(sweep, entries))
    print_best(sweep, of_reruns=True)


def best_settings(sweep: Sweep, top: int = 1) -> list[RankedJobs]:
    """Returns the first settings of the search on each data set, or of each arm, as the report ranks them."""
    groups: dict[tuple[str | None, str], list[RankedJobs]] = {}
    for ranked in sweep.ranking(sweep.directory):
        if ranked.stage == "search":  # reruns and defaults had no part in the choice
            groups.setdefault((ranked.arm, ranked.data_set), []).append(ranked)
    return [ranked for those in groups.values() for ranked in those[:top]]


def first_job(sweep: Sweep, setting: RankedJobs) -> Entry:
    """Returns the first of a setting's jobs."""
    return next(entry for entry in sweep.ledger.entries if entry.number == setting.numbers[0])


def _seeds(sweep: Sweep, n_seeds: int) -> list[int]:
    """Returns the seeds of earlier reruns, and then new ones: the same for every setting."""
    chosen_on = {entry.values.get("seed") for entry in sweep.ledger.entries if entry.stage == "search"}
    # A search that went on after a rerun may have used its seeds.
    had = dict.fromkeys(e.values["seed"] for e in sweep.ledger.entries if e.values.get("seed") not in chosen_on)
    known = [e.values[name] for e in sweep.ledger.entries for name in SEEDS if name in e.values and name != FOLD]
    # Never used in the choice.
    first = 1 + max([int(sweep.config.seed), *(seed for seed in known if isinstance(seed, int))])
    return [*had, *range(first, first + n_seeds)][:n_seeds]


def on_seeds(sweep: Sweep, best: Entry, seeds: Sequence[int]) -> list[Entry]:
    """Returns the jobs of a setting on other seeds; where the split's seed was swept too, on other splits.

    Raises:
        UserError: the setting is from a received sweep.json, and names code.
    """
    sweep.require_trusted(best.overrides)  # they come from the file, and not from the command line
    names = ["seed", *(name for name in SEEDS[1:] if name in best.values and name != FOLD)]
    others = [one for one in best.assignments if one.name not in (*names, FOLD)]
    # Of a cross-validation each seed runs all folds.
    entries = sweep.ledger.entries if FOLD in best.values else []
    folds = dict.fromkeys(entry.values[FOLD] for entry in entries if FOLD in entry.values)
    own = [[Assignment(FOLD, fold, f"{FOLD}={fold}")] for fold in folds] or [[]]
    stage = {"arm": best.arm, "stage": "rerun", "trial": best.trial}
    return [
        sweep.entry([*others, *fold, *(Assignment(name, seed, f"{name}={seed}") for name in names)], **stage)
        for seed in seeds
        for fold in own
    ]
