"""Estimators of scikit-learn, `MLPClassifier` and `MLPRegressor`, over `compose` and `train`."""

import json
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from omegaconf import DictConfig
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from mlplab.data.table.column import Hints
from mlplab.data.table.frames import as_polars, is_frame
from mlplab.data.table.strings import null_missing
from mlplab.data.table.target_inference import infer_target
from mlplab.errors import RunStopped, UserError, first_of, not_writable
from mlplab.runs.files import read_json

if TYPE_CHECKING:
    from mlplab.notebook import Run

WORDS = {
    "hidden_dims": "model.hidden_dims", "activation": "model.activation", "dropout": "model.dropout",
    "optimizer": "optimizer", "lr": "optimizer.lr", "batch_size": "data.batch_size",
    "max_epochs": "trainer.max_epochs",
}  # fmt: skip
"""Parameter → name of its option."""

OF_FIT = ("data", "data.path", "data.target", "data.task", "data.weight_column", "paths.logs", "paths.run")
"""Options that follow from the arguments of `fit` and from `directory`."""

NUMBERS = [np.float64, np.float32]

TARGET, WEIGHT = "target", "sample_weight"


class _MLP(BaseEstimator, ABC):  # type: ignore[misc]
    """Trains a network on the rows given to `fit`, as `mlplab.train` does with the same options.

    Rows are split into a training and a validation part (`data.validation_fraction`); there is no test part. Numbers
    are standardised by the training part. A frame with text, categories, dates or missing values is treated as with
    `data=table`. Training stops once the validation loss no longer falls, and the best epoch predicts. A parameter that
    is None takes the value in conf/.

    Args:
        hidden_dims: widths of the hidden layers, such as (64, 64); () is a linear model.
        activation: of the hidden layers, such as "tanh".
        dropout: share of hidden activations that are set to 0 in training.
        optimizer: such as "adamw".
        lr: learning rate.
        batch_size: rows per update, or "full".
        max_epochs: most passes over the training part.
        random_state: seed of weights and order of rows; no other generator is touched. None draws a new one for each
            fit.
        directory: folder that keeps the run of each fit, with its data; None leaves no file behind.
        verbose: whether a fit prints what it does, and its progress.
        overrides: any other options, as on the command line: ["scheduler=cosine", "regularization.l2=0.001"]. An option
            that is given here and as a parameter takes the value here.

    Attributes:
        run_: the run: `run_.result`, `run_.model`, `run_.figure()`, …
        history_: polars frame of the metrics by epoch.
        loss_curve_: training loss of each epoch.
        n_features_in_: number of columns.
        feature_names_in_: their names, where `fit` was given a frame.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int] | None = None,
        *,
        activation: str | None = None,
        dropout: float | None = None,
        optimizer: str | None = None,
        lr: float | None = None,
        batch_size: int | str | None = None,
        max_epochs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        directory: str | Path | None = None,
        verbose: bool = False,
        overrides: Sequence[str] = (),
    ) -> None:
        self.hidden_dims = hidden_dims
        self.activation = activation
        self.dropout = dropout
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.random_state = random_state
        self.directory = directory
        self.verbose = verbose
        self.overrides = overrides

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains on rows (N, F) with targets (N,) or (N, T); weights (N,) say how much each row counts.

        Raises:
            UserError: a parameter or the rows are not possible; it is a ValueError.
            RunFailed: training diverged.
            KeyboardInterrupt: Ctrl-C.
        """
        frame = _table_in(X)
        if frame is None:
            X, y = validate_data(self, X, y, dtype=NUMBERS, multi_output=True, y_numeric=self._is_regression)
        else:
            y = validate_data(self, y=y, multi_output=True, y_numeric=self._is_regression)
            validate_data(self, X, y, skip_check_array=True)
            _require_as_long(frame, y)
        if sample_weight is not None:
            # A row of weight 0 would only take a place in the validation part or in a batch.
            sample_weight = _check_sample_weight(sample_weight, y, ensure_non_negative=True)
            kept = sample_weight > 0
            if not kept.any():
                raise ValueError("some row must have a sample_weight above 0, but all are 0")
            X, y, sample_weight = (None if frame is not None else X[kept]), y[kept], sample_weight[kept]
            frame = frame if frame is None else frame.filter(pl.Series(kept))
        targets, names = self._read_targets(y)
        with tempfile.TemporaryDirectory() if self.directory is None else nullcontext(self.directory) as folder:
            config = self._configuration(Path(folder).expanduser().absolute(), is_table=frame is not None)
            config.data.task = "regression" if self._is_regression else "classification"
            _leave_rows_to_validate(config, len(targets), least=len(names) or 2)
            self._table_classes = None
            if frame is None:
                also = {"weights": sample_weight, "class_names": names, "feature_names": _names_of(self)}
                given = {name: np.asarray(array) for name, array in also.items() if array is not None and len(array)}
                np.savez(_new_file(config, ".npz"), features=X, targets=targets, **given)  # type: ignore[arg-type]
            else:
                self._table_classes = _write_table(config, frame, targets, names, sample_weight)
            from mlplab.notebook import train

            try:
                self.run_ = train(config)
            except RunStopped as stopped:
                # A search would take an Exception for one failed fit.
                raise (KeyboardInterrupt if stopped.status == 130 else SystemExit)(str(stopped)) from None
            if frame is not None:
                _warn_of_unused(self.run_)
            # In memory, so that it predicts without its directory: after pickling, on another machine.
            self.run_.hold()
        self.history_ = self.run_.history
        self.loss_curve_ = self.history_["train/loss"].drop_nulls().to_list()
        return self

    def _configuration(self, logs: Path, *, is_table: bool) -> DictConfig:
        words = ["data=table" if is_table else "data=arrays", "data.test_fraction=0", "test=false"]
        words += [f"verbose={str(bool(self.verbose)).lower()}"]
        if self.directory is None:  # nobody would see them
            words += ["callbacks=minimal", "logger=none"]
        state = self.random_state
        # Imported here: estimators that are only made and cloned need neither PyTorch nor Lightning.
        from mlplab.notebook import compose_unchecked, require_list

        seed = state if isinstance(state, int | np.integer) else check_random_state(state).randint(2**31)
        given = {option: value for name, option in WORDS.items() if (value := getattr(self, name)) is not None}
        words += [f"{option}={_as_word(value)}" for option, value in {**given, "seed": seed}.items()]
        require_list(self.overrides)
        for word in self.overrides:
            name = word.partition("=")[0].lstrip("+~")
            if name in OF_FIT:
                raise UserError(f"{name} must follow from what fit and directory are given", word, "leaving it out")
        # An option that is given twice takes the last value.
        config = compose_unchecked(list({word.partition("=")[0]: word for word in [*words, *self.overrides]}.values()))
        config.paths.run = str(logs / "runs" / Path(config.paths.run).name)
        config.paths.logs = str(logs)
        return config

    _is_regression: bool

    @abstractmethod
    def _read_targets(self, y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[str]]:
        """Returns class indices, labels or values, and the names of the classes."""

    def _predict(self, X: Any, *, probabilities: bool = False) -> npt.NDArray[Any]:
        """Returns class indices, labels or values (N,) or (N, T), or probabilities (N, C or T)."""
        check_is_fitted(self)
        task = self.run_.task
        if self._table_classes is None:
            X = validate_data(self, X, dtype=NUMBERS, reset=False)
            found = np.asarray(self.run_.predict(X, probabilities=probabilities))
            return found.astype(np.float64) if found.dtype == np.float32 else found
        validate_data(self, X, skip_check_array=True, reset=False)
        # A row may be the first of its category.
        predicted = self.run_.predict(as_polars(X), probabilities=probabilities, accept_unknown=True)
        assert isinstance(predicted, pl.DataFrame)
        if probabilities:
            named = predicted[[f"probability_{name}" for name in self._table_classes or task.target_names]]
            return named.cast(pl.Float64).to_numpy()
        if self._table_classes:
            return predicted["prediction"].replace_strict(self._table_classes, range(len(task.class_names))).to_numpy()
        numbers = predicted.cast(pl.Float64 if self._is_regression else pl.Int64)
        return numbers.to_numpy() if task.target_names else numbers["prediction"].to_numpy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = True  # of frames
        return tags


