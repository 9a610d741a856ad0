"""Caveats: reasons to doubt a sweep's results, and what to do about them."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from mlplab.errors import counted, printable
from mlplab.report.learning_curves import best_places, overfitting
from mlplab.report.parameter_axes import ParameterAxis, ends_of
from mlplab.sweeps.comparable_options import chooses_data
from mlplab.sweeps.job_values import key_of
from mlplab.sweeps.reading.formatting import listed, machine_text, number, share, value_text
from mlplab.sweeps.reading.ranked_settings import Setting, contenders, of_stage, valued
from mlplab.sweeps.reading.sweep_records import Finding, SweepRecord, as_mapping, distinct

EDGE, OUTER = 0.05, 0.25
"""Shares of an interval that count as its edge, and in which most of the best settings of a search must lie."""

LEAST_VALUES, LEAST_TRIALS = 3, 10
"""Values of a grid, and settings of a search, from which a best value at the edge means something."""

MOST_GROUPS = 3  # choices for which edges are looked for, those with the best settings
MANY, SOME = 0.7, 0.2  # shares of runs that count as nearly all, and from which overfitting is worth a caveat


def caveats_of(sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis]) -> list[Finding]:
    """Looks for everything that limits what the runs of a sweep can show.

    Args:
        sweep: with its runs.
        settings: ranked.
        axes: of the swept parameters.
    """
    found = [*_edges(sweep, settings, axes), _infeasible(sweep), _diverged(sweep, axes)]
    found += [_overfitting(sweep, settings), _best_places(sweep)]
    # On cross-validation: Nadeau and Bengio 2003, "Inference for the generalization error".
    if sweep.repetition != "seed" and len(contenders(settings)) > 1:
        why = "folds share their training rows, and vary less than new data."
        hint = "Seeds beside the folds, seed=range(0,5), show the noise of training."
        found.append(Finding("folds", "caution", f"Differences between settings are not tested: {why}", hint))
    if sweep.n_unreadable:
        n = counted(sweep.n_unreadable, "job")
        found.append(Finding("damaged", "fault", f"{n} in sweep.json cannot be read."))
    return [finding for finding in [*found, _failed(sweep), _code(sweep), _machines(sweep)] if finding is not None]


def _edges(sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis]) -> list[Finding | None]:
    """Looks for parameters whose best value is at the end of what was tried: for each arm, data set and choice."""
    choices = [name for name, axis in axes.items() if axis.choices and not chooses_data(name)]
    groups: dict[tuple[str | None, str], dict[str, list[Setting]]] = {}
    for setting in valued(of_stage(settings, "search")):
        # The best learning rate of one optimizer says nothing about that of another.
        chosen = [f"{setting.names[n]}={value_text(setting.values[n])}" for n in choices if n in setting.values]
        own = groups.setdefault((setting.arm, setting.data_set), {})
        own.setdefault(", ".join(chosen), []).append(setting)
    return [
        _edge(sweep, ranked, axis, choice if len(those) > 1 and ranked[0].arm is None else "")
        for those in groups.values()
        for choice, ranked in list(those.items())[:MOST_GROUPS]
        for axis in axes.values()
    ]


def _edge(sweep: SweepRecord, ranked: Sequence[Setting], axis: ParameterAxis, chosen: str) -> Finding | None:
    having, best, name = [setting for setting in ranked if axis.name in setting.values], ranked[0], axis.name
    if axis.choices or best not in having:
        return None
    # In a grid, those that differ in this parameter alone. Of two values the best one is always at an end.
    others = {s: key_of({n: value for n, value in s.values.items() if n != name}) for s in having}
    tried = [setting for setting in having if others[setting] == others[best]]
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
    # Below zero there is nothing to try. A place that is none compares with nothing.
    if not is_top and (not place <= low + margin or axis.value(low) == 0):
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
    further = axis.value(high) * 10 if is_top else axis.value(low) / 10
    as_far_as = f", {direction} to {number(further)}" if axis.is_log else ""
    near = ", ".join(f"{axis.texts[b]}: {number(best_of[b])}" for b in (found[-3:] if is_top else found[:3]))
    tried_values = f"{number(axis.value(low))} to {number(axis.value(high))}"
    sentence = f"The best {printable(name)}{whose}, {value_text(best.values[name])}, is at the {end} of what was tried "
    sentence += f"({tried_values}): try {beyond} values{as_far_as}."
    return Finding("edge", "caution", sentence, f"Best {metric} by {printable(name)}: {near}.")


def _infeasible(sweep: SweepRecord) -> Finding | None:
    """Counts runs that violate a constraint of their search, by the constraints."""
    reasons = Counter(run.reason.partition(" is violated")[0] for run in sweep.runs if run.state == "infeasible")
    sentence = f"{share(reasons.total(), len(sweep.runs))} runs violate a constraint, and are not ranked."
    counts = listed([f"{reason}: {counted(n, 'run')}" for reason, n in reasons.most_common()])
    return Finding("infeasible", "caution", sentence, f"{counts}. They are drawn as squares.") if reasons else None


def _diverged(sweep: SweepRecord, axes: Mapping[str, ParameterAxis]) -> Finding | None:
    """Counts runs that diverged, and looks for values that most of them share."""
    # Runs that failed for other reasons say nothing about values.
    ended = [run for run in sweep.runs if run.state in ("finished", "pruned", "infeasible", "diverged")]
    n = sum(run.state == "diverged" for run in ended)
    if not n:
        return None
    shares = []
    for name, axis in axes.items():
        runs = [run for run in ended if name in run.entry.values]
        buckets = axis.buckets(axis.places([run.entry.values[name] for run in runs])).tolist()
        lost = Counter(b for run, b in zip(runs, buckets, strict=True) if run.state == "diverged")
        for bucket, size in Counter(bucket for bucket in buckets if bucket >= 0).items():
            hits, expected = lost[bucket], n * size / len(ended)
            # More than two standard deviations of a Poisson variable above its mean.
            if hits >= 2 and hits > expected + 2 * expected**0.5:
                shares.append((hits / size, hits, f"{printable(name)}={axis.texts[bucket]}", size))
    shares.sort(reverse=True)
    most = f", most of those with {shares[0][2]}" if shares and shares[0][0] >= MANY else ""
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
    told = f"At the end it was a median of {number(statistics.median(risen.values()))} times its least"
    told += f"{f'; most: {examples}' if worst else ''}. The best epoch is kept; "
    sentence = (
        f"{share(len(risen), len(finished))} runs overfit: validation loss rose again while training loss fell on."
    )
    hint = "regularization.l2, model.dropout or fewer epochs may help."
    return Finding("overfitting", "caution", sentence, told + hint)


def _best_places(sweep: SweepRecord) -> Finding | None:
    places = best_places(sweep.runs)
    n, late, early = len(places), int((places >= 0.95).sum()), int((places <= 0.1).sum())
    # Of one or two runs "nearly all" would mean nothing.
    if n < 3 or max(late, early) < MANY * n:
        return None
    if late >= MANY * n:
        sentence = "Nearly all runs were best at their end: they were still learning. Train longer."
        hint = "raise trainer.max_epochs before comparing."
        evidence = f"{share(late, n)} runs had their best epoch in the last 5 % of their epochs; {hint}"
        return Finding("best_at_end", "caution", sentence, evidence)
    sentence = "Nearly all runs were best at their start: further training only makes them worse."
    hint = "try a smaller optimizer.lr, or more regularization."
    evidence = f"{share(early, n)} runs had their best epoch in the first 10 % of their epochs; {hint}"
    return Finding("best_at_start", "caution", sentence, evidence)


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
    hint = again if any(run.state == "failed" for run in sweep.runs) else ""
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
