"""The pictures of learning curves, of where the best came, and of a comparison's arms."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlplab.report.arms import Arm, Side
from mlplab.report.curves import Band, band, best_places, thinned
from mlplab.report.figure_style import INK, SERIES, Picture, file_name, picture, short
from mlplab.report.finished_runs import Gathered, Run, Target
from mlplab.report.formatting import goal
from mlplab.report.ranked_settings import Setting, label, value_text
from mlplab.report.scales import scale_of, set_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]

MOST_CURVES = 5


def best_runs_picture(sweep: Gathered, runs: Sequence[Run], names: Sequence[str]) -> Picture | None:
    """Validation and training loss of the best runs by epoch; None where none has a history.

    Args:
        sweep: for its metric.
        runs: the best first.
        names: of their settings.
    """
    metric = sweep.objective.metric if sweep.objective.metric.startswith("val/") else "val/loss"
    drawn = [(run, name) for run, name in zip(runs, names, strict=True) if metric in run.curves][:MOST_CURVES]
    if not drawn:
        return None
    with_training = metric == "val/loss"
    kept = [
        run.curves[m]
        for run, _ in drawn
        for m in (metric, *(["train/loss"] if with_training else []))
        if m in run.curves
    ]
    scale = scale_of(np.concatenate([curve.values for curve in kept]), sweep.objective.sign, whole=True)

    def draw(axes: "Axes") -> None:
        set_values(axes, scale, "loss" if with_training else metric)
        for colour, (run, name) in zip(SERIES, drawn, strict=False):
            for which, dashes in ((metric, "-"), ("train/loss", (0, (3, 2)))):
                curve = run.curves.get(which)
                if curve is not None and (which == metric or with_training):
                    at = thinned(len(curve.epochs))
                    seed = run.entry.values.get("seed", "–")
                    text = f"{short(name)}, seed {value_text(seed)}" if which == metric else None
                    line: Any = {"color": colour, "linewidth": 1.4, "linestyle": dashes, "label": text}
                    axes.plot(curve.epochs[at], scale.clipped(curve.values[at]), **line)
        _set_epochs(axes)

    caption = f"{'Solid validation, dashed training' if with_training else metric}, of the {len(drawn)} best runs."
    return picture("best_runs", "The best runs", caption + scale.note(), draw, n_entries=len(drawn))


def _set_epochs(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))


def medians_picture(sweep: Gathered, metric: str, settings: Sequence[Setting], names: Sequence[str]) -> Picture | None:
    """A metric's median over seeds by epoch, with the quartiles as a band, for the best settings."""
    bands: list[tuple[Band, str]] = []
    for setting, name in zip(settings, names, strict=True):
        found = band([run.curves[metric] for run in setting.finished if metric in run.curves])
        if found is not None and len(bands) < MOST_CURVES:
            bands.append((found, name))
    if not bands:
        return None
    sign = 1 if metric.endswith("loss") else sweep.objective.sign
    drawn = np.concatenate([values for found, _ in bands for values in (found.low, found.middle, found.high)])
    scale = scale_of(drawn, sign, whole=True)

    def draw(axes: "Axes") -> None:
        set_values(axes, scale, metric)
        for colour, (found, name) in zip(SERIES, bands, strict=False):
            axes.fill_between(
                found.epochs, scale.clipped(found.low), scale.clipped(found.high), color=colour, alpha=0.18, linewidth=0
            )
            text = short(f"{name} ({found.n})", 52)
            axes.plot(found.epochs, scale.clipped(found.middle), color=colour, linewidth=1.4, label=text)
        _set_epochs(axes)

    caption = "Median over finished runs (their number in brackets), quartiles shaded; as far as half of them got."
    name = file_name(f"median_{metric}", ())
    part = {"val": "validation", "train": "training"}.get(metric.partition("/")[0], metric)
    title = f"Median {part} {metric.partition('/')[2] or metric}"
    return picture(name, title, caption + scale.note(), draw, n_entries=len(bands))


