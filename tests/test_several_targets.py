"""Whole runs on several targets of a table: trained, resumed, evaluated, predicted and exported."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from both_engines import require_reasons

from mlplab.inference.evaluating import evaluate, write_evaluation
from mlplab.inference.export_card import describe_export
from mlplab.inference.exporting import export
from mlplab.inference.predicting import predict_file
from mlplab.inference.trained import TrainedRun, load_run

NUMBERS, LABELS = ("price (€)", "a/b"), ("wet", "cold")
QUICK = ("data=table", "trainer.max_epochs=2", "data.batch_size=16", "logger=many", "callbacks.histograms=null")
TARGETS = {
    "numbers": ("data.target=['price (€)',a/b]", "data.drop=[wet,cold]", "data.unit=['€',m]", "data.weight_column=w"),
    "labels": ("data.target=[wet,cold]", "data.drop=['price (€)',a/b,w]"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(150):
        x, y = generator.normal(size=2)
        rows.append([x, y, 100 * x + 500, y - x, ["no", "yes"][int(x > 0)], int(y + x > 0.5), generator.integers(1, 4)])
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["x", "y", *NUMBERS, *LABELS, "w"], *rows])
    return tmp_path / "t.csv"


@pytest.fixture(params=TARGETS)
def trained(request: pytest.FixtureRequest, path: Path, train_run: Any) -> tuple[Any, TrainedRun]:
    run = train_run(*QUICK, f"data.path={path}", *TARGETS[request.param])
    return run, load_run(run.directory)


def test_a_run_is_judged_predicted_and_exported_by_target(
    trained: tuple[Any, TrainedRun], path: Path, tmp_path: Path
) -> None:
    run, loaded = trained
    is_labels = loaded.task.kind == "multilabel"
    require_reasons(run)
    expected = {"accuracy", "subset_accuracy", "accuracy_wet", "auroc_cold"} if is_labels else {"rmse", "r2_a/b"}
    assert {f"test/{name}" for name in expected} <= run.result["test"].keys()
    again = evaluate(loaded)
    assert {f"test/{name}": value for name, value in again.metrics.items()} == pytest.approx(
        run.result["test"], rel=1e-4
    )
    folder = write_evaluation(evaluate(loaded, path), loaded, tmp_path / "evaluation")
    assert len(list(folder.glob("*.png"))) == len(list((run.directory / "figures").glob("*.png"))) == 2

    bare = pl.read_csv(path).select("x", "y")
    bare.write_csv(tmp_path / "bare.csv")
    predict_file(loaded, tmp_path / "bare.csv", tmp_path / "out.csv", probabilities=is_labels)
    predicted = pl.read_csv(tmp_path / "out.csv")
    if is_labels:
        assert predicted.columns == ["prediction_wet", "probability_wet", "prediction_cold", "probability_cold"]
        assert set(predicted["prediction_wet"]) <= {"no", "yes"}
        assert ((predicted["prediction_wet"] == "yes") == (predicted["probability_wet"] > 0.5)).all()
    else:
        assert predicted.columns == ["prediction_price (€)", "prediction_a/b"]
        assert predicted["prediction_price (€)"].mean() == pytest.approx(500, rel=0.3)
    output = describe_export(loaded, "onnx")["outputs"][0]
    if is_labels:
        assert output["labels"][0] == {"label": "wet", "false": "no", "true": "yes"}
    else:
        assert output["columns"] == [{"target": "price (€)", "unit": "€"}, {"target": "a/b", "unit": "m"}]
    assert output["shape"] == ["rows", 2]
    assert export(loaded, "safetensors", tmp_path / "model.safetensors").n_rows == 22


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "ending"), [("onnx", "onnx"), ("torch_export", "pt2")])
def test_a_run_is_exported_in_every_form(
    trained: tuple[Any, TrainedRun], tmp_path: Path, file_format: str, ending: str
) -> None:
    assert export(trained[1], file_format, tmp_path / f"model.{ending}").n_rows == 22


def test_an_evaluation_needs_every_target_and_leaves_out_rows_that_lack_one(
    trained: tuple[Any, TrainedRun], path: Path, tmp_path: Path
) -> None:
    _, run = trained
    name = run.task.target_names[1]
    cells = pl.read_csv(path, infer_schema=False)
    cells.with_columns(pl.Series(name, ["", *cells[name][1:]])).write_csv(tmp_path / "gap.csv")
    evaluation = evaluate(run, tmp_path / "gap.csv")
    assert (evaluation.n_rows, "1 row has not every target: left out" in evaluation.notes) == (149, True)
    cells.drop(name).write_csv(tmp_path / "without.csv")
    with pytest.raises(Exception, match=rf"the column of the target {name}, '{name}'"):
        evaluate(run, tmp_path / "without.csv")


def test_an_evaluation_of_labels_that_do_not_vary_leaves_out_their_area(path: Path, train_run: Any) -> None:
    run = load_run(train_run(*QUICK, f"data.path={path}", *TARGETS["labels"]).directory)
    cells = pl.read_csv(path, infer_schema=False)
    cells.filter(pl.col("wet") == "no").write_csv(path.with_name("dry.csv"))
    dry = evaluate(run, path.with_name("dry.csv"))
    assert "auroc_wet" not in dry.metrics
    assert dry.metrics["auroc"] == dry.metrics["auroc_cold"]
    assert "the rows do not differ in 'wet': auroc is the mean over the others" in dry.notes
