"""Findings: what a sweep has shown, each a sentence with its evidence."""

import shlex
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mlplab.errors import counted, printable
from mlplab.report.formatting import listed, number, p_text, share, spread_text
from mlplab.report.paired_tests import PairedTest
from mlplab.report.ranked_settings import Setting, contenders, of_stage, pareto_front
from mlplab.report.sweep_records import Finding, SweepRecord
from mlplab.sweeps.ledger import key_of

LEVEL = 0.05
"""A corrected p below this one is significant."""


def results_of(sweep: SweepRecord, settings: Sequence[Setting], tests: Sequence[PairedTest]) -> list[Finding]:
    """Says what came out best, and how certain that is."""
    best = _winner if len(sweep.objectives) == 1 else _pareto
    found = [_unfinished(sweep), best(sweep, settings), *_reruns(settings)]
    found += [_noise(sweep, settings), _tests(tests)]
    return [finding for finding in found if finding is not None]


def _unfinished(sweep: SweepRecord) -> Finding | None:
    if not sweep.runs:
        return Finding("unfinished", "caution", "The sweep has no runs yet.")
    states = Counter(run.state for run in sweep.runs)
    left = {state: states[state] for state in ("running", "waiting", "stopped", "cut off") if states[state]}
    if not left:
        return None
    counts = ", ".join(f"{n:,} {state}" for state, n in left.items())
    # Jobs that run need no help; for the others the sweep must go on.
    hint = "" if set(left) == {"running"} else " The sweep's command once more goes on with them."
    sentence = f"{share(sum(left.values()), len(sweep.runs))} runs have not ended; what follows rests on the others."
    return Finding("unfinished", "caution", sentence, f"{counts}.{hint}")


