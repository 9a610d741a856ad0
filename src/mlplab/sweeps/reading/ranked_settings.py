"""Settings: runs that differ in their seeds only, and the order in which the leaderboard shows them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mlplab.errors import printable
from mlplab.rules import shown
from mlplab.sweeps.job_values import SEEDS, key_of
from mlplab.sweeps.objectives import Bound, Objective
from mlplab.sweeps.reading.formatting import value_text
from mlplab.sweeps.reading.sweep_records import RunRecord, Spread, SweepRecord, Values

FAILED = ("failed", "diverged", "damaged")
UNRANKED = ("pruned", "infeasible")  # states of runs with a value that is none of a finished, allowed run
VALUELESS = 3  # first part of the sort key of a setting that has no value of any kind

# Titles of the tables, by stage.
TITLES = {
    "search": "The search",
    "rerun": "The best once more, on other seeds",
    "default": "Nothing tuned, on those seeds",
}
UNITS = ("seconds", "steps", "epochs")

RULE = (
    "Settings are ranked by the mean over their finished runs, on each data set by themselves. Those with a run that "
    "failed, diverged or left no value come after those without, then those with a pruned or infeasible run, then "
    "those without a value."
)


@dataclass(frozen=True, eq=False)  # the same values can stand in two stages and arms
class Setting:
    """Runs of one stage, arm and data set with the same values except for the seeds."""

    values: Mapping[str, Any]  # swept values, without the seeds
    runs: tuple[RunRecord, ...]  # by job number; of several that finished on the same seeds only the first
    objective: Objective  # the one that ranks
    names: Mapping[str, str]  # parameter → short name
    rank: int = 0  # within its stage and data set, from 1, shared by equals; 0 before ranking

    @property
    def label(self) -> str:
        """Describes the setting by its values: `optimizer=adam, lr=0.01`."""
        # Labels go to terminals, and the names come from files that anybody may have written.
        words = [f"{printable(self.names[name])}={value_text(value)}" for name, value in self.values.items()]
        words += [self.runs[0].data_version] if self.runs[0].data_version else []
        if self.stage == "default":
            words = [f"{printable(self.arm)}, default"] if self.arm else ["default", *words]
        return ", ".join(words) or (printable(self.arm) if self.arm else "the one setting")

    # Cached, here and below: ranking, tables and charts ask again and again, and runs do not change.
    @cached_property
    def arm(self) -> str | None:
        return self.runs[0].entry.arm

    @cached_property
    def data_set(self) -> str:
        return self.runs[0].data_set

    @cached_property
    def stage(self) -> str:
        return self.runs[0].entry.stage

    @cached_property
    def key(self) -> frozenset[tuple[str, str]]:
        """Returns what is equal for equal values."""
        return key_of(self.values)

    @cached_property
    def states(self) -> Counter[str]:
        return Counter(run.state for run in self.runs)

    @cached_property
    def finished(self) -> list[RunRecord]:
        """Lists the runs that means are taken over."""
        return [run for run in self.runs if run.state == "finished"]

    @cached_property
    def by_seeds(self) -> dict[tuple[str, ...], float]:
        """Maps the seeds of each finished run to its objective; empty if some were pruned or infeasible."""
        metric = self.objective.metric
        return {_seeds(run): run.measured[metric] for run in self._ranked if metric in run.measured}

    @cached_property
    def validation(self) -> Spread:
        """Returns the objective over the finished runs; empty if some were pruned or infeasible."""
        return self.spread(self.objective.metric)

    @property
    def score(self) -> float:
        """Returns the mean of the objective as it is drawn; NaN if there is none."""
        return float("nan") if self.validation.mean is None else self.validation.mean

    @property
    def _ranked(self) -> list[RunRecord]:
        # Else a setting would be judged by the seeds on which it was lucky enough not to be pruned.
        return [] if any(self.states[state] for state in UNRANKED) else self.finished

    def spread(self, metric: str) -> Spread:
        """Returns a validation metric over the finished runs that have it; empty if some were pruned or infeasible."""
        return Spread(tuple(run.measured[metric] for run in self._ranked if metric in run.measured))

    def test(self, metric: str) -> Spread:
        """Returns a test metric over the finished runs that have it."""
        return Spread(tuple(run.test[metric] for run in self.finished if metric in run.test))

    def time_to(self, target: Bound | None) -> "TimeToTarget | None":
        """Returns how long its runs took to reach a target; None without a target or without a run that ended."""
        return time_to_target(self.runs, target) if target is not None else None

    @property
    def n_valueless(self) -> int:
        """Counts finished runs whose objective is not finite."""
        return sum(self.objective.metric not in run.measured for run in self.finished)

    @property
    def n_failed(self) -> int:
        """Counts runs that failed, diverged, or finished without a value."""
        return sum(self.states[state] for state in FAILED) + self.n_valueless

    @property
    def n_left(self) -> int:
        """Counts runs that have not ended."""
        return len(self.runs) - sum(self.states[state] for state in ("finished", *UNRANKED, *FAILED))

    @property
    def is_complete(self) -> bool:
        """Returns whether it has a value to be ranked by, and no run of it failed."""
        return self.sort_key[0] == 0

    @cached_property
    def sort_key(self) -> tuple[int, float]:
        """Returns the key of `RULE`."""
        metric, sign = self.objective.metric, self.objective.sign
        if self.validation.mean is not None:
            return (1 if self.n_failed else 0, sign * self.validation.mean)
        # Pruned runs ended at unequal epochs, so they never rank before finished ones.
        ended = [run for run in self.runs if not self._ranked and run.state in ("finished", *UNRANKED)]
        mean = Spread(tuple(run.measured[metric] for run in ended if metric in run.measured)).mean
        return (VALUELESS, 0.0) if mean is None else (VALUELESS - 1, sign * mean)


class TimeToTarget(NamedTuple):
    """Times of runs to reach a target; a run that missed it counts as infinite."""

    n: int  # runs
    hits: int  # runs that reached it
    median: dict[str, float]  # by `UNITS`, over all runs; infinite if half of them missed


def time_to_target(runs: Sequence[RunRecord], target: Bound) -> TimeToTarget | None:
    """Measures when runs that have ended first reached a target; None without such runs.

    A run that failed or diverged has missed it, unless it had reached it before.
    """
    ended = [run for run in runs if run.state in ("finished", *UNRANKED, "diverged", "failed")]
    times = np.array([time_of(run, target) for run in ended]).reshape(-1, len(UNITS))
    # With misses as infinity the median needs no model of how long they would have taken.
    median = dict(zip(UNITS, np.median(times, axis=0).tolist(), strict=True)) if ended else {}
    return TimeToTarget(len(ended), int(np.isfinite(times[:, 0]).sum()), median) if ended else None


def time_of(run: RunRecord, target: Bound) -> tuple[float, float, float]:
    """Returns seconds, steps and epochs until a run reached a target; infinite if it did not."""
    curve = run.curves.get(target.metric)
    # NaN, where the metric was not finite, reaches nothing.
    reached = [] if curve is None else np.flatnonzero(target.excess(curve.values) <= 0).tolist()
    if curve is None or not reached:
        return np.inf, np.inf, np.inf
    return float(curve.seconds[reached[0]]), float(curve.steps[reached[0]]), float(curve.epochs[reached[0]])


def settings_of(sweep: SweepRecord) -> list[Setting]:
    """Ranks the settings of each stage and data set; the rerun comes after its search, but first in a comparison."""
    values = [{name: v for name, v in run.entry.values.items() if name not in SEEDS} for run in sweep.runs]
    # By canonical values, because 0.001 and 1e-3 are one setting.
    groups: dict[Any, list[int]] = defaultdict(list)
    for place, run in enumerate(sweep.runs):
        groups[run.entry.stage, run.entry.arm, run.data_set, key_of(values[place])].append(place)
    names = short_names(list(dict.fromkeys(name for those in values for name in those)))
    settings = []
    for places in groups.values():
        runs = [sweep.runs[place] for place in places]
        # A search can propose the same values again; their second run is no second seed.
        first = {_seeds(run): run.entry.number for run in reversed(runs) if run.state == "finished"}
        kept = [run for run in runs if run.state != "finished" or first[_seeds(run)] == run.entry.number]
        settings.append(Setting(values[places[0]], tuple(kept), sweep.objective, names))
    # In a comparison the search has only chosen what is compared.
    is_comparison = any(setting.arm is not None for setting in settings)
    ranked = []
    for stage in ("rerun", "default", "search") if is_comparison else ("search", "rerun", "default"):
        for those in by_data_set(of_stage(settings, stage)).values():
            # Equal settings stay in the order of their jobs, and share a rank.
            keys = sorted((setting.sort_key, place) for place, setting in enumerate(those))
            ranks: dict[tuple[int, float], int] = {}
            ranked += [
                replace(those[place], rank=ranks.setdefault(key, rank))
                for rank, (key, place) in enumerate(keys, start=1)
            ]
    return ranked


def by_data_set(settings: Iterable[Setting]) -> dict[str, list[Setting]]:
    """Groups settings by their data sets, as only those on the same one can be compared."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.data_set, []).append(setting)
    return groups


