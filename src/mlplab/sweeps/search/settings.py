"""The settings of a search, as conf/hydra/sweeper/optuna.yaml has them."""

import importlib.util
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlplab.config.checks import check_settings, direction_of, require_metric
from mlplab.config.commands import install
from mlplab.errors import UserError
from mlplab.rules import is_number, shown
from mlplab.sweeps.comparable_options import LOSS, chooses_data, chooses_loss
from mlplab.sweeps.job_values import SEEDS
from mlplab.sweeps.objectives import OF_RUNS, Bound, Objective
from mlplab.sweeps.search.samplers import build_pruner, build_sampler
from mlplab.sweeps.search.space import Space, grid_of

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Budget:
    """Limits of a search. The first that is reached ends it; None is no limit.

    Attributes:
        trials: proposed and done, including those that were pruned or infeasible.
        epochs: trained, of all trials together.
        minutes: of wall-clock time, over all launches.
    """

    trials: int | None = None
    epochs: int | None = None
    minutes: float | None = None

    def trials_left(self, done: int) -> int | None:
        """Returns how many more trials may begin; None for any number."""
        return None if self.trials is None else max(0, self.trials - done)

    def is_spent(self, trials: int, epochs: int, minutes: float) -> bool:
        """Returns whether no more trials may begin."""
        limits = ((self.trials, trials), (self.epochs, epochs), (self.minutes, minutes))
        # A batch can overshoot, as the epochs of a trial are known only after it.
        return any(limit is not None and spent >= limit for limit, spent in limits)

    def __str__(self) -> str:
        """Lists the limits: `20 trials, 30 minutes`."""
        return ", ".join(f"{value:g} {name}" for name, value in vars(self).items() if value is not None)


@dataclass(frozen=True)
class SearchSettings:
    """Everything that a search is told, except for its space.

    Attributes:
        sampler: a name of `samplers.SAMPLERS`.
        sampler_options: further arguments of Optuna's class.
        seed: of the sampler's random numbers.
        budget: when the search ends.
        batch: number of trials that are proposed at once; None is as many as the launcher runs at once.
        pruner: a name of `samplers.PRUNERS`.
        pruner_options: further arguments of Optuna's class.
        objectives: what it minimizes or maximizes.
        seeds: on which each trial is run; empty for that of the configuration alone.
        constraints: bounds that a trial must keep to be ranked.
    """

    sampler: str
    sampler_options: dict[str, Any]
    seed: int | None
    budget: Budget
    batch: int | None
    pruner: str
    pruner_options: dict[str, Any]
    objectives: tuple[Objective, ...]
    seeds: tuple[int, ...] = ()
    constraints: tuple[Bound, ...] = ()

    def build_sampler(self, space: Space) -> "BaseSampler":
        """Builds a new sampler.

        Raises:
            UserError: there is none of this name, or it has no such option.
        """
        return build_sampler(self.sampler, self.seed, self.sampler_options, space)

    def with_trials(self, trials: int) -> "SearchSettings":
        """Returns the same settings with another number of trials."""
        return replace(self, budget=replace(self.budget, trials=trials))

    def budget_in(self, space: Space) -> Budget:
        """Returns the budget; a grid ends when all of it is done."""
        if self.sampler != "grid":
            return self.budget
        # After all of them, Optuna's sampler would draw points of the grid again.
        points = math.prod(len(values) for values in grid_of(space).values())
        return replace(self.budget, trials=min(points, self.budget.trials or points))

    def as_json(self) -> dict[str, Any]:
        """Lists for sweep.json what may not change between launches, and the budget, which may."""
        # Another launcher may run more trials at once.
        plain = {name: value for name, value in vars(self).items() if name != "batch"}
        lists = {name: [vars(one) for one in getattr(self, name)] for name in ("objectives", "constraints")}
        return plain | lists | {"seeds": list(self.seeds), "budget": vars(self.budget)}


