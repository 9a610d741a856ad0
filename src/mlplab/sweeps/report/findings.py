"""What a sweep has shown, in sentences with their evidence."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlplab.errors import counted, printable
from mlplab.sweeps.report.comparison import Arm, Side
from mlplab.sweeps.report.pareto import front_of
from mlplab.sweeps.report.runs import Gathered
from mlplab.sweeps.report.settings import Setting, contenders, label, names_of, short_names
from mlplab.sweeps.report.testing import Tested
from mlplab.sweeps.report.wording import goal, listed, number, p_text, share, spread_text

LEVEL = 0.05
"""Below which a corrected p counts."""


@dataclass(frozen=True)
class Finding:
    """One thing that was learned.

    Attributes:
        kind: what it is about, in a word for programs.
        level: `result`, `caution` (something to do or to mind) or `fault` (something went wrong).
        sentence: what holds.
        evidence: the figures that it rests on.
    """

    kind: str
    level: str
    sentence: str
    evidence: str = ""


def results(
    sweep: Gathered, settings: Sequence[Setting], arms: Sequence[Arm], tests: Sequence[Tested]
) -> list[Finding]:
    """What came out best, and how sure that is."""
    names = short_names(names_of(settings))
    found = [_unfinished(sweep), _winner(sweep, settings, names)]
    found += [_pareto(sweep, settings, names), _noise(sweep, settings, names), _tests(tests, names)]
    found += [_target(sweep, arms), *(_tuning(arm) for arm in arms)]
    return [finding for finding in found if finding is not None]


def _unfinished(sweep: Gathered) -> Finding | None:
    states = Counter(run.state for run in sweep.runs)
    left = {state: states[state] for state in ("running", "waiting", "stopped", "cut off") if states[state]}
    if not sweep.runs:
        return Finding("unfinished", "caution", "The sweep has no runs yet.")
    if not left:
        return None
    n_left = sum(left.values())
    told = ", ".join(f"{n:,} {state}" for state, n in left.items())
    remedy = "" if set(left) == {"running"} else " The sweep's command once more goes on with them."
    return Finding(
        "unfinished", "caution",
        f"{share(n_left, len(sweep.runs))} runs have not ended; what follows rests on the others.", f"{told}.{remedy}",
    )  # fmt: skip


def _winner(sweep: Gathered, settings: Sequence[Setting], names: Mapping[str, str]) -> Finding | None:
    ranked = contenders(settings)
    best = ranked[0] if ranked else None
    if best is None or best.validation.mean is None:
        return Finding("nothing", "caution", "No run has a value yet.") if sweep.runs else None
    n = len(best.validation.values)
    over = f" over {counted(n, 'seed')}" if n > 1 else ""
    which = "Smallest" if sweep.objective.mode == "min" else "Largest"
    runner_up = next((s for s in ranked[1:] if s.validation.mean is not None), None)
    evidence = f"{which} mean of {counted(len(ranked), 'setting')}; validation alone decides"
    if runner_up is not None:
        evidence += f". Next: {label(runner_up, names)} with {spread_text(runner_up.validation)}"
    sentence = (
        f"{label(best, names)} is best: {printable(sweep.objective.metric)} {spread_text(best.validation)}{over}."
    )
    if best.n_failed:
        sentence += f" {share(best.n_failed, len(best.runs))} of its runs failed."
    return Finding("best", "result", sentence, f"{evidence}.")


def _pareto(sweep: Gathered, settings: Sequence[Setting], names: Mapping[str, str]) -> Finding | None:
    if len(sweep.objectives) < 2:
        return None
    front = front_of(contenders(settings), sweep.objectives)
    if not front:
        return None
    told = [
        f"{label(setting, names)}: "
        + ", ".join(f"{printable(o.metric)} {number(setting.spread(o.metric).mean)}" for o in sweep.objectives)
        for setting in front
    ]
    metrics = " and ".join(printable(objective.metric) for objective in sweep.objectives)
    sentence = (
        f"{counted(len(front), 'setting')} of {len(contenders(settings)):,} cannot be bettered in {metrics} at once."
    )
    return Finding("pareto", "result", sentence, f"{listed(told)}.")


def _noise(sweep: Gathered, settings: Sequence[Setting], names: Mapping[str, str]) -> Finding | None:
    """Whether the best is apart from the next by more than seeds are from each other."""
    ranked = [setting for setting in contenders(settings) if setting.validation.mean is not None]
    if len(ranked) < 2:
        return None
    best, second = ranked[0], ranked[1]
    if best.validation.deviation is None or second.validation.deviation is None:
        return Finding(
            "noise", "caution",
            "How much the result depends on the seed is not known: the best settings ran on one seed each.",
            "A small difference between settings may be chance. Sweep over seed=range(0,5) too, or run the best once "
            f"more: python scripts/rerun_best.py {shlex.quote(f'logs/sweeps/{printable(sweep.name)}')} seeds=10.",
        )  # fmt: skip
    means = [setting.validation.mean or 0.0 for setting in ranked]
    noise = ((best.validation.deviation**2 + second.validation.deviation**2) / 2) ** 0.5
    difference = abs(means[1] - means[0])
    if difference >= noise:
        return None
    close = [s for s, mean in zip(ranked, means, strict=True) if abs(mean - means[0]) < noise]
    return Finding(
        "noise", "caution",
        f"The first {counted(len(close), 'setting')} differ less from the best than their seeds do from each other.",
        f"First and second differ by {number(difference)}; the standard deviation over seeds is {number(noise)}. "
        f"The simplest of them is as good a choice: {listed([label(s, names) for s in close])}.",
    )  # fmt: skip


def _tests(tests: Sequence[Tested], names: Mapping[str, str]) -> Finding | None:
    if not tests:
        return None
    sure = [test for test in tests if test.corrected_p < LEVEL]
    result = tests[0].result
    least = f"With {counted(result.n - result.n_equal, 'pair')} no p can be below {result.least_p:.2g}"
    told = [_test_told(test, names) for test in sure or tests[:1]]
    how_sure = "more than chance" if sure else "more than chance can give"
    sentence = f"On paired seeds, {_differences(len(sure), len(tests))} {how_sure}."
    return Finding(
        "paired_test", "result" if sure else "caution", sentence,
        f"{listed(told)}. Wilcoxon's signed-rank test, corrected by Holm over {counted(len(tests), 'comparison')}. "
        f"{least}{', before the correction' if len(tests) > 1 else ''}.",
    )  # fmt: skip


def _test_told(test: Tested, names: Mapping[str, str]) -> str:
    result = test.result
    return (
        f"{label(test.first, names)} beats {label(test.second, names)} on {test.wins} of {result.n} seeds by a median "
        f"of {number(result.median)} (p {p_text(result.p)}, corrected {p_text(test.corrected_p)}, rank-biserial "
        f"{result.rank_biserial:.2f})"
    )


def _differences(n_sure: int, n: int) -> str:
    if n == 1:
        return "the difference is" if n_sure else "the difference is not"
    return f"{n_sure or 'none'} of {n} differences {'is' if n_sure == 1 or not n_sure else 'are'}"


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
    """What tuning has brought an arm."""
    if arm.tuned is None or arm.default is None:
        return None
    tuned, default = _mean(arm.tuned), _mean(arm.default)
    if tuned is None:
        return None
    sign = arm.tuned.setting.objective.sign
    before, after = (spread_text(side.setting.validation) for side in (arm.default, arm.tuned))
    told = f"Default {before}, tuned {after} on the same seeds; {counted(arm.n_trials, 'trial')}."
    name = printable(arm.name)
    if default is None:
        return Finding("tuning", "result", f"{name} needs its tuning: with its defaults no run has a value.", told)
    if sign * (default - tuned) <= 0:
        return Finding("tuning", "caution", f"Tuning has not bettered {name}.", told)
    return Finding("tuning", "result", f"Tuning betters {name} by {number(abs(default - tuned))}.", told)


def _mean(side: Side) -> float | None:
    return side.setting.validation.mean