def of_stage(settings: Iterable[Setting], stage: str) -> list[Setting]:
    """Selects the settings of a stage."""
    return [setting for setting in settings if setting.stage == stage]


def valued(settings: Iterable[Setting]) -> list[Setting]:
    """Selects the settings that have a value to be ranked by."""
    return [setting for setting in settings if setting.validation.mean is not None]


def contenders(settings: Sequence[Setting]) -> list[Setting]:
    """Selects what a winner is chosen from: all searched settings; in a comparison the rerun best of each arm."""
    searched, rerun = of_stage(settings, "search"), of_stage(settings, "rerun")
    if all(setting.arm is None for setting in settings):
        return searched or rerun
    # A comparison that went on can have another best by now; the new seeds must not choose between the two.
    best = {(s.arm, s.data_set): s.key for s in reversed(searched)}
    chosen: dict[Any, Setting] = {}
    for setting in rerun:
        arm = setting.arm, setting.data_set
        # The first of an arm's reruns where its best has none.
        if arm not in chosen or (setting.key == best.get(arm) != chosen[arm].key):
            chosen[arm] = setting
    kept = [setting for setting in rerun if setting.arm is None or setting in chosen.values()]
    # Before the first rerun of a comparison has begun, the search is all there is.
    return kept or searched


def judged(settings: Sequence[Setting]) -> list[Setting]:
    """Selects what differences are judged by: several reruns on new seeds, else the contenders."""
    reruns = [setting for setting in of_stage(settings, "rerun") if setting.arm is None]
    # The seeds that chose the best flatter it.
    return reruns if len(valued(reruns)) > 1 else contenders(settings)


