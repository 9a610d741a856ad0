"""How much a search may spend."""

from dataclasses import dataclass
from typing import Any

from mlplab.config.rules import shown
from mlplab.errors import UserError


@dataclass(frozen=True)
class Budget:
    """Limits of a search; the first that is reached ends it, and None is no limit.

    Attributes:
        trials: proposed and done, those that were pruned or infeasible too.
        epochs: trained, of all trials together.
        minutes: of wall-clock time, over all launches.
    """

    trials: int | None = None
    epochs: int | None = None
    minutes: float | None = None

    def trials_left(self, done: int) -> int | None:
        """How many may yet be begun; None for any number."""
        return None if self.trials is None else max(0, self.trials - done)

    def is_spent(self, trials: int, epochs: int, minutes: float) -> bool:
        """Whether nothing more may be begun."""
        return any(
            limit is not None and spent >= limit
            for limit, spent in ((self.trials, trials), (self.epochs, epochs), (self.minutes, minutes))
        )

    def told(self) -> str:
        """`20 trials, 30 minutes`."""
        return ", ".join(f"{value:g} {name}" for name, value in vars(self).items() if value is not None)


def budget_of(trials: Any, epochs: Any, minutes: Any) -> Budget:
    """The budget that the configuration gives.

    Raises:
        UserError: a limit is no positive number, or there is none.
    """
    for name, value, kind in (("trials", trials, int), ("epochs", epochs, int), ("minutes", minutes, (int, float))):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or not value > 0):
            what = "a positive integer" if kind is int else "a positive number"
            raise UserError(
                f"hydra.sweeper.{name} must be {what} or null", f"hydra.sweeper.{name}={shown(value)}",
                f"hydra.sweeper.{name}=20",
            )  # fmt: skip
    if trials is None and epochs is None and minutes is None:
        raise UserError(
            "a search must have a budget", "trials, epochs and minutes are all null", "hydra.sweeper.trials=20"
        )  # fmt: skip
    return Budget(trials, epochs, None if minutes is None else float(minutes))
