"""A confusion matrix on a sheet is what matplotlib draws, whether all of it is drawn or only what is new."""

import numpy as np
import pytest

from mlplab.figures import MAX_LABELLED_CLASSES, show_counts
from mlplab.matrix_sheet import MatrixSheet
from mlplab.task import Task


def classification(*names: str) -> Task:
    return Task(kind="classification", n_features=1, class_names=names, target_name="class")


def drawn(sheet: MatrixSheet, counts: np.ndarray) -> np.ndarray:
    """The whole of the sheet, as matplotlib draws it."""
    show_counts(sheet.figure, counts, sheet.rows)
    sheet.canvas.draw()
    return np.asarray(sheet.canvas.buffer_rgba())[..., :3].copy()


@pytest.mark.parametrize("n", [2, 10, MAX_LABELLED_CLASSES + 1])
def test_a_matrix_with_new_counts_is_what_would_be_drawn_from_scratch(n: int) -> None:
    sheet = MatrixSheet(classification(*map(str, range(n))), "test part", 270)
    generator = np.random.default_rng(n)
    for most in (2, 40, 1):  # more counts than before, then fewer
        counts = generator.integers(0, most + 1, (n, n))
        assert np.array_equal(sheet.with_counts(counts), drawn(sheet, counts))


@pytest.mark.parametrize("n", [2, 10])
def test_a_matrix_of_cells_that_have_been_drawn_before_is_what_would_be_drawn_from_scratch(n: int) -> None:
    sheet = MatrixSheet(classification(*map(str, range(n))), "test part", 270)
    generator = np.random.default_rng(n)
    first = generator.integers(0, 40, (n, n))
    other = np.roll(first, 1, axis=1)  # as many in each row
    for counts in (first, other):
        sheet.with_counts(counts)
    is_new = generator.random((n, 1)) < 0.5
    mixed = np.where(is_new, first, other)
    assert (mixed != first).any()
    image = sheet.with_counts(mixed)
    assert not sheet.figure.axes[0].texts  # no number was left to write
    assert np.array_equal(image, drawn(sheet, mixed))
    assert np.array_equal(sheet.with_counts(mixed), drawn(sheet, mixed))  # nor a title


@pytest.mark.parametrize("cell", [(0, 0), (0, 3), (2, 1), (4, 4)])
def test_a_single_cell_that_is_new_is_what_would_be_drawn_from_scratch(cell: tuple[int, int]) -> None:
    sheet = MatrixSheet(classification(*"abcde"), "test part", 270)
    counts = np.random.default_rng(0).integers(20, 30, (5, 5))
    sheet.with_counts(counts)
    row = counts[cell[0]]
    row[cell[1]], row[cell[1] - 1] = 8, row.sum() - row[cell[1]] + row[cell[1] - 1] - 8  # as many in the row
    assert np.array_equal(sheet.with_counts(counts), drawn(sheet, counts))


def test_what_is_no_longer_kept_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlplab.matrix_sheet.MOST_PARTS", 30)
    sheet = MatrixSheet(classification(*"abcd"), "test part", 270)
    generator = np.random.default_rng(0)
    matrices = [generator.integers(0, 3, (4, 4)) for _ in range(4)]
    for counts in [*matrices, *matrices]:
        assert np.array_equal(sheet.with_counts(counts), drawn(sheet, counts))
