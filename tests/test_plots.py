"""The pictures say the numbers they are drawn from, whatever the classes are called."""

import math
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from PIL import Image
from slow_cases import slow

from mlplab.objectives.calibration import reliability
from mlplab.plots import (
    MAX_LABELLED_CLASSES,
    MAX_POINTS,
    MOST_FIGURES,
    as_png,
    confusion_matrix_figure,
    predicted_against_true_figure,
    reliability_figure,
    result_figure,
    result_figures,
)
from mlplab.task import Task

Pixels = npt.NDArray[np.uint8]

REGRESSION = Task(kind="regression", n_features=1, target_name="weight", unit="kg")


def classification(*names: str, target_name: str = "class") -> Task:
    return Task(kind="classification", n_features=1, class_names=names, target_name=target_name)


def pixels(figure: Figure) -> Pixels:
    """Reads the file of a figure: (height, width, 3)."""
    return np.asarray(Image.open(BytesIO(as_png(figure))).convert("RGB"))


def identity_matrix_figure(task: Task) -> Figure:
    """One row of each class, all right."""
    classes = torch.arange(task.n_classes)
    return confusion_matrix_figure(classes, classes, task)


def counts(figure: Figure) -> dict[tuple[int, int], str]:
    """What is written into the cells: (true class, predicted class) -> text."""
    placed = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    return {(int(y), int(x)): text for (x, y), text in placed.items()}


def tick_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


# --- confusion matrix --------------------------------------------------------------------------------------


def test_cells_hold_the_counts_of_true_class_by_predicted_class() -> None:
    targets = torch.tensor([0, 0, 0, 1, 1, 2])
    predicted = torch.tensor([0, 0, 1, 1, 2, 2])
    figure = confusion_matrix_figure(predicted, targets, classification("a", "b", "c"))
    assert counts(figure) == {(0, 0): "2", (0, 1): "1", (1, 1): "1", (1, 2): "1", (2, 2): "1"}


def test_colours_are_shares_of_the_true_class() -> None:
    targets = torch.tensor([0, 0, 0, 0, 1])
    predicted = torch.tensor([0, 0, 0, 1, 1])
    (image,) = confusion_matrix_figure(predicted, targets, classification("a", "b")).axes[0].images
    assert image.get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert image.get_clim() == (0, 1)


def test_a_class_without_rows_has_an_empty_row_of_cells() -> None:
    figure = confusion_matrix_figure(torch.tensor([0, 2]), torch.tensor([0, 0]), classification("a", "b", "c"))
    (image,) = figure.axes[0].images
    assert image.get_array().tolist() == [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert counts(figure) == {(0, 0): "1", (0, 2): "1"}


def test_counts_are_dark_on_pale_cells_and_white_on_dark_ones() -> None:
    targets, predicted = torch.zeros(10, dtype=torch.int64), torch.tensor([0] * 9 + [1])
    figure = confusion_matrix_figure(predicted, targets, classification("a", "b"))
    colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert colours == {"9": "white", "1": "black"}


def test_the_title_counts_the_rows_that_are_right() -> None:
    figure = confusion_matrix_figure(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 1, 0]), classification("a", "b"))
    assert figure.axes[0].get_title() == "test part: 3 of 4 rows right (75.0%)"


def test_axes_name_the_target_and_the_classes() -> None:
    figure = identity_matrix_figure(classification("malignant", "benign", target_name="diagnosis"))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted diagnosis", "true diagnosis")
    assert tick_labels(figure) == ["malignant", "benign"]


def test_one_row_makes_a_confusion_matrix() -> None:
    figure = confusion_matrix_figure(torch.tensor([1]), torch.tensor([0]), classification("a", "b"))
    assert counts(figure) == {(0, 1): "1"}
    assert figure.axes[0].get_title() == "test part: 0 of 1 row right (0.0%)"
    assert pixels(figure).ndim == 3


@pytest.mark.parametrize(("n", "labelled"), [(MAX_LABELLED_CLASSES, True), (MAX_LABELLED_CLASSES + 1, False)])
def test_many_classes_are_drawn_without_names_and_counts(n: int, labelled: bool) -> None:
    figure = identity_matrix_figure(classification(*(f"class {i}" for i in range(n))))
    assert len(counts(figure)) == (n if labelled else 0)
    assert any(label.startswith("class") for label in tick_labels(figure)) is labelled
    assert figure.axes[0].images[0].get_array().shape == (n, n)


