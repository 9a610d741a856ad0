"""What a sweep has shown, in sentences with their evidence."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.errors import counted, printable
from mlplab.report.finished_runs import Gathered
from mlplab.report.formatting import listed, number, p_text, share, spread_text
from mlplab.report.paired_comparisons import Tested
from mlplab.report.pareto import front_of
from mlplab.report.ranked_settings import Setting, contenders, label, names_of, of_stage, short_names
from mlplab.sweeps.ledger import key_of

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


def results(sweep: Gathered, settings: Sequence[Setting], tests: Sequence[Tested]) -> list[Finding]:
    """What came out best, and how sure that is."""
    names = short_names(names_of(settings))
    first = _winner if len(sweep.objectives) == 1 else _pareto
    found = [_unfinished(sweep), first(sweep, settings, names), *_reruns(settings, names)]
    found += [_noise(sweep, settings, names), _tests(tests, names)]
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
    reached = f"{printable(sweep.objective.metric)} {spread_text(best.validation)}{over}."
    failed = f" {share(best.n_failed, len(best.runs))} of its runs failed." if best.n_failed else ""
    if len(ranked) == 1:
        values = best.validation.values
        ends = f"Its runs came to {number(min(values))} to {number(max(values))}. " if n > 1 else ""
        told = f"{ends}There is no other setting to compare it with."
        return Finding("best", "result", f"{label(best, names)} reaches {reached}{failed}", told)
    which = "Smallest" if sweep.objective.mode == "min" else "Largest"
    runner_up = next((s for s in ranked[1:] if s.validation.mean is not None), None)
    evidence = f"{which} mean of {counted(len(ranked), 'setting')}; validation alone decides"
    if runner_up is not None:
        evidence += f". Next: {label(runner_up, names)} with {spread_text(runner_up.validation)}"
    return Finding("best", "result", f"{label(best, names)} is best: {reached}{failed}", f"{evidence}.")


def _pareto(sweep: Gathered, settings: Sequence[Setting], names: Mapping[str, str]) -> Finding | None:
    front = front_of(contenders(settings), sweep.objectives)
    if not front:
        return Finding("nothing", "caution", "No run has a value of every objective yet.") if sweep.runs else None
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


def _reruns(settings: Sequence[Setting], names: Mapping[str, str]) -> list[Finding]:
    """How settings that ran once more did on new seeds, against those that chose them; of arms there is a table."""
    ranked = [setting for setting in of_stage(settings, "search") if setting.validation.mean is not None]
    found = []
    for rerun in of_stage(settings, "rerun"):
        before = next((s for s in ranked if key_of(s.values) == key_of(rerun.values)), None)
        if rerun.arm is None and before is not None and (rerun.validation.mean is not None or rerun.n_failed):
            found.append(_rerun(rerun, before, ranked, names))
    return found


def _rerun(rerun: Setting, before: Setting, ranked: Sequence[Setting], names: Mapping[str, str]) -> Finding:
    # A sweep that went on since can have another best.
    name = "the best" if before is ranked[0] else f"{label(before, names)}, no longer the best,"
    failed = f" {share(rerun.n_failed, len(rerun.runs))} of its new runs failed." if rerun.n_failed else ""
    mean, n = rerun.validation.mean, len(rerun.validation.values)
    if mean is None:
        return Finding("rerun", "fault", f"On new seeds {name} has no value.{failed}")
    chosen_on = "those that chose it" if len(before.validation.values) > 1 else "the one that chose it"
    metric = printable(rerun.objective.metric)
    sentence = f"On {counted(n, 'new seed')} {name} comes to {metric} {spread_text(rerun.validation)}, "
    sentence += f"after {spread_text(before.validation)} on {chosen_on}."
    second = next((setting for setting in ranked if setting is not before), None)
    is_worse = second is not None and rerun.objective.sign * (mean - (second.validation.mean or 0.0)) > 0
    if second is not None and is_worse:
        which = "the second" if before is ranked[0] else "the best now"
        sentence += f" That is worse than {which}, {label(second, names)}, with {spread_text(second.validation)}."
    evidence = "The seeds that chose it flatter it; what it comes to on new ones can be expected of it."
    return Finding("rerun", "caution" if is_worse or failed else "result", sentence + failed, evidence)


def _noise(sweep: Gathered, settings: Sequence[Setting], names: Mapping[str, str]) -> Finding | None:
    """Whether the best is apart from the next by more than seeds are from each other."""
    several = len(sweep.objectives) > 1
    ranked = [setting for setting in contenders(settings) if setting.validation.mean is not None]
    if len(ranked) < 2:
        return None
    compared = front_of(ranked, sweep.objectives) if several else ranked[:2]
    rerun = next((s.validation.deviation for s in of_stage(settings, "rerun") if s.arm is None), None)
    known = [rerun if s.validation.deviation is None else s.validation.deviation for s in compared]
    deviations = [deviation for deviation in known if deviation is not None]
    if len(deviations) < len(known):
        return _unknown_noise(sweep)
    means = [setting.validation.mean or 0.0 for setting in ranked]
    noise = float(np.sqrt(np.mean(np.square(deviations)))) if deviations else 0.0
    difference = abs(means[1] - means[0])
    if several or difference >= noise:
        return None
    close = [s for s, mean in zip(ranked, means, strict=True) if abs(mean - means[0]) < noise]
    return Finding(
        "noise", "caution",
        f"The first {counted(len(close), 'setting')} differ less from the best than their seeds do from each other.",
        f"First and second differ by {number(difference)}; the standard deviation over seeds is {number(noise)}. "
        f"The simplest of them is as good a choice: {listed([label(s, names) for s in close])}.",
    )  # fmt: skip


def _unknown_noise(sweep: Gathered) -> Finding:
    remedy = "Sweep over seed=range(0,5) too"
    if len(sweep.objectives) == 1:  # of several there is no best to run once more
        directory = shlex.quote(f"logs/sweeps/{printable(sweep.name)}")
        remedy += f", or run the best once more: python scripts/rerun_best.py {directory} seeds=10"
    return Finding(
        "noise", "caution",
        "How much the result depends on the seed is not known: the best settings ran on one seed each.",
        f"A small difference between settings may be chance. {remedy}.",
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
