"""The pictures of a search: its course, and two objectives against each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.report.curves import thinned
from mlplab.report.figure_style import INK, MOST_MARKS, MUTED, SERIES, Picture, picture
from mlplab.report.finished_runs import Gathered
from mlplab.report.pareto import front_of
from mlplab.report.ranked_settings import Setting
from mlplab.report.scales import Scale, scale_of, set_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def search_picture(sweep: Gathered, settings: Sequence[Setting], scale: Scale) -> Picture:
    """Trials in their order, with the best so far."""
    ordered = sorted(settings, key=lambda setting: setting.runs[0].entry.number)
    scores = np.array([np.nan if s.validation.mean is None else s.validation.mean for s in ordered], dtype=np.float64)
    sign = sweep.objective.sign
    best = sign * np.minimum.accumulate(np.where(np.isfinite(scores), sign * scores, np.inf))
    known = np.flatnonzero(np.isfinite(scores))

    def draw(axes: "Axes") -> None:
        set_values(axes, scale, sweep.objective.metric)
        shown = known[thinned(len(known), MOST_MARKS)]
        axes.plot(
            shown + 1, scale.clipped(scores[shown]), "o", color=SERIES[0], markersize=4.5, alpha=0.55, markeredgewidth=0
        )
        line = np.flatnonzero(np.isfinite(best))
        line = line[thinned(len(line), MOST_MARKS)]
        axes.step(line + 1, scale.clipped(best[line]), where="post", color=INK, linewidth=1.4)
        axes.set(xlabel="trial", xlim=(0.5, len(ordered) + 0.5))

    when = int(np.nanargmin(sign * scores)) + 1
    caption = (
        f"A point is a trial; the line is the best so far, found with trial {when:,} of {len(ordered):,}."
        + scale.note()
    )
    return picture("search", "The course of the search", caption, draw)


def front_picture(sweep: Gathered, settings: Sequence[Setting]) -> Picture:
    """Two objectives against each other, with the settings that nothing betters in both."""
    first, second = sweep.objectives[:2]
    known = [s for s in settings if all(s.spread(o.metric).mean is not None for o in (first, second))]
    table = np.array([[s.spread(o.metric).mean for o in (first, second)] for s in known], dtype=np.float64)
    front = {id(setting) for setting in front_of(known, (first, second))}
    on_front = np.array([id(setting) in front for setting in known])
    scales = [scale_of(table[:, column], objective.sign) for column, objective in enumerate((first, second))]

    def draw(axes: "Axes") -> None:
        for scale, objective, on in zip(scales, (first, second), "xy", strict=True):
            set_values(axes, scale, objective.metric, on=on)
        x, y = (scale.clipped(table[:, column]) for column, scale in enumerate(scales))
        shown = np.flatnonzero(~on_front)
        shown = shown[thinned(len(shown), MOST_MARKS)] if len(shown) else shown
        dots: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4.5, "markeredgewidth": 0}
        axes.plot(x[shown], y[shown], color=MUTED, alpha=0.45, **dots)
        order = np.argsort(x[on_front])
        axes.plot(x[on_front][order], y[on_front][order], color=SERIES[0], linewidth=1.2, marker="o", markersize=5.5)

    better = " and ".join(f"{'less' if o.mode == 'min' else 'more'} {o.metric}" for o in (first, second))
    caption = f"Better is {better}. Joined: settings that no other one betters in both."
    return picture("front", "Two objectives", caption, draw)