def test_large_counts_are_written_small_enough_for_their_cells() -> None:
    n = 10
    classes = torch.arange(n).repeat(12_345)
    figure = confusion_matrix_figure(classes, classes, classification(*map(str, range(n))))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    axes = figure.axes[0]
    cell = axes.get_window_extent(renderer).width / n
    assert all(text.get_window_extent(renderer).width < cell for text in axes.texts)


# --- names as hostile as data can be -----------------------------------------------------------------------

HOSTILE_NAMES = ["$x$", "$", "a$b_{\\frac", r"\$5", "<b>bold</b>", "%s {0}", "", "W" * 300]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_any_name_is_drawn_as_text(name: str) -> None:
    figure = identity_matrix_figure(classification(name, "other", target_name=name))
    assert not any(is_math_text(label) is True for label in tick_labels(figure))
    assert pixels(figure).min() < 128


def test_a_dollar_stays_a_dollar() -> None:
    figure = identity_matrix_figure(classification("$x$", "y"))
    # A backslash before it is matplotlib's way to say that no mathematics begins.
    assert tick_labels(figure)[0].replace(r"\$", "$") == "$x$"


def test_a_very_long_name_is_shortened() -> None:
    assert tick_labels(identity_matrix_figure(classification("n" * 300, "y")))[0] == "n" * 23 + "…"


@pytest.mark.parametrize("name", ["W" * 300, *slow("short")])
def test_nothing_is_cut_off_at_the_edge(name: str) -> None:
    for figure in (
        identity_matrix_figure(classification(name, name, name, target_name=name)),
        predicted_against_true_figure(
            torch.zeros(2), torch.ones(2), Task("regression", 1, target_name=name, unit=name)
        ),
    ):
        image = pixels(figure)
        edges = [image[0], image[-1], image[:, 0], image[:, -1]]
        assert all((edge == 255).all() for edge in edges)


# --- predicted against true --------------------------------------------------------------------------------


def test_each_row_is_a_point_at_its_true_and_predicted_value() -> None:
    figure = predicted_against_true_figure(torch.tensor([1.5, 2.5]), torch.tensor([1.0, 3.0]), REGRESSION)
    (points,) = figure.axes[0].collections
    assert points.get_offsets().tolist() == [[1.0, 1.5], [3.0, 2.5]]


def test_the_line_of_perfect_predictions_spans_all_values() -> None:
    figure = predicted_against_true_figure(torch.tensor([-2.0, 2.5]), torch.tensor([1.0, 3.0]), REGRESSION)
    (line,) = figure.axes[0].lines
    assert line.get_xydata().tolist() == [[-2.0, -2.0], [3.0, 3.0]]


def test_title_and_axes_carry_the_unit() -> None:
    axes = predicted_against_true_figure(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), REGRESSION).axes[0]
    assert axes.get_title() == "test part: RMSE 1.414 kg over 2 rows"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true weight [kg]", "predicted weight [kg]")


def test_a_target_without_unit_has_none_in_the_labels() -> None:
    axes = predicted_against_true_figure(torch.ones(3), torch.zeros(3), Task("regression", 1)).axes[0]
    assert (axes.get_xlabel(), axes.get_title()) == ("true target", "test part: RMSE 1 over 3 rows")


@pytest.mark.parametrize("predicted", [3.0, 4.0])
def test_one_row_is_enough_for_a_picture(predicted: float) -> None:
    figure = predicted_against_true_figure(torch.tensor([predicted]), torch.tensor([3.0]), REGRESSION)
    assert figure.axes[0].get_title().endswith("over 1 row")
    assert pixels(figure).min() < 128


def test_a_value_that_is_not_finite_is_left_out_and_counted() -> None:
    predicted = torch.tensor([1.0, math.inf, math.nan, 2.0])
    figure = predicted_against_true_figure(predicted, torch.tensor([1.0, 1.0, 1.0, 2.0]), REGRESSION)
    assert figure.axes[0].get_title().endswith("\n2 rows not finite and not drawn")
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1.0, 1.0], [2.0, 2.0]]
    assert pixels(figure).min() < 128