def _winner(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    ranked = contenders(settings)
    # Settings without a value are ranked last: if the first has none, no setting has one.
    best = ranked[0] if ranked else None
    if best is None or best.validation.mean is None:
        return Finding("nothing", "caution", "No run has a value yet.") if sweep.runs else None
    values = best.validation.values
    over = f" over {counted(len(values), 'seed')}" if len(values) > 1 else ""
    reached = f"{printable(sweep.objective.metric)} {spread_text(best.validation)}{over}."
    failed = f" {share(best.n_failed, len(best.runs))} of its runs failed." if best.n_failed else ""
    if len(ranked) == 1:
        # Without a second setting, the range over seeds is all that can be said.
        ends = f"Its runs range from {number(min(values))} to {number(max(values))}. " if over else ""
        evidence = f"{ends}There is no other setting to compare it with."
        return Finding("best", "result", f"{best.label} reaches {reached}{failed}", evidence)
    which = "Smallest" if sweep.objective.mode == "min" else "Largest"
    evidence = f"{which} mean of {counted(len(ranked), 'setting')}; validation alone decides"
    runner_up = next((s for s in ranked[1:] if s.validation.mean is not None), None)
    if runner_up is not None:
        evidence += f". Next: {runner_up.label} with {spread_text(runner_up.validation)}"
    return Finding("best", "result", f"{best.label} is best: {reached}{failed}", f"{evidence}.")


def _pareto(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    ranked = contenders(settings)
    front = pareto_front(ranked, sweep.objectives)
    if not front:
        return Finding("nothing", "caution", "No run has a value of every objective yet.") if sweep.runs else None
    evidence = [
        f"{setting.label}: "
        + ", ".join(f"{printable(o.metric)} {number(setting.spread(o.metric).mean)}" for o in sweep.objectives)
        for setting in front
    ]
    metrics = " and ".join(printable(objective.metric) for objective in sweep.objectives)
    sentence = f"{counted(len(front), 'setting')} of {len(ranked):,} cannot be improved in {metrics} at once."
    return Finding("pareto", "result", sentence, f"{listed(evidence)}.")


def _reruns(settings: Sequence[Setting]) -> list[Finding]:
    """Compares reruns on new seeds with the runs that chose them; arms have a table instead."""
    ranked = [setting for setting in of_stage(settings, "search") if setting.validation.mean is not None]
    found = []
    for rerun in of_stage(settings, "rerun"):
        # By keys, as one number can be spelled in two ways, 0.001 and 1e-3.
        before = next((s for s in ranked if key_of(s.values) == key_of(rerun.values)), None)
        if rerun.arm is None and before is not None and (rerun.validation.mean is not None or rerun.n_failed):
            found.append(_rerun(rerun, before, ranked))
    return found


def _rerun(rerun: Setting, before: Setting, ranked: Sequence[Setting]) -> Finding:
    # A sweep that went on after the rerun can have another best by now.
    is_best = before is ranked[0]
    name = "the best" if is_best else f"{before.label}, no longer the best,"
    failed = f" {share(rerun.n_failed, len(rerun.runs))} of its new runs failed." if rerun.n_failed else ""
    mean = rerun.validation.mean
    if mean is None:
        return Finding("rerun", "fault", f"On new seeds {name} has no value.{failed}")
    chosen_on = "those that chose it" if len(before.validation.values) > 1 else "the one that chose it"
    sentence = (
        f"On {counted(len(rerun.validation.values), 'new seed')} {name} reaches {printable(rerun.objective.metric)} "
        f"{spread_text(rerun.validation)}, after {spread_text(before.validation)} on {chosen_on}."
    )
    second = next((setting for setting in ranked if setting is not before), None)
    is_worse = second is not None and rerun.objective.sign * (mean - second.score) > 0
    if second is not None and is_worse:
        which = "the second" if is_best else "the best now"
        sentence += f" That is worse than {which}, {second.label}, with {spread_text(second.validation)}."
    evidence = "The seeds that chose it flatter it; its value on new seeds is the one to expect."
    return Finding("rerun", "caution" if is_worse or failed else "result", sentence + failed, evidence)


def _noise(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    """Says so if the first settings differ less than their seeds do, or if that is unknown."""
    has_several = len(sweep.objectives) > 1
    ranked = [setting for setting in contenders(settings) if setting.validation.mean is not None]
    if len(ranked) < 2:
        return None
    compared = pareto_front(ranked, sweep.objectives) if has_several else ranked[:2]
    # A setting that ran once has the spread of the rerun, the only one known.
    rerun = next((s.validation.deviation for s in of_stage(settings, "rerun") if s.arm is None), None)
    known = [rerun if s.validation.deviation is None else s.validation.deviation for s in compared]
    deviations = [deviation for deviation in known if deviation is not None]
    if len(deviations) < len(known):
        return _unknown_noise(sweep)
    # The root mean square, because variances add up and deviations do not.
    noise = float(np.sqrt(np.mean(np.square(deviations)))) if deviations else 0.0
    difference = abs(ranked[1].score - ranked[0].score)
    # On a Pareto front nothing is first or second; only unknown noise is worth saying.
    if has_several or difference >= noise:
        return None
    close = [setting for setting in ranked if abs(setting.score - ranked[0].score) < noise]
    return Finding(
        "noise",
        "caution",
        f"The first {counted(len(close), 'setting')} differ less from the best than their seeds do from each other.",
        f"First and second differ by {number(difference)}; the standard deviation over seeds is {number(noise)}. "
        f"The simplest of them is as good a choice: {listed([s.label for s in close])}.",
    )


def _unknown_noise(sweep: SweepRecord) -> Finding:
    hint = "Sweep over seed=range(0,5) too"
    if len(sweep.objectives) == 1:  # with several there is no best to run once more
        directory = shlex.quote(f"logs/sweeps/{printable(sweep.name)}")
        hint += f", or run the best once more: python scripts/rerun_best.py {directory} seeds=10"
    sentence = "How much the result depends on the seed is not known: the best settings ran on one seed each."
    return Finding("noise", "caution", sentence, f"A small difference between settings may be chance. {hint}.")


def _tests(tests: Sequence[PairedTest]) -> Finding | None:
    if not tests:
        return None
    # All tests have about as many pairs, so the first one tells what they can show at best.
    significant = [test for test in tests if test.corrected_p < LEVEL]
    n, n_tests, result = len(significant), len(tests), tests[0].result
    if n_tests == 1:
        differences = f"the difference is {'' if n else 'not '}"
    else:
        differences = f"{n or 'none'} of {n_tests} differences {'is' if n < 2 else 'are'} "
    sentence = f"On paired seeds, {differences}more than chance{'' if n else ' can give'}."
    least = f"With {counted(result.n - result.n_equal, 'pair')} no p can be below {number(result.least_p, 2)}"
    return Finding(
        "paired_test",
        "result" if n else "caution",
        sentence,
        f"{listed([_test(test) for test in significant or tests[:1]])}. Wilcoxon's signed-rank test, corrected "
        f"by Holm over {counted(n_tests, 'comparison')}. {least}{', before the correction' if n_tests > 1 else ''}.",
    )


def _test(test: PairedTest) -> str:
    result = test.result
    return (
        f"{test.first.label} beats {test.second.label} on {test.wins} of {result.n} seeds by a median "
        f"of {number(result.median)} (p {p_text(result.p)}, corrected {p_text(test.corrected_p)}, rank-biserial "
        f"{result.rank_biserial:.2f})"
    )
