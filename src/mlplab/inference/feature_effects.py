"""Measures effects of a table's columns on predictions: permutation importance and partial dependence.

Legend: N rows, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlplab.data.preprocessing import ScalePixels
from mlplab.data.table.table_preprocessing import CategoricalInput, TablePreprocessing
from mlplab.errors import UserError
from mlplab.inference.row_reader import RowReader
from mlplab.inference.trained import TrainedRun, predict
from mlplab.objectives.scores import classification_scores, regression_scores
from mlplab.task import Task

SCORES = {
    "classification": ("accuracy", "f1", "auroc", "log_loss"),
    "regression": ("r2", "rmse", "mae", "mse"),
}
"""Scores by task; the first is the default."""

ERRORS = ("log_loss", "rmse", "mae", "mse")
"""Scores of which small values are good."""

N_GRID = 40
"""Maximum of a number's values at which partial dependence is computed."""

OUTERMOST = 0.01
"""Share of rows that is left out at either end of a number's range, where few rows support the curve."""

MOST_CATEGORIES = 12
"""Maximum of categories for partial dependence: the most frequent ones."""


@dataclass(frozen=True)
class Input:
    """One input of the preprocessing that belongs to a column.

    Attributes:
        name: that of the column; for a part of a date, `COLUMN.PART`.
        tensor: number of the tensor that holds it.
        position: its column in this tensor.
        category: for categories, the meaning of the codes.
        may_miss: whether training had missing values in it.
    """

    name: str
    tensor: int
    position: int
    category: CategoricalInput | None = None
    may_miss: bool = False


@dataclass(frozen=True)
class Importance:
    """Drop of the score if a column is permuted: mean and standard deviation over repeats."""

    column: str
    mean: float
    std: float


@dataclass(frozen=True)
class Dependence:
    """Mean predictions over all rows, with one input set to each of several values.

    Attributes:
        name: of the input.
        column: to which it belongs.
        values: (V,) of a number; NaN as the last one stands for a missing value.
        categories: (V,) categories, None for a missing value; empty for a number.
        n_categories: number of all categories in training; 0 for a number.
        predicted: (V, C) mean probabilities, or (V, 1) values in the target's unit.
        data: the input's values in the rows; for categories, the number of rows of each (V,).
    """

    name: str
    column: str
    values: npt.NDArray[np.float64]
    categories: tuple[str | None, ...]
    n_categories: int
    predicted: npt.NDArray[np.float64]
    data: npt.NDArray[np.float64]

    @property
    def labels(self) -> list[str | None]:
        """Returns the values as text, None for a missing one."""
        return list(self.categories) or [
            None if np.isnan(value) else repr(float(value)).removesuffix(".0") for value in self.values
        ]