def test_of_very_many_rows_some_are_drawn_and_the_title_says_so() -> None:
    rows = torch.arange(4.0 * MAX_POINTS)
    axes = predicted_against_true_figure(rows, rows, REGRESSION).axes[0]
    assert len(axes.collections[0].get_offsets()) == MAX_POINTS
    assert axes.get_title() == "test part: RMSE 0 kg over 20,000 rows\none point for every 4 rows"


# --- files -------------------------------------------------------------------------------------------------


def test_the_figure_fits_the_task() -> None:
    name, figure = result_figure(torch.tensor([[0.1, 0.9], [0.2, 0.8]]), torch.tensor([0, 1]), classification("a", "b"))
    assert (name, counts(figure)) == ("confusion_matrix", {(0, 1): "1", (1, 1): "1"})
    name, figure = result_figure(torch.zeros(3), torch.ones(3), REGRESSION, "new.csv")
    assert name == "predicted_against_true"
    assert figure.axes[0].get_title().startswith("new.csv: RMSE 1 kg")


@pytest.mark.parametrize("x", [0.0, 0.5])
def test_what_goes_beyond_the_sheet_is_drawn_too(x: float) -> None:
    figure = Figure(figsize=(1, 1), dpi=100)
    figure.text(x, 0.5, "a text much wider than that", ha="center")
    image = pixels(figure)
    assert image.shape[1] > 150
    assert all((edge == 255).all() for edge in (image[0], image[-1], image[:, 0], image[:, -1]))


def test_a_figure_is_the_same_each_time_and_none_stays_open() -> None:
    from matplotlib import pyplot

    task, classes = classification("a", "b", "c"), torch.arange(3)
    first, second = (as_png(confusion_matrix_figure(classes, classes, task)) for _ in range(2))
    assert first == second
    assert pyplot.get_fignums() == []


def test_several_targets_have_a_figure_each_whatever_they_are_called() -> None:
    names = ("a/b", "a b", *map(str, range(20)))
    several = Task(
        "regression", 1, unit=("kg",) * 22, target_mean=(0.0,) * 22, target_std=(1.0,) * 22, target_names=names
    )
    figures = result_figures(torch.rand(5, 22), torch.rand(5, 22), several)
    assert list(figures)[:3] == [f"predicted_against_true_{end}" for end in ("1_a_b", "2_a_b", "3_0")]
    assert len(figures) == MOST_FIGURES
    assert figures["predicted_against_true_2_a_b"].axes[0].get_xlabel() == "true a b [kg]"
    labels = Task("multilabel", 1, target_names=("wet", "cold"), label_names=(("no", "yes"), ("0", "1")))
    of_labels = result_figures(torch.tensor([[0.9, 0.1], [0.2, 0.6]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), labels)
    assert counts(of_labels["confusion_matrix_1_wet"]) == {(1, 0): "1", (1, 1): "1"}
    assert tick_labels(of_labels["confusion_matrix_2_cold"]) == ["0", "1"]


# --- reliability -------------------------------------------------------------------------------------------


def test_a_reliability_diagram_shows_shares_and_counts_before_and_after() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.59, 0.41], [0.56, 0.44]])
    before = reliability(probabilities, torch.tensor([0, 1, 1, 0]))
    after = reliability(probabilities.sqrt() / probabilities.sqrt().sum(1, keepdim=True), torch.tensor([0, 1, 1, 0]))
    figure = reliability_figure(before, after, "test part: 4 rows", 2.0)
    above, below = figure.axes
    points = [collection.get_offsets() for collection in above.collections]
    np.testing.assert_allclose(points[0], [[0.575, 0.5], [0.95, 0.5]], atol=1e-6)
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[1] == f"as trained: calibration error {before.error:.3f}"
    assert texts[2] == f"with temperature 2.00: calibration error {after.error:.3f}"
    assert legend.get_title().get_text() == "test part: 4 rows"
    assert below.patches[0].get_data().values.sum() == 4
    assert len(reliability_figure(before, None, "test part", 1.0).axes[0].collections) == 1
    assert pixels(figure).shape[1] > 300