def read_settings(settings: Mapping[str, Any], monitor: str, mode: str, seed: int = 0) -> SearchSettings:
    """Checks the settings of a search. Without objectives, it optimizes `monitor` in `mode`.

    Args:
        settings: as the configuration has them.
        monitor: of the runs.
        mode: of the monitor.
        seed: of the configuration, the first of several seeds.

    Raises:
        UserError: one of them is not allowed, or Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:  # not imported, which takes half a second
        raise UserError("a search must have Optuna to propose what to try", "it is not installed", install("sweeps"))
    check_settings("hydra.sweeper", settings)
    trials, epochs, minutes = (settings[name] for name in ("trials", "epochs", "minutes"))
    if trials is None and epochs is None and minutes is None:
        raise UserError(
            "a search must have a budget", "trials, epochs and minutes are all null", "hydra.sweeper.trials=20"
        )
    read = SearchSettings(
        sampler=str(settings["sampler"]),
        sampler_options=settings["sampler_options"] or {},
        seed=settings["seed"],
        budget=Budget(trials, epochs, minutes),
        batch=settings["batch"],
        # null on the command line means none too.
        pruner=str(settings["pruner"] or "none"),
        pruner_options=settings["pruner_options"] or {},
        objectives=_objectives(settings["objectives"], monitor, mode),
        seeds=seeds_of(settings["seeds"], seed),
        constraints=_constraints(settings["constraints"]),
    )
    if read.constraints and read.sampler == "cmaes":
        raise UserError(
            "a search with constraints must have a sampler that does not go where they are violated",
            "Optuna's cmaes knows no constraints", "hydra.sweeper.sampler=tpe, or gp",
        )  # fmt: skip
    build_pruner(read.pruner, read.pruner_options)  # only to refuse a mistake now, as jobs build their own
    # Jobs report the monitor while they run, and Optuna has no pruning for several objectives.
    metrics = [objective.metric for objective in read.objectives]
    if read.pruner != "none" and metrics != [monitor]:
        raise UserError(
            "a search that ends trials early must have the monitor as its only objective",
            f"its objectives are {', '.join(metrics)}, and its pruner is {read.pruner}",
            "hydra.sweeper.pruner=none",
        )
    return read


def require_one_setting(names: Iterable[str]) -> None:
    """Refuses to search over seeds, of which the luckiest would win, and over data, of which the easiest would.

    Raises:
        UserError: one of these is searched over.
    """
    for name in names:
        if name in SEEDS:
            raise UserError(
                "a search must average over seeds, as the best of many would be the luckiest",
                f"{name} has several values", "hydra.sweeper.seeds=3 instead",
            )  # fmt: skip
        if chooses_data(name):
            raise UserError(
                "a search must have one data set, as the best of several would be the easiest",
                f"{name} has several values", f"one value of {name}, or hydra/sweeper=grid",
            )  # fmt: skip


def require_comparable(names: Iterable[str], settings: SearchSettings) -> None:
    """Refuses to compare several losses by their own values.

    Raises:
        UserError: as above.
    """
    losses = [name for name in names if chooses_loss(name)]
    if losses and any(objective.metric == LOSS for objective in settings.objectives):
        raise UserError(
            f"different losses must be compared by a metric that they share, not by {LOSS}",
            f"{losses[0]} differs between trials", "monitor=val/accuracy mode=max, or monitor=val/rmse mode=min",
        )  # fmt: skip


def seeds_of(seeds: int | list[int] | None, first: int) -> tuple[int, ...]:
    """Returns seeds that are given as a list, or as their number from the first one on; none for null."""
    if seeds is None:
        return ()
    return tuple(dict.fromkeys(seeds if isinstance(seeds, list) else range(first, first + seeds)))


def _objectives(objectives: Any, monitor: str, mode: str) -> tuple[Objective, ...]:
    if objectives is None:
        return (Objective(monitor, mode),)
    example = "hydra.sweeper.objectives={val/loss:min,parameters:min}"
    requirement = f"hydra.sweeper.objectives must map val/… or one of {', '.join(OF_RUNS)} to min or max"
    if not isinstance(objectives, Mapping) or not objectives:
        raise UserError(requirement, f"hydra.sweeper.objectives={shown(objectives)}", example)
    for metric, direction in objectives.items():
        if direction not in ("min", "max") or not (str(metric).startswith("val/") or metric in OF_RUNS):
            raise UserError(requirement, f"{metric}: {direction}", example)
        if metric not in OF_RUNS:
            # Else a misspelled metric would be noticed only after the first trial.
            require_metric("objective", str(metric), str(direction), None)
    return tuple(Objective(str(metric), str(direction)) for metric, direction in objectives.items())


def _constraints(constraints: Any) -> tuple[Bound, ...]:
    requirement = f"hydra.sweeper.constraints must map val/… or one of {', '.join(OF_RUNS)} to a number"
    example = "hydra.sweeper.constraints={parameters:10000}"
    if not isinstance(constraints, Mapping | None):
        raise UserError(requirement, f"hydra.sweeper.constraints={shown(constraints)}", example)
    found = []
    for metric, value in (constraints or {}).items():
        if not is_number(value) or not (str(metric).startswith("val/") or metric in OF_RUNS):
            raise UserError(requirement, f"{metric}: {shown(value)}", example)
        # Of what is good when large a number is the least, else the most.
        mode = "min" if metric in OF_RUNS else direction_of("constraint", str(metric), None)
        found.append(Bound(str(metric), mode, float(value)))
    return tuple(found)
