"""The pictures of a sweep's parameters: value against score, effects, pairs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlplab.report.caveats import best_per_bucket
from mlplab.report.curves import thinned
from mlplab.report.effects import Effects
from mlplab.report.figure_style import FAULT, INK, MOST_MARKS, SERIES, Picture, file_name, picture, short
from mlplab.report.formatting import number
from mlplab.report.parameters import Axis
from mlplab.report.ranked_settings import Setting
from mlplab.report.scales import Scale, set_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = npt.NDArray[np.float64]

MOST_PAIRS = 4
"""Heat maps."""

LEAST_SHARE = 0.02
"""Of the variance, below which a pair gets no heat map."""


def parameter_picture(axis: Axis, settings: Sequence[Setting], scale: Scale) -> Picture:
    """A parameter's values against the objective: a point for each setting, a cross for one that diverged or failed."""
    mine = [setting for setting in settings if axis.name in setting.values]
    places = axis.places([setting.values[axis.name] for setting in mine])
    scores = np.array([np.nan if s.validation.mean is None else s.validation.mean for s in mine], dtype=np.float64)
    failed = np.array([setting.n_failed > 0 for setting in mine])
    arms = list(dict.fromkeys(setting.arm for setting in mine))
    coloured = arms if 1 < len(arms) <= len(SERIES) else [None]

    def draw(axes: "Axes") -> None:
        set_values(axes, scale, mine[0].objective.metric)
        scatter = np.random.default_rng(0).uniform(-0.18, 0.18, len(places)) if axis.choices else 0.0
        for colour, arm in zip(SERIES, coloured, strict=False):
            of_arm = [i for i, s in enumerate(mine) if np.isfinite(scores[i]) and (arm is None or s.arm == arm)]
            shown = np.array(of_arm, dtype=np.int64)[thinned(len(of_arm), MOST_MARKS)]
            style: Any = {"marker": "o", "markersize": 4.5, "alpha": 0.55, "linestyle": "none", "markeredgewidth": 0}
            axes.plot(
                (places + scatter)[shown], scale.clipped(scores[shown]), color=colour, label=arm and short(arm), **style
            )
            best = best_per_bucket(axis, places[of_arm], scores[of_arm], mine[0].objective.sign) if of_arm else {}
            _draw_best(axes, axis, best, scale, colour if len(coloured) > 1 else INK)
        crosses = (places + scatter)[failed]
        crosses = crosses[thinned(len(crosses), MOST_MARKS)] if len(crosses) else crosses
        edge = 0.965 if mine[0].objective.sign > 0 else 0.035
        at_edge = axes.get_xaxis_transform()  # x in its values, y as a share of the height
        axes.plot(
            crosses, np.full(len(crosses), edge), "x", color=FAULT, transform=at_edge, markersize=6, markeredgewidth=1.6
        )
        set_places(axes, axis)

    line = "the line joins the best of each value" if axis.n_buckets else ""
    caption = f"A point is a setting's mean over seeds; {line}." + scale.note()
    if failed.any():
        caption += f" Red crosses: {int(failed.sum())} with a run that diverged or failed."
    legend = len(coloured) if len(coloured) > 1 else 0
    return picture(file_name(f"by_{axis.name}", ()), f"By {axis.name}", caption, draw, n_entries=legend)


def _draw_best(axes: "Axes", axis: Axis, best: Mapping[int, float], scale: Scale, colour: str) -> None:
    places, values = axis.middles[list(best)], scale.clipped(np.array(list(best.values())))
    if axis.choices:
        for place, value in zip(places, values, strict=True):
            axes.plot([place - 0.3, place + 0.3], [value, value], color=INK, linewidth=1.6)
    else:
        axes.plot(places, values, color=colour, linewidth=1.4)


