from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from inference.small_runs import change_card, houses, predict_file, save_run, table_options, train_run, write_houses
from slow_cases import slow

from mlplab.errors import UserError
from mlplab.inference.intervals import Calibrated
from mlplab.inference.trained import TrainedRun, load_run
from mlplab.inference.training_rows import rows_of_training
from mlplab.objectives.calibration import conformal_quantile
from mlplab.objectives.objective import predictions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intervals")
    write_houses(folder / "houses.csv")
    houses(40, seed=1).write_csv(folder / "new.csv")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return load_run(save_run(folder / "classes", table_options(folder / "houses.csv")))


@pytest.fixture(scope="module")
def regression(folder: Path) -> TrainedRun:
    return load_run(save_run(folder / "values", table_options(folder / "houses.csv", "price")))


def predicted(run: TrainedRun, folder: Path, out: Path, **options: Any) -> pl.DataFrame:
    made = predict_file(run, folder / "new.csv", out, **options)
    assert made.n_rows == 40
    return pl.read_parquet(out) if out.suffix == ".parquet" else pl.read_csv(out, infer_schema_length=None)


@pytest.mark.parametrize("ending", ["csv", *slow("parquet")])
def test_bounds_lie_around_the_prediction_by_a_quantile_of_the_validation_errors(
    regression: TrainedRun, folder: Path, tmp_path: Path, ending: str
) -> None:
    frame = predicted(regression, folder, tmp_path / f"out.{ending}", intervals=0.9)
    assert frame.columns == ["prediction", "lower", "upper"]
    ((inputs, targets, _),) = rows_of_training(regression, "val")
    errors = np.sort(np.abs(predictions(regression.outputs(inputs), regression.task)[:, 0].numpy() - targets))
    expected = errors[27]  # ⌈31 · 0.9⌉ = 28 of 30
    values = frame["prediction"].to_numpy()
    np.testing.assert_allclose(frame["upper"].to_numpy() - values, expected, rtol=1e-4)
    np.testing.assert_allclose(values - frame["lower"].to_numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("level", [0.8, *slow(0.5, 0.95)])
def test_sets_hold_the_classes_that_are_likely_enough(
    run: TrainedRun, folder: Path, tmp_path: Path, level: float
) -> None:
    frame = predicted(run, folder, tmp_path / "out.csv", intervals=level, probabilities=True)
    names = run.task.class_names
    assert frame.columns == ["prediction", "set", *(f"probability_{name}" for name in names)]
    ((inputs, targets, _),) = rows_of_training(run, "val")
    probabilities = predictions(run.outputs(inputs), run.task).numpy()
    scores = np.sort(1 - probabilities[np.arange(30), targets].astype(np.float64))
    threshold = scores[int(np.ceil(31 * level - 1e-9)) - 1]
    for row in frame.iter_rows(named=True):
        likely = [name for name in names if 1 - row[f"probability_{name}"] <= threshold + 1e-7]
        assert row["set"].split("|") == (likely or [row["prediction"]])
        assert row["prediction"] in row["set"].split("|")


def test_labels_of_a_set_can_be_told_apart(run: TrainedRun) -> None:
    calibrated = Calibrated(run, 0.9)
    calibrated._quantiles = [0.75]
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.4, 0.4, 0.2]])
    assert calibrated.sets(probabilities)[0].to_list() == ["large, old|medium", "large, old", "large, old|medium"]
    object.__setattr__(run.task, "class_names", ("a|b", "c;d", "e"))
    try:
        assert calibrated.sets(probabilities)[0].to_list() == ["a|b,c;d", "a|b", "a|b,c;d"]
    finally:
        object.__setattr__(run.task, "class_names", ("large, old", "medium", "small"))


