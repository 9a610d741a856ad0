"""Findings: what a sweep has shown, each a sentence with its evidence."""

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlplab.config.config_rules import MLP_RULES, OPTIMIZER_RULES, RULES
from mlplab.errors import counted, printable
from mlplab.report.charts import ParameterAxis, ends_of
from mlplab.report.learning_curves import best_places, overfitting
from mlplab.report.paired_tests import (
    LEVEL,
    Difference,
    PairedTest,
    enough_pairs,
    interval_between,
    least_p,
    p_text,
    paired_differences,
    tests_of,
)
from mlplab.sweeps.comparable_options import chooses_data
from mlplab.sweeps.job_values import FOLD, SEEDS, key_of
from mlplab.sweeps.reading.formatting import digits_of, listed, machine_text, number, share, spread_text, value_text
from mlplab.sweeps.reading.ranked_settings import (
    Setting,
    by_data_set,
    contenders,
    judged,
    of_stage,
    pareto_front,
    valued,
)
from mlplab.sweeps.reading.sweep_reading import is_of_method
from mlplab.sweeps.reading.sweep_records import Finding, Spread, SweepRecord, as_mapping, distinct

# Shares of an interval that count as its edge, and in which most of the best settings of a search must lie.
EDGE, OUTER = 0.05, 0.25
# Values of a grid, and settings of a search, from which a best value at the edge means something.
LEAST_VALUES, LEAST_TRIALS = 3, 10
UNFINISHED = ("running", "waiting", "stopped", "cut off")  # states of runs that have not ended
MOST_GROUPS = 3  # choices for which edges are looked for, those with the best settings
# Rules of numbers that are swept, so that no value is proposed that would be refused.
RULES_OF_NUMBERS = RULES | {
    f"{group}.{name}": rule
    for group, rules in (("model", MLP_RULES), ("optimizer", OPTIMIZER_RULES))
    for name, rule in rules.items()
}
MANY, SOME = 0.7, 0.2  # shares of runs that count as nearly all, and from which overfitting is worth a caveat


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


def findings_of(
    sweep: SweepRecord,
    settings: Sequence[Setting],
    axes: Mapping[str, ParameterAxis],
    arms: Sequence[ArmResult],
    tests: Sequence[PairedTest],
) -> list[Finding]:
    """Says what came out best, how certain that is, and what limits what the runs can show."""
    found: list[Finding | None] = [*sweep.told, _unfinished(sweep), _versions(sweep), _replaced(sweep)]
    is_single = len(sweep.objectives) == 1
    groups = by_data_set(settings) or {"": []}
    data_sets: dict[Finding, list[str]] = {}
    for data_set, those in groups.items():
        best = [_winner(sweep, those), _other_seeds(sweep, those)] if is_single else [_pareto(sweep, those)]
        for finding in filter(None, (*best, *_reruns(those), _noise(sweep, those, tests))):
            data_sets.setdefault(finding, []).append(printable(data_set))
    for finding, names in data_sets.items():
        # What holds for all of them is said once, and a label that names the data set needs no prefix.
        is_clear = len(names) == len(groups) or names[0] in finding.sentence
        found.append(finding if is_clear else replace(finding, sentence=f"On {'; '.join(names)}: {finding.sentence}"))
    found += [_mean_ranks(settings) if is_single else None, _tests(tests), *arm_findings(sweep, arms)]
    found += [*_edges(sweep, settings, axes), _infeasible(sweep), _diverged(sweep, axes)]
    found += [_overfitting(sweep, settings), _best_places(sweep), _folds(sweep, settings), _damaged(sweep)]
    return [finding for finding in [*found, _failed(sweep), _code(sweep), _machines(sweep)] if finding is not None]


def _unfinished(sweep: SweepRecord) -> Finding | None:
    if not sweep.runs:
        return Finding("unfinished", "caution", "There are no runs yet.")
    states = Counter(run.state for run in sweep.runs)
    left = {state: states[state] for state in UNFINISHED if states[state]}
    if not left:
        return None
    counts = ", ".join(f"{n:,} {state}" for state, n in left.items())
    # Jobs that run need no help; for the others the sweep must go on.
    command = "resume=DIRECTORY" if sweep.is_pooled else "The sweep's command once more"
    hint = "" if set(left) == {"running"} else f" {command} goes on with them."
    have = "have" if sum(left.values()) > 1 else "has"
    sentence = f"{share(sum(left.values()), len(sweep.runs))} runs {have} not ended; what follows rests on the others."
    return Finding("unfinished", "caution", sentence, f"{counts}.{hint}")


def _versions(sweep: SweepRecord) -> Finding | None:
    """Says so if data changed between runs, while their name stayed."""
    counts = Counter(run.data_set for run in sweep.runs if run.data_version)
    evidence = listed([f"{printable(name)}: {counted(n, 'run')}" for name, n in counts.items()])
    sentence = "The data changed between runs: those on different data are not pooled, and not compared."
    return Finding("data", "fault", sentence, f"{evidence}.") if counts else None


