"""Findings: what a sweep has shown, each a sentence with its evidence."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mlplab.errors import counted, printable
from mlplab.report.across_data_sets import rank_finding
from mlplab.report.paired_tests import LEVEL, Difference, PairedTest, enough_pairs, interval_between, least_p
from mlplab.sweeps.job_values import key_of
from mlplab.sweeps.reading.comparability import SHARED
from mlplab.sweeps.reading.formatting import listed, number, p_text, share, spread_text
from mlplab.sweeps.reading.ranked_settings import Setting, by_data_set, contenders, judged, of_stage, pareto_front
from mlplab.sweeps.reading.sweep_records import Finding, Spread, SweepRecord

MOST_DATA_SETS = 6
"""Data sets with findings of their own."""


def results_of(sweep: SweepRecord, settings: Sequence[Setting], tests: Sequence[PairedTest]) -> list[Finding]:
    """Says what came out best, and how certain that is."""
    found = [_unfinished(sweep), *_versions(sweep), _replaced(sweep)]
    groups = list(by_data_set(settings).items()) or [("", [])]
    for data_set, those in groups[:MOST_DATA_SETS]:
        best = _winner if len(sweep.objectives) == 1 else _pareto
        for finding in (best(sweep, those), *_reruns(those), _noise(sweep, those, tests)):
            if finding is not None and data_set:
                finding = replace(finding, sentence=f"On {printable(data_set)}: {finding.sentence}")
            found.append(finding)
    if len(groups) > MOST_DATA_SETS:
        n_more = counted(len(groups) - MOST_DATA_SETS, "more data set")
        found.append(Finding("data_sets", "result", f"The leaderboard has {n_more}."))
    found += [rank_finding(settings) if len(sweep.objectives) == 1 else None, _tests(tests)]
    return [finding for finding in found if finding is not None]


def _unfinished(sweep: SweepRecord) -> Finding | None:
    if not sweep.runs:
        return Finding("unfinished", "caution", "There are no runs yet.")
    states = Counter(run.state for run in sweep.runs)
    left = {state: states[state] for state in ("running", "waiting", "stopped", "cut off") if states[state]}
    if not left:
        return None
    counts = ", ".join(f"{n:,} {state}" for state, n in left.items())
    # Jobs that run need no help; for the others the sweep must go on.
    command = "resume=DIRECTORY" if sweep.is_pooled else "The sweep's command once more"
    hint = "" if set(left) == {"running"} else f" {command} goes on with them."
    sentence = f"{share(sum(left.values()), len(sweep.runs))} runs have not ended; what follows rests on the others."
    return Finding("unfinished", "caution", sentence, f"{counts}.{hint}")


def _versions(sweep: SweepRecord) -> list[Finding]:
    """Says so if data changed between runs, while their name stayed."""
    counts = Counter(run.data_set for run in sweep.runs if run.data_version)
    if not counts:
        return []
    evidence = listed([f"{printable(name)}: {counted(n, 'run')}" for name, n in counts.items()], 6)
    sentence = "The data changed between runs: those on different data are not pooled, and not compared."
    return [Finding("data", "fault", sentence, f"{evidence}.")]


def _replaced(sweep: SweepRecord) -> Finding | None:
    """Says so if the objective cannot be compared, as its runs have several losses."""
    if sweep.replaced is None:
        return None
    asked, used = sweep.replaced.metric, next(o for o in sweep.objectives if o.metric != sweep.replaced.metric)
    shared = (
        f"monitor={used.metric} mode={used.mode}" if used in SHARED else "monitor=…, a metric that the losses share,"
    )
    hint = f"Each run's best epoch is that of its own {asked}; {shared} decides from the start."
    sentence = f"{asked} is another measure for each loss: settings are compared by {used.metric} instead."
    return Finding("objective", "caution", sentence, hint)


def _winner(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    ranked = contenders(settings)
    # Settings without a value are ranked last: if the first has none, no setting has one.
    best = ranked[0] if ranked else None
    if best is None or best.validation.mean is None:
        return Finding("nothing", "caution", "No run has a value yet.") if sweep.runs else None
    values = best.validation.values
    over = f" over {counted(len(values), sweep.repetition)}" if len(values) > 1 else ""
    reached = f"{printable(sweep.objective.metric)} {spread_text(best.validation)}{over}."
    failed = f" {share(best.n_failed, len(best.runs))} of its runs failed." if best.n_failed else ""
    if len(ranked) == 1:
        # Without a second setting, the range over its runs is all that can be said.
        ends = f"Its runs range from {number(min(values))} to {number(max(values))}. " if over else ""
        evidence = f"{ends}There is no other setting to compare it with."
        return Finding("best", "result", f"{best.label} reaches {reached}{failed}", evidence)
    which = "Smallest" if sweep.objective.mode == "min" else "Largest"
    valued = [setting for setting in ranked if setting.validation.mean is not None]
    without = f" that have one, of {len(ranked):,}" if len(valued) < len(ranked) else ""
    evidence = f"{which} mean of {counted(len(valued), 'setting')}{without}; validation alone decides"
    for runner_up in valued[1:2]:
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
    reruns = [setting for setting in of_stage(settings, "rerun") if setting.arm is None]
    found = []
    for rerun in reruns:
        # By keys, as one number can be spelled in two ways, 0.001 and 1e-3.
        before = next((s for s in ranked if key_of(s.values) == key_of(rerun.values)), None)
        if before is not None and (rerun.validation.mean is not None or rerun.n_failed):
            found.append(_rerun(rerun, before, ranked, reruns))
    return found


def _rerun(rerun: Setting, before: Setting, ranked: Sequence[Setting], reruns: Sequence[Setting]) -> Finding:
    # A sweep that went on after the rerun can have another best by now.
    is_best = before is ranked[0]
    name = "the best" if is_best else before.label if len(reruns) > 1 else f"{before.label}, no longer the best,"
    failed = f" {share(rerun.n_failed, len(rerun.runs))} of its new runs failed." if rerun.n_failed else ""
    if rerun.validation.mean is None:
        return Finding("rerun", "fault", f"On new seeds {name} has no value.{failed}")
    chosen_on = "those that chose it" if len(before.validation.values) > 1 else "the one that chose it"
    sentence = (
        f"On {counted(len(rerun.validation.values), 'new seed')} {name} reaches {printable(rerun.objective.metric)} "
        f"{spread_text(rerun.validation)}, after {spread_text(before.validation)} on {chosen_on}."
    )
    # Never with a value on old seeds, which flatter what they chose.
    is_beaten = is_best and reruns[0] is not rerun
    if is_beaten:
        sentence += f" There {reruns[0].label} is better, with {spread_text(reruns[0].validation)}."
    evidence = "The seeds that chose it flatter it; its value on new seeds is the one to expect."
    if len(reruns) == 1 and len(ranked) > 1:
        evidence += " With top=5 rerun_best.py runs the next ones on the same seeds, to compare them."
    return Finding("rerun", "caution" if is_beaten or failed else "result", sentence + failed, evidence)


def _noise(sweep: SweepRecord, settings: Sequence[Setting], tests: Sequence[PairedTest]) -> Finding | None:
    """Says which settings cannot be told from the best, or that this is unknown; a test that decides has the word."""
    ranked = [setting for setting in judged(settings) if setting.validation.mean is not None]
    if len(ranked) < 2:
        return None
    if _known_spread(sweep, settings, ranked) is None:
        return _unknown_noise(sweep)
    # On a Pareto front nothing is first or second; only unknown noise is worth saying.
    if len(sweep.objectives) > 1:
        return None
    best, close = ranked[0], _close_to_best(sweep, settings, ranked, tests)
    if not close:
        return None
    evidence = listed([f"{other.label}: {found.text()}" for other, found in close])
    on = " on new seeds" if best.stage == "rerun" and best.arm is None else ""
    sentence = (
        f"{counted(len(close), 'setting')} cannot be told from the best{on}: run more seeds, or take the simplest."
    )
    return Finding("noise", "caution", sentence, f"By how much they are worse: {evidence}.")


def _known_spread(sweep: SweepRecord, settings: Sequence[Setting], ranked: Sequence[Setting]) -> Spread | None:
    """Returns the spread that a setting of one run is taken to have: of the rerun, or of what it is compared with."""
    compared = ranked[:2] if len(sweep.objectives) == 1 else pareto_front(ranked, sweep.objectives)
    reruns = [setting for setting in of_stage(settings, "rerun") if setting.arm is None]
    return next((s.validation for s in [*reruns, *compared] if s.validation.deviation is not None), None)


def _close_to_best(
    sweep: SweepRecord, settings: Sequence[Setting], ranked: Sequence[Setting], tests: Sequence[PairedTest]
) -> list[tuple[Setting, Difference]]:
    """Returns the settings that cannot be told from the best, each with its difference."""
    known = _known_spread(sweep, settings, ranked)
    decided = [test.second for test in tests if test.first is ranked[0] and test.corrected_p < LEVEL]
    found = [(s, interval_between(ranked[0], s, known)) for s in ranked[1:] if known is not None and s not in decided]
    return [(setting, difference) for setting, difference in found if difference.low <= 0 <= difference.high]


def supported_best(sweep: SweepRecord, settings: Sequence[Setting], tests: Sequence[PairedTest]) -> list[Setting]:
    """Returns the best setting of each data set that is told from all others by more than the noise of the seeds."""
    found = []
    for those in by_data_set(settings).values() if len(sweep.objectives) == 1 else ():
        ranked = [setting for setting in judged(those) if setting.validation.mean is not None]
        is_known = len(ranked) > 1 and _known_spread(sweep, those, ranked) is not None
        # Where a test could not show the difference, an interval that excludes 0 does not either.
        is_doubtful = any(ranked[0] in (t.first, t.second) and t.corrected_p >= LEVEL for t in tests)
        if is_known and not is_doubtful and not _close_to_best(sweep, those, ranked, tests):
            found.append(ranked[0])
    return found


def _unknown_noise(sweep: SweepRecord) -> Finding:
    # A search over seeds would choose the luckiest, and a comparison has its seeds in its settings.
    hints = {
        "optuna": "Average over seeds in a new search by hydra.sweeper.seeds=3",
        "comparison": "Judge on more seeds by hydra.sweeper.seeds=10",
    }
    hint = hints.get(str(sweep.asked.get("sweeper")), "Sweep over seed=range(0,5) too")
    # With several objectives there is no best to run once more, and of pooled runs no sweep to do it in.
    if len(sweep.objectives) == 1 and not sweep.is_pooled:
        directory = shlex.quote(f"logs/sweeps/{printable(sweep.name)}")
        hint += f", or run the best once more: python scripts/rerun_best.py {directory} seeds=10"
    sentence = "How much the result depends on the seed is not known: the best settings ran on one seed each."
    return Finding("noise", "caution", sentence, f"A small difference between settings may be chance. {hint}.")


def _tests(tests: Sequence[PairedTest]) -> Finding | None:
    if not tests:
        return None
    significant = [test for test in tests if test.corrected_p < LEVEL]
    n, n_tests = len(significant), len(tests)
    pairs = max(test.result.n - test.result.n_equal for test in tests)
    # The smallest of all p is multiplied by their number.
    can_show = least_p(pairs) * n_tests < LEVEL
    if not n and not can_show and pairs:
        could = f"{enough_pairs(n_tests)} could"
        sentence = f"{counted(pairs, 'paired seed')} cannot show a difference, however large: {could}."
    elif n_tests == 1:
        sentence = (
            f"On paired seeds, the difference is {'' if n else 'not '}more than chance{'' if n else ' can give'}."
        )
    else:
        differences = f"{n or 'none'} of {n_tests} differences {'is' if n < 2 else 'are'} more than chance"
        sentence = f"On paired seeds, {differences}{'' if n else ' can give'}."
    least = f"With {counted(pairs, 'pair')} no p can be below {number(least_p(pairs), 2)}"
    return Finding(
        "paired_test",
        "result" if n else "caution",
        sentence,
        f"{listed([_test(test) for test in significant or tests[:1]])}. Wilcoxon's signed-rank test, corrected "
        f"by Holm over {counted(n_tests, 'comparison')}. {least}{', before the correction' if n_tests > 1 else ''}.",
    )


def _test(test: PairedTest) -> str:
    result, better, other = test.result, test.first, test.second
    wins, median, mean, (low, high) = test.wins, result.median, test.mean, test.interval
    # A few bad seeds can give the setting that wins on most of them the worse mean.
    if result.rank_biserial < 0:
        better, other, wins = other, better, result.n - result.n_equal - wins
        median, mean, low, high = -median, -mean, -high, -low
    is_shown = test.corrected_p < LEVEL
    names = f"{better.label} {'beats' if is_shown else 'against'} {other.label}{'' if is_shown else ': better'}"
    return (
        f"{names} on {wins} of {result.n} seeds, by a median of {number(median)} (mean {number(mean)}, 95 % interval "
        f"{number(low)} to {number(high)}; p {p_text(result.p)}, corrected {p_text(test.corrected_p)}, rank-biserial "
        f"{abs(result.rank_biserial):.2f})"
    )
