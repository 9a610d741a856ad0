"""Colours, lines and points of pictures of functions are where they belong."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mlplab.figures.function_figures import (
    BANDS,
    MOST_POINTS,
    BoundaryPicture,
    CurvePicture,
    InputGrid,
    SurfacePicture,
    boundary_colours,
    function_picture,
    leads,
)
from mlplab.figures.palette import COLOURS
from mlplab.plots import as_png
from mlplab.task import Task

AXIS = np.linspace(-1, 1, 21)
CLASSES = Task("classification", 2, ("x", "y"), ("a", "$b$"))
NUMBER = Task("regression", 2, ("x", "y"), target_name="height", unit="m")


def grid(task: Task, n_inputs: int, n_rows: int = 30, **options: Any) -> InputGrid:
    rng = np.random.default_rng(0)
    points = {
        part: (rng.uniform(-1, 1, (n, n_inputs)), np.arange(n) % 2.0) for part, n in (("train", n_rows), ("val", 10))
    }
    return InputGrid(("x", "y")[:n_inputs], (AXIS,) * n_inputs, task, points, **options)


def half_plane() -> Any:
    """The second class is the more probable one where x is above 0."""
    x, _ = np.meshgrid(AXIS, AXIS)
    second = 1 / (1 + np.exp(-9 * x))
    return np.stack([1 - second, second])


def test_colours_are_those_of_the_most_probable_class_and_paler_where_none_leads() -> None:
    probabilities = np.array([[1.0, 0.5, 0.25, np.nan], [0.0, 0.5, 0.75, np.nan]])
    colours = boundary_colours(probabilities)
    assert colours[0] == pytest.approx((1 + np.array(to_rgb(COLOURS[0]))) / 2)
    assert colours[1] == pytest.approx([1, 1, 1])
    # 0.75 leads by half the way from 1/2 to 1.
    assert colours[2] == pytest.approx(1 - 0.5 * np.ceil(BANDS / 2) / BANDS * (1 - np.array(to_rgb(COLOURS[1]))))
    assert colours[3] == pytest.approx([1, 1, 1])


def test_leads_are_the_distance_to_the_best_of_the_others() -> None:
    found = leads(np.array([[0.5], [0.3], [0.2]]))
    assert found[:, 0] == pytest.approx([0.2, -0.2, -0.3])
    assert leads(np.array([[0.5], [0.5]]))[:, 0] == pytest.approx([0, 0])


def test_the_boundary_is_where_the_classes_are_equally_probable() -> None:
    picture = function_picture(grid(CLASSES, 2))
    assert isinstance(picture, BoundaryPicture)
    picture.draw(half_plane(), "epoch 1")
    image, line = picture._drawn
    (path,) = line.get_paths()
    assert path.vertices[:, 0] == pytest.approx(0, abs=0.05)
    assert image.get_extent() == [-1, 1, -1, 1]
    # Bottom left is of the first class, bottom right of the second: blue and red.
    pixels = image.get_array()
    assert pixels[0, 0, 2] > pixels[0, 0, 0]
    assert pixels[0, -1, 0] > pixels[0, -1, 2]
    assert as_png(picture.figure)


def test_drawing_again_replaces_what_was_drawn() -> None:
    picture = function_picture(grid(CLASSES, 2))
    picture.draw(half_plane(), "epoch 1")
    first, n_artists = as_png(picture.figure), len(picture.axes.get_children())
    picture.draw(half_plane()[::-1].copy(), "epoch 2")
    assert len(picture.axes.get_children()) == n_artists
    assert picture.axes.get_title(loc="left") == "epoch 2"
    picture.draw(half_plane(), "epoch 1")
    assert as_png(picture.figure) == first


def test_a_class_that_leads_everywhere_has_no_boundary() -> None:
    picture = function_picture(grid(CLASSES, 2))
    picture.draw(np.stack([np.full((21, 21), 0.9), np.full((21, 21), 0.1)]), "epoch 1")
    assert len(picture._drawn) == 1


def test_training_and_validation_rows_have_other_marks_and_some_are_left_out_of_many() -> None:
    picture = function_picture(grid(CLASSES, 2, n_rows=6 * MOST_POINTS))
    # Of each part one row in six; the validation part has ten.
    assert sum(len(collection.get_offsets()) for collection in picture.axes.collections) == MOST_POINTS + 2
    labels = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert labels == ["a", r"\$b\$", "training row", "validation row", "decision boundary"]


def test_a_number_over_the_plane_has_the_colours_of_the_rows() -> None:
    picture = function_picture(grid(NUMBER, 2))
    assert isinstance(picture, SurfacePicture)
    x, _ = np.meshgrid(AXIS, AXIS)
    picture.draw(x[None], "epoch 1")
    values = picture._drawn[0].get_array()
    assert values.shape == (63, 63)
    assert values[0, 0] < values[0, -1]
    assert picture.figure.axes[1].get_ylabel() == "height [m]"
    assert as_png(picture.figure)


def test_a_curve_over_one_input_is_drawn_with_the_truth() -> None:
    picture = function_picture(grid(NUMBER, 1, truth=AXIS**2))
    assert isinstance(picture, CurvePicture)
    picture.draw(np.sin(AXIS)[None], "epoch 1")
    truth, prediction = picture.axes.lines
    assert truth.get_ydata() == pytest.approx(AXIS**2)
    assert prediction.get_ydata() == pytest.approx(np.sin(AXIS))
    assert picture.axes.get_ylabel() == "height [m]"
    assert as_png(picture.figure)


def test_probabilities_over_one_input_have_a_curve_for_each_class() -> None:
    picture = function_picture(grid(CLASSES, 1))
    picture.draw(np.stack([np.full(21, 0.25), np.full(21, 0.75)]), "epoch 1")
    assert [line.get_color() for line in picture.axes.lines] == list(COLOURS[:2])
    assert picture.axes.get_ylabel() == "probability of each target"


def test_values_that_are_not_finite_are_drawn_without_a_complaint() -> None:
    for task, n_inputs, shape in ((CLASSES, 2, (2, 21, 21)), (NUMBER, 2, (1, 21, 21)), (NUMBER, 1, (1, 21))):
        picture = function_picture(grid(task, n_inputs))
        picture.draw(np.full(shape, np.nan), "epoch 1")
        assert as_png(picture.figure)
