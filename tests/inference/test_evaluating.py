import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from inference.small_runs import (
    change_card,
    houses,
    predict_file,
    save_run,
    table_options,
    train_run,
    write_houses,
    write_images,
)
from parts import needs
from PIL import Image
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from mlplab.data.module import DataModule
from mlplab.errors import UserError
from mlplab.inference import evaluating, training_rows
from mlplab.inference.evaluating import Evaluation, evaluate, write_evaluation
from mlplab.inference.trained import TrainedRun, load_run
from mlplab.inference.training_rows import source_named


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluating")
    write_houses(folder / "houses.csv")
    write_houses(folder / "other.csv", 60, seed=1)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return load_run(save_run(folder / "classes", table_options(folder / "houses.csv"), hidden_dims=[]))


@pytest.fixture(scope="module")
def regression(folder: Path) -> TrainedRun:
    options = table_options(folder / "houses.csv", "price", unit="€")
    return load_run(save_run(folder / "values", options, hidden_dims=[]))


def refusal_of(run: TrainedRun, path: Path | None = None) -> UserError:
    with pytest.raises(UserError) as refusal:
        evaluate(run, path)
    assert len(str(refusal.value).splitlines()) == 1
    return refusal.value


TABLE = ("data=table", "data.path={folder}/houses.csv")
BALANCED = ("loss=cross_entropy", "loss.class_weights=balanced", "loss.label_smoothing=0.1")
QUANTILES = "data.numeric_scaling=quantile_normal"
TRAINED = {
    "digits": ["data=digits", "model.hidden_dims=[16]"],
    "weights and smoothing": ["data=wine", *BALANCED],
    "one logit": ["data=breast_cancer", "loss=binary_cross_entropy", "loss.class_weights=[1,2]"],
    "diabetes": ["data=diabetes", "loss=huber", "loss.delta=0.7", "model.normalization=batch"],
    "circles": ["data=circles", "data.n_samples=300"],
    "images": ["data=mnist", "data.directory={folder}/idx"],
    "classes of a table": [*TABLE, "data.target=kind", "data.drop=[price,binary]", *BALANCED],
    "values of a table": [*TABLE, "data.target=price", "data.drop=[kind,binary]", QUANTILES],
    "the latest": [*TABLE, "data.target=kind", "data.drop=[price,binary]", "data.time_column=when"],
}  # fmt: skip


IN_THE_GATE = ("one logit", "images", "classes of a table", "values of a table")


@pytest.mark.parametrize(
    "name", [name if name in IN_THE_GATE else pytest.param(name, marks=pytest.mark.slow) for name in TRAINED]
)
def test_the_test_part_gives_the_metrics_of_the_run_itself(folder: Path, tmp_path: Path, name: str) -> None:
    """To the last bit: the same rows, weights and order of sums."""
    if name == "images":
        write_images(folder / "idx")
    overrides = [word.format(folder=folder) for word in TRAINED[name]]
    result = train_run(tmp_path / "run", *overrides)
    evaluation = evaluate(load_run(tmp_path / "run"))
    assert {f"test/{metric}": value for metric, value in evaluation.metrics.items()} == result["test"]
    validation = evaluate(load_run(tmp_path / "run"), part="val")
    assert {f"val/{metric}": value for metric, value in validation.metrics.items()} == result["validation"]


