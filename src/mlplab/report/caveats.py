"""What to mind about a sweep, and what to do: edges, divergence, overfitting, length, failures."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlplab.errors import counted, printable
from mlplab.report.curves import best_places, overfitting
from mlplab.report.findings import Finding
from mlplab.report.finished_runs import Gathered, Run, arms_asked, as_mapping, same
from mlplab.report.formatting import listed, number, share
from mlplab.report.parameters import Axis, ends_of
from mlplab.report.ranked_settings import Setting, label, names_of, of_stage, short_names, value_text

EDGE = 0.05
"""Share of an interval that counts as its edge."""

MANY = 0.7
"""Share of runs that counts as nearly all."""

SOME = 0.2


def cautions(sweep: Gathered, settings: Sequence[Setting], axes: Mapping[str, Axis]) -> list[Finding]:
    """What the runs of a sweep give reason to mind.

    Args:
        sweep: with its runs.
        settings: ranked.
        axes: of the swept parameters.
    """
    found = [*_edges(sweep, settings, axes), _diverged(sweep, axes), _overfitting(sweep, settings), _best_places(sweep)]
    found += [*_failed(sweep), _unreadable(sweep), _machines(sweep)]
    return [finding for finding in found if finding is not None]


def _edges(sweep: Gathered, settings: Sequence[Setting], axes: Mapping[str, Axis]) -> list[Finding]:
    """Parameters whose best value, of all or of an arm, lies at the end of what was tried."""
    searched = of_stage(settings, "search")
    found = []
    for arm in dict.fromkeys(setting.arm for setting in searched):
        ranked = [setting for setting in searched if setting.arm == arm and setting.validation.mean is not None]
        for name, axis in axes.items():
            mine = [setting for setting in ranked if name in setting.values]
            if ranked and name in ranked[0].values and len({str(s.values[name]) for s in mine}) >= 3:
                finding = _edge(sweep, ranked[0], mine, axis)
                if finding is not None:
                    found.append(finding)
    return found


def _edge(sweep: Gathered, best: Setting, settings: Sequence[Setting], axis: Axis) -> Finding | None:
    place = float(axis.places([best.values[axis.name]])[0])
    if axis.choices or axis.space is None or np.isnan(place):
        return None
    space = _space_of(sweep, best.arm, axis.name)
    numbers = sorted(float(setting.values[axis.name]) for setting in settings)
    low, high = axis.places(ends_of(np.array(numbers), space))
    # Of an interval hardly a draw lies at its very end.
    margin = EDGE * (high - low) if "low" in space else 0.0
    at_top = place >= high - margin
    if not at_top and (place > low + margin or axis.number(low) == 0):  # below 0 nothing is to be tried
        return None
    places = axis.places([setting.values[axis.name] for setting in settings])
    means = [setting.validation.mean or 0.0 for setting in settings]
    per_bucket = best_per_bucket(axis, places, np.array(means), sweep.objective.sign)
    near = list(per_bucket.items())[-3:] if at_top else list(per_bucket.items())[:3]
    name = printable(axis.name)
    of_arm = f" of {printable(best.arm)}" if best.arm is not None else ""
    of_arm += f" for {printable(sweep.objective.metric)}" if len(sweep.objectives) > 1 else ""
    end, beyond = ("top", "larger") if at_top else ("bottom", "smaller")
    further = axis.number(high) * 10 if at_top else axis.number(low) / 10
    as_far_as = f", {'up' if at_top else 'down'} to {number(further)}" if axis.is_log else ""
    tried = f"{number(axis.number(low))} to {number(axis.number(high))}"
    return Finding(
        "edge", "caution",
        f"The best {name}{of_arm}, {value_text(best.values[axis.name])}, is at the {end} of what was tried ({tried}): "
        f"try {beyond} values{as_far_as}.",
        f"Best {printable(sweep.objective.metric)} by {name}: "
        + ", ".join(f"{axis.texts[b]}: {number(value)}" for b, value in near) + ".",
    )  # fmt: skip


def _space_of(sweep: Gathered, arm: str | None, name: str) -> Mapping[str, Any]:
    """What a parameter was asked to take; of an arm, which may take less than all together."""
    if arm is None:
        return sweep.space.get(name, {})
    return as_mapping(as_mapping(arms_asked(sweep.asked).get(arm, {}).get("space")).get(name))


def best_per_bucket(axis: Axis, places: "np.ndarray", values: "np.ndarray", sign: int) -> dict[int, float]:
    """The best value in each bucket that has one, in the order of the buckets; (N,), (N,)."""
    buckets = axis.buckets(places)
    best: dict[int, float] = {}
    for bucket in sorted(set(buckets.tolist()) - {-1}):
        inside = sign * values[(buckets == bucket) & np.isfinite(values)]
        if len(inside):
            best[bucket] = float(sign * inside.min())
    return best


def _diverged(sweep: Gathered, axes: Mapping[str, Axis]) -> Finding | None:
    """Runs that diverged, and what most of them share."""
    ended = [run for run in sweep.runs if run.state in ("finished", "pruned", "infeasible")]
    n = sum(run.state == "infeasible" for run in ended)
    if not n:
        return None
    shares = []
    for name, axis in axes.items():
        mine = [run for run in ended if name in run.entry.values]
        buckets = axis.buckets(axis.places([run.entry.values[name] for run in mine]))
        for bucket in sorted(set(buckets.tolist()) - {-1}):
            of_bucket = [run for run, at in zip(mine, buckets, strict=True) if at == bucket]
            hit = sum(run.state == "infeasible" for run in of_bucket)
            expected = n * len(of_bucket) / len(ended)
            if hit >= 2 and hit > expected + 2 * expected**0.5:
                shares.append((hit / len(of_bucket), hit, f"{printable(name)}={axis.texts[bucket]}", len(of_bucket)))
    shares.sort(reverse=True)
    told = [f"{text}: {share(hit, of)}" for _, hit, text, of in shares]
    sentence = f"{share(n, len(ended))} runs diverged"
    if shares and shares[0][0] >= MANY:
        sentence += f", most of those with {shares[0][2]}"
    return Finding(
        "diverged", "caution", f"{sentence}.",
        f"{listed(told, 4) + '. ' if told else ''}They have no value and are drawn as red crosses.",
    )  # fmt: skip


def _overfitting(sweep: Gathered, settings: Sequence[Setting]) -> Finding | None:
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
    told = [f"{text}: {number(rise)}" for rise, text in sorted(worst, reverse=True)]
    return Finding(
        "overfitting", "caution",
        f"{share(len(risen), len(finished))} runs overfit: validation loss rose again while training loss fell on.",
        f"At the end it was a median of {number(statistics.median(risen.values()))} times its least"
        f"{'; most: ' + listed(told) if told else ''}. The state kept is that of the best epoch; "
        "regularization.l2, model.dropout or fewer epochs may help.",
    )  # fmt: skip


def _best_places(sweep: Gathered) -> Finding | None:
    places = best_places(sweep.runs)
    if len(places) < 3:
        return None
    late, early = int((places >= 0.95).sum()), int((places <= 0.1).sum())
    if late >= MANY * len(places):
        return Finding(
            "best_at_end", "caution", "Nearly all runs were best at their end: they were still learning. Train longer.",
            f"{share(late, len(places))} runs had their best epoch in the last 5 % of their epochs; "
            "raise trainer.max_epochs before comparing.",
        )  # fmt: skip
    if early >= MANY * len(places):
        return Finding(
            "best_at_start", "caution", "Nearly all runs were best at their start: what follows only makes them worse.",
            f"{share(early, len(places))} runs had their best epoch in the first 10 % of their epochs; try a smaller "
            "optimizer.lr, or more regularization.",
        )  # fmt: skip
    return None


def _failed(sweep: Gathered) -> list[Finding]:
    found = []
    failed = [run for run in sweep.runs if run.state == "failed"]
    if failed:
        reasons = Counter(printable(run.reason.partition("; try")[0]) or "no reason was written" for run in failed)
        told = [f"{reason} ({counted(n, 'run')})" for reason, n in reasons.most_common()]
        sentence = f"{share(len(failed), len(sweep.runs))} runs failed."
        found.append(Finding("failed", "fault", sentence, f"{listed(told)}. sweep.retry_failed=true runs them again."))
    nameless = [run for run in sweep.runs if run.state == "finished" and sweep.objective.metric not in run.measured]
    if nameless:
        sentence = (
            f"{share(len(nameless), len(sweep.runs))} runs finished without a {printable(sweep.objective.metric)}."
        )
        told = [printable(run.entry.directory) for run in nameless]
        found.append(Finding("valueless", "fault", sentence, f"{listed(told)}. They count as failed."))
    return found


def _unreadable(sweep: Gathered) -> Finding | None:
    damaged = [printable(run.entry.directory) for run in sweep.runs if run.state == "damaged"]
    n = len(damaged) + sweep.n_unreadable
    if not n:
        return None
    told = [f"result.json of {listed(damaged)}"] if damaged else []
    told += [f"{sweep.n_unreadable} in sweep.json"] if sweep.n_unreadable else []
    return Finding("damaged", "fault", f"{counted(n, 'job')} cannot be read.", f"{', '.join(told)}.")


def _machines(sweep: Gathered) -> Finding | None:
    """Runs of one sweep on unlike machines, whose seconds cannot be compared."""
    described = same(_machine(run) for run in sweep.runs if run.manifest)
    if len(described) < 2:
        return None
    return Finding(
        "machines", "caution", "The runs were not all made on the same machine: do not compare their seconds.",
        f"{listed([printable(text) for text in described])}.",
    )  # fmt: skip


def _machine(run: Run) -> str:
    hardware = as_mapping(run.manifest.get("hardware"))
    gpus = hardware.get("gpus")
    told = [str(hardware.get("processor") or "unknown processor"), f"{hardware.get('cores')} cores"]
    told += [str(gpu) for gpu in (gpus if isinstance(gpus, list) else [])]
    return ", ".join([*told, f"{run.manifest.get('threads')} threads"])