def best_places_picture(runs: Sequence[Run]) -> Picture | None:
    """Where in training the best state came, as a histogram."""
    places = best_places(runs)
    if not len(places):
        return None

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        axes.hist(places, bins=[tenth / 10 for tenth in range(11)], color=SERIES[0], rwidth=0.9)
        axes.set(xlabel="best epoch as a share of the epochs trained", ylabel="runs", xlim=(0, 1))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="x")

    late = int((places >= 0.95).sum())
    caption = f"Of {len(places):,} finished runs, {late:,} were best within the last 5 % of their epochs."
    return picture("best_epoch", "When the best came", caption, draw, height=2.6)


def arms_picture(sweep: Gathered, arms: Sequence[Arm]) -> Picture | None:
    """Each arm's final runs, tuned and with its defaults."""
    shown = [arm for arm in arms if arm.tuned or arm.default]
    values = [v for arm in shown for side in (arm.tuned, arm.default) if side for v in side.setting.validation.values]
    if not values:
        return None
    scale = scale_of(np.array(values), sweep.objective.sign, whole=True)

    def draw(axes: "Axes") -> None:
        set_values(axes, scale, sweep.objective.metric, on="x")
        for place, arm in enumerate(shown):
            for side, offset, colour in ((arm.tuned, -0.16, SERIES[0]), (arm.default, 0.16, SERIES[1])):
                if side is not None and side.setting.validation.values:
                    which = ("tuned" if offset < 0 else "default") if place == 0 else None
                    _draw_side(
                        axes, scale.clipped(np.array(side.setting.validation.values)), place + offset, colour, which
                    )
        axes.set_yticks(range(len(shown)), [short(arm.name, 20) for arm in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")

    caption = f"A point is a run on a seed that took no part in tuning; the bar is the mean.{scale.note()}"
    return picture("arms", "Tuned and default", caption, draw, height=0.8 + 0.5 * len(shown), n_entries=2)


def _draw_side(axes: "Axes", values: Values, place: float, colour: str, name: str | None) -> None:
    axes.plot(
        values, np.full(len(values), place), "o", color=colour, markersize=4.5, alpha=0.6, markeredgewidth=0, label=name
    )
    axes.plot([values.mean()] * 2, [place - 0.13, place + 0.13], color=INK, linewidth=1.8)


def profile_picture(sides: Sequence[tuple[str, Side]], target: Target) -> Picture | None:
    """The share of runs that have reached the target, by seconds of training."""
    timed = [(name, side.reaching) for name, side in sides if side.reaching is not None][: len(SERIES)]
    finite = [value for _, reaching in timed for value in reaching.seconds if np.isfinite(value)]
    if not finite:
        return None
    last = max(finite) * 1.05 or 1.0

    def draw(axes: "Axes") -> None:
        for colour, (name, reaching) in zip(SERIES, timed, strict=False):
            hits = np.sort([value for value in reaching.seconds if np.isfinite(value)])
            shares = np.arange(len(hits) + 1) / reaching.n
            axes.step(
                [0, *hits, last], [*shares, shares[-1]], where="post", color=colour, linewidth=1.6, label=short(name)
            )
        axes.set(xlabel="seconds of training", ylabel="share of the runs", ylim=(-0.03, 1.03), xlim=(0, last))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")

    caption = f"Runs that have reached {goal(target)}."
    return picture("target", "Time to the target", caption, draw, n_entries=len(timed))


def best_runs(settings: Sequence[Setting], names: dict[str, str]) -> tuple[list[Run], list[str]]:
    """The best finished runs, each with its setting's name: of a setting the best one alone."""
    found = []
    for setting in settings:
        metric = setting.objective.metric
        runs = [run for run in setting.finished if metric in run.measured]
        if runs:
            best = min(runs, key=lambda run: setting.objective.sign * run.measured[metric])
            found.append(
                (setting.objective.sign * best.measured[metric], best.entry.number, best, label(setting, names))
            )
    found.sort(key=lambda part: part[:2])
    return [run for _, _, run, _ in found], [name for *_, name in found]