def test_blocks_do_not_change_the_metrics(run: TrainedRun, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, other = evaluate(run, part="train"), evaluate(run, folder / "other.csv")
    monkeypatch.setattr(training_rows, "BLOCK_ROWS", 9)
    monkeypatch.setattr("mlplab.data.table.table_reading.BLOCK_ROWS", 9)
    monkeypatch.setattr(evaluating, "BATCH_ROWS", 4)
    assert evaluate(run, part="train").metrics == pytest.approx(whole.metrics, rel=1e-5)
    assert evaluate(run, folder / "other.csv").metrics == pytest.approx(other.metrics, rel=1e-5)
    assert (whole.n_rows, other.n_rows) == (140, 60)


def test_rows_of_the_test_part_in_a_file_give_the_same_as_the_test_part(
    run: TrainedRun, regression: TrainedRun, tmp_path: Path
) -> None:
    for one in (run, regression):
        data = one.card["data"]
        module = DataModule(lambda data=data: source_named(data["source"])(**data["options"]), **data["split"])
        pl.read_csv(data["options"]["path"], infer_schema=False)[module.read()[1].test].write_csv(tmp_path / "test.csv")
        assert evaluate(one, tmp_path / "test.csv").metrics == pytest.approx(evaluate(one).metrics, rel=1e-6)


def test_another_file_needs_nothing_of_the_training_data(folder: Path, tmp_path: Path) -> None:
    path = write_houses(tmp_path / "houses.csv")
    run = load_run(save_run(tmp_path / "run", table_options(path)))
    expected = evaluate(run, folder / "other.csv").metrics
    path.unlink()
    assert evaluate(load_run(tmp_path / "run"), folder / "other.csv").metrics == expected


def test_metrics_of_classes_by_hand(run: TrainedRun, folder: Path) -> None:
    evaluation = evaluate(run, folder / "other.csv")
    names = list(run.task.class_names)
    targets = np.array([names.index(kind) for kind in houses(60, seed=1)["kind"]])
    made = evaluation.predicted.double().numpy()
    assert evaluation.targets.tolist() == targets.tolist()
    assert evaluation.metrics == pytest.approx(
        {
            "loss": -np.log(made[np.arange(60), targets]).mean(),
            "accuracy": (made.argmax(1) == targets).mean(),
            "f1": f1_score(targets, made.argmax(1), average="macro"),
            "auroc": roc_auc_score(targets, made, multi_class="ovr", average="macro"),
        },
        rel=1e-5,
    )


def test_metrics_of_values_by_hand(regression: TrainedRun, folder: Path) -> None:
    evaluation = evaluate(regression, folder / "other.csv")
    targets = houses(60, seed=1)["price"].cast(pl.Float64).to_numpy()
    np.testing.assert_allclose(evaluation.targets.numpy(), targets, rtol=1e-6)
    error = evaluation.predicted.double().numpy() - targets
    assert evaluation.metrics == pytest.approx(
        {
            "loss": (error**2).mean() / regression.task.target_std**2,
            "mse": (error**2).mean(),
            "rmse": (error**2).mean() ** 0.5,
            "mae": abs(error).mean(),
            "r2": r2_score(targets, targets + error),
        },
        rel=1e-4,
    )


@needs("tables")
def test_bundled_data_can_be_evaluated_on_a_file_with_their_columns(tmp_path: Path) -> None:
    for name in ("iris", "diabetes"):
        run = load_run(save_run(tmp_path / name, {"name": name}, source="mlplab.data.bundled.bundled"))
        dataset = source_named("mlplab.data.bundled.bundled")(name=name)
        test = DataModule(lambda dataset=dataset: dataset, **run.card["data"]["split"]).read()[1].test
        frame = pl.DataFrame(dataset.features[test], schema=list(run.task.feature_names))  # type: ignore[attr-defined]
        targets = dataset.targets[test]
        labels = [run.task.class_names[index] for index in targets] if run.task.class_names else targets.tolist()
        frame.with_columns(pl.Series(run.task.target_name, labels)).write_csv(tmp_path / "test.csv")
        assert evaluate(run, tmp_path / "test.csv").metrics == pytest.approx(evaluate(run).metrics, rel=1e-6)


# Targets of a file.


def changed(folder: Path, path: Path, column: str, change: Callable[[int, str], str]) -> Path:
    frame = pl.read_csv(folder / "other.csv", infer_schema=False)
    cells = [change(number, cell) for number, cell in enumerate(frame[column])]
    frame.with_columns(pl.Series(column, cells)).write_csv(path)
    return path


@pytest.mark.parametrize(("name", "column"), [("run", "kind"), ("regression", "price")])
def test_rows_without_a_target_are_left_out_and_counted(
    request: pytest.FixtureRequest,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    column: str,
) -> None:
    run: TrainedRun = request.getfixturevalue(name)
    some = changed(folder, tmp_path / "some.csv", column, lambda n, cell: "NA" if n < 8 or n % 5 == 0 else cell)
    keep = [number >= 8 and number % 5 > 0 for number in range(60)]
    pl.read_csv(folder / "other.csv", infer_schema=False).filter(pl.Series(keep)).write_csv(tmp_path / "kept.csv")
    monkeypatch.setattr("mlplab.data.table.table_reading.BLOCK_ROWS", 8)  # all of the first block is missing
    evaluation = evaluate(run, some)
    assert evaluation.metrics == pytest.approx(evaluate(run, tmp_path / "kept.csv").metrics, rel=1e-5)
    assert evaluation.n_rows == sum(keep)
    assert f"{60 - sum(keep)} rows have no target: left out" in evaluation.notes


@pytest.mark.parametrize(("name", "column"), [("run", "kind"), ("regression", "price")])
def test_a_file_in_which_all_targets_are_missing_is_refused(
    request: pytest.FixtureRequest, folder: Path, tmp_path: Path, name: str, column: str
) -> None:
    path = changed(folder, tmp_path / "none.csv", column, lambda n, cell: "")
    refusal = refusal_of(request.getfixturevalue(name), path)
    assert (refusal.requirement, refusal.actual) == ("there must be rows with a target", "none.csv has none")


def test_labels_that_are_nearly_classes_are_taken_for_them_and_counted(
    run: TrainedRun, folder: Path, tmp_path: Path
) -> None:
    path = changed(
        folder, tmp_path / "odd.csv", "kind", lambda n, cell: f" {cell.upper()}. " if cell == "small" else cell
    )
    evaluation = evaluate(run, path)
    assert evaluation.metrics == evaluate(run, folder / "other.csv").metrics
    count = houses(60, seed=1)["kind"].to_list().count("small")
    assert f"{count} rows have the label 'SMALL.', which is taken for 'small'" in evaluation.notes


def test_a_label_that_is_no_class_is_refused_with_its_row_in_the_file(
    run: TrainedRun, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(folder, tmp_path / "odd.csv", "kind", lambda n, cell: "mediun" if n == 50 else cell)
    monkeypatch.setattr("mlplab.data.table.table_reading.BLOCK_ROWS", 8)
    refusal = refusal_of(run, path)
    assert refusal.actual == "'mediun' stands in 1 row, the first is row 51, counted in rows 49 to 56"
    assert "'medium'" in refusal.hint


def test_a_target_that_is_no_number_is_refused_with_its_row_and_no_setting_of_training(
    regression: TrainedRun, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(folder, tmp_path / "odd.csv", "price", lambda n, cell: "much" if n == 50 else cell)
    monkeypatch.setattr("mlplab.data.table.table_reading.BLOCK_ROWS", 8)
    refusal = refusal_of(regression, path)
    assert "'much' in row 51" in refusal.actual
    assert refusal.hint == "data.missing_values=[much] if it means that there is no value, or mending the file"


def test_classes_that_were_left_out_are_no_classes_of_the_run(tmp_path: Path) -> None:
    lines = [f"{n % 7},{'bc'[n % 2]}" for n in range(80)]
    (tmp_path / "train.csv").write_text("\n".join(["x,y", *lines, "1,a"]))
    options = {"path": str(tmp_path / "train.csv"), "target": "y", "rare_classes": "drop"}
    run = load_run(save_run(tmp_path / "run", options))
    (tmp_path / "new.csv").write_text("\n".join(["x,y", *lines]))
    assert run.task.class_names == ("b", "c")
    assert evaluate(run, tmp_path / "new.csv").n_rows == 80
    assert evaluate(run).n_rows == 12
    (tmp_path / "new.csv").write_text("\n".join(["x,y", *lines, "1,a"]))
    assert "'a' stands in 1 row" in refusal_of(run, tmp_path / "new.csv").actual


def test_a_file_without_the_targets_column_is_refused(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    pl.read_csv(folder / "other.csv", infer_schema=False).drop("kind").write_csv(tmp_path / "new.csv")
    assert "column of the target, 'kind'" in refusal_of(run, tmp_path / "new.csv").requirement


def test_a_class_that_no_row_has_is_said_of(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    path = changed(folder, tmp_path / "few.csv", "kind", lambda n, cell: "small")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluation = evaluate(run, path)
    assert "no row is of class 'large, old', 'medium': auroc is left out" in evaluation.notes
    assert "auroc" not in evaluation.metrics


def test_a_single_row_is_evaluated_without_r2(regression: TrainedRun, folder: Path, tmp_path: Path) -> None:
    pl.read_csv(folder / "other.csv", infer_schema=False)[:1].write_csv(tmp_path / "one.csv")
    evaluation = evaluate(regression, tmp_path / "one.csv")
    assert evaluation.metrics.keys() == {"loss", "mse", "rmse", "mae"}
    assert any("r2 is left out" in note for note in evaluation.notes)


# Data and cards that cannot be followed.


def test_data_of_ones_own_are_refused_without_a_file_and_evaluated_with_one(folder: Path, tmp_path: Path) -> None:
    directory = save_run(tmp_path / "run", table_options(folder / "houses.csv"))
    change_card(directory, ("data", "source"), "my.data.houses")
    run = load_run(directory)
    refusal = refusal_of(run)
    assert "trained on my.data.houses" in refusal.actual
    assert "data.path=" in refusal.hint
    assert evaluate(run, folder / "other.csv").n_rows == 60


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("loss",), ...),
        (("loss",), "mse"),
        (("loss", "name"), "os.system"),
        (("loss", "name"), ["mse"]),
        (("loss", "options"), {"_target_": "os.system"}),
        (("loss", "class_weights"), "balanced"),
        (("task", "kind"), "os.system"),
    ],
)
def test_a_card_whose_loss_cannot_be_built_is_refused(
    folder: Path, tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    directory = save_run(tmp_path / "run", table_options(folder / "houses.csv"))
    change_card(directory, place, value)
    refusal_of(load_run(directory), folder / "other.csv")


# What is written.


def test_metrics_and_figure_are_written_into_a_new_directory(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    evaluation = evaluate(run, folder / "other.csv")
    picture = write_evaluation(evaluation, run, tmp_path / "deep" / "out")
    assert {path.name for path in picture.parent.iterdir()} == {"metrics.json", "confusion_matrix.png"}
    content = json.loads((picture.parent / "metrics.json").read_text())
    assert content["metrics"] == evaluation.metrics
    assert content["rows"] == {"from": "other.csv", "count": 60}
    assert content["notes"] == ["other.csv has 3 columns that are not used: row, binary, price"]
    with Image.open(picture) as image:
        assert min(image.size) > 200


def test_the_figure_of_a_regression_has_its_own_name(regression: TrainedRun, tmp_path: Path) -> None:
    assert write_evaluation(evaluate(regression), regression, tmp_path / "out").name == "predicted_against_true.png"


@pytest.mark.parametrize("kind", ["folder", "file", "in a file"])
def test_nothing_is_written_into_what_is_there(run: TrainedRun, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    else:
        out.write_text("precious")
    with pytest.raises(UserError, match="out must be"):
        write_evaluation(evaluate(run), run, out / "deeper" if kind == "in a file" else out)
    assert out.read_text() == "precious" if out.is_file() else list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "error"), [("as_png", KeyboardInterrupt()), ("write_json", OSError(28, "No space left on device"))]
)
def test_a_directory_that_cannot_be_filled_is_gone_again(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    evaluation: Evaluation = evaluate(run)

    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(evaluating, where, fail)
    with pytest.raises(type(error)):
        write_evaluation(evaluation, run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_weights_count_in_the_evaluation_of_any_file(tmp_path: Path) -> None:
    rows = houses(120).with_columns(w=pl.Series([f"{n % 4}" for n in range(120)]))
    rows.write_csv(tmp_path / "weighted.csv")
    rows.drop("w").write_csv(tmp_path / "bare.csv")
    words = ("data=table", f"data.path={tmp_path}/weighted.csv", "data.target=price", "data.drop=[row,kind,binary]")
    result = train_run(tmp_path / "run", *words, "data.weight_column=w", "loss=huber")
    run = load_run(tmp_path / "run")
    again = evaluate(run)
    assert {f"test/{name}": value for name, value in again.metrics.items()} == pytest.approx(result["test"], rel=1e-5)
    whole = evaluate(run, tmp_path / "weighted.csv")
    weights = np.arange(120) % 4
    expected = r2_score(whole.targets, whole.predicted, sample_weight=weights)
    assert whole.metrics["r2"] == pytest.approx(expected, rel=1e-5)
    bare = evaluate(run, tmp_path / "bare.csv")
    assert bare.metrics["r2"] == pytest.approx(r2_score(bare.targets, bare.predicted), rel=1e-5)
    assert "bare.csv has no column 'w': each row counts once" in bare.notes
    assert ["weighted" in " ".join(one.notes) for one in (again, whole, bare)] == [True, True, False]
    assert predict_file(run, tmp_path / "bare.csv", tmp_path / "out.csv").n_rows == 120