def pareto_front(settings: Sequence[Setting], objectives: Sequence[Objective]) -> list[Setting]:
    """Selects the settings that no other one of its data set improves on in every objective, by the first one.

    Equal ones are all on the front; settings without a value of some objective are not.
    """
    found = []
    for those in by_data_set(settings).values():
        rows = [(setting, [setting.spread(o.metric).mean for o in objectives]) for setting in those]
        known = [setting for setting, row in rows if None not in row]
        table: Values = np.array([row for _, row in rows if None not in row]).reshape(len(known), len(objectives))
        signed = table * [objective.sign for objective in objectives]
        front: list[int] = []
        for index in np.lexsort(signed.T[::-1]):  # a setting is dominated by earlier ones only
            no_worse, better = signed[front] <= signed[index], signed[front] < signed[index]
            if not (no_worse.all(axis=1) & better.any(axis=1)).any():
                front.append(int(index))
        found += [known[index] for index in front]
    return found


def _seeds(run: RunRecord) -> tuple[str, ...]:
    # As text: a damaged sweep.json may hold a list, which cannot be a key.
    return tuple(shown(run.entry.values.get(name)) for name in SEEDS)


def names_of(settings: Iterable[Setting]) -> list[str]:
    """Returns the names of swept parameters in the order of their first occurrence."""
    return list(dict.fromkeys(name for setting in settings for name in setting.values))


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Shortens `optimizer.lr` to `lr` if no other name ends the same way."""
    # Names with the same ending keep their groups, else they would share a heading.
    lasts = Counter(name.rpartition(".")[2] for name in names)
    return {name: name.rpartition(".")[2] if lasts[name.rpartition(".")[2]] == 1 else name for name in names}