@dataclass(frozen=True)
class Explanation:
    """The result for some rows.

    Attributes:
        rows: name of these rows.
        n_rows: number of these rows.
        task: of the target, or the chosen one of several.
        score: measure of importance.
        base: its value without permutation.
        repeats: permutations of each column.
        importances: the most important column first.
        dependences: of the chosen columns.
        classes: numbers of the classes to draw; (0,) for regression.
        notes: for people.
    """

    rows: str
    n_rows: int
    task: Task
    score: str
    base: float
    repeats: int
    importances: list[Importance]
    dependences: list[Dependence]
    classes: tuple[int, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def change(self) -> str:
        """Describes how permuting an important column changes the score."""
        return "rise" if self.score in ERRORS else "drop"


@dataclass(frozen=True)
class Rows:
    """Rows of a run's data.

    Attributes:
        run: whose network predicts them.
        task: of its target, or of one of several.
        inputs: of the preprocessing, (N, …) each; temporarily changed in place.
        targets: class indices (N,), or values (N,) in the target's unit.
        weights: (N,), where the rows have some.
        place: index of the target among several.
    """

    run: TrainedRun
    task: Task
    inputs: tuple[Tensor, ...]
    targets: Tensor
    weights: Tensor | None = None
    place: int | None = None

    def predict(self) -> Tensor:
        """Predicts probabilities (N, C), or values (N, 1), float64."""
        predicted = predict(self.run.predictor, self.inputs).double()
        if self.place is None:
            return predicted
        of_one = predicted[:, [self.place]]
        # For a label the network predicts the probability of true.
        return torch.cat([1 - of_one, of_one], dim=1) if self.task.kind == "classification" else of_one

    def score(self, name: str) -> float:
        """Returns one of `SCORES` of the predictions."""
        predicted = self.predict()
        if self.task.kind == "regression":
            return float(regression_scores(predicted.squeeze(1), self.targets, self.weights)[name])
        if name == "accuracy":  # skips the other scores, which take as long as the predictions
            return float(self.mean((predicted.argmax(1) == self.targets).double()))
        if name == "log_loss":
            of_class = predicted.gather(1, self.targets.unsqueeze(1)).squeeze(1)
            return float(self.mean(-of_class.clamp(min=torch.finfo(torch.float32).tiny).log()))
        return float(classification_scores(predicted, self.targets, self.weights)[name])

    def mean(self, values: Tensor) -> Tensor:
        """Computes the mean over the rows, weighted if they have weights: (N, …) -> (…)."""
        if self.weights is None:
            return values.mean(dim=0)
        mean: Tensor = torch.tensordot(self.weights / self.weights.sum(), values, dims=1)
        return mean

    @contextmanager
    def replaced(self, inputs: Sequence[Input], rows: Tensor | None = None, value: float = 0.0) -> Iterator[None]:
        """Replaces inputs within this context, by those of other `rows` (N,), or by one `value` for all rows."""
        kept = [self.inputs[one.tensor][:, one.position].clone() for one in inputs]
        for one, values in zip(inputs, kept, strict=True):
            self.inputs[one.tensor][:, one.position] = value if rows is None else values[rows]
        try:
            yield
        finally:
            for one, values in zip(inputs, kept, strict=True):
                self.inputs[one.tensor][:, one.position] = values


def inputs_of_columns(run: TrainedRun) -> dict[str, list[Input]]:
    """Returns column → its inputs. Indicators and codes follow from these.

    Raises:
        UserError: the run's data are images.
    """
    preprocessing = run.predictor.preprocessing
    if isinstance(preprocessing, ScalePixels):
        raise UserError(
            "run must be a run on a table",
            "it is on images, in which a single pixel tells nothing",
            "scripts/evaluate.py for its scores",
        )
    if not isinstance(preprocessing, TablePreprocessing):
        return {column.name: [Input(column.name, 0, at)] for at, column in enumerate(RowReader(run).columns)}
    columns: dict[str, list[Input]] = {}
    indicated = preprocessing.indicated.tolist()
    for position, number in enumerate(preprocessing.inputs.numeric):
        one = Input(number.name, 0, position, may_miss=position in indicated)
        columns.setdefault(number.column.name, []).append(one)
    for position, category in enumerate(preprocessing.inputs.categorical):
        columns[category.name] = [Input(category.name, 1, position, category, category.has_missing)]
    return columns


def permutation_importance(
    rows: Rows, columns: Mapping[str, Sequence[Input]], score: str, orders: Sequence[Tensor]
) -> list[Importance]:
    """Measures for each column how much permuting it worsens a score (Breiman 2001, section 10).

    Args:
        rows: to predict.
        columns: name → inputs, which are permuted together.
        score: one of `SCORES`.
        orders: permutations (N,) of the rows, one for each repeat and the same for all columns.
    """
    base, sign = rows.score(score), 1 if score in ERRORS else -1
    found = []
    for column, inputs in columns.items():
        changes = []
        for order in orders:
            with rows.replaced(inputs, order):
                changes.append(sign * (rows.score(score) - base))
        found.append(Importance(column, float(np.mean(changes)), float(np.std(changes))))
    return found


def partial_dependence(rows: Rows, column: str, one: Input) -> Dependence:
    """Averages the predictions of all rows with one input set to each of its values (Friedman 2001, section 8.2)."""
    data = rows.inputs[one.tensor][:, one.position].double().numpy()
    categories: tuple[str | None, ...] = ()
    n_categories = 0 if one.category is None else one.category.n_categories
    if one.category is None:
        values = _grid(data[~np.isnan(data)])
        # In rows outside the training part, all values may be missing.
        if one.may_miss or not len(values):
            values = np.append(values, np.nan)
    else:
        n_rows = np.bincount(data.astype(np.int64), minlength=n_categories + 1)
        # Codes from 1: 0 is a category that training did not have. Stable, so that ties keep the alphabet.
        codes = np.argsort(-n_rows[1:], kind="stable")[:MOST_CATEGORIES] + 1
        values, data = np.sort(codes).astype(np.float64), n_rows[np.sort(codes)].astype(np.float64)
        categories = tuple((*one.category.categories, None)[code - 1] for code in np.sort(codes))
    means = []
    for value in values:
        with rows.replaced([one], value=float(value)):
            means.append(rows.mean(rows.predict()).numpy())
    return Dependence(one.name, column, values, categories, n_categories, np.stack(means), data)


def _grid(known: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns occurring values of a number: all if they are few, else quantiles."""
    distinct = np.unique(known)
    if len(distinct) <= N_GRID:
        return distinct
    shares = np.linspace(OUTERMOST, 1 - OUTERMOST, N_GRID)
    return np.unique(np.quantile(known, shares, method="inverted_cdf"))
