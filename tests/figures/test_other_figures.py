"""Tiles, layers, mistakes and loss surfaces: each value where it belongs, and odd ones without a complaint."""

import numpy as np
import pytest
from slow_cases import slow

from mlplab.figures.image_figures import mistakes_figure
from mlplab.figures.layer_figures import MOST_LINES, gradient_depth_figure
from mlplab.figures.surface_figures import LEVELS, line_figure, plane_figure
from mlplab.figures.unit_figures import MOST_UNITS, tiles_figure, units_figure
from mlplab.plots import as_png


def test_tiles_have_one_scale_that_is_symmetric() -> None:
    tiles = np.zeros((3, 2, 2))
    tiles[1, 0, 1], tiles[2, 1, 0] = 0.5, -2.0
    figure = tiles_figure(tiles, "weight", "title")
    sheet = figure.axes[0].images[0]
    assert sheet.get_clim() == (-2, 2)
    # Two columns of two pixels, with a gap of one.
    assert sheet.get_array().shape == (5, 5)
    assert sheet.get_array()[0, 4] == 0.5
    assert sheet.get_array()[4, 0] == -2.0
    assert as_png(figure)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_tiles_without_any_value_are_drawn(value: float) -> None:
    assert as_png(tiles_figure(np.full((2, 3, 3), value), "weight", "title"))


@pytest.mark.parametrize("shape", [(70, 4), (1, 4, 4), *slow(((1, 4),), ((70, 4, 4),))])
def test_units_are_drawn_over_one_input_or_two(shape: tuple[int, ...]) -> None:
    axes = (np.linspace(0, 1, 4),) * (len(shape) - 1)
    figure = units_figure(np.random.default_rng(0).normal(size=shape), axes, ("x", "y"), "hidden.0")
    title = figure.axes[0].get_title(loc="left")
    assert (f"the first {MOST_UNITS} of 70 units" in title) == (shape[0] == 70)
    assert ("y from 0 to 1, bottom to top" in title) == (len(shape) == 3)
    assert as_png(figure)


def test_the_gradient_of_every_layer_is_a_point_and_0_has_none() -> None:
    figure = gradient_depth_figure([(0, {"first": 1e-5, "last": 0.1}), (5, {"first": 0.0, "last": 1.0})], "gradient")
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_ydata().tolist() == [1e-5, 0.1]
    assert np.isnan(axes.lines[1].get_ydata()[0])
    assert axes.get_title(loc="left") == "gradient; those that are 0 have no point"
    (legend,) = figure.legends  # beside the axes, so that it covers no line
    assert [text.get_text() for text in legend.get_texts()] == ["before training", "epoch 5"]
    many = [(epoch, {"first": 1.0 + epoch, "last": 1.0}) for epoch in range(100)]
    lines = gradient_depth_figure(many, "gradient").axes[0].lines
    assert len(lines) == MOST_LINES
    assert (lines[0].get_ydata()[0], lines[-1].get_ydata()[0]) == (1.0, 100.0)


def test_gradients_of_0_alone_and_a_single_layer_are_drawn() -> None:
    figure = gradient_depth_figure([(0, {"only": 0.0})], "gradient")
    assert figure.axes[0].get_title(loc="left") == "gradient; all are 0"
    assert as_png(figure)


@pytest.mark.parametrize("n", [1, 9, *slow(0, 40)])
def test_any_number_of_mistakes_is_drawn(n: int) -> None:
    figure = mistakes_figure(np.zeros((n, 8, 8)), ["$a"] * n, ["a long name of a class"] * n, [0.987] * n, "title")
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == [r"true \$a", "said a long name of a …, 99%"] * n
    assert as_png(figure)


@pytest.mark.parametrize("scale", ["logarithmic", "infinite", *slow("linear", "constant", "nowhere")])
def test_contours_are_drawn_on_any_scale(scale: str) -> None:
    positions = np.linspace(-1, 1, 7)
    x, y = np.meshgrid(positions, positions)
    losses = {
        "linear": 1 + x**2 + y**2, "logarithmic": 1e-3 + x**2 + y**2, "constant": np.ones((7, 7)),
        "infinite": np.where(x > 0.5, np.inf, 1 + x**2), "nowhere": np.full((7, 7), np.nan),
    }[scale]  # fmt: skip
    figure = plane_figure(positions, losses, "$run$", "training part")
    if scale == "logarithmic":
        levels = figure.axes[0].collections[0].levels
        assert len(levels) == LEVELS + 1
        assert np.diff(np.log(levels)) == pytest.approx(np.log(levels[1] / levels[0]))
    assert as_png(figure)


def test_losses_between_two_runs_have_a_line_for_each_part() -> None:
    positions = np.linspace(-0.25, 1.25, 5)
    figure = line_figure(positions, {"train": positions**2, "val": np.full(5, np.inf)}, ["one", "other"])
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["training part", "validation part"]
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx(positions**2)
    assert as_png(figure)