class MLPClassifier(ClassifierMixin, _MLP):  # type: ignore[misc]
    """Classifies rows, or predicts several true-or-false labels; `classes_` names the columns of `predict_proba`."""

    _is_regression = False

    def _read_targets(self, y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[str]]:
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            self.classes_ = np.arange(y.shape[1])
            return y.astype(np.int64), []
        self.classes_, indices = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must have two classes, but there is one class: {self.classes_[0]}")
        return indices, [str(one) for one in self.classes_]

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Predicts the class of each row (N,), or its labels (N, T)."""
        predicted = self._predict(X)
        return predicted if self.run_.task.target_names else self.classes_[predicted]

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Predicts the probability of each class (N, C), or that each label is true (N, T)."""
        return self._predict(X, probabilities=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):  # type: ignore[misc]
    """Predicts one number for each row, or several."""

    _is_regression = True

    def _read_targets(self, y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[str]]:
        return (column_or_1d(y, warn=True) if y.ndim == 1 or y.shape[1] == 1 else y).astype(np.float64), []

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Predicts the value of each row (N,), or its values (N, T)."""
        return self._predict(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


for kind in (MLPClassifier, MLPRegressor):
    kind.__doc__ = f"{kind.__doc__}\n\n    {_MLP.__doc__}"


def _as_word(value: Any) -> str:
    """Writes a value for the command line."""
    return value if isinstance(value, str) else json.dumps(np.asarray(value).tolist())


def _leave_rows_to_validate(config: DictConfig, n_rows: int, least: int) -> None:
    """Enlarges a small validation part, so that it can hold a row of each class, or two numbers."""
    if n_rows < 2 * least:
        requirement = f"there must be at least {2 * least} rows, for training and validation"
        raise UserError(requirement, f"n_samples={n_rows}", "more rows")
    config.data.validation_fraction = max(config.data.validation_fraction, least / n_rows)


def _table_in(rows: Any) -> pl.DataFrame | None:
    """Returns the rows as a frame if they need `data=table`; None if all columns are complete numbers."""
    if not is_frame(rows):
        return None
    frame = as_polars(rows)
    are_numbers = all(dtype.is_numeric() or dtype == pl.Boolean for dtype in frame.dtypes)
    return None if are_numbers and not any(one.null_count() for one in frame) else frame


def _require_as_long(frame: pl.DataFrame, y: npt.NDArray[Any]) -> None:
    if len(frame) != len(y):
        raise ValueError(f"X and y must have as many rows, but they have {len(frame)} and {len(y)}")


def _names_of(estimator: BaseEstimator) -> list[str]:
    return [str(name) for name in getattr(estimator, "feature_names_in_", ())]


def _new_file(config: DictConfig, ending: str) -> Path:
    """Chooses the data file of a fit, beside the runs, and enters it in the configuration."""
    path = Path(config.paths.logs) / "data" / f"{Path(config.paths.run).name}{ending}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable("directory", path.parent.parent, error, "another directory") from None
    config.data.path = str(path)
    return path


def _write_table(
    config: DictConfig,
    frame: pl.DataFrame,
    targets: npt.NDArray[Any],
    class_names: Sequence[str],
    weights: npt.NDArray[Any] | None,
) -> list[str]:
    """Writes the file of `data=table`; returns the classes as they are written, in the order of their indices."""
    written = list(class_names)
    if written and not _are_read_back(pl.Series(TARGET, written)[targets]):
        written = [str(number) for number in range(len(written))]
    # A numeric column is declared as such: numbers in text might be identifiers or codes.
    config.data.numeric = [one.name for one in frame if one.dtype.is_numeric() and one.null_count() < len(one)]

    def unused(name: str) -> str:
        return name if name not in frame else unused(f"{name}_")

    if targets.ndim > 1:
        columns = [pl.Series(unused(f"{TARGET}_{place}"), one) for place, one in enumerate(targets.T)]
    else:
        columns = [pl.Series(unused(TARGET), np.array(written)[targets] if written else targets)]
    config.data.target = [one.name for one in columns] if targets.ndim > 1 else columns[0].name
    if weights is not None:
        columns.append(pl.Series(unused(WEIGHT), weights))
        config.data.weight_column = columns[-1].name
    frame.with_columns(columns).write_parquet(_new_file(config, ".parquet"))
    return written


def _are_read_back(classes: pl.Series) -> bool:
    """Returns whether a table would keep these classes: "NA" would be missing, Yes may be the same as yes."""
    series = null_missing(classes, (), ())
    if series.null_count():
        return False
    try:
        found = infer_target(series, "classification", Hints())
    except UserError:
        return False
    return set(found.class_names) == {*classes}


def _warn_of_unused(run: "Run") -> None:
    """Warns of columns of a table that are not used as features."""
    columns = read_json(run.directory / "data.json")["columns"]
    unused = [f"{one['name']} ({one['use'].removeprefix('left out: ')})" for one in columns if "left out" in one["use"]]
    if unused:
        warnings.warn(f"columns that are no features: {first_of(unused, 8)}", stacklevel=3)
