"""Caveats: reasons to doubt a sweep's results, and what to do about them."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlplab.errors import counted, printable
from mlplab.report.findings import Finding
from mlplab.report.formatting import listed, machine_text, number, share, value_text
from mlplab.report.learning_curves import best_places, overfitting
from mlplab.report.parameter_axes import ParameterAxis, ends_of
from mlplab.report.ranked_settings import Setting, label, names_of, of_stage, short_names
from mlplab.report.sweep_records import SweepRecord, arms_asked, as_mapping, distinct

EDGE = 0.05
"""Share of an interval that counts as its edge."""

MANY = 0.7
"""Share of runs that counts as nearly all."""

SOME = 0.2


def caveats_of(sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis]) -> list[Finding]:
    """Looks for everything that limits what the runs of a sweep can show.

    Args:
        sweep: with its runs.
        settings: ranked.
        axes: of the swept parameters.
    """
    found = [*_edges(sweep, settings, axes), _diverged(sweep, axes), _overfitting(sweep, settings), _best_places(sweep)]
    found += [_failed(sweep), _valueless(sweep), _unreadable(sweep), _machines(sweep)]
    return [finding for finding in found if finding is not None]


def _edges(sweep: SweepRecord, settings: Sequence[Setting], axes: Mapping[str, ParameterAxis]) -> list[Finding | None]:
    """Looks for parameters whose best value, of all settings or of an arm, is at the end of what was tried."""
    searched = [setting for setting in of_stage(settings, "search") if setting.validation.mean is not None]
    found = []
    for arm in dict.fromkeys(setting.arm for setting in searched):
        ranked = [setting for setting in searched if setting.arm == arm]
        for name, axis in axes.items():
            mine = [setting for setting in ranked if name in setting.values]
            if name in ranked[0].values and len({str(setting.values[name]) for setting in mine}) >= 3:
                found.append(_edge(sweep, ranked[0], mine, axis))
    return found


def _edge(sweep: SweepRecord, best: Setting, settings: Sequence[Setting], axis: ParameterAxis) -> Finding | None:
    values = [setting.values[axis.name] for setting in settings]
    place = float(axis.places([best.values[axis.name]])[0])
    if axis.ends is None or np.isnan(place):
        return None
    space = _space_of(sweep, best.arm, axis.name)
    low, high = axis.places(ends_of(np.array(sorted(map(float, values))), space))
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


def _space_of(sweep: SweepRecord, arm: str | None, name: str) -> Mapping[str, Any]:
    """Returns the search space of a parameter; that of an arm can be smaller than the union of all arms."""
    if arm is None:
        return sweep.space.get(name, {})
    return as_mapping(as_mapping(arms_asked(sweep.asked).get(arm, {}).get("space")).get(name))


def _diverged(sweep: SweepRecord, axes: Mapping[str, ParameterAxis]) -> Finding | None:
    """Counts runs that diverged, and looks for values that most of them share."""
    ended = [run for run in sweep.runs if run.state in ("finished", "pruned", "infeasible")]
    n = sum(run.state == "infeasible" for run in ended)
    if not n:
        return None
    shares = []
    for name, axis in axes.items():
        mine = [run for run in ended if name in run.entry.values]
        buckets = axis.buckets(axis.places([run.entry.values[name] for run in mine]))
        for bucket, size in Counter(buckets[buckets >= 0].tolist()).items():
            hits = sum(run.state == "infeasible" for run, b in zip(mine, buckets, strict=True) if b == bucket)
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
    return Finding("diverged", "caution", f"{sentence}.", f"{evidence}They have no value and are drawn as red crosses.")


def _overfitting(sweep: SweepRecord, settings: Sequence[Setting]) -> Finding | None:
    finished = [run for run in sweep.runs if run.state == "finished" and "val/loss" in run.curves]
    risen = {run.entry.number: rise for run in finished if (rise := overfitting(run)) is not None}
    if len(risen) < max(2, SOME * len(finished)):
        return None
    names = short_names(names_of(settings))
    worst = []
    for setting in settings:
        rises = [risen[run.entry.number] for run in setting.runs if run.entry.number in risen]
        if 2 * len(rises) > len(setting.runs):
            worst.append((statistics.median(rises), label(setting, names)))
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
    if len(places) < 3:
        return None
    late, early = int((places >= 0.95).sum()), int((places <= 0.1).sum())
    if late >= MANY * len(places):
        return Finding(
            "best_at_end",
            "caution",
            "Nearly all runs were best at their end: they were still learning. Train longer.",
            f"{share(late, len(places))} runs had their best epoch in the last 5 % of their epochs; "
            "raise trainer.max_epochs before comparing.",
        )
    if early >= MANY * len(places):
        return Finding(
            "best_at_start",
            "caution",
            "Nearly all runs were best at their start: further training only makes them worse.",
            f"{share(early, len(places))} runs had their best epoch in the first 10 % of their epochs; try a smaller "
            "optimizer.lr, or more regularization.",
        )
    return None


def _failed(sweep: SweepRecord) -> Finding | None:
    failed = [run for run in sweep.runs if run.state == "failed"]
    if not failed:
        return None
    # Without the hints, which name each run's own directory, equal reasons are counted together.
    reasons = Counter(printable(run.reason.partition("; try")[0]) or "no reason was written" for run in failed)
    counts = listed([f"{reason} ({counted(n, 'run')})" for reason, n in reasons.most_common()])
    sentence = f"{share(len(failed), len(sweep.runs))} runs failed."
    return Finding("failed", "fault", sentence, f"{counts}. sweep.retry_failed=true runs them again.")


def _valueless(sweep: SweepRecord) -> Finding | None:
    metric = sweep.objective.metric
    names = [
        printable(run.entry.directory) for run in sweep.runs if run.state == "finished" and metric not in run.measured
    ]
    if not names:
        return None
    sentence = f"{share(len(names), len(sweep.runs))} runs finished without a {printable(metric)}."
    return Finding("valueless", "fault", sentence, f"{listed(names)}. They count as failed.")


def _unreadable(sweep: SweepRecord) -> Finding | None:
    damaged = [printable(run.entry.directory) for run in sweep.runs if run.state == "damaged"]
    if not damaged and not sweep.n_unreadable:
        return None
    evidence = [f"result.json of {listed(damaged)}"] if damaged else []
    evidence += [f"{sweep.n_unreadable} in sweep.json"] if sweep.n_unreadable else []
    sentence = f"{counted(len(damaged) + sweep.n_unreadable, 'job')} cannot be read."
    return Finding("damaged", "fault", sentence, f"{', '.join(evidence)}.")


def _machines(sweep: SweepRecord) -> Finding | None:
    machines = distinct(machine_text(run.manifest) for run in sweep.runs if run.manifest)
    if len(machines) < 2:
        return None
    sentence = "The runs were not all made on the same machine: do not compare their seconds."
    return Finding("machines", "caution", sentence, f"{listed([text or 'unknown' for text in machines])}.")
