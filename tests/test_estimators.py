"""Estimators of scikit-learn: what it checks, the same bits as `train`, frames, and nothing that stays behind."""

import copy
import pickle
import random
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine, make_multilabel_classification
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from slow_cases import slow

import mlplab
from mlplab.errors import RunStopped, UserError
from mlplab.estimators import MLPClassifier, MLPRegressor

STOCHASTIC = {
    "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 is in one batch of an epoch, and in one of the "
    "two parts; two equal rows can be in several"
}

WINE = load_wine(return_X_y=True)
QUICK = {"max_epochs": 2, "overrides": ["trainer=cpu"]}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def people(n_rows: int = 120) -> tuple[pd.DataFrame, np.ndarray]:
    """A frame with columns of all kinds, and a class that depends on three of them."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(n_rows),
            "height": generator.normal(size=n_rows),
            "is_new": generator.random(n_rows) > 0.5,
            "town": generator.choice(["a", "b", "NA"], n_rows),
            "kind": pd.Categorical(generator.choice(["u", "v"], n_rows)),
            "since": pd.to_datetime("2020-01-01") + pd.to_timedelta(generator.integers(0, 300, n_rows), "D"),
            "gaps": np.where(generator.random(n_rows) > 0.8, np.nan, generator.normal(size=n_rows)),
        }
    )
    score = frame.height + (frame.town == "a") + frame.gaps.fillna(0)
    return frame, np.where(score > 0, "yes", "no")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_scikit_learn_finds_no_fault(kind: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the checks try has reasons to warn
        found = estimator_checks.check_estimator(kind(), expected_failed_checks=STOCHASTIC, on_skip=None)
    assert len(found) > 50
    assert {one["check_name"] for one in found if one["status"] == "xfail"} == {*STOCHASTIC}


@pytest.mark.parametrize(
    "name",
    [
        "check_no_attributes_set_in_init",
        "check_estimators_unfitted",
        "check_estimator_sparse_array",
        "check_all_zero_sample_weights_error",
        *slow(
            "check_dict_unchanged",
            "check_fit2d_1sample",
            "check_methods_subset_invariance",
            "check_n_features_in_after_fitting",
        ),
    ],
)
def test_scikit_learn_s_quicker_checks(name: str) -> None:
    for kind in (MLPClassifier, MLPRegressor):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(estimator_checks, name)(kind.__name__, kind(**QUICK))


def test_a_fit_is_what_train_learns_from_the_same_rows(tmp_path: Path) -> None:
    words = ["optimizer=sgd", "optimizer.lr=0.05", "model.dropout=0.2", "trainer.max_epochs=3", "trainer=cpu"]
    fitted = MLPClassifier(
        optimizer="sgd", lr=0.05, max_epochs=3, random_state=7, overrides=["trainer=cpu", "model.dropout=0.2"]
    ).fit(*WINE)
    np.savez(tmp_path / "wine.npz", features=WINE[0], targets=WINE[1])
    of_file = ["data=arrays", f"data.path={tmp_path / 'wine.npz'}", "data.test_fraction=0", "test=false", "seed=7"]
    run = mlplab.train(mlplab.compose([*words, *of_file, f"paths.logs={tmp_path}"]))
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, fitted.run_.model.state_dict()[name])
    assert fitted.loss_curve_ == run.history["train/loss"].drop_nulls().to_list()
    assert len(fitted.loss_curve_) == 3
    assert np.array_equal(fitted.predict_proba(WINE[0]), run.predict(WINE[0], probabilities=True))


def test_a_table_is_what_train_learns_from_its_file(tmp_path: Path) -> None:
    frame, known = people()
    with pytest.warns(UserWarning, match="columns that are no features: constant"):
        fitted = MLPClassifier(**QUICK).fit(frame.assign(constant=1.0), known)
    as_polars(frame.assign(constant=1.0)).with_columns(target=pl.Series(known)).write_parquet(tmp_path / "t.parquet")
    words = ["data=table", f"data.path={tmp_path / 't.parquet'}", "data.target=target", "data.test_fraction=0"]
    words += ["test=false", "trainer=cpu", "trainer.max_epochs=2", "data.numeric=[id]", f"paths.logs={tmp_path}"]
    run = mlplab.train(mlplab.compose(words))
    table = frame.assign(constant=1.0)
    columns = run.predict(as_polars(table), probabilities=True)
    assert np.array_equal(fitted.predict_proba(table), columns[["probability_no", "probability_yes"]].to_numpy())


def as_polars(frame: pd.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(frame.to_dict("list"), strict=False).with_columns(pl.selectors.float().fill_nan(None))


def test_frames_of_pandas_and_polars_are_the_same_table() -> None:
    frame, known = people()
    of_pandas = MLPClassifier(max_epochs=15).fit(frame, known)
    of_polars = MLPClassifier(max_epochs=15).fit(as_polars(frame), pl.Series(known))
    assert np.array_equal(of_pandas.predict_proba(frame), of_polars.predict_proba(as_polars(frame)))
    assert of_pandas.score(frame, known) > 0.8
    assert list(of_pandas.feature_names_in_) == list(frame.columns)
    # A category that training had not is one that is not known.
    assert of_pandas.predict(frame.assign(town="new").head(2)).shape == (2,)
    with pytest.raises(ValueError, match="feature names"):
        of_pandas.predict(frame[["height"]])


def test_a_complete_frame_of_numbers_is_an_array_with_names() -> None:
    frame = pd.DataFrame(WINE[0], columns=[f"c{place}" for place in range(13)])
    named, unnamed = MLPClassifier(**QUICK).fit(frame, WINE[1]), MLPClassifier(**QUICK).fit(*WINE)
    assert np.array_equal(named.predict_proba(frame), unnamed.predict_proba(WINE[0]))
    assert named.run_.task.feature_names == tuple(frame.columns)
    assert not hasattr(unnamed, "feature_names_in_")


@pytest.mark.parametrize("classes", [["Yes", "yes", "0"], *slow(["red", "white", "NA"], [30, 20, 10])])
def test_classes_come_back_as_they_are(classes: list[Any]) -> None:
    frame, _ = people(90)
    known = np.array(classes)[np.arange(90) % 3]
    for rows in (frame, frame[["id", "height"]]):
        fitted = MLPClassifier(**QUICK).fit(rows, known)
        assert fitted.classes_.tolist() == sorted(classes)
        assert np.array_equal(fitted.predict(rows), fitted.classes_[fitted.predict_proba(rows).argmax(axis=1)])


def test_several_numbers_and_several_labels() -> None:
    frame, _ = people()
    values = np.stack([frame.height, 5 - 2 * frame.height], axis=1)
    features, labels = make_multilabel_classification(120, n_classes=3, random_state=0)
    numbers = MLPRegressor(max_epochs=30).fit(frame, values)
    assert numbers.predict(frame).shape == (120, 2)
    assert numbers.score(frame, values) > 0.8
    assert numbers.run_.figure("curves").axes
    for rows in (frame, features):
        several = MLPClassifier(**QUICK).fit(rows, labels)
        assert np.array_equal(several.predict(rows), several.predict_proba(rows) > 0.5)


def test_weights_decide_and_rows_of_weight_zero_do_not_exist() -> None:
    weights = np.tile([1.0, 0.0, 3.0], 60)[:178]
    kept = weights > 0
    weighted = MLPClassifier(**QUICK).fit(*WINE, sample_weight=weights)
    without = MLPClassifier(**QUICK).fit(WINE[0][kept], WINE[1][kept], sample_weight=weights[kept])
    equal = MLPClassifier(**QUICK).fit(WINE[0][kept], WINE[1][kept])
    assert np.array_equal(weighted.predict_proba(WINE[0]), without.predict_proba(WINE[0]))
    assert not np.array_equal(weighted.predict_proba(WINE[0]), equal.predict_proba(WINE[0]))
    frame, known = people()
    with_table = MLPClassifier(**QUICK).fit(frame, known, sample_weight=np.arange(120.0))
    assert with_table.run_.task.class_names == ("no", "yes")


def test_a_fit_leaves_files_and_the_process_as_they_were(
    temporary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state(), torch.get_num_threads()
    fitted = MLPClassifier(**QUICK).fit(*WINE)
    assert not list(temporary.iterdir())
    assert (random.getstate(), torch.get_num_threads()) == (before[0], before[2])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert capsys.readouterr() == ("", "")
    assert fitted.run_.figure().axes
    with pytest.raises(UserError, match="had a temporary directory"):
        fitted.run_.figure("result")
    kept = MLPClassifier(**QUICK, directory=tmp_path / "logs", verbose=True).fit(*WINE)
    assert "13 features -> 3 classes" in capsys.readouterr().out
    assert "val part" in kept.run_.figure("result").axes[0].get_title()
    assert mlplab.Run.open(next((tmp_path / "logs" / "runs").iterdir())).result == kept.run_.result


def test_an_estimator_pickles_and_copies_with_what_it_has_learned() -> None:
    fitted = MLPClassifier(**QUICK).fit(*WINE)
    for other in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert np.array_equal(other.predict_proba(WINE[0]), fitted.predict_proba(WINE[0]))
        assert other.history_.equals(fitted.history_)
        assert other.run_.result == fitted.run_.result
    assert clone(fitted).get_params() == fitted.get_params()


def test_threads_take_turns() -> None:
    def fitted(seed: int) -> Any:
        return MLPClassifier(**QUICK, random_state=seed, dropout=0.3).fit(*WINE).predict_proba(WINE[0])

    with ThreadPoolExecutor(3) as threads:
        first, second, third = threads.map(fitted, [0, 1, 0])
    assert np.array_equal(first, third)
    assert np.array_equal(first, fitted(0))
    assert not np.array_equal(first, second)


def test_searches_and_pipelines_take_it() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(**QUICK)),
        {"mlpclassifier__lr": np.logspace(-3, -1, 2), "mlpclassifier__hidden_dims": [(8, 4)]},
        cv=2,
    ).fit(*WINE)
    assert search.best_estimator_[-1].run_.result["epochs"] == 2
    assert cross_val_predict(MLPRegressor(**QUICK), *load_diabetes(return_X_y=True), cv=2).shape == (442,)


@pytest.mark.slow
def test_processes_fit_at_once() -> None:
    alone = cross_val_score(MLPClassifier(**QUICK), *WINE, cv=2)
    assert np.array_equal(cross_val_score(MLPClassifier(**QUICK), *WINE, cv=2, n_jobs=2), alone)


@pytest.mark.slow
def test_without_a_seed_each_fit_is_another() -> None:
    first, second = (MLPClassifier(**QUICK, random_state=None).fit(*WINE).loss_curve_ for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr": -1}, "optimizer.lr must be a positive number, got -1"),
        ({"overrides": ["data=wine"]}, "data must follow from what fit and directory are given"),
        ({"directory": "/proc/none"}, "directory must be writable"),
        *slow(
            ({"hidden_dims": 100}, "model.hidden_dims must be a list"),
            ({"overrides": ["model.dropuot=0.2"]}, "try model.dropout=0.2"),
            ({"overrides": "model.dropout=0.2"}, "overrides must be a list of words"),
            ({"overrides": ["resume=latest"]}, "a run must be resumed by train.py"),
        ),
    ],
)
def test_mistakes_are_told_in_a_line(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MLPClassifier(**parameters).fit(*WINE)


@pytest.mark.parametrize(
    ("rows", "targets", "message"),
    [
        (WINE[0], np.zeros(178), "one class"),
        (WINE[0], np.linspace(0, 1, 178), "continuous"),
        (WINE[0], WINE[1][:3], "inconsistent numbers of samples"),
        (people()[0], ["a", "b"], "must have as many rows"),
        (WINE[0][:3], np.array([0, 1, 0]), "at least 4 rows"),
        (np.where(WINE[0] > 14, np.nan, WINE[0]), WINE[1], "contains NaN"),
    ],
)
def test_rows_that_cannot_be_learned_are_refused(rows: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPClassifier().fit(rows, targets)
    with pytest.raises(TypeError, match="dense data is required"):
        MLPClassifier().fit(csr_array(WINE[0]), WINE[1])


def test_an_interruption_is_no_failed_fit_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(config: Any) -> None:
        raise RunStopped("stopped by Ctrl-C", 130)

    monkeypatch.setattr("mlplab.notebook.train", stop)
    with pytest.raises(KeyboardInterrupt, match="stopped by Ctrl-C"):
        cross_val_score(MLPClassifier(), *WINE)