def set_places(axes: "Axes", axis: Axis, on: str = "x") -> None:
    """Writes a parameter's values along an axis."""
    what = axes.xaxis if on == "x" else axes.yaxis
    if axis.choices:
        texts = [short(choice, 16) for choice in axis.choices]
        turned = on == "x" and sum(map(len, texts)) > 44
        what.set_ticks(range(len(texts)), texts)
        if turned:
            axes.tick_params(axis="x", rotation=60 if len(texts) > 8 else 30)
        if on == "x":
            axes.set_xlim(-0.5, len(texts) - 0.5)
    elif axis.space is not None:
        low, high = axis.space
        ticks = _decades(low, high) if axis.is_log else None
        if ticks is not None:
            what.set_ticks(ticks, [number(10.0**tick) for tick in ticks])
        margin = 0.04 * (high - low)
        (axes.set_xlim if on == "x" else axes.set_ylim)(low - margin, high + margin)
    axes.set(**{f"{on}label": short(axis.name)})


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten within a stretch of logarithms, with 2 and 5 between them where it is short."""
    first, last = int(np.floor(low)), int(np.ceil(high))
    parts = (1, 2, 5) if high - low < 2 else (1,)
    every = max(1, (last - first) // 7)
    ticks = [power + float(np.log10(part)) for power in range(first, last + 1, every) for part in parts]
    return [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9]


def effects_picture(effects: Effects, axes_of: Mapping[str, Axis], names: Mapping[str, str]) -> Picture:
    """Shares of the variance between settings as bars: parameters, then the pairs that add most.

    Args:
        effects: the shares.
        axes_of: parameter → axis.
        names: parameter → short name.
    """
    alone = sorted(effects.alone.items(), key=lambda item: -item[1])[:10]
    pairs = [item for item in sorted(effects.pairs.items(), key=lambda item: -item[1])[:6] if item[1] >= 0.005]
    texts = [short(names[name], 30) for name, _ in alone]
    texts += [short(f"{names[a]} × {names[b]}", 30) for (a, b), _ in pairs]
    shares = [share for _, share in alone] + [share for _, share in pairs]

    def draw(axes: "Axes") -> None:
        colours = [SERIES[0]] * len(alone) + [SERIES[5]] * len(pairs)
        bars = axes.barh(range(len(shares)), shares, color=colours, height=0.62)
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=3, fontsize=8.5, color=INK)
        axes.set_yticks(range(len(texts)), texts)
        axes.invert_yaxis()
        axes.set(xlim=(0, min(1.12, max(shares) * 1.2 + 0.02)), xlabel="share of variance")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(visible=False, axis="y")

    rest = f"{effects.rest:.0%} is left to three or more together and to noise."
    if effects.method == "grid":
        caption = f"Exact, from the {effects.n:,} means of the full grid. × is what two do beyond either alone; {rest}"
        left_out = [f"{name}={axes_of[name].text_at(place)}" for name, place in effects.without]
        caption += f" Left out, as some of it has no value: {', '.join(left_out)}." if left_out else ""
    else:
        caption = (
            f"Functional ANOVA (Hutter et al. 2014) of a random forest over {effects.n:,} settings, which predicts "
            f"{max(0.0, effects.explained or 0.0):.0%} of the variance of settings it has not seen: trust it "
            f"no further. {rest}"
        )
    return picture("effects", "What mattered", caption, draw, height=0.75 + 0.27 * len(shares))


def pair_picture(first: Axis, second: Axis, settings: Sequence[Setting], scale: Scale) -> Picture:
    """The median over the settings in each cell of two parameters' buckets."""
    mine = [setting for setting in settings if first.name in setting.values and second.name in setting.values]
    x, y = (axis.buckets(axis.places([s.values[axis.name] for s in mine])) for axis in (first, second))
    scores = np.array([np.nan if s.validation.mean is None else s.validation.mean for s in mine], dtype=np.float64)
    cells = np.full((second.n_buckets, first.n_buckets), np.nan)
    crosses = []
    for row, column in {(int(b), int(a)) for a, b in zip(x, y, strict=True) if a >= 0 and b >= 0}:
        inside = scores[(x == column) & (y == row)]
        if np.isfinite(inside).any():
            cells[row, column] = np.nanmedian(inside)
        else:
            crosses.append((column, row))
    sign = mine[0].objective.sign

    def draw(axes: "Axes") -> None:
        from matplotlib import colormaps

        shades = np.abs(
            scale.transformed(cells) - scale.transformed(np.array([scale.high if sign > 0 else scale.low]))[0]
        )
        shades = shades / (np.nanmax(shades) or 1.0)
        axes.pcolormesh(np.ma.masked_invalid(shades), cmap="viridis", vmin=0, vmax=1, edgecolors="none")
        size = min(8.5, 60 / max(first.n_buckets, 1))
        for row, column in zip(*np.nonzero(np.isfinite(cells)), strict=True):
            red, green, blue, _ = colormaps["viridis"](float(shades[row, column]))
            colour = "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#ffffff"
            text = f"{cells[row, column]:.2g}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
        for column, row in crosses:
            axes.plot(column + 0.5, row + 0.5, "x", color=FAULT, markersize=7, markeredgewidth=1.8)
        for axis, on in ((first, "x"), (second, "y")):
            _name_buckets(axes, axis, on)
        axes.grid(visible=False)

    caption = f"Median {mine[0].objective.metric} of the settings in each cell; lighter is better."
    if crosses:
        caption += " Red crosses: cells without a value."
    name = file_name(f"pair_{first.name}_{second.name}", ())
    return picture(
        name, f"{first.name} × {second.name}", caption, draw, height=0.9 + min(3.2, 0.36 * second.n_buckets + 0.6)
    )


def _name_buckets(axes: "Axes", axis: Axis, on: str) -> None:
    """Writes what each bucket holds beside it, or between two of them where one ends and the next begins."""
    if axis.is_bucketed:
        at = [float(edge) for edge in range(0, axis.n_buckets + 1, 2)]
        texts = [number(float(f"{axis.number(float(edge)):.2g}")) for edge in axis.edges[::2]]
    else:
        at, texts = [bucket + 0.5 for bucket in range(axis.n_buckets)], [short(text, 16) for text in axis.texts]
    (axes.set_xticks if on == "x" else axes.set_yticks)(at, texts)
    axes.set(**{f"{on}label": short(axis.name)})
    if on == "x" and sum(map(len, texts)) > 44:
        axes.tick_params(axis="x", rotation=45)