def _replaced(sweep: SweepRecord) -> Finding | None:
    """Says so if the objective cannot be compared, as its runs have several losses."""
    if sweep.replaced is None:
        return None
    asked = sweep.replaced.metric
    used = next((o for o in sweep.objectives if o.metric != asked), None)
    how = f"by {used.metric} instead" if used is not None else "with those of the same loss alone"
    sentence = f"{asked} is another measure for each loss: settings are compared {how}."
    monitor = f"{used.metric} mode={used.mode}" if used is not None else "…, a metric that the losses share,"
    hint = f"Each run's best epoch is that of its own {asked}; monitor={monitor} decides from the start."
    return Finding("objective", "caution", sentence, hint)


def _winner(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    searched, ranked = contenders(settings), judged(settings)
    known = valued(ranked)
    # Settings without a value are ranked last: if the first has none, no setting has one.
    if not ranked or ranked[0] not in known:
        return _nothing(sweep, "a value")
    best = ranked[0]
    values = best.validation.values
    over = f" over {counted(len(values), sweep.repetition)}" if len(values) > 1 else ""
    # Several reruns on new seeds decide, not the seeds that chose them.
    is_rerun = ranked[0].stage != searched[0].stage
    over = f" on {counted(len(values), f'new {sweep.repetition}')}" if is_rerun else over
    reached = f"{printable(sweep.objective.metric)} {spread_text(best.validation)}{over}."
    failed = f" {share(best.n_failed, len(best.runs))} of its runs failed." if best.n_failed else ""
    if len(ranked) == 1:
        # Without a second setting, the range over its runs is all that can be said.
        ends = f"Its runs range from {number(min(values))} to {number(max(values))}. " if len(values) > 1 else ""
        alone = "No other arm has been run again yet." if best.arm else "There is no other setting to compare it with."
        evidence = f"{ends}{alone}"
        return Finding("best", "result", f"{best.label} reaches {reached}{failed}", evidence)
    if len(known) == 1:
        evidence = f"{counted(len(ranked) - 1, 'other setting')} left none."
        return Finding("best", "result", f"{best.label} alone has a value: {reached}{failed}", evidence)
    equal = [setting for setting in known if setting.rank == best.rank]
    if len(equal) > 1:
        sentence = f"{share(len(equal), len(known))} settings are equally good: {reached}{failed}"
        return Finding("best", "result", sentence, f"{listed([setting.label for setting in equal])}.")
    which = "Smallest" if sweep.objective.mode == "min" else "Largest"
    # Those that come later because runs of them failed can have better means.
    alike = [setting for setting in known if setting.is_complete == best.is_complete]
    evidence = f"{which} mean of {counted(len(alike), 'setting')}"
    if len(alike) < len(known):
        evidence = "The only setting" if len(alike) == 1 else evidence
        evidence += f" whose runs all finished; {counted(len(known) - len(alike), 'setting')} with failed runs after "
        evidence += "it" if len(alike) == 1 else "them"
    elif len(known) < len(ranked):
        evidence += f" that have one, of {len(ranked):,}"
    following = spread_text(known[1].validation)
    evidence += f"; validation alone decides. Next: {known[1].label} with {following}"
    if known[1] in alike and following == spread_text(best.validation):
        evidence += f", worse by {number(abs(known[1].score - best.score))}"
    evidence += "."
    if is_rerun and searched[0].key != best.key:
        evidence += f" In the search it was {searched[0].label}, on the seeds that chose it."
    return Finding("best", "result", f"{best.label} is best: {reached}{failed}", evidence)


def _other_seeds(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    """Says so if a setting is better than the best on the seeds that both have, as they ran on different ones."""
    ranked = valued(judged(settings))
    found: list[tuple[float, int, Setting | None]] = [(0.0, 0, None)]
    for other in ranked[1:]:
        if other.is_complete == ranked[0].is_complete and other.by_seeds.keys() != ranked[0].by_seeds.keys():
            differences = paired_differences(ranked[0], other)
            found += [(statistics.fmean(differences), len(differences), other)] if differences else []
    mean, n, better = min(found, key=lambda one: one[0])
    if better is None:
        return None
    both = f"On the {counted(n, sweep.repetition)} that both have"
    sentence = f"{both}, {better.label} is better than {ranked[0].label}, by a mean of {number(-mean)}."
    hint = f"Means over different {sweep.repetition}s are not of the same problems: run all settings on the same ones."
    return Finding("seeds", "caution", sentence, hint)


def _nothing(sweep: SweepRecord, what: str) -> Finding | None:
    which = " that keeps the constraints" if any(run.state == "infeasible" for run in sweep.runs) else ""
    yet = " yet" if any(run.state in UNFINISHED for run in sweep.runs) else ""
    return Finding("nothing", "caution", f"No run{which} has {what}{yet}.") if sweep.runs else None


def _pareto(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    ranked = contenders(settings)
    front = pareto_front(ranked, sweep.objectives)
    if not front:
        return _nothing(sweep, "a value of every objective")
    metrics = [objective.metric for objective in sweep.objectives]
    values = [", ".join(f"{printable(m)} {number(setting.spread(m).mean)}" for m in metrics) for setting in front]
    evidence = listed([f"{setting.label}: {text}" for setting, text in zip(front, values, strict=True)])
    names = " and ".join(map(printable, metrics))
    sentence = f"{counted(len(front), 'setting')} of {len(ranked):,} cannot be improved in {names} at once."
    return Finding("pareto", "result", sentence, f"{evidence}.")


def _reruns(settings: Sequence[Setting]) -> list[Finding]:
    """Compares reruns on new seeds with the runs that chose them; arms have a table instead."""
    ranked = valued(of_stage(settings, "search"))
    # By keys, as one number can be spelled in two ways, 0.001 and 1e-3.
    before = {setting.key: setting for setting in reversed(ranked)}
    reruns = [setting for setting in of_stage(settings, "rerun") if setting.arm is None]
    known = [(rerun, before.get(rerun.key)) for rerun in reruns if rerun.validation.values or rerun.n_failed]
    return [_rerun(rerun, old, ranked, reruns) for rerun, old in known if old is not None]


def _rerun(rerun: Setting, before: Setting, ranked: Sequence[Setting], reruns: Sequence[Setting]) -> Finding:
    # A sweep that went on after the rerun can have another best by now.
    is_best = before is ranked[0]
    is_one = len(reruns) == 1
    if is_best:
        name = "the best" if is_one else "the best of the search"
    else:
        name = f"{before.label}, no longer the best," if is_one else before.label
    failed = f" {share(rerun.n_failed, len(rerun.runs))} of its new runs failed." if rerun.n_failed else ""
    if rerun.validation.mean is None:
        return Finding("rerun", "fault", f"On new seeds {name} has no value.{failed}")
    chosen_on = "those that chose it" if len(before.validation.values) > 1 else "the one that chose it"
    reached = f"{printable(rerun.objective.metric)} {spread_text(rerun.validation)}"
    # Each seed runs all folds of a cross-validation.
    seeds = {tuple(s for part, s in zip(SEEDS, those, strict=True) if part != FOLD) for those in rerun.by_seeds}
    sentence = f"On {counted(len(seeds), 'new seed')} {name} reaches {reached}, "
    sentence += f"after {spread_text(before.validation)} on {chosen_on}."
    # Never with a value on old seeds, which flatter what they chose.
    is_beaten = is_best and reruns[0] is not rerun
    if is_beaten:
        sentence += f" There {reruns[0].label} is better, with {spread_text(reruns[0].validation)}."
    evidence = "The seeds that chose it flatter it; its value on new seeds is the one to expect."
    if is_one and len(ranked) > 1:
        evidence += " With top=5 rerun_best.py runs the next ones on the same seeds, to compare them."
    return Finding("rerun", "caution" if is_beaten or failed else "result", sentence + failed, evidence)


def _noise(sweep: SweepRecord, settings: Sequence[Setting], tests: Sequence[PairedTest]) -> Finding | None:
    """Says which settings cannot be told from the best, or that this is unknown; where a test can decide, it does."""
    ranked = valued(judged(settings))
    ranked = [setting for setting in ranked if setting.is_complete == ranked[0].is_complete]
    if len(ranked) < 2:
        return None
    is_single = len(sweep.objectives) == 1
    if sweep.repetition != "seed":  # folds are tested by nothing, as `_folds` says
        return None
    if _known_spread(sweep, settings, ranked) is None:
        # A search over seeds would choose the luckiest, and a comparison has its seeds in its settings.
        hints = {
            "optuna": "Average over seeds in a new search by hydra.sweeper.seeds=3",
            "comparison": "Judge on more seeds by hydra.sweeper.seeds=10",
        }
        hint = hints.get(str(sweep.asked.get("sweeper")), "Sweep over seed=range(0,5) too")
        # With several objectives there is no best to run once more, and of pooled runs no sweep to do it in.
        if is_single and not sweep.is_pooled:
            hint += f", or run the best once more: {_rerun_command(sweep)} seeds=10"
        sentence = "How much the result depends on the seed is not known: the best settings ran on one seed each."
        return Finding("noise", "caution", sentence, f"A small difference between settings may be chance. {hint}.")
    # On a Pareto front nothing is first or second; only unknown noise is worth saying.
    close = _close_to_best(sweep, settings, ranked, tests) if is_single else []
    # Those that are equal to the best are named with it.
    close = [(other, difference) for other, difference in close if other.rank > ranked[0].rank]
    if not close:
        return None
    evidence = listed([f"{other.label}: {difference}" for other, difference in close])
    or_better = " (below 0: better)" if any(difference.mean < 0 for _, difference in close) else ""
    on = " on new seeds" if ranked[0].stage == "rerun" and ranked[0].arm is None else ""
    told = f"{counted(len(close), 'setting')} cannot be told from the best{on}"
    sentence = f"{told}: run more seeds, or take the simplest."
    # A search over seeds would choose the luckiest.
    is_search = sweep.asked.get("sweeper") == "optuna" and not sweep.is_pooled
    evidence += f". More seeds: {_rerun_command(sweep)} seeds=10 top=5" if is_search else ""
    return Finding("noise", "caution", sentence, f"By how much they are worse{or_better}: {evidence}.")


def _rerun_command(sweep: SweepRecord) -> str:
    return f"python scripts/rerun_best.py {shlex.quote(f'logs/sweeps/{printable(sweep.name)}')}"


def _known_spread(sweep: SweepRecord, settings: Sequence[Setting], ranked: Sequence[Setting]) -> Spread | None:
    """Returns the spread that a setting of one run is taken to have: of the rerun, or of what it is compared with."""
    compared = ranked[:2] if len(sweep.objectives) == 1 else pareto_front(ranked, sweep.objectives)
    reruns = [setting for setting in of_stage(settings, "rerun") if setting.arm is None]
    return next((s.validation for s in [*reruns, *compared] if s.validation.deviation is not None), None)


def _close_to_best(
    sweep: SweepRecord, settings: Sequence[Setting], ranked: Sequence[Setting], tests: Sequence[PairedTest]
) -> list[tuple[Setting, Difference]]:
    """Returns the settings that cannot be told from the best, each with its difference.

    A test decides where its pairs can show a difference, else an interval.
    """
    known = _known_spread(sweep, settings, ranked)
    decided = {test.second: test.corrected_p < LEVEL for test in tests if test.first is ranked[0] and test.can_decide}
    found = [(s, interval_between(ranked[0], s, known)) for s in ranked[1:] if known is not None and not decided.get(s)]
    return [(s, difference) for s, difference in found if s in decided or difference.low <= 0]


def supported_best(sweep: SweepRecord, settings: Sequence[Setting], tests: Sequence[PairedTest]) -> list[Setting]:
    """Returns the best setting of each data set that is told from all others by more than the noise of the seeds."""
    found = []
    is_judged = len(sweep.objectives) == 1 and sweep.repetition == "seed"
    for those in by_data_set(settings).values() if is_judged else ():
        ranked = valued(judged(those))
        is_known = len(ranked) > 1 and _known_spread(sweep, those, ranked) is not None
        # Where a test could not show the difference, an interval that excludes 0 does not either.
        of_best = [test for test in tests if ranked[:1] == [test.first]]
        is_doubtful = any(test.corrected_p >= LEVEL or test.result.rank_biserial < 0 for test in of_best)
        if is_known and not is_doubtful and not _close_to_best(sweep, those, ranked, tests):
            found.append(ranked[0])
    return found


def _mean_ranks(settings: Sequence[Setting]) -> Finding | None:
    """Says which setting has the best mean rank over the data sets that all of them ran on, with Friedman's test.

    Values on different data have no common scale. Friedman (1937), "The use of ranks to avoid the assumption of
    normality implicit in the analysis of variance"; for learning algorithms: Demšar (2006), "Statistical comparisons of
    classifiers over multiple data sets".
    """
    blocks = []
    for those in by_data_set(valued(contenders(settings))).values():
        # By the values of a setting that do not choose its data.
        methods = [{name: v for name, v in setting.values.items() if is_of_method(name)} for setting in those]
        blocks.append({key_of(method): (s, method) for method, s in zip(methods, those, strict=True)})
    common = [key for key in blocks[0] if all(key in block for block in blocks)] if blocks else []
    if len(blocks) < 2 or len(common) < 2:
        return None
    from scipy.stats import binomtest, chi2, friedmanchisquare, rankdata

    first = blocks[0][common[0]][0]
    table = first.objective.sign * np.array([[block[key][0].score for key in common] for block in blocks])
    means = rankdata(table, axis=1).mean(axis=0)
    methods = [blocks[0][key][1] for key in common]
    words = [", ".join(f"{printable(first.names[n])}={value_text(v)}" for n, v in m.items()) for m in methods]
    order = np.argsort(means, kind="stable")
    ranks = [(words[place] or "the one setting", number(float(means[place]), 3)) for place in order]
    first_ones = [word for word, rank in ranks if rank == ranks[0][1]]
    best = f"{' and '.join(first_ones)} {'has' if len(first_ones) == 1 else 'have'} the best mean rank, {ranks[0][1]}"
    if len(common) < 3:
        # Of two settings Friedman's test is a sign test, which is exact.
        test, unlike = "Sign test", table[table[:, 0] != table[:, 1]]
        wins = int((unlike[:, 0] < unlike[:, 1]).sum())
        p, least = float(binomtest(wins, len(unlike)).pvalue) if len(unlike) else 1.0, least_p(len(blocks))
    else:
        # Equal values everywhere have no statistic.
        test, p = "Friedman's test", float(friedmanchisquare(*table.T).pvalue) if np.ptp(table, axis=1).any() else 1.0
        least = float(chi2.sf(len(blocks) * (len(common) - 1), len(common) - 1))
    is_shown = p < LEVEL
    # Friedman's test says that some differ, not that the first one beats the second.
    shows = "" if len(common) < 3 else "; not all of them are alike"
    shows = shows if is_shown else ", by no more than chance can give"
    sentence = f"Over {len(blocks)} data sets {best}{shows}."
    short = f" So few data sets cannot show a difference: no p is below {number(least, 2)}." if least >= LEVEL else ""
    left_out = len({key for block in blocks for key in block}) - len(common)
    evidence = f"Mean ranks of {counted(len(common), 'setting')}: {listed(list(map(': '.join, ranks)))}. "
    evidence += f"Left out: {counted(left_out, 'setting')} without a value on every data set. " if left_out else ""
    evidence += f"{test}: p {p_text(p)}.{short}"
    return Finding("mean_ranks", "result" if is_shown else "caution", sentence, evidence)


def _tests(tests: Sequence[PairedTest]) -> Finding | None:
    if not tests:
        return None
    significant = [test for test in tests if test.corrected_p < LEVEL]
    n, n_tests = len(significant), len(tests)
    differing = [test for test in tests if test.result.n > test.result.n_equal]
    if not differing:  # equal on every seed, as the finding on the best says
        return None
    pairs = max(test.result.n - test.result.n_equal for test in differing)
    chance = "more than chance" if n else "more than chance can give"
    if not n and not any(test.can_decide for test in tests):
        few = f"{counted(pairs, 'paired seed')} {'is' if pairs == 1 else 'are'} too few for the signed-rank test"
        sentence = f"{few} to show a difference: {enough_pairs(n_tests)} would do."
    elif n_tests == 1:
        sentence = f"On paired seeds, the difference is {'' if n else 'not '}{chance}."
    else:
        sentence = f"On paired seeds, {n or 'none'} of {n_tests} differences {'is' if n < 2 else 'are'} {chance}."
    told = listed([_test(test) for test in significant or differing[:1]])
    least = f"With {counted(pairs, 'pair')} no p can be below {number(least_p(pairs), 2)}"
    evidence = f"{told}. Wilcoxon's signed-rank test, corrected by Holm over {counted(n_tests, 'comparison')}. "
    evidence += f"{least}{', before the correction' if n_tests > 1 else ''}."
    return Finding("paired_test", "result" if n else "caution", sentence, evidence)


def _test(test: PairedTest) -> str:
    result, better, other = test.result, test.first, test.second
    wins, median, mean, (low, high) = result.wins, result.median, result.mean, result.interval
    # A few bad seeds can give the setting that wins on most of them the worse mean.
    if result.rank_biserial < 0:
        better, other, wins = other, better, result.n - result.n_equal - wins
        median, mean, low, high = -median, -mean, -high, -low
    is_shown = test.corrected_p < LEVEL
    names = f"{better.label} {'beats' if is_shown else 'against'} {other.label}{'' if is_shown else ': better'}"
    # Beside a test that shows nothing, an interval without 0 would say the opposite.
    within = f", 95 % interval {number(low)} to {number(high)}" if is_shown or low <= 0 <= high else ""
    interval = f"mean {number(mean)}{within}"
    found = f"p {p_text(result.p)}, corrected {p_text(test.corrected_p)}, rank-biserial {abs(result.rank_biserial):.2f}"
    return f"{names} on {wins} of {result.n} seeds, by a median of {number(median)} ({interval}; {found})"


def _folds(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    # On cross-validation: Nadeau and Bengio 2003, "Inference for the generalization error".
    why = "folds share their training rows, and vary less than new data."
    hint = "Seeds beside the folds, seed=range(0,5), show the noise of training." if sweep.repetition == "fold" else ""
    is_tested = sweep.repetition == "seed" or len(contenders(settings)) < 2
    sentence = f"Differences between settings are not tested: {why}"
    return None if is_tested else Finding("folds", "caution", sentence, hint)


def _damaged(sweep: SweepRecord) -> Finding | None:
    sentence = f"{counted(sweep.n_unreadable, 'job')} in sweep.json cannot be read."
    return Finding("damaged", "fault", sentence) if sweep.n_unreadable else None


def _edges(sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis]) -> list[Finding | None]:
    """Looks for parameters whose best value is at the end of what was tried: for each arm, data set and choice."""
    choices = [name for name, axis in axes.items() if axis.choices and not chooses_data(name)]
    groups: dict[tuple[str | None, str], dict[str, list[Setting]]] = {}
    best_keys = {(s.data_set, s.key) for those in by_data_set(settings).values() for s in judged(those) if s.rank == 1}
    # Where reruns decide, their best come first.
    searched = sorted(of_stage(settings, "search"), key=lambda s: (s.data_set, s.key) not in best_keys)
    for setting in searched:
        # The best learning rate of one optimizer says nothing about that of another.
        chosen = [f"{setting.names[n]}={value_text(setting.values[n])}" for n in choices if n in setting.values]
        own = groups.setdefault((setting.arm, setting.data_set), {})
        own.setdefault(", ".join(chosen), []).append(setting)
    return [
        _edge(sweep, ranked, axis, best_keys, choice if len(those) > 1 and ranked[0].arm is None else "")
        for those in groups.values()
        for choice, ranked in list(those.items())[:MOST_GROUPS]
        for axis in axes.values()
        if valued(ranked)
    ]


def _edge(
    sweep: SweepRecord, ranked: Sequence[Setting], axis: ParameterAxis, best_keys: Container[object], chosen: str
) -> Finding | None:
    name, best = axis.name, valued(ranked)[0]
    having = [setting for setting in valued(ranked) if name in setting.values]
    if axis.choices or best not in having:
        return None
    # In a grid, those that differ in this parameter alone. Of two values the best one is always at an end.
    tried = [setting for setting in having if all(part[0] == name for part in setting.key ^ best.key)]
    if len({value_text(setting.values[name]) for setting in tried}) < LEAST_VALUES:
        # In a search all parameters differ at once: of few trials the best one lies at some end by chance.
        low, high = axis.ends
        first = (axis.places([setting.values[name] for setting in having[:LEAST_VALUES]]) - low) / (high - low)
        is_trend = max((first > 1 - OUTER).sum(), (first < OUTER).sum()) > LEAST_VALUES / 2
        if len(having) < LEAST_TRIALS or not is_trend:
            return None
        tried = having
    values, place = [setting.values[name] for setting in tried], float(axis.places([best.values[name]])[0])
    # The space of an arm can be smaller than that of all arms, which the axis spans.
    space = sweep.spaces.get(best.arm, {}).get(name, {})
    low, high = axis.places(ends_of(np.array(sorted(map(float, values))), [space]))
    # Hardly any draw from an interval lies exactly at its end.
    margin = EDGE * (high - low) if "low" in space else 0.0
    is_top = place >= high - margin
    is_integer, least = all(isinstance(value, int) for value in values), axis.value(low)
    # There is nothing to try below 0, nor below 1 if 0 is not allowed. A NaN place fails both comparisons.
    is_least = least == 0 or (is_integer and least == 1 and (axis.is_log or not _is_allowed(name, 0)))
    if not is_top and (not place <= low + margin or is_least):
        return None
    # Values further out were tried and have no result: they diverged, or are still to run.
    lost = [setting for setting in ranked if name in setting.values and setting.validation.mean is None]
    if tried is not having:
        lost = [setting for setting in lost if all(part[0] == name for part in setting.key ^ best.key)]
    lost_at = axis.places([setting.values[name] for setting in lost])
    if (lost_at > place if is_top else lost_at < place).any():
        return None
    # Another one that is as good may lie within.
    alike = [s for s in tried if s.score == best.score or (s.data_set, s.key) in best_keys]
    equal = axis.places([setting.values[name] for setting in alike])
    if not (equal >= high - margin if is_top else equal <= low + margin).all():
        return None
    buckets, sign = axis.buckets(axis.places(values)), sweep.objective.sign
    scores = [(int(bucket), sign * setting.score) for bucket, setting in zip(buckets, tried, strict=True)]
    found = sorted({bucket for bucket, _ in scores if bucket >= 0})
    best_of = {b: sign * min(score for bucket, score in scores if bucket == b) for b in found}
    metric, whose = printable(sweep.objective.metric), f" of {printable(best.arm)}" if best.arm is not None else ""
    whose += f" with {printable(chosen)}" if chosen else ""
    whose += f" on {printable(best.data_set)}" if best.data_set else ""
    whose += f" for {metric}" if len(sweep.objectives) > 1 else ""
    end, beyond, direction = ("top", "larger", "up") if is_top else ("bottom", "smaller", "down")
    further = axis.value(high) * 10 if is_top else least / 10
    further = max(round(further), 1) if is_integer else further
    least_text, most_text, furthest = (number(value, digits_of(value)) for value in (least, axis.value(high), further))
    as_far_as = f", {direction} to {furthest}" if axis.is_log and _is_allowed(name, further) else ""
    near = ", ".join(f"{axis.texts[b]}: {number(best_of[b])}" for b in (found[-3:] if is_top else found[:3]))
    sentence = f"The best {printable(name)}{whose}, {value_text(best.values[name])}, is at the {end} of what was tried "
    sentence += f"({least_text} to {most_text}): try {beyond} values{as_far_as}."
    return Finding("edge", "caution", sentence, f"Best {metric} by {printable(name)}: {near}.")


def _is_allowed(name: str, value: float) -> bool:
    return name not in RULES_OF_NUMBERS or RULES_OF_NUMBERS[name].holds(value)


def _infeasible(sweep: SweepRecord) -> Finding | None:
    """Counts runs that violate a constraint of their search, by the constraints."""
    reasons = Counter(run.reason.partition(" is violated")[0] for run in sweep.runs if run.state == "infeasible")
    violate = "violate a constraint, and are" if reasons.total() > 1 else "violates a constraint, and is"
    sentence = f"{share(reasons.total(), len(sweep.runs))} runs {violate} not ranked."
    counts = listed([f"{reason}: {counted(n, 'run')}" for reason, n in reasons.most_common()])
    return Finding("infeasible", "caution", sentence, f"{counts}. They are drawn as squares.") if reasons else None


def _diverged(sweep: SweepRecord, axes: Mapping[str, ParameterAxis]) -> Finding | None:
    """Counts runs that diverged, and looks for values that most of them share."""
    # Runs that failed for other reasons say nothing about values.
    ended = [run for run in sweep.runs if run.state in ("finished", "pruned", "infeasible", "diverged")]
    n = sum(run.state == "diverged" for run in ended)
    if not n:
        return None
    shares, every = [], ""
    for name, axis in axes.items():
        runs = [run for run in ended if name in run.entry.values]
        buckets = axis.buckets(axis.places([run.entry.values[name] for run in runs])).tolist()
        lost = Counter(b for run, b in zip(runs, buckets, strict=True) if run.state == "diverged")
        sizes = Counter(bucket for bucket in buckets if bucket >= 0)
        for bucket, size in sizes.items():
            hits, expected = lost[bucket], n * size / len(ended)
            # More than two standard deviations of a Poisson variable above its mean.
            if hits >= 2 and hits > expected + 2 * expected**0.5:
                shares.append((hits / size, hits, f"{printable(name)}={axis.texts[bucket]}", size))
        # Some values lost all of their runs, and the others none.
        # Default values may be missing on the axis.
        is_known = len(runs) == len(ended) == sizes.total()
        if is_known and min(sizes.values()) > 1 and all(lost[b] in (0, sizes[b]) for b in sizes):
            every = f", all those with {printable(name)}={', '.join(axis.texts[b] for b in sorted(lost))}"
    shares.sort(reverse=True)
    most = f", most of those with {shares[0][2]}" if shares and shares[0][0] >= MANY else ""
    most = every if every and n < len(ended) else most
    counts = listed([f"{text}: {share(hits, size)}" for _, hits, text, size in shares])
    evidence = f"{f'{counts}. ' if shares else ''}They have no value and are drawn as crosses."
    return Finding("diverged", "caution", f"{share(n, len(ended))} runs diverged{most}.", evidence)


def _overfitting(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    finished = [run for run in sweep.runs if run.state == "finished" and "val/loss" in run.curves]
    risen = {run.entry.number: rise for run in finished if (rise := overfitting(run)) is not None}
    # Single runs that overfit are the rule in a search, and no reason for a caveat.
    if len(risen) < max(2, SOME * len(finished)):
        return None
    rises = {s: [risen[run.entry.number] for run in s.runs if run.entry.number in risen] for s in settings}
    # Most runs of a setting must overfit, so that it is not named for a single unlucky seed.
    worst = [(statistics.median(those), s.label) for s, those in rises.items() if 2 * len(those) > len(s.runs)]
    examples = "; ".join(f"{text}: {number(rise)}" for rise, text in sorted(worst, reverse=True)[:3])
    # Losses of zero or less have no ratio.
    told = f"At the end it was a median of {number(statistics.median(risen.values()))} times its least"
    told += f"{f'; most: {examples}' if worst else ''}. "
    told = told if all(map(math.isfinite, risen.values())) else ""
    told += "The best epoch is kept; regularization.l2, model.dropout or "
    sentence = "runs overfit: validation loss rose again while training loss fell on."
    sentence = f"{share(len(risen), len(finished))} {sentence}"
    return Finding("overfitting", "caution", sentence, f"{told}fewer epochs may help.")


def _best_places(sweep: SweepRecord) -> Finding | None:
    places = best_places(sweep.runs)
    late, early, n = int((places >= 0.95).sum()), int((places <= 0.1).sum()), len(places)
    end, start = "end: they were still learning. Train longer.", "start: further training only makes them worse."
    longer = "raise trainer.max_epochs before comparing."
    smaller = "try a smaller optimizer.lr, or more regularization."
    kinds = ("best_at_end", end, late, "last 5 %", longer), ("best_at_start", start, early, "first 10 %", smaller)
    for kind, where, hits, part, hint in kinds:
        # Of one or two runs "nearly all" would mean nothing.
        if n >= 3 and hits >= MANY * n:
            evidence = f"{share(hits, n)} runs had their best epoch in the {part} of their epochs; {hint}"
            return Finding(kind, "caution", f"Nearly all runs were best at their {where}", evidence)
    return None


def _failed(sweep: SweepRecord) -> Finding | None:
    """Counts runs without a value, except those that diverged, by their reasons."""
    metric, reasons = sweep.objective.metric, Counter[str]()
    for run in sweep.runs:
        # Without the hints, which name each run's own directory, equal reasons are counted together.
        if run.state in ("failed", "damaged"):
            reasons[printable(run.reason.partition("; try")[0]) or "no reason was written"] += 1
        elif run.state == "finished" and metric not in run.measured:
            reasons[f"finished without a {printable(metric)}"] += 1
    counts = listed([f"{reason} ({counted(n, 'run')})" for reason, n in reasons.most_common()])
    again = " sweep.retry_failed=true runs those with an error again."
    hint = again if any(run.state == "failed" for run in sweep.runs) and not sweep.is_pooled else ""
    sentence = f"{share(reasons.total(), len(sweep.runs))} runs failed."
    return Finding("failed", "fault", sentence, f"{counts}.{hint}") if reasons else None


def _code(sweep: SweepRecord) -> Finding | None:
    """Says so if runs were made by different versions of the code."""
    counts: Counter[str] = Counter()
    for run in sweep.runs:
        git = as_mapping(run.manifest.get("git"))
        # Release 0.5.0 noted the commit alone.
        digest = f", files {str(run.manifest['code'])[:8]}" if "code" in run.manifest and git.get("dirty") else ""
        if commit := str(git.get("commit") or run.manifest.get("code") or ""):
            counts[f"{commit[:12]}{digest}"] += 1
    evidence = listed([f"commit {printable(version)}: {counted(n, 'run')}" for version, n in counts.most_common()])
    sentence = "The code changed between runs: a difference between them may be that of the code."
    return Finding("code", "caution", sentence, f"{evidence}.") if len(counts) > 1 else None


def _machines(sweep: SweepRecord) -> Finding | None:
    """Says so if seconds cannot be compared, as runs had other hardware or other shares of it."""
    manifests = [run.manifest for run in sweep.runs if run.manifest]
    machines = distinct(machine_text(manifest, with_threads=False) for manifest in manifests)
    texts = [text or "unknown" for text in distinct(map(machine_text, manifests))]
    what = "were not all made on the same machine" if len(machines) > 1 else "had different numbers of threads"
    sentence = f"The runs {what}: do not compare their seconds."
    return Finding("machines", "caution", sentence, f"{listed(texts)}.") if len(texts) > 1 else None


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
    texts = []
    for name, time in timed:
        median = f"{number(time.median['seconds'])} s, {number(time.median['epochs'])} epochs, " if time.hits else ""
        texts.append(f"{name}: {median}{share(time.hits, time.n)} runs")
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
    return [*found, *(_tuning(test, n_trials[str(test.first.arm)]) for test in tests)]


def _tuning(test: PairedTest, n_trials: int) -> Finding:
    seeds = [seeds for seeds in test.first.by_seeds if seeds in test.second.by_seeds]
    after, before = (Spread(tuple(side.by_seeds[s] for s in seeds)) for side in (test.first, test.second))
    # Names come from sweep.json, which anybody may have written.
    name, gain, n, p = printable(test.first.arm), test.result.mean, counted(len(seeds), "seed"), test.corrected_p
    low, high = map(number, test.result.interval)
    chance = f"p {p_text(test.result.p)}, corrected {p_text(p)}"
    interval = f" (95 % interval of the gain {low} to {high}; {chance})" if len(seeds) > 1 else ""
    evidence = f"Default {spread_text(before)}, tuned {spread_text(after)} on the same {n.removeprefix('1 ')}"
    evidence += f"{interval}; {counted(n_trials, 'trial')}."
    if p < LEVEL and test.result.rank_biserial > 0:
        return Finding("tuning", "result", f"Tuning improves {name} by {number(gain)}.", evidence)
    if p < LEVEL:
        # The best on a few tuning seeds can be worse than the defaults on others.
        return Finding("tuning", "caution", f"Tuning made {name} worse, by {number(-gain)}.", evidence)
    if gain == 0:
        return Finding("tuning", "caution", f"Tuned, {name} is as good as with its defaults.", evidence)
    sentence = f"Tuned, {name} is {'better' if gain > 0 else 'worse'} by {number(abs(gain))}, which may be chance"
    few = "" if test.can_decide else f": the signed-rank test needs {enough_pairs(test.n_tests)} seeds that differ"
    return Finding("tuning", "caution", f"{sentence}{few}.", evidence)
