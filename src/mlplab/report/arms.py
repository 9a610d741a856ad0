"""The arms of a comparison: each one's best on new seeds, beside what it is with nothing tuned."""

from dataclasses import dataclass

from mlplab.report.curves import Reaching, reaching
from mlplab.report.finished_runs import Gathered
from mlplab.report.ranked_settings import Setting, of_stage


@dataclass(frozen=True)
class Side:
    """One setting of an arm, on the seeds that the comparison ends with.

    Attributes:
        setting: with its runs.
        reaching: what they took to reach the target; None without one, or before a run has ended.
    """

    setting: Setting
    reaching: Reaching | None


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Attributes:
        name: of the arm.
        tuned: the best of its search, run once more; None before that has begun.
        default: the same with nothing tuned; None where that is not run.
        n_trials: settings that its search tried.
        n_failed: those of them with a run that failed or diverged.
    """

    name: str
    tuned: Side | None
    default: Side | None
    n_trials: int
    n_failed: int


def arms_of(sweep: Gathered, settings: list[Setting]) -> list[Arm]:
    """The arms, those with the best reruns first; none where the sweep compares nothing."""
    names = list(dict.fromkeys(setting.arm for setting in settings if setting.arm is not None))
    arms = []
    for name in names:
        mine = [setting for setting in settings if setting.arm == name]
        trials = of_stage(mine, "search")
        arms.append(
            Arm(
                name,
                _side(sweep, of_stage(mine, "rerun")),
                _side(sweep, of_stage(mine, "default")),
                len(trials),
                sum(setting.n_failed > 0 for setting in trials),
            )
        )
    return sorted(arms, key=lambda arm: (arm.tuned is None, arm.tuned.setting.rank if arm.tuned else 0))


def _side(sweep: Gathered, settings: list[Setting]) -> Side | None:
    if not settings:
        return None
    first = settings[0]
    return Side(first, reaching(first.runs, sweep.target) if sweep.target else None)