def test_too_few_rows_are_refused_with_the_number_that_is_needed(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        predicted(run, folder, tmp_path / "out.csv", intervals=0.99)
    assert str(refusal.value) == (
        "intervals=0.99 must have at least 99 rows in the validation part, but the run has 30; try intervals=0.96, or "
        "data.validation_fraction in training"
    )
    assert list(tmp_path.iterdir()) == []
    predicted(run, folder, tmp_path / "out.csv", intervals=0.96)


@pytest.mark.parametrize("loss", ["cross_entropy", *slow("binary_cross_entropy")])
def test_a_temperature_scales_probabilities_and_changes_no_class(folder: Path, tmp_path: Path, loss: str) -> None:
    options = table_options(folder / "houses.csv", "binary")
    save_run(tmp_path / "run", options, loss=loss)
    change_card(tmp_path / "run", ("calibration",), {"n_rows": 1, "temperature": 2.5, "scores": torch.zeros(1, 1)})
    run = load_run(tmp_path / "run")
    raw = predicted(run, folder, tmp_path / "raw.csv", probabilities=True)
    scaled = predicted(run, folder, tmp_path / "scaled.csv", probabilities=True, temperature=True)
    assert raw["prediction"].equals(scaled["prediction"])
    # By Bayes' rule of softmax: p^(1/T), and again a sum of 1.
    expected = raw[:, 1:].to_numpy() ** (1 / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scaled[:, 1:].to_numpy(), expected, rtol=1e-4)
    with pytest.raises(UserError, match="temperature=fitted must be given with proba=true"):
        predicted(run, folder, tmp_path / "other.csv", temperature=True)


def test_a_run_holds_its_calibration_and_needs_no_data(tmp_path: Path) -> None:
    path = write_houses(tmp_path / "houses.csv")
    houses(40, seed=1).write_csv(tmp_path / "new.csv")
    data = ["data=table", f"data.path={path}", "data.target=price", "data.drop=[kind,binary]"]
    plain = train_run(tmp_path / "plain", *data)
    result = train_run(tmp_path / "run", *data, "+callbacks.calibration._target_=mlplab.callbacks.Calibration")
    # It changes nothing that is learned or tested.
    found = result.pop("calibration")
    assert found["rows"] == 30
    assert result == plain
    run, other = load_run(tmp_path / "run"), load_run(tmp_path / "plain")
    torch.testing.assert_close(dict(run.card["weights"]), dict(other.card["weights"]), rtol=0, atol=0)
    assert "calibration" not in other.card
    now = predicted(other, tmp_path, tmp_path / "now.csv", intervals=0.9)
    notes = Calibrated(other, 0.9).notes
    assert notes == ["the checkpoint has no calibration: computed now, from 30 rows of the validation part"]
    path.unlink()
    stored = predicted(run, tmp_path, tmp_path / "stored.csv", intervals=0.9)
    np.testing.assert_allclose(stored.to_numpy(), now.to_numpy(), rtol=1e-5)
    with pytest.raises(UserError) as refusal:
        predicted(other, tmp_path, tmp_path / "refused.csv", intervals=0.9)
    assert "a run without a calibration in its checkpoint must be calibrated now" in str(refusal.value)
    assert "try putting the data back" in str(refusal.value)


@pytest.mark.parametrize(
    "calibration", [{"n_rows": "many", "scores": torch.zeros(2), "temperature": None}, *slow([], {"n_rows": 30})]
)
def test_a_damaged_calibration_is_refused(folder: Path, tmp_path: Path, calibration: Any) -> None:
    save_run(tmp_path / "run", table_options(folder / "houses.csv", "price"))
    change_card(tmp_path / "run", ("calibration",), calibration)
    with pytest.raises(UserError, match="a checkpoint's card must describe its calibration"):
        predicted(load_run(tmp_path / "run"), folder, tmp_path / "out.csv", intervals=0.9)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_coverage_on_new_rows_is_the_level(tmp_path: Path, level: float) -> None:
    """Mean over splits of made data, with a network that is right but for noise."""
    generator = np.random.default_rng(0)
    run = load_run(save_run(tmp_path / "run", {"name": "diabetes"}, source="mlplab.data.bundled.bundled"))
    covered = []
    for _ in range(400):
        errors = np.sort(np.abs(generator.standard_t(3, 60)))
        calibration = {"n_rows": 60, "scores": torch.from_numpy(errors)[:, None], "temperature": None}
        object.__setattr__(run, "card", {**run.card, "calibration": calibration})
        values = pl.Series(np.zeros(300))
        lower, upper = Calibrated(run, level).bounds(values)
        truth = generator.standard_t(3, 300)
        covered.append(float(((lower.to_numpy() <= truth) & (truth <= upper.to_numpy())).mean()))
        assert [upper[0]] == conformal_quantile(calibration, level)
    expected = np.ceil(61 * level) / 61
    assert abs(np.mean(covered) - expected) < 4 * np.std(covered) / 20


def test_several_numbers_have_an_interval_each(folder: Path, tmp_path: Path) -> None:
    options = {**table_options(folder / "houses.csv"), "target": ["price", "length"], "drop": ["row", "kind", "binary"]}
    run = load_run(save_run(tmp_path / "run", options))
    frame = predicted(run, folder, tmp_path / "out.csv", intervals=0.9)
    names = ["price", "length"]
    assert frame.columns == [
        *(f"prediction_{name}" for name in names),
        *(f"{end}_{name}" for name in names for end in ("lower", "upper")),
    ]
    ((inputs, targets, _),) = rows_of_training(run, "val")
    errors = np.sort(np.abs(predictions(run.outputs(inputs), run.task).numpy() - targets), axis=0)
    for place, name in enumerate(names):
        widths = (frame[f"upper_{name}"] - frame[f"prediction_{name}"]).to_numpy()
        np.testing.assert_allclose(widths, errors[27, place], rtol=1e-4)
