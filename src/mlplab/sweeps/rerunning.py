"""The best of a sweep once more, on seeds that had no part in choosing it."""

import math
from collections import defaultdict
from collections.abc import Sequence

from mlplab.errors import Refusal, counted
from mlplab.sweeps.ledger import Entry, key_of
from mlplab.sweeps.running import Sweep
from mlplab.sweeps.states import read_result


def rerun_best(sweep: Sweep, shared: Sequence[str]) -> None:
    """Runs the best setting, of each arm of a comparison, until it has been run on as many new seeds as asked for.

    Args:
        sweep: opened; `sweep.rerun` says on how many seeds.
        shared: words of all jobs.

    Raises:
        Refusal: nothing has come to anything yet, or there is more than one objective.
        RunStopped: by a signal.
    """
    n_seeds = sweep.config.sweep.rerun
    if isinstance(n_seeds, bool) or not isinstance(n_seeds, int) or n_seeds < 1:
        raise Refusal("sweep.rerun must be a positive number of seeds", f"sweep.rerun={n_seeds}", "sweep.rerun=10")
    if len(sweep.ledger.asked.get("search", {}).get("objectives", [])) > 1:
        raise Refusal(
            "a sweep must have one objective to have a best", "this search has several, and a front of best ones",
            "seed='range(1,11)' with the values of one of them",
        )  # fmt: skip
    best = best_settings(sweep)
    if not best:
        raise Refusal(
            "a sweep must have a finished run to have a best", f"{sweep.told} has none", "letting it finish one"
        )  # fmt: skip
    seeds = _seeds(sweep, n_seeds)
    entries = [entry for setting in best for entry in on_seeds(sweep, setting[0], seeds, shared)]
    to_do = sweep.to_do(entries)
    for setting in best:
        print(f"best    {sweep.config.monitor} {_mean(sweep, setting):.4g}, {setting[0].directory}")
    print(f"rerun   on {counted(n_seeds, 'new seed')}: {counted(len(entries), 'job')}, {len(to_do)} to do")
    sweep.save()
    if to_do:
        sweep.launch(to_do, shared, sweep.progress(entries, to_do))


def best_settings(sweep: Sweep) -> list[list[Entry]]:
    """Of each arm, the jobs of the setting with the best mean over its seeds, all of which have finished."""
    settings: dict[tuple[str | None, frozenset[tuple[str, str]]], list[Entry]] = defaultdict(list)
    for entry in sweep.ledger.entries:
        if entry.stage == "search":
            without_seed = {name: value for name, value in entry.values.items() if name != "seed"}
            settings[entry.arm, key_of(without_seed)].append(entry)
    best: dict[str | None, tuple[float, list[Entry]]] = {}
    sign = 1.0 if sweep.config.mode == "min" else -1.0
    for (arm, _), entries in settings.items():
        mean = sign * _mean(sweep, entries)
        if math.isfinite(mean) and (arm not in best or mean < best[arm][0]):
            best[arm] = (mean, entries)
    return [entries for _, entries in best.values()]


def _mean(sweep: Sweep, entries: Sequence[Entry]) -> float:
    """Of the best validation value over the jobs of a setting; nan where one has none."""
    values = []
    for entry in entries:
        is_done = sweep.state(entry).name == "finished"
        value = read_result(sweep.directory / entry.directory).get("objective") if is_done else None
        values.append(float(value) if isinstance(value, int | float) else math.nan)
    return sum(values) / len(values)


def _seeds(sweep: Sweep, n_seeds: int) -> list[int]:
    """Seeds of earlier reruns, and then those that come after all that the sweep has had: the same for every arm."""
    had = dict.fromkeys(entry.values["seed"] for entry in sweep.ledger.entries if entry.stage != "search")
    known = [entry.values["seed"] for entry in sweep.ledger.entries if isinstance(entry.values.get("seed"), int)]
    first = 1 + max([int(sweep.config.seed), *known])
    return [*had, *range(first, first + n_seeds)][:n_seeds]


def on_seeds(sweep: Sweep, best: Entry, seeds: Sequence[int], shared: Sequence[str]) -> list[Entry]:
    """The jobs of a setting on other seeds."""
    words = [word for word in best.overrides if not word.startswith("seed=")]
    return [
        sweep.exact_entry(
            {**best.values, "seed": seed},
            [*words, f"seed={seed}"],
            shared,
            arm=best.arm,
            stage="rerun",
            trial=best.trial,
        )
        for seed in seeds
    ]
