"""Settings: runs that differ in their seeds only, and the order in which the leaderboard shows them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mlplab.errors import printable
from mlplab.rules import shown
from mlplab.sweeps.job_values import SEEDS, key_of
from mlplab.sweeps.reading.formatting import value_text
from mlplab.sweeps.reading.sweep_records import Criterion, RunRecord, Spread, SweepRecord, Target
from mlplab.sweeps.reading.time_to_target import TimeToTarget, time_to_target

FAILED = ("failed", "infeasible", "damaged")

VALUELESS = 3
"""First part of the sort key of a setting that has no value of any kind."""

TITLES = {
    "search": "The search",
    "rerun": "The best once more, on other seeds",
    "default": "Nothing tuned, on those seeds",
}
"""Titles of the tables, by stage."""

RULE = (
    "Settings are ranked by the mean over their finished runs, on each data set by themselves. Those with a run that "
    "failed, diverged or left no value come after those without, then those with a pruned run, then those without "
    "a value."
)


@dataclass(frozen=True, eq=False)  # the same values can stand in two stages and arms
class Setting:
    """Runs of one stage, arm and data set with the same values except for the seeds.

    Attributes:
        values: swept values, without the seeds.
        runs: by job number; of several that finished on the same seeds only the first.
        objective: the criterion that ranks.
        names: parameter → short name.
        rank: within its stage and data set, from 1; 0 before ranking.
    """

    values: Mapping[str, Any]
    runs: tuple[RunRecord, ...]
    objective: Criterion
    names: Mapping[str, str]
    rank: int = 0

    @property
    def label(self) -> str:
        """Describes the setting by its values: `optimizer=adam, lr=0.01`."""
        # Labels go to terminals, and the names come from files that anybody may have written.
        words = [f"{printable(self.names[name])}={value_text(value)}" for name, value in self.values.items()]
        words += [self.runs[0].data_version] if self.runs[0].data_version else []
        if self.stage == "default":
            words = [f"{printable(self.arm)}, default"] if self.arm else ["default", *words]
        return ", ".join(words) or (printable(self.arm) if self.arm else "the one setting")

    @property
    def arm(self) -> str | None:
        return self.runs[0].entry.arm

    @property
    def data_set(self) -> str:
        return self.runs[0].data_set

    @property
    def stage(self) -> str:
        return self.runs[0].entry.stage

    # Cached, here and below: ranking, tables and charts ask again and again, and runs do not change.
    @cached_property
    def states(self) -> Counter[str]:
        return Counter(run.state for run in self.runs)

    @cached_property
    def finished(self) -> list[RunRecord]:
        """Lists the runs that means are taken over."""
        return [run for run in self.runs if run.state == "finished"]

    @cached_property
    def validation(self) -> Spread:
        """Returns the objective over the finished runs; empty if some were pruned."""
        return self.spread(self.objective.metric)

    @property
    def score(self) -> float:
        """Returns the mean of the objective as it is drawn; NaN if there is none."""
        return float("nan") if self.validation.mean is None else self.validation.mean

    def spread(self, metric: str) -> Spread:
        """Returns a validation metric over the finished runs that have it; empty if some were pruned."""
        # Else a setting would be judged by the seeds on which it was lucky enough not to be pruned.
        kept = [] if self.states["pruned"] else self.finished
        return Spread(tuple(run.measured[metric] for run in kept if metric in run.measured))

    def test(self, metric: str) -> Spread:
        """Returns a test metric over the finished runs that have it."""
        return Spread(tuple(run.test[metric] for run in self.finished if metric in run.test))

    def time_to(self, target: Target | None) -> TimeToTarget | None:
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
        return len(self.runs) - sum(self.states[state] for state in ("finished", "pruned", *FAILED))

    @cached_property
    def by_seeds(self) -> dict[tuple[str, ...], float]:
        """Maps the seeds of each finished run to its objective; empty if some were pruned."""
        metric, kept = self.objective.metric, [] if self.states["pruned"] else self.finished
        return {_seeds(run): run.measured[metric] for run in kept if metric in run.measured}

    def sort_key(self) -> tuple[int, float]:
        """Returns the key of `RULE`."""
        metric, sign = self.objective.metric, self.objective.sign
        if self.validation.mean is not None:
            return (1 if self.n_failed else 0, sign * self.validation.mean)
        # Pruned runs ended at unequal epochs, so they never rank before finished ones.
        ended = [run for run in self.runs if self.states["pruned"] and run.state in ("pruned", "finished")]
        pruned = Spread(tuple(run.measured[metric] for run in ended if metric in run.measured))
        return (VALUELESS, 0.0) if pruned.mean is None else (2, sign * pruned.mean)


def settings_of(sweep: SweepRecord) -> list[Setting]:
    """Ranks the settings of each stage and data set; the rerun comes after its search, but first in a comparison."""
    # By canonical values, because 0.001 and 1e-3 are one setting.
    groups: dict[Any, list[RunRecord]] = {}
    for run in sweep.runs:
        key = (run.entry.stage, run.entry.arm, run.data_set, key_of(_without_seeds(run)))
        groups.setdefault(key, []).append(run)
    names = short_names(list(dict.fromkeys(name for run in sweep.runs for name in _without_seeds(run))))
    settings = [
        Setting(_without_seeds(runs[0]), tuple(_without_repeats(runs)), sweep.objective, names)
        for runs in groups.values()
    ]
    # In a comparison the search has only chosen what is compared.
    is_comparison = any(setting.arm is not None for setting in settings)
    ranked = []
    for stage in ("rerun", "default", "search") if is_comparison else ("search", "rerun", "default"):
        for those in by_data_set(of_stage(settings, stage)).values():
            # Sorting is stable: equal settings stay in the order of their jobs.
            ordered = sorted(those, key=Setting.sort_key)
            ranked += [replace(setting, rank=rank) for rank, setting in enumerate(ordered, start=1)]
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


def contenders(settings: Sequence[Setting]) -> list[Setting]:
    """Selects what a winner is chosen from: all searched settings; in a comparison the rerun best of each arm."""
    searched, rerun = of_stage(settings, "search"), of_stage(settings, "rerun")
    # A comparison that went on can have another best by now; the new seeds must not choose between the two.
    rerun = [setting for setting in rerun if setting.arm is None or setting is _rerun_of_best(setting, searched, rerun)]
    # Before the first rerun of a comparison has begun, the search is all there is.
    first, other = (rerun, searched) if any(setting.arm is not None for setting in settings) else (searched, rerun)
    return first or other


def _rerun_of_best(setting: Setting, searched: Sequence[Setting], reruns: Sequence[Setting]) -> Setting:
    """Returns the rerun of an arm's best setting; the first of the arm's reruns where that has none."""
    best = next((s for s in searched if (s.arm, s.data_set) == (setting.arm, setting.data_set)), None)
    own = [s for s in reruns if (s.arm, s.data_set) == (setting.arm, setting.data_set)]
    return next((s for s in own if best is not None and key_of(s.values) == key_of(best.values)), own[0])


def judged(settings: Sequence[Setting]) -> list[Setting]:
    """Selects what differences are judged by: several reruns on new seeds, else the contenders."""
    reruns = [setting for setting in of_stage(settings, "rerun") if setting.arm is None]
    # The seeds that chose the best flatter it.
    return reruns if sum(setting.validation.mean is not None for setting in reruns) > 1 else contenders(settings)


def pareto_front(settings: Sequence[Setting], objectives: Sequence[Criterion]) -> list[Setting]:
    """Selects the settings that no other one of its data set improves on in every objective, by the first one.

    Equal ones are all on the front; settings without a value of some objective are not.
    """
    found = []
    for those in by_data_set(settings).values():
        known, table = table_of(those, objectives)
        signed = table * [objective.sign for objective in objectives]
        front: list[int] = []
        for index in np.lexsort(signed.T[::-1]):  # a setting is dominated by earlier ones only
            no_worse, better = signed[front] <= signed[index], signed[front] < signed[index]
            if not (no_worse.all(axis=1) & better.any(axis=1)).any():
                front.append(int(index))
        found += [known[index] for index in front]
    return found


def table_of(
    settings: Sequence[Setting], objectives: Sequence[Criterion]
) -> tuple[list[Setting], npt.NDArray[np.float64]]:
    """Returns the settings with a mean of every objective, and those means, (N, objectives)."""
    rows = [(setting, [setting.spread(o.metric).mean for o in objectives]) for setting in settings]
    known = [(setting, row) for setting, row in rows if None not in row]
    # Without any rows NumPy would make an array of one dimension.
    means = np.array([row for _, row in known], dtype=np.float64).reshape(len(known), len(objectives))
    return [setting for setting, _ in known], means


def _without_repeats(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Drops a run that finished on the same seeds as an earlier one."""
    # A search can propose the same values again; their second run is no second seed.
    finished: dict[tuple[str, ...], int] = {}
    for run in runs:
        if run.state == "finished":
            finished.setdefault(_seeds(run), run.entry.number)
    return [run for run in runs if run.state != "finished" or finished[_seeds(run)] == run.entry.number]


def _seeds(run: RunRecord) -> tuple[str, ...]:
    # As text: a damaged sweep.json may hold a list, which cannot be a key.
    return tuple(shown(run.entry.values.get(name)) for name in SEEDS)


def _without_seeds(run: RunRecord) -> dict[str, Any]:
    return {name: value for name, value in run.entry.values.items() if name not in SEEDS}


def names_of(settings: Iterable[Setting]) -> list[str]:
    """Returns the names of swept parameters in the order of their first occurrence."""
    return list(dict.fromkeys(name for setting in settings for name in setting.values))


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Shortens `optimizer.lr` to `lr` if no other name ends the same way."""
    # Names with the same ending keep their groups, else they would share a heading.
    lasts = Counter(name.rpartition(".")[2] for name in names)
    return {name: name.rpartition(".")[2] if lasts[name.rpartition(".")[2]] == 1 else name for name in names}
