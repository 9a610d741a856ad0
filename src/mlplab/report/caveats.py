"""Caveats: reasons to doubt a sweep's results, and what to do about them."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlplab.errors import counted, printable
from mlplab.report.learning_curves import best_places, overfitting
from mlplab.report.parameter_axes import ParameterAxis, ends_of
from mlplab.sweeps.comparable_options import chooses_data
from mlplab.sweeps.job_values import key_of
from mlplab.sweeps.reading.formatting import listed, machine_text, number, share, value_text
from mlplab.sweeps.reading.ranked_settings import Setting, contenders, of_stage
from mlplab.sweeps.reading.sweep_records import Finding, SweepRecord, as_mapping, distinct

EDGE = 0.05
"""Share of an interval that counts as its edge."""

LEAST_VALUES, LEAST_TRIALS = 3, 10
"""Values of a grid, and settings of a search, from which a best value at the edge means something."""

OUTER = 0.25
"""Share of a space in which most of the best settings of a search must lie."""

MOST_GROUPS = 3
"""Choices for which edges are looked for, those with the best settings."""

MANY = 0.7
"""Share of runs that counts as nearly all."""

SOME = 0.2
"""Share of finished runs from which overfitting is worth a caveat."""


def caveats_of(sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis]) -> list[Finding]:
    """Looks for everything that limits what the runs of a sweep can show.

    Args:
        sweep: with its runs.
        settings: ranked.
        axes: of the swept parameters.
    """
    found = [*_edges(sweep, settings, axes), _diverged(sweep, axes), _overfitting(sweep, settings), _best_places(sweep)]
    found += [_folds(sweep, settings), _failed(sweep), _unreadable(sweep), _code(sweep), _machines(sweep)]
    return [finding for finding in found if finding is not None]


def _folds(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    """Says what a cross-validation cannot show (Nadeau and Bengio 2003, "Inference for the generalization error")."""
    if sweep.repetition == "seed" or len(contenders(settings)) < 2:
        return None
    sentence = (
        "Differences between settings are not tested: folds share their training rows, and vary less than new data."
    )
    return Finding("folds", "caution", sentence, "Seeds beside the folds, seed=range(0,5), show the noise of training.")


def _edges(sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis]) -> list[Finding | None]:
    """Looks for parameters whose best value is at the end of what was tried: for each arm, data set and choice."""
    choices = [name for name, axis in axes.items() if axis.choices and not chooses_data(name)]
    groups: dict[tuple[str | None, str], dict[str, list[Setting]]] = {}
    for setting in of_stage(settings, "search"):
        if setting.validation.mean is not None:
            # The best learning rate of one optimizer says nothing about that of another.
            chosen = [f"{setting.names[n]}={value_text(setting.values[n])}" for n in choices if n in setting.values]
            own = groups.setdefault((setting.arm, setting.data_set), {})
            own.setdefault(", ".join(chosen), []).append(setting)
    found = []
    for those in groups.values():
        for choice, ranked in list(those.items())[:MOST_GROUPS]:
            for axis in axes.values():
                near = _comparable(ranked, axis)
                if near:
                    whose = choice if len(those) > 1 and ranked[0].arm is None else ""
                    found.append(_edge(sweep, ranked[0], near, axis, whose))
    return found


def _comparable(ranked: Sequence[Setting], axis: ParameterAxis) -> list[Setting]:
    """Selects settings that show how the best depends on a parameter; none if there are too few."""
    best = ranked[0]
    if axis.ends is None or axis.name not in best.values:
        return []

    def others(setting: Setting) -> dict[str, Any]:
        return {name: value for name, value in setting.values.items() if name != axis.name}

    # In a grid, those that differ in this parameter alone. Of two values the best one is always at an end.
    key = key_of(others(best))
    alone = [s for s in ranked if axis.name in s.values and key_of(others(s)) == key]
    if len({value_text(setting.values[axis.name]) for setting in alone}) >= LEAST_VALUES:
        return alone
    # In a search all parameters differ at once: of few trials the best one lies at some end by chance.
    having = [setting for setting in ranked if axis.name in setting.values]
    if len(having) < LEAST_TRIALS:
        return []
    low, high = axis.ends
    places = (axis.places([setting.values[axis.name] for setting in having[:LEAST_VALUES]]) - low) / (high - low)
    is_trend = max((places > 1 - OUTER).sum(), (places < OUTER).sum()) > LEAST_VALUES / 2
    return having if is_trend else []


def _edge(
    sweep: SweepRecord, best: Setting, settings: Sequence[Setting], axis: ParameterAxis, chosen: str
) -> Finding | None:
    values = [setting.values[axis.name] for setting in settings]
    place = float(axis.places([best.values[axis.name]])[0])
    if np.isnan(place):
        return None
    # The space of an arm can be smaller than that of all arms, which the axis spans.
    space = sweep.spaces.get(best.arm, {}).get(axis.name, {})
    low, high = axis.places(ends_of(np.array(sorted(map(float, values))), [space]))
    # Hardly any draw from an interval lies exactly at its end.
    margin = EDGE * (high - low) if "low" in space else 0.0
    is_top = place >= high - margin
    # Below zero there is nothing to try.
    if not is_top and (place > low + margin or axis.value(low) == 0):
        return None
    scores = np.array([setting.score for setting in settings])
    by_bucket = list(axis.best_by_bucket(axis.places(values), scores, sweep.objective.sign).items())
    name, metric = printable(axis.name), printable(sweep.objective.metric)
    whose = f" of {printable(best.arm)}" if best.arm is not None else ""
    whose += f" with {printable(chosen)}" if chosen else ""
    whose += f" on {printable(best.data_set)}" if best.data_set else ""
    whose += f" for {metric}" if len(sweep.objectives) > 1 else ""
    end, beyond, direction = ("top", "larger", "up") if is_top else ("bottom", "smaller", "down")
    further = axis.value(high) * 10 if is_top else axis.value(low) / 10
    as_far_as = f", {direction} to {number(further)}" if axis.is_log else ""
    near = ", ".join(f"{axis.texts[b]}: {number(value)}" for b, value in (by_bucket[-3:] if is_top else by_bucket[:3]))
    return Finding(
        "edge",
        "caution",
        f"The best {name}{whose}, {value_text(best.values[axis.name])}, is at the {end} of what was tried "
        f"({number(axis.value(low))} to {number(axis.value(high))}): try {beyond} values{as_far_as}.",
        f"Best {metric} by {name}: {near}.",
    )


def _diverged(sweep: SweepRecord, axes: Mapping[str, ParameterAxis]) -> Finding | None:
    """Counts runs that diverged, and looks for values that most of them share."""
    # Runs that failed for other reasons say nothing about values.
    ended = [run for run in sweep.runs if run.state in ("finished", "pruned", "infeasible")]
    n = sum(run.state == "infeasible" for run in ended)
    if not n:
        return None
    shares = []
    for name, axis in axes.items():
        with_parameter = [run for run in ended if name in run.entry.values]
        buckets = axis.buckets(axis.places([run.entry.values[name] for run in with_parameter]))
        for bucket, size in Counter(buckets[buckets >= 0].tolist()).items():
            hits = sum(run.state == "infeasible" for run, b in zip(with_parameter, buckets, strict=True) if b == bucket)
            expected = n * size / len(ended)
            # More than two standard deviations of a Poisson variable above its mean.
            if hits >= 2 and hits > expected + 2 * expected**0.5:
                shares.append((hits / size, hits, f"{printable(name)}={axis.texts[bucket]}", size))
    shares.sort(reverse=True)
    sentence = f"{share(n, len(ended))} runs diverged"
    if shares and shares[0][0] >= MANY:
        sentence += f", most of those with {shares[0][2]}"
    counts = listed([f"{text}: {share(hits, size)}" for _, hits, text, size in shares], 4)
    evidence = f"{counts}. " if shares else ""
    return Finding("diverged", "caution", f"{sentence}.", f"{evidence}They have no value and are drawn as crosses.")


def _overfitting(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    finished = [run for run in sweep.runs if run.state == "finished" and "val/loss" in run.curves]
    risen = {run.entry.number: rise for run in finished if (rise := overfitting(run)) is not None}
    # Single runs that overfit are the rule in a search, and no reason for a caveat.
    if len(risen) < max(2, SOME * len(finished)):
        return None
    worst = []
    for setting in settings:
        rises = [risen[run.entry.number] for run in setting.runs if run.entry.number in risen]
        # Most runs of a setting must overfit, so that it is not named for a single unlucky seed.
        if 2 * len(rises) > len(setting.runs):
            worst.append((statistics.median(rises), setting.label))
    examples = listed([f"{text}: {number(rise)}" for rise, text in sorted(worst, reverse=True)])
    return Finding(
        "overfitting",
        "caution",
        f"{share(len(risen), len(finished))} runs overfit: validation loss rose again while training loss fell on.",
        f"At the end it was a median of {number(statistics.median(risen.values()))} times its least"
        f"{f'; most: {examples}' if worst else ''}. The best epoch is kept; regularization.l2, model.dropout or fewer "
        "epochs may help.",
    )


def _best_places(sweep: SweepRecord) -> Finding | None:
    places = best_places(sweep.runs)
    # Of one or two runs "nearly all" would mean nothing.
    if len(places) < 3:
        return None
    late, early = int((places >= 0.95).sum()), int((places <= 0.1).sum())
    n = len(places)
    if late >= MANY * n:
        sentence = "Nearly all runs were best at their end: they were still learning. Train longer."
        evidence = f"{share(late, n)} runs had their best epoch in the last 5 % of their epochs"
        return Finding("best_at_end", "caution", sentence, f"{evidence}; raise trainer.max_epochs before comparing.")
    if early >= MANY * n:
        sentence = "Nearly all runs were best at their start: further training only makes them worse."
        evidence = f"{share(early, n)} runs had their best epoch in the first 10 % of their epochs"
        hint = "try a smaller optimizer.lr, or more regularization"
        return Finding("best_at_start", "caution", sentence, f"{evidence}; {hint}.")
    return None


def _failed(sweep: SweepRecord) -> Finding | None:
    """Counts runs without a value, except those that diverged, by their reasons."""
    metric = printable(sweep.objective.metric)
    reasons: Counter[str] = Counter()
    for run in sweep.runs:
        if run.state == "failed":
            # Without the hints, which name each run's own directory, equal reasons are counted together.
            reasons[printable(run.reason.partition("; try")[0]) or "no reason was written"] += 1
        elif run.state == "damaged":
            reasons["result.json cannot be read"] += 1
        elif run.state == "finished" and sweep.objective.metric not in run.measured:
            reasons[f"finished without a {metric}"] += 1
    if not reasons:
        return None
    counts = listed([f"{reason} ({counted(n, 'run')})" for reason, n in reasons.most_common()])
    sentence = f"{share(reasons.total(), len(sweep.runs))} runs failed."
    has_errors = any(run.state == "failed" for run in sweep.runs)
    hint = " sweep.retry_failed=true runs those with an error again." if has_errors else ""
    return Finding("failed", "fault", sentence, f"{counts}.{hint}")


def _unreadable(sweep: SweepRecord) -> Finding | None:
    n = sweep.n_unreadable
    return Finding("damaged", "fault", f"{counted(n, 'job')} in sweep.json cannot be read.") if n else None


def _code(sweep: SweepRecord) -> Finding | None:
    """Says so if runs were made by different versions of the code."""
    counts: Counter[str] = Counter()
    for run in sweep.runs:
        git = as_mapping(run.manifest.get("git"))
        # Release 0.5.0 noted the commit alone.
        digest = f", files {str(run.manifest['code'])[:8]}" if "code" in run.manifest and git.get("dirty") else ""
        if commit := str(git.get("commit") or run.manifest.get("code") or ""):
            counts[f"{commit[:12]}{digest}"] += 1
    if len(counts) < 2:
        return None
    evidence = listed([f"commit {printable(version)}: {counted(n, 'run')}" for version, n in counts.most_common()])
    sentence = "The code changed between runs: a difference between them may be that of the code."
    return Finding("code", "caution", sentence, f"{evidence}.")


def _machines(sweep: SweepRecord) -> Finding | None:
    """Says so if seconds cannot be compared, as runs had other hardware or other shares of it."""
    manifests = [run.manifest for run in sweep.runs if run.manifest]
    machines, texts = (
        distinct(machine_text(m, with_threads=False) for m in manifests),
        distinct(map(machine_text, manifests)),
    )
    if len(texts) < 2:
        return None
    what = "were not all made on the same machine" if len(machines) > 1 else "had different numbers of threads"
    sentence = f"The runs {what}: do not compare their seconds."
    return Finding("machines", "caution", sentence, f"{listed([text or 'unknown' for text in texts])}.")
