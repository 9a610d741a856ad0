"""Importance and partial dependence are scikit-learn's, on the same predictions; a column's inputs go together."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from inference.small_runs import save_run, table_options, write_houses
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.inspection import partial_dependence as partial_dependence_of_sklearn
from sklearn.inspection import permutation_importance as importance_of_sklearn
from slow_cases import slow

from mlplab.data.table.table_preprocessing import TablePreprocessing
from mlplab.inference.explaining import explain
from mlplab.inference.feature_effects import (
    N_GRID,
    SCORES,
    Rows,
    inputs_of_columns,
    partial_dependence,
    permutation_importance,
)
from mlplab.inference.trained import TrainedRun, load_run, predict
from mlplab.inference.training_rows import rows_of_training

BUNDLED = "mlplab.data.bundled.bundled"
SKLEARN = {
    "accuracy": "accuracy",
    "f1": "f1_macro",
    "auroc": "roc_auc_ovr",
    "log_loss": "neg_log_loss",
    "r2": "r2",
    "rmse": "neg_root_mean_squared_error",
    "mae": "neg_mean_absolute_error",
    "mse": "neg_mean_squared_error",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedRun]:
    folder = tmp_path_factory.mktemp("effects")
    houses = write_houses(folder / "houses.csv")
    options = {"wine": {"name": "wine"}, "diabetes": {"name": "diabetes"}, "breast_cancer": {"name": "breast_cancer"}}
    return {
        "houses": load_run(save_run(folder / "houses", table_options(houses))),
        "price": load_run(save_run(folder / "price", table_options(houses, "price"))),
        **{name: load_run(save_run(folder / name, o, source=BUNDLED)) for name, o in options.items()},
    }


def rows_of(run: TrainedRun) -> Rows:
    inputs, targets, _ = next(rows_of_training(run, "test"))
    return Rows(
        run, run.task, tuple(tensor.clone() for tensor in inputs), torch.from_numpy(np.ascontiguousarray(targets))
    )


class Fitted(BaseEstimator):  # type: ignore[misc]
    """What scikit-learn takes for a model: of rows of features, or of numbers of rows, see `by_row`."""

    def __init__(self, run: Any, inputs: Any = None, columns: Any = None) -> None:
        self.run, self.inputs, self.columns = run, inputs, columns

    def fit(self, x: Any, y: Any) -> "Fitted":
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def _predict(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        inputs = (torch.from_numpy(np.ascontiguousarray(x)),)
        if self.columns is not None:
            # x holds for each column of the table the number of the row whose value it takes.
            inputs = tuple(tensor.clone() for tensor in self.inputs)
            for number, places in enumerate(self.columns.values()):
                for one in places:
                    values = self.inputs[one.tensor][torch.from_numpy(x[:, number].astype(np.int64)), one.position]
                    inputs[one.tensor][:, one.position] = values
        return predict(self.run.predictor, inputs).double().numpy()


class Classifier(ClassifierMixin, Fitted):  # type: ignore[misc]
    @property
    def classes_(self) -> npt.NDArray[np.int64]:
        return np.arange(self.run.task.n_classes)

    def predict_proba(self, x: Any) -> Any:
        found = self._predict(x)
        return found / found.sum(axis=1, keepdims=True)  # scikit-learn wants a sum of 1 in float64

    def predict(self, x: Any) -> Any:
        return self._predict(x).argmax(axis=1)


class Regressor(RegressorMixin, Fitted):  # type: ignore[misc]
    def predict(self, x: Any) -> Any:
        return self._predict(x)[:, 0]


def orders_of_sklearn(n_rows: int, repeats: int, seed: int) -> list[torch.Tensor]:
    """The permutations of scikit-learn: the same for each column, each applied to the result of the one before."""
    random = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    shuffled, order, orders = np.arange(n_rows), np.arange(n_rows), []
    for _ in range(repeats):
        random.shuffle(shuffled)
        order = order[shuffled]
        orders.append(torch.from_numpy(order.copy()))
    return orders


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("wine", "auroc"),
        ("houses", "accuracy"),
        ("price", "r2"),
        *slow(
            *((name, score) for name in ("houses", "wine") for score in SCORES["classification"]),
            *((name, score) for name in ("price", "diabetes") for score in SCORES["regression"]),
        ),
    ],
)
def test_importance_is_that_of_sklearn(runs: dict[str, TrainedRun], name: str, score: str) -> None:
    run = runs[name]
    rows, columns = rows_of(run), inputs_of_columns(run)
    n_rows = len(rows.targets)
    found = permutation_importance(rows, columns, score, orders_of_sklearn(n_rows, 3, seed=5))
    kind = Regressor if run.task.kind == "regression" else Classifier
    numbers = np.repeat(np.arange(n_rows)[:, None], len(columns), axis=1)
    model = kind(run, tuple(tensor.clone() for tensor in rows.inputs), columns)
    expected = importance_of_sklearn(
        model, numbers, rows.targets.numpy(), scoring=SKLEARN[score], n_repeats=3, random_state=5
    )
    scale = run.task.target_std ** (2 if score == "mse" else 1)
    np.testing.assert_allclose([one.mean for one in found], expected.importances_mean, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose([one.std for one in found], expected.importances_std, rtol=1e-3, atol=1e-5 * scale)
    assert max(abs(one.mean) for one in found) > 0
    assert [one.column for one in found] == list(columns)


@pytest.mark.parametrize("name", ["wine", "diabetes", "breast_cancer"])
def test_dependence_is_that_of_sklearn(runs: dict[str, TrainedRun], name: str) -> None:
    run = runs[name]
    rows = rows_of(run)
    features = rows.inputs[0].numpy().copy()
    kind = Regressor if run.task.kind == "regression" else Classifier
    for column, inputs in list(inputs_of_columns(run).items())[:3]:
        found = partial_dependence(rows, column, inputs[0])
        expected = partial_dependence_of_sklearn(
            kind(run),
            features,
            [inputs[0].position],
            method="brute",
            custom_values={inputs[0].position: found.values},
        )
        (values,) = expected["grid_values"]
        np.testing.assert_array_equal(found.values, values)
        of_classes = expected["average"]
        # scikit-learn gives that of the second of two classes.
        predicted = found.predicted[:, 1:] if run.task.n_classes == 2 else found.predicted
        np.testing.assert_allclose(predicted, of_classes.T, rtol=1e-5)
        np.testing.assert_array_equal(rows.inputs[0].numpy(), features)  # restored


def test_all_inputs_of_a_column_go_together(runs: dict[str, TrainedRun]) -> None:
    run = runs["houses"]
    columns = inputs_of_columns(run)
    assert {name: [one.name for one in inputs] for name, inputs in columns.items()} == {
        "length": ["length"],
        "gap": ["gap"],
        "when": ["when.month", "when.day", "when.weekday", "when.hour"],
        "colour": ["colour"],
        "town": ["town"],
        "flag": ["flag"],
    }
    preprocessing = run.predictor.preprocessing
    assert isinstance(preprocessing, TablePreprocessing)
    rows = rows_of(run)
    before = preprocessing(*rows.inputs)
    order = torch.arange(len(rows.targets)).flip(0)
    for name, inputs in columns.items():
        with rows.replaced(inputs, order):
            after = preprocessing(*rows.inputs)
        moved = {f for f, changed in zip(preprocessing.feature_names, (before != after).any(0), strict=True) if changed}
        # With it goes its indicator.
        assert moved == {one.name for one in inputs} | ({"gap is missing"} if name == "gap" else set())
        for feature in moved:
            at = preprocessing.feature_names.index(feature)
            torch.testing.assert_close(after[:, at], before[order, at])
    torch.testing.assert_close(preprocessing(*rows.inputs), before)


def test_categories_and_missing_values_have_a_dependence(runs: dict[str, TrainedRun]) -> None:
    run = runs["price"]
    rows, columns = rows_of(run), inputs_of_columns(run)
    frame = pl.read_csv(run.card["data"]["options"]["path"], infer_schema=False)
    colour = partial_dependence(rows, "colour", columns["colour"][0])
    assert colour.categories == ("blue", "green", "red")
    assert colour.data.sum() == len(rows.targets)
    expected = []
    for code in (1, 2, 3):
        numeric, codes = (tensor.clone() for tensor in rows.inputs)
        codes[:, columns["colour"][0].position] = code
        expected.append(float(predict(run.predictor, (numeric, codes)).mean()))
    np.testing.assert_allclose(colour.predicted[:, 0], expected, rtol=1e-6)
    # Of many categories the most frequent ones, in the order of the alphabet; missing is one of them.
    town = partial_dependence(rows, "town", columns["town"][0])
    assert len(town.categories) == 12
    assert town.n_categories == frame["town"].n_unique()
    assert town.categories[-1] is None
    assert town.labels[:-1] == sorted(str(name) for name in town.categories[:-1])
    gap = partial_dependence(rows, "gap", columns["gap"][0])
    assert gap.labels[-1] is None
    numeric, codes = (tensor.clone() for tensor in rows.inputs)
    numeric[:, columns["gap"][0].position] = torch.nan
    assert gap.predicted[-1, 0] == pytest.approx(float(predict(run.predictor, (numeric, codes)).mean()), rel=1e-6)


def test_numbers_are_taken_where_the_rows_have_them(runs: dict[str, TrainedRun]) -> None:
    rows, columns = rows_of(runs["breast_cancer"]), inputs_of_columns(runs["breast_cancer"])
    one = columns["mean radius"][0]
    found, data = partial_dependence(rows, "mean radius", one), np.unique(rows.inputs[0][:, one.position].numpy())
    assert len(data) > N_GRID >= len(found.values) > N_GRID - 8
    assert np.isin(found.values, data).all()
    assert (np.diff(found.values) > 0).all()


def test_a_column_that_decides_all_is_the_only_one_of_importance(tmp_path: Path) -> None:
    run = load_run(save_run(tmp_path / "run", {"name": "diabetes"}, source=BUNDLED, hidden_dims=[]))
    weights = run.predictor.model.output.weight  # type: ignore[union-attr]
    with torch.no_grad():
        weights.zero_()[0, 2] = 1.0
    explanation = explain(run, score="mse", repeats=200)
    assert [one.column for one in explanation.importances if one.mean] == ["bmi"]
    # Of a linear model the mean rise is 2·Var of the feature's share, less twice its covariance with the error.
    rows = rows_of(run)
    predicted, targets = predict(run.predictor, rows.inputs).double()[:, 0], rows.targets
    share = predicted - predicted.mean()
    expected = 2 * float((share * (targets - targets.mean())).mean())
    assert explanation.importances[0].mean == pytest.approx(expected, rel=0.1)
