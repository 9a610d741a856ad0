"""The results of a comparison: each arm's best on new seeds, beside the arm with nothing tuned."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mlplab.errors import counted, printable
from mlplab.report.formatting import goal, listed, number, share, spread_text
from mlplab.report.ranked_settings import Setting, of_stage
from mlplab.report.sweep_records import Finding, Spread, SweepRecord


@dataclass(frozen=True)
class ArmResult:
    """One arm of a comparison.

    Attributes:
        name: of the arm.
        tuned: the best of its search, run once more; None before that has begun.
        default: the arm with nothing tuned; None if it was not run.
        n_trials: settings that its search tried.
    """

    name: str
    tuned: Setting | None
    default: Setting | None
    n_trials: int


def arms_of(settings: Sequence[Setting]) -> list[ArmResult]:
    """Collects the arms, those with the best reruns first; empty unless the sweep is a comparison."""
    arms = []
    for name in dict.fromkeys(setting.arm for setting in settings if setting.arm is not None):
        of_arm = [setting for setting in settings if setting.arm == name]
        # The settings are ranked, so the first of a stage is the arm's best.
        tuned, default = (next(iter(of_stage(of_arm, stage)), None) for stage in ("rerun", "default"))
        arms.append(ArmResult(name, tuned, default, len(of_stage(of_arm, "search"))))
    # Reruns are ranked over all arms together, so their ranks put the arms in order.
    return sorted(arms, key=lambda arm: (arm.tuned is None, arm.tuned.rank if arm.tuned else 0))


def arm_findings(sweep: SweepRecord, arms: Sequence[ArmResult]) -> list[Finding]:
    """Says which arm reaches the target first, and what tuning gained each arm."""
    if not arms:
        return []
    return [finding for finding in (_target(sweep, arms), *map(_tuning, arms)) if finding is not None]


def _target(sweep: SweepRecord, arms: Sequence[ArmResult]) -> Finding | None:
    if sweep.target is None:
        return Finding(
            "target",
            "caution",
            "No target was given, so the arms are compared by their final quality, not by their speed.",
            "sweep.target={metric: val/accuracy, value: 0.95, mode: max} measures the time to it.",
        )
    timed = [(arm, time) for arm in arms if arm.tuned is not None and (time := arm.tuned.time_to(sweep.target))]
    if not timed:
        return None
    # Arms that are equally fast are ordered by how often they get there.
    timed.sort(key=lambda pair: (pair[1].median["seconds"], -pair[1].hits))
    evidence = listed(
        [
            f"{printable(arm.name)}: {number(time.median['seconds'])} s, {number(time.median['epochs'])} epochs, "
            f"{share(time.hits, time.n)} runs"
            for arm, time in timed
        ],
        8,
    )
    arm, fastest = timed[0]
    if fastest.hits == 0:
        return Finding("target", "caution", f"No tuned arm reached {goal(sweep.target)}.", f"{evidence}.")
    sentence = f"{printable(arm.name)} reaches {goal(sweep.target)} soonest."
    return Finding("target", "result", sentence, f"Medians, a miss counting as infinite: {evidence}.")


def _tuning(arm: ArmResult) -> Finding | None:
    """Compares an arm's best with its defaults, on the seeds for which both have a value."""
    tuned, default = arm.tuned, arm.default
    if tuned is None or default is None or tuned.validation.mean is None:
        return None
    # Names come from sweep.json, which anybody may have written.
    name, trials = printable(arm.name), counted(arm.n_trials, "trial")
    if default.validation.mean is None:
        evidence = f"Tuned {spread_text(tuned.validation)}; {trials}."
        return Finding("tuning", "result", f"{name} needs tuning: with its defaults no run has a value.", evidence)
    # An arm whose reruns were extended later has seeds that its defaults never saw.
    seeds = [seeds for seeds in tuned.by_seeds if seeds in default.by_seeds]
    if not seeds:
        return None
    after, before = ([setting.by_seeds[s] for s in seeds] for setting in (tuned, default))
    evidence = (
        f"Default {spread_text(Spread(tuple(before)))}, tuned {spread_text(Spread(tuple(after)))} on the same "
        f"{counted(len(seeds), 'seed')}; {trials}."
    )
    gain = tuned.objective.sign * (fmean(before) - fmean(after))
    # The best on a few tuning seeds can be worse than the defaults on others.
    if gain <= 0:
        return Finding("tuning", "caution", f"Tuning did not improve {name}.", evidence)
    return Finding("tuning", "result", f"Tuning improves {name} by {number(gain)}.", evidence)
