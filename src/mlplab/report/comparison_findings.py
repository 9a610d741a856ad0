"""What a comparison has shown of its arms."""

from collections.abc import Sequence
from statistics import fmean

from mlplab.errors import counted, printable
from mlplab.report.arms import Arm
from mlplab.report.findings import Finding
from mlplab.report.finished_runs import Gathered
from mlplab.report.formatting import goal, listed, number, share, spread_text
from mlplab.report.ranked_settings import Spread


def of_arms(sweep: Gathered, arms: Sequence[Arm]) -> list[Finding]:
    """Which arm is soonest at the target, and what tuning has brought each; nothing of a sweep without arms."""
    return [finding for finding in (_target(sweep, arms), *(_tuning(arm) for arm in arms)) if finding is not None]


def _target(sweep: Gathered, arms: Sequence[Arm]) -> Finding | None:
    if not arms:
        return None
    if sweep.target is None:
        return Finding(
            "target", "caution", "No target was given, so the arms are compared by what they come to, not by how fast.",
            "sweep.target={metric: val/accuracy, value: 0.95, mode: max} tells the time to it.",
        )  # fmt: skip
    timed = [(arm, arm.tuned.reaching) for arm in arms if arm.tuned is not None and arm.tuned.reaching is not None]
    if not timed:
        return None
    timed.sort(key=lambda pair: (pair[1].median["seconds"], -pair[1].hits))
    arm, fastest = timed[0]
    told = [
        f"{printable(a.name)}: {number(r.median['seconds'])} s, {number(r.median['epochs'])} epochs, "
        f"{share(r.hits, r.n)} runs"
        for a, r in timed
    ]
    if fastest.hits == 0:
        return Finding("target", "caution", f"No tuned arm reached {goal(sweep.target)}.", f"{listed(told, 8)}.")
    sentence = f"{printable(arm.name)} reaches {goal(sweep.target)} soonest."
    return Finding("target", "result", sentence, f"Medians, a miss counting as infinite: {listed(told, 8)}.")


def _tuning(arm: Arm) -> Finding | None:
    """What tuning has brought an arm, on the seeds that both its best and its defaults have a value on."""
    if arm.tuned is None or arm.default is None:
        return None
    tuned, default = arm.tuned.setting, arm.default.setting
    name, trials = printable(arm.name), counted(arm.n_trials, "trial")
    if tuned.validation.mean is None:
        return None
    if default.validation.mean is None:
        told = f"Tuned {spread_text(tuned.validation)}; {trials}."
        return Finding("tuning", "result", f"{name} needs its tuning: with its defaults no run has a value.", told)
    seeds = [seeds for seeds in tuned.by_seeds if seeds in default.by_seeds]
    if not seeds:
        return None
    after, before = ([setting.by_seeds[s] for s in seeds] for setting in (tuned, default))
    told = (
        f"Default {spread_text(Spread(tuple(before)))}, tuned {spread_text(Spread(tuple(after)))} on the same "
        f"{counted(len(seeds), 'seed')}; {trials}."
    )
    gain = tuned.objective.sign * (fmean(before) - fmean(after))
    if gain <= 0:
        return Finding("tuning", "caution", f"Tuning has not bettered {name}.", told)
    return Finding("tuning", "result", f"Tuning betters {name} by {number(gain)}.", told)
