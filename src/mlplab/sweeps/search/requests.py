"""What a search is asked to do, as conf/hydra/sweeper/optuna.yaml gives it."""

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlplab.config.rules import shown
from mlplab.errors import UserError
from mlplab.sweeps.search.budget import Budget, budget_of
from mlplab.sweeps.search.outcomes import Objective, objectives_of
from mlplab.sweeps.search.samplers import build_pruner, build_sampler
from mlplab.sweeps.search.space import Space, grid_of

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Asked:
    """How a search goes about it, but for its space.

    Attributes:
        sampler: a name of `samplers.SAMPLERS`.
        sampler_options: further arguments of Optuna's class.
        seed: of the sampler's random numbers.
        budget: what it may spend.
        batch: trials that are asked for at once; None is as many as the launcher runs at once.
        pruner: a name of `samplers.PRUNERS`.
        pruner_options: further arguments of Optuna's class.
        objectives: what it makes small or large.
    """

    sampler: str
    sampler_options: dict[str, Any]
    seed: int | None
    budget: Budget
    batch: int | None
    pruner: str
    pruner_options: dict[str, Any]
    objectives: tuple[Objective, ...]

    def build_sampler(self, space: Space) -> "BaseSampler":
        """A new sampler.

        Raises:
            UserError: there is none of this name, or it has no such option.
        """
        return build_sampler(self.sampler, self.seed, self.sampler_options, space)

    def with_trials(self, trials: int) -> "Asked":
        """The same with another number of trials."""
        return replace(self, budget=replace(self.budget, trials=trials))

    def budget_in(self, space: Space) -> Budget:
        """The budget; a grid ends when all of it is done."""
        if self.sampler != "grid":
            return self.budget
        points = math.prod(len(values) for values in grid_of(space).values())
        return Budget(min(points, self.budget.trials or points), self.budget.epochs, self.budget.minutes)

    def as_json(self) -> dict[str, Any]:
        """For sweep.json: what may not change between launches, and the budget, which may."""
        return {
            "sampler": self.sampler,
            "sampler_options": self.sampler_options,
            "seed": self.seed,
            "pruner": self.pruner,
            "pruner_options": self.pruner_options,
            "objectives": [vars(objective) for objective in self.objectives],
            "budget": vars(self.budget),
        }


def read_asked(settings: Mapping[str, Any], monitor: str, mode: str) -> Asked:
    """Reads the settings of a search.

    Args:
        settings: values of the sweeper's configuration, by name.
        monitor: what runs are judged by, where no objectives are named.
        mode: `min` or `max`.

    Raises:
        UserError: one of them cannot be, or Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError(
            "a search must have Optuna to propose what to try", "it is not installed", 'pip install -e ".[sweeps]"'
        )
    asked = Asked(
        sampler=str(settings["sampler"]),
        sampler_options=_options(settings, "sampler_options"),
        seed=_integer(settings, "seed", least=0),
        budget=budget_of(settings["trials"], settings["epochs"], settings["minutes"]),
        batch=_integer(settings, "batch", least=1),
        pruner=str(settings["pruner"] or "none"),
        pruner_options=_options(settings, "pruner_options"),
        objectives=objectives_of(settings["objectives"], monitor, mode),
    )
    build_pruner(asked.pruner, asked.pruner_options)
    if asked.pruner != "none":
        _require_prunable(asked, monitor)
    return asked


def _require_prunable(asked: Asked, monitor: str) -> None:
    metrics = [objective.metric for objective in asked.objectives]
    if metrics != [monitor]:
        raise UserError(
            "a search that ends trials early must have the monitor as its only objective",
            f"hydra.sweeper.pruner={asked.pruner}, objectives {', '.join(metrics)}",
            "hydra.sweeper.pruner=none",
        )


def _integer(settings: Mapping[str, Any], name: str, least: int) -> int | None:
    value = settings[name]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise UserError(
            f"hydra.sweeper.{name} must be an integer of {least} or more, or null",
            f"hydra.sweeper.{name}={shown(value)}", f"hydra.sweeper.{name}={least}",
        )  # fmt: skip
    return value


def _options(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = settings[name]
    if value is not None and not isinstance(value, Mapping):
        raise UserError(
            f"hydra.sweeper.{name} must map names to values", f"hydra.sweeper.{name}={shown(value)}",
            f"hydra.sweeper.{name}={{n_startup_trials:5}}",
        )  # fmt: skip
    return {str(key): option for key, option in (value or {}).items()}
