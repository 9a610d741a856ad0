"""Pictures are what matplotlib draws, as pixels and as files."""

import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from mlplab.figures import confusion_matrix_figure
from mlplab.pictures import as_png, pixels, result_picture
from mlplab.task import Task


def classification(*names: str) -> Task:
    return Task(kind="classification", n_features=1, class_names=names, target_name="class")


# --- results -----------------------------------------------------------------------------------------------


def test_a_matrix_is_the_figure_of_its_rows() -> None:
    """With all right, the title is as wide as the sheet has room for: so both are of one size."""
    task, classes = classification("malignant", "benign", "a rather long name"), torch.arange(3).repeat(90)
    name, image = result_picture(torch.eye(3)[classes], classes, task)
    figure = confusion_matrix_figure(classes, classes, task)
    figure.draw_without_rendering()
    expected = pixels(figure)
    assert name == "confusion_matrix"
    assert abs(np.subtract(image.shape, expected.shape)).max() <= 8
    height, width = np.minimum(image.shape, expected.shape)[:2]
    assert abs(image.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 3.0
    assert image[height // 3, width // 2].tolist() == expected[height // 3, width // 2].tolist()


def test_the_order_of_runs_does_not_show() -> None:
    task, classes = classification("a", "b"), torch.tensor([0, 1, 1, 0])
    _, first = result_picture(torch.eye(2)[classes], classes, task)
    result_picture(torch.eye(2)[1 - classes], classes, task)
    result_picture(torch.eye(2)[classes], torch.zeros(4, dtype=torch.int64), task)
    _, again = result_picture(torch.eye(2)[classes], classes, task)
    assert np.array_equal(first, again)


def test_values_are_drawn_against_true_ones() -> None:
    name, image = result_picture(torch.zeros(3), torch.ones(3), Task("regression", 1))
    assert name == "predicted_against_true"
    assert image.min() < 128


# --- pixels ------------------------------------------------------------------------------------------------


def test_pixels_are_rows_of_red_green_and_blue_bytes() -> None:
    figure = Figure(figsize=(2, 1), dpi=100)
    figure.add_axes((0.25, 0.25, 0.5, 0.5)).set(facecolor=(1.0, 0.0, 0.0), xticks=[], yticks=[])
    image = pixels(figure)
    assert image.dtype == np.uint8
    height, width, channels = image.shape
    assert channels == 3
    assert width > height > 50
    assert image[height // 2, width // 2].tolist() == [255, 0, 0]
    assert abs(np.array([height, width]) - [70, 120]).max() <= 4  # the axes, and a tenth of an inch around them


@pytest.mark.parametrize("x", [0.0, 0.5])
def test_what_goes_beyond_the_sheet_is_drawn_too(x: float) -> None:
    figure = Figure(figsize=(1, 1), dpi=100)
    figure.text(x, 0.5, "a text much wider than that", ha="center")
    image = pixels(figure)
    assert image.shape[1] > 150
    assert all((edge == 255).all() for edge in (image[0], image[-1], image[:, 0], image[:, -1]))


def test_an_empty_figure_is_an_empty_picture() -> None:
    assert (pixels(Figure(figsize=(1, 1), dpi=100)) == 255).all()


def test_a_picture_is_the_same_each_time() -> None:
    task, classes = classification("a", "b", "c"), torch.arange(3)
    first, second = (pixels(confusion_matrix_figure(classes, classes, task)) for _ in range(2))
    assert np.array_equal(first, second)


def test_drawing_leaves_no_figure_open() -> None:
    from matplotlib import pyplot

    pixels(confusion_matrix_figure(torch.arange(2), torch.arange(2), classification("a", "b")))
    result_picture(torch.eye(2), torch.arange(2), classification("a", "b"))
    assert pyplot.get_fignums() == []


# --- PNG ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (40, 60)])
def test_a_png_holds_every_pixel(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with Image.open(BytesIO(as_png(image))) as read:
        assert read.mode == "RGB"
        assert np.array_equal(np.asarray(read), image)
    with Image.open(BytesIO(as_png(image))) as read:
        read.verify()  # the checksums


def test_a_drawing_is_small_as_png() -> None:
    image = pixels(confusion_matrix_figure(torch.arange(10), torch.arange(10), classification(*map(str, range(10)))))
    assert len(as_png(image)) < len(zlib.compress(image.tobytes(), 1))
