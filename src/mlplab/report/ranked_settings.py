"""Settings: runs that differ by their seeds alone, and the order in which the leaderboard has them."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlplab.config.rules import shown
from mlplab.errors import printable
from mlplab.report.finished_runs import Gathered, Objective, Run
from mlplab.sweeps.ledger import SEEDS, key_of

FAILED = ("failed", "infeasible", "damaged")

TITLES = {
    "search": "The search",
    "rerun": "The best once more, on other seeds",
    "default": "Nothing tuned, on those seeds",
}
"""Of the tables, by stage."""

LONGEST = 60
"""Letters of a swept value."""

RULE = (
    "Settings are ranked by the mean over their finished runs. Those with a run that failed, diverged or left no value "
    "come after those without, then those whose runs were all pruned, then those without a value."
)


@dataclass(frozen=True)
class Spread:
    """Values over seeds.

    Attributes:
        values: one for each run that has one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @cached_property
    def deviation(self) -> float | None:
        """Standard deviation, n - 1 in its denominator; None of fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Setting:
    """Runs of one stage and arm with the same values but for the seeds.

    Attributes:
        values: what was swept, without the seeds.
        runs: in the order of their numbers; of finished ones with the same seeds the first alone.
        objective: what ranks.
        rank: within its stage, from 1; 0 before it has one.
    """

    values: Mapping[str, Any]
    runs: tuple[Run, ...]
    objective: Objective
    rank: int = 0
    states: Counter[str] = field(default_factory=Counter)

    @property
    def arm(self) -> str | None:
        return self.runs[0].entry.arm

    @property
    def stage(self) -> str:
        return self.runs[0].entry.stage

    @cached_property
    def finished(self) -> list[Run]:
        """Those that the means are taken over."""
        return [run for run in self.runs if run.state == "finished"]

    @cached_property
    def validation(self) -> Spread:
        """The objective over the finished runs."""
        return self.spread(self.objective.metric)

    def spread(self, metric: str) -> Spread:
        """A validation metric over the finished runs that have it."""
        return Spread(tuple(run.measured[metric] for run in self.finished if metric in run.measured))

    def test(self, metric: str) -> Spread:
        """A test metric over the finished runs that have it."""
        return Spread(tuple(run.test[metric] for run in self.finished if metric in run.test))

    @property
    def n_valueless(self) -> int:
        """Finished runs whose objective is no number."""
        return len(self.finished) - len(self.validation.values)

    @property
    def n_failed(self) -> int:
        """Runs that failed, diverged, or ended without a value."""
        return sum(self.states[state] for state in FAILED) + self.n_valueless

    @property
    def n_left(self) -> int:
        """Runs that have not ended."""
        return len(self.runs) - sum(self.states[state] for state in ("finished", "pruned", *FAILED))

    @cached_property
    def pruned(self) -> Spread:
        """The objective of pruned runs, where they were ended."""
        runs = [run for run in self.runs if run.state == "pruned"]
        return Spread(
            tuple(run.measured[self.objective.metric] for run in runs if self.objective.metric in run.measured)
        )

    def key(self) -> tuple[int, float]:
        """What `RULE` sorts by."""
        mean, pruned = self.validation.mean, self.pruned.mean
        if mean is not None:
            return (1 if self.n_failed else 0, self.objective.sign * mean)
        return (3, 0.0) if pruned is None else (2, self.objective.sign * pruned)

    @cached_property
    def by_seeds(self) -> dict[tuple[str, ...], float]:
        """The objective of each finished run that has it."""
        metric = self.objective.metric
        return {_seeds(run): run.measured[metric] for run in self.finished if metric in run.measured}


def settings_of(sweep: Gathered) -> list[Setting]:
    """The settings of a sweep, the best of each stage first: the search before its rerun, but of a comparison last."""
    groups: dict[Any, list[Run]] = {}
    for run in sweep.runs:
        groups.setdefault((run.entry.stage, run.entry.arm, key_of(_without_seeds(run))), []).append(run)
    settings = [
        Setting(_without_seeds(runs[0]), tuple(runs), sweep.objective, states=Counter(run.state for run in runs))
        for runs in map(_without_repeats, groups.values())
    ]
    ranked = []
    is_comparison = any(setting.arm is not None for setting in settings)
    for stage in ("rerun", "default", "search") if is_comparison else ("search", "rerun", "default"):
        of_stage = sorted((s for s in settings if s.stage == stage), key=Setting.key)
        ranked += [
            Setting(s.values, s.runs, s.objective, rank, s.states) for rank, s in enumerate(of_stage, start=1)
        ]  # fmt: skip
    return ranked


def of_stage(settings: Iterable[Setting], *stages: str) -> list[Setting]:
    """Those of these stages, in their order."""
    return [setting for setting in settings if setting.stage in stages]


def contenders(settings: Sequence[Setting]) -> list[Setting]:
    """What a winner is chosen from: all that were searched; of a comparison the best of each arm, run once more."""
    searched, rerun = of_stage(settings, "search"), of_stage(settings, "rerun")
    first, other = (rerun, searched) if any(setting.arm is not None for setting in settings) else (searched, rerun)
    return first or other


def _without_repeats(runs: Sequence[Run]) -> list[Run]:
    """A run that finished twice on the same seeds counts once."""
    finished: dict[tuple[str, ...], int] = {}
    for run in runs:
        if run.state == "finished":
            finished.setdefault(_seeds(run), run.entry.number)
    return [run for run in runs if run.state != "finished" or finished[_seeds(run)] == run.entry.number]


def _seeds(run: Run) -> tuple[str, ...]:
    return tuple(shown(run.entry.values.get(name)) for name in SEEDS)


def _without_seeds(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.entry.values.items() if name not in SEEDS}


def names_of(settings: Iterable[Setting]) -> list[str]:
    """What was swept beside the seeds, in the order in which it first comes."""
    return list(dict.fromkeys(name for setting in settings for name in setting.values))


def short_names(names: Sequence[str]) -> dict[str, str]:
    """`optimizer.lr` → `lr`, where no other name ends so."""
    lasts = Counter(name.rpartition(".")[2] for name in names)
    return {name: name.rpartition(".")[2] if lasts[name.rpartition(".")[2]] == 1 else name for name in names}


def label(setting: Setting, names: Mapping[str, str]) -> str:
    """A setting in a few words: `optimizer=adam, lr=0.01`.

    Args:
        setting: whichever.
        names: how each name is shortened.
    """
    words = [f"{printable(names.get(name, name))}={value_text(value)}" for name, value in setting.values.items()]
    if setting.stage == "default":
        words = [f"{printable(setting.arm)}, default"] if setting.arm else ["default", *words]
    return ", ".join(words) or (printable(setting.arm) if setting.arm else "the one setting")


def value_text(value: Any) -> str:
    """A swept value for people: as one would type it, numbers with four digits, and not without end."""
    text = f"{value:.4g}" if isinstance(value, float) else printable(shown(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
