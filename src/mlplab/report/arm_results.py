"""The results of a comparison: each arm's best on new seeds, beside the arm with nothing tuned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlplab.errors import counted, printable
from mlplab.report.paired_tests import LEVEL, PairedTest, enough_pairs, least_p, tests_of
from mlplab.sweeps.reading.formatting import listed, number, p_text, share, spread_text
from mlplab.sweeps.reading.ranked_settings import Setting, contenders, of_stage
from mlplab.sweeps.reading.sweep_records import Finding, Spread, SweepRecord


@dataclass(frozen=True)
class ArmResult:
    """One arm of a comparison."""

    name: str
    tuned: Setting | None  # the best of its search, run once more; None before that has begun
    default: Setting | None  # the arm with nothing tuned; None if it was not run
    n_trials: int  # settings that its search tried


def arms_of(settings: Sequence[Setting]) -> list[ArmResult]:
    """Collects the arms, those with the best reruns first; empty unless the sweep is a comparison."""
    arms = []
    for name in dict.fromkeys(setting.arm for setting in settings if setting.arm is not None):
        of_arm = [setting for setting in settings if setting.arm == name]
        tuned = next((setting for setting in contenders(of_arm) if setting.stage == "rerun"), None)
        default = next(iter(of_stage(of_arm, "default")), None)
        arms.append(ArmResult(name, tuned, default, len(of_stage(of_arm, "search"))))
    # Reruns are ranked over all arms together, so their ranks put the arms in order.
    return sorted(arms, key=lambda arm: (arm.tuned is None, arm.tuned.rank if arm.tuned else 0))


def arm_findings(sweep: SweepRecord, arms: Sequence[ArmResult]) -> list[Finding]:
    """Says which arm reaches the target first, and what tuning gained each arm."""
    return [*_target(sweep, arms), *_tunings(arms)] if arms else []


def _target(sweep: SweepRecord, arms: Sequence[ArmResult]) -> list[Finding]:
    if sweep.target is None:
        sentence = "No target was given, so the arms are compared by their final quality, not by their speed."
        hint = "sweep.target={metric: val/accuracy, value: 0.95, mode: max} measures the time to it."
        return [Finding("target", "caution", sentence, hint)]
    tuned = [(printable(arm.name), arm.tuned) for arm in arms if arm.tuned is not None]
    timed = [(name, time) for name, setting in tuned if (time := setting.time_to(sweep.target))]
    if not timed:
        return []
    # Arms that are equally fast are ordered by how often they get there.
    timed.sort(key=lambda pair: (pair[1].median["seconds"], -pair[1].hits))
    medians = [f"{number(t.median['seconds'])} s, {number(t.median['epochs'])} epochs" for _, t in timed]
    texts = [f"{n}: {m}, {share(t.hits, t.n)} runs" for (n, t), m in zip(timed, medians, strict=True)]
    (name, fastest), reached = timed[0], printable(sweep.target)
    sentence, of_misses = f"{name} reaches {reached} soonest.", "Medians, a miss counting as infinite: "
    if fastest.hits == 0:
        sentence, of_misses = f"No tuned arm reached {reached}.", ""
    elif not math.isfinite(fastest.median["seconds"]):
        sentence = f"No tuned arm reached {reached} in most of its runs; {name} did so most often."
    level = "result" if math.isfinite(fastest.median["seconds"]) else "caution"
    return [Finding("target", level, sentence, f"{of_misses}{listed(texts)}.")]


def _tunings(arms: Sequence[ArmResult]) -> list[Finding]:
    """Compares each arm's best with its defaults, on the seeds for which both have a value."""
    found: list[Finding] = []
    for arm in arms:
        if arm.tuned and arm.tuned.validation.values and arm.default and not arm.default.validation.values:
            evidence = f"Tuned {spread_text(arm.tuned.validation)}; {counted(arm.n_trials, 'trial')}."
            sentence = f"{printable(arm.name)} needs tuning: with its defaults no run has a value."
            found.append(Finding("tuning", "result", sentence, evidence))
    # An arm whose reruns were extended later has seeds that its defaults never saw.
    tests = tests_of([(arm.tuned, arm.default) for arm in arms if arm.tuned and arm.default])
    n_trials = {arm.name: arm.n_trials for arm in arms}
    return [*found, *(_tuning(test, n_trials[str(test.first.arm)], len(tests)) for test in tests)]


def _tuning(test: PairedTest, n_trials: int, n_tests: int) -> Finding:
    seeds = [seeds for seeds in test.first.by_seeds if seeds in test.second.by_seeds]
    after, before = (Spread(tuple(side.by_seeds[s] for s in seeds)) for side in (test.first, test.second))
    # Names come from sweep.json, which anybody may have written.
    name, gain, n, p = printable(test.first.arm), test.mean, counted(len(seeds), "seed"), test.corrected_p
    low, high = map(number, test.interval)
    chance = f"p {p_text(test.result.p)}, corrected {p_text(p)}"
    interval = f" (95 % interval of the gain {low} to {high}; {chance})" if len(seeds) > 1 else ""
    evidence = f"Default {spread_text(before)}, tuned {spread_text(after)} on the same {n}{interval}; "
    evidence += f"{counted(n_trials, 'trial')}."
    if p < LEVEL and test.result.rank_biserial > 0:
        return Finding("tuning", "result", f"Tuning improves {name} by {number(gain)}.", evidence)
    if p < LEVEL:
        # The best on a few tuning seeds can be worse than the defaults on others.
        return Finding("tuning", "caution", f"Tuning made {name} worse, by {number(-gain)}.", evidence)
    sentence = f"improves {name} by {number(gain)}" if gain > 0 else f"does not improve {name}"
    doubt = "which may be chance"
    if least_p(len(seeds)) * n_tests >= LEVEL:
        doubt = f"and {n} cannot show more than chance: {enough_pairs(n_tests)} could"
    return Finding("tuning", "caution", f"Tuning {sentence}, {doubt}.", evidence)
