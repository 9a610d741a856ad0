import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from inference.small_runs import (
    change_card,
    files_of_at_most,
    houses,
    save_run,
    table_options,
    write_houses,
    write_images,
)
from PIL import Image
from slow_cases import slow

from mlplab.data.table import table_reading
from mlplab.errors import UserError
from mlplab.inference import explaining, explanation_figures, training_rows
from mlplab.inference.evaluating import evaluate
from mlplab.inference.explaining import describe_importances, explain, split_names, write_explanation
from mlplab.inference.intervals import Calibrated
from mlplab.inference.trained import TrainedRun, load_run, predict
from mlplab.task import Task

REGRESSION = Task(kind="regression", n_features=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explaining")
    write_houses(folder / "houses.csv")
    write_houses(folder / "other.csv", 60, seed=1)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return load_run(save_run(folder / "classes", table_options(folder / "houses.csv")))


@pytest.fixture(scope="module")
def regression(folder: Path) -> TrainedRun:
    return load_run(save_run(folder / "values", table_options(folder / "houses.csv", "price", unit="€")))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["classes", *slow("values")])
def test_tables_hold_what_was_found_and_figures_are_drawn(
    run: TrainedRun, regression: TrainedRun, tmp_path: Path, name: str
) -> None:
    one = run if name == "classes" else regression
    explanation = explain(one, top=2, columns=["when", "town", "gap"])
    files = write_explanation(explanation, tmp_path / "out")
    assert {file.name for file in files} == {path.name for path in (tmp_path / "out").iterdir()}
    importances = rows_of(tmp_path / "out" / "importance.csv")
    assert [row["column"] for row in importances] == [found.column for found in explanation.importances]
    means = [float(row["mean"]) for row in importances]
    assert means == sorted(means, reverse=True)
    assert {row["score"] for row in importances} == {"accuracy" if name == "classes" else "r2"}
    base = evaluate(one).metrics["accuracy" if name == "classes" else "r2"]
    np.testing.assert_allclose([float(row["base"]) for row in importances], base, rtol=1e-6)
    dependence = rows_of(tmp_path / "out" / "partial_dependence.csv")
    assert list(dict.fromkeys(row["column"] for row in dependence)) == ["when", "town", "gap"]
    assert {row["input"] for row in dependence if row["column"] == "when"} == {
        f"when.{part}" for part in ("month", "day", "weekday", "hour")
    }
    # An empty value is a missing one.
    assert {row["column"] for row in dependence if not row["value"]} == {"town", "gap"}
    if name == "classes":
        assert list(dict.fromkeys(row["class"] for row in dependence)) == list(one.task.class_names)
        sums = np.array([float(row["prediction"]) for row in dependence]).reshape(-1, 3).sum(axis=1)
        np.testing.assert_allclose(sums, 1, rtol=1e-6)
    for picture in ("importance", "partial_dependence"):
        with Image.open(tmp_path / "out" / f"{picture}.png") as image:
            assert min(image.size) > 300


def test_the_same_seed_gives_the_same_and_another_one_other_permutations(run: TrainedRun) -> None:
    found = explain(run, score="log_loss", repeats=3)
    again = explain(run, score="log_loss", repeats=3)
    assert (found.importances, found.base) == (again.importances, again.base)
    other = explain(run, score="log_loss", repeats=3, seed=1)
    assert found.importances != other.importances
    assert found.base == other.base


def test_of_many_rows_a_sample_is_drawn_and_told(
    run: TrainedRun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = explain(run, folder / "other.csv", most_rows=60)
    assert not any("drawn" in note for note in whole.notes)
    found = explain(run, folder / "other.csv", most_rows=25)
    assert found.n_rows == 25
    assert "25 of 60 rows, drawn at random: rows=60 takes all of them" in found.notes
    # The same rows, in whatever blocks they are read.
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", 7)
    blocks = explain(run, folder / "other.csv", most_rows=25)
    assert (blocks.base, blocks.importances) == (found.base, found.importances)
    monkeypatch.setattr(training_rows, "BLOCK_ROWS", 11)
    part = explain(run, part="train", most_rows=40)
    assert part.n_rows == 40
    assert explain(run, part="train", most_rows=40, seed=1).base != part.base


def test_a_sample_is_a_fair_one(run: TrainedRun) -> None:
    drawn = np.zeros(100)
    blocks = [np.arange(begin, begin + 10) for begin in range(0, 100, 10)]
    for seed in range(2000):
        read = iter([((torch.from_numpy(b)[:, None].double(),), b.astype(float), None) for b in blocks])
        rows, n_all = explaining._sample(run, read, 20, seed, REGRESSION, None)
        assert n_all == 100
        assert (rows.inputs[0][:, 0].numpy() == rows.targets.numpy()).all()
        drawn[rows.targets.numpy().astype(int)] += 1
    # A share of 0.2 each, within five standard errors.
    assert np.abs(drawn / 2000 - 0.2).max() < 5 * (0.2 * 0.8 / 2000) ** 0.5


def test_another_file_needs_nothing_of_the_training_data(folder: Path, tmp_path: Path) -> None:
    path = write_houses(tmp_path / "houses.csv")
    run = load_run(save_run(tmp_path / "run", table_options(path)))
    expected = explain(run, folder / "other.csv")
    path.unlink()
    assert explain(load_run(tmp_path / "run"), folder / "other.csv").importances == expected.importances
    assert expected.rows == "other.csv"
    with pytest.raises(UserError, match="the data that the run was trained on must be there"):
        explain(run)


def test_columns_that_go_together_are_named(tmp_path: Path) -> None:
    frame = houses(200).with_columns(pl.col("length").cast(float).add(100).alias("breadth"))
    frame.write_csv(tmp_path / "houses.csv")
    run = load_run(save_run(tmp_path / "run", table_options(tmp_path / "houses.csv", "price")))
    (note,) = explain(run, columns=["breadth"]).notes
    assert (
        note
        == "columns that go together (rank correlation) hide each other's importance: 'length' and 'breadth' (1.00)"
    )
    assert explain(run, columns=["gap"]).notes == []


def test_bundled_data_have_columns_too_and_images_are_refused(tmp_path: Path) -> None:
    save_run(tmp_path / "iris", {"name": "iris"}, source="mlplab.data.bundled.bundled")
    found = explain(load_run(tmp_path / "iris"), part="train")
    assert {one.column for one in found.importances} == {
        f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width")
    }
    write_images(tmp_path / "idx")
    save_run(tmp_path / "images", {"directory": str(tmp_path / "idx")}, source="mlplab.data.idx.idx_images")
    with pytest.raises(UserError, match="run must be a run on a table, but it is on images"):
        explain(load_run(tmp_path / "images"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "acuracy"}, "accuracy, f1, auroc, log_loss for a classification, got acuracy; try score=accuracy"),
        ({"score": "r2"}, "score must be one of accuracy, f1"),
        ({"columns": ["lenght"]}, "got lenght; try columns=length"),
        ({"columns": ["kind"]}, "columns must be among length, gap, when, colour, town, flag, got kind"),
        ({"classes": ["smal"]}, "got smal; try classes=small"),
        ({"classes": ["large old"]}, """got large old; try classes='"large, old"'"""),
        ({"path": "one"}, "there must be at least two rows with a target, but one.csv has 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    run: TrainedRun, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    if "path" in options:
        houses(1, seed=1).write_csv(tmp_path / "one.csv")
        options = {"path": tmp_path / "one.csv"}
    with pytest.raises(UserError) as refusal:
        explain(run, **options)  # type: ignore[arg-type]
    assert message in str(refusal.value)


def test_classes_are_for_classes(regression: TrainedRun) -> None:
    with pytest.raises(UserError, match="classes must be for a classification"):
        explain(regression, classes=["small"])


@pytest.mark.slow
def test_of_many_classes_the_most_frequent_are_drawn(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "MOST_CLASSES", 2)
    found = explain(run)
    assert len(found.classes) == 2
    assert "the 2 most frequent of 3 classes are drawn: classes=… chooses others" in found.notes
    assert explain(run, classes=["small", "large, old"]).classes == (2, 0)
    save_run(tmp_path / "binary", table_options(Path(run.card["data"]["options"]["path"]), "binary"))
    assert explain(load_run(tmp_path / "binary")).classes == (1,)


@pytest.mark.parametrize("text", ['a,b c,"d, e"', 'a, b c , "d, e"'])
def test_names_are_split_at_commas(text: str) -> None:
    assert split_names(text) == ["a", "b c", "d, e"]
    assert split_names("") == []


def test_whatever_fails_leaves_no_directory(run: TrainedRun, tmp_path: Path) -> None:
    explanation = replace(explain(run), dependences=[])
    with files_of_at_most(1000), pytest.raises(OSError):  # noqa: PT011
        write_explanation(explanation, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="out must be a new directory"):
        write_explanation(explanation, tmp_path / "there")


def test_the_table_on_the_terminal_names_the_score(run: TrainedRun, regression: TrainedRun) -> None:
    assert "drop of auroc" in describe_importances(explain(run, score="auroc"))
    text = describe_importances(explain(regression, score="mae"))
    assert "rise of mae" in text
    assert all(name in text for name in ("length", "gap", "when", "colour", "town", "flag"))


def test_names_of_any_kind_are_drawn_and_no_formula_for_a_spreadsheet(tmp_path: Path) -> None:
    names = {"length": "=2+3", "gap": "$x_1$ " + "long " * 30, "colour": "\x1b[31m"}
    frame = houses(120).rename(names)
    frame.write_csv(tmp_path / "houses.csv")
    run = load_run(save_run(tmp_path / "run", table_options(tmp_path / "houses.csv", "price")))
    explanation = explain(run)
    write_explanation(explanation, tmp_path / "out")
    columns = {row["column"] for row in rows_of(tmp_path / "out" / "importance.csv")}
    assert "'=2+3" in columns
    figure = explanation_figures.importance_figure(explanation)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert all(len(label) <= 42 and "\x1b" not in label for label in labels)
    assert "\x1b" not in describe_importances(explanation)


@pytest.mark.slow
def test_panels_share_a_scale_and_a_class_has_one_colour(run: TrainedRun) -> None:
    explanation = explain(run, columns=["length", "colour", "town"])
    figure = explanation_figures.dependence_figure(explanation)
    panels = [axes for axes in figure.axes if axes.axison]
    assert len({axes.get_ylim() for axes in panels}) == 1
    assert [axes.get_xlabel() for axes in panels] == ["length", "colour", "town (12 of 15)"]
    for axes in panels:
        assert [line.get_color() for line in axes.lines] == list(explanation_figures.COLOURS[:3])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(run.task.class_names)
    length = explanation.dependences[0]
    np.testing.assert_allclose(panels[0].lines[1].get_ydata(), length.predicted[:, 1])


def test_a_checkpoint_of_ones_own_network_is_refused(folder: Path, tmp_path: Path) -> None:
    save_run(tmp_path / "run", table_options(folder / "houses.csv"))
    change_card(tmp_path / "run", ("model", "name"), "own")
    with pytest.raises(UserError, match="network of another class"):
        load_run(tmp_path / "run")


def test_of_several_targets_one_is_explained(folder: Path, tmp_path: Path) -> None:
    options = {**table_options(folder / "houses.csv"), "target": ["price", "length"], "drop": ["row", "kind", "binary"]}
    run = load_run(save_run(tmp_path / "run", options))
    with pytest.raises(UserError, match="target must name one of several, but the run has price, length"):
        explain(run)
    with pytest.raises(UserError, match="got lenght; try target=length"):
        explain(run, target="lenght")
    metrics = evaluate(run).metrics
    for place, name in enumerate(("price", "length")):
        found = explain(run, target=name, score="rmse", columns=["colour"])
        assert found.base == pytest.approx(metrics[f"rmse_{name}"], rel=1e-6)
        assert found.task.target_name == name
        ((inputs, _, _),) = training_rows.rows_of_training(run, "test")
        inputs[1][:, 0] = 2
        expected = predict(run.predictor, inputs)[:, place].mean()
        assert found.dependences[0].predicted[1, 0] == pytest.approx(float(expected), rel=1e-6)


def test_of_several_labels_one_is_explained(tmp_path: Path) -> None:
    frame = houses(200).with_columns(
        dear=(pl.col("binary") == "dear").cast(int), red=(pl.col("colour") == "red").cast(int)
    )
    frame.write_csv(tmp_path / "houses.csv")
    options = {
        "path": str(tmp_path / "houses.csv"),
        "target": ["dear", "red"],
        "drop": ["row", "kind", "binary", "price"],
    }
    run = load_run(save_run(tmp_path / "run", options))
    found = explain(run, target="red", score="auroc")
    assert found.base == pytest.approx(evaluate(run).metrics["auroc_red"], rel=1e-6)
    assert found.classes == (1,)
    assert found.dependences[0].predicted.shape[1] == 2
    with pytest.raises(UserError, match="intervals and temperature must be for numbers or classes"):
        Calibrated(run, 0.9)


@pytest.mark.parametrize(
    ("target", "score"), [("price", "mae"), *slow(("price", "r2"), ("kind", "accuracy"), ("kind", "f1"))]
)
def test_weights_of_rows_count(tmp_path: Path, target: str, score: str) -> None:
    weights = [str(1 + number % 3) for number in range(200)]
    path = write_houses(tmp_path / "houses.csv", w=weights)
    run = load_run(save_run(tmp_path / "run", table_options(path, target, weight_column="w")))
    found = explain(run, score=score, columns=["colour"])
    assert found.base == pytest.approx(evaluate(run).metrics[score], rel=1e-6)
    # A row of weight 2 is the same as two rows.
    ((inputs, _, known),) = training_rows.rows_of_training(run, "test")
    assert known is not None
    inputs[1][:, 0] = 1
    repeated = tuple(tensor.repeat_interleave(torch.from_numpy(known).long(), dim=0) for tensor in inputs)
    expected = predict(run.predictor, repeated).mean(dim=0)
    np.testing.assert_allclose(found.dependences[0].predicted[0], expected.numpy(), rtol=1e-5)


def test_rows_that_lack_values_or_classes(run: TrainedRun, tmp_path: Path) -> None:
    frame = houses(40, seed=1).filter(pl.col("kind") == "small")
    frame.with_columns(length=pl.lit(""), gap=pl.lit("1")).write_csv(tmp_path / "poor.csv")
    explanation = explain(run, tmp_path / "poor.csv", columns=["length", "gap"])
    assert explanation.dependences[0].labels == [None]
    assert explanation.dependences[1].labels == ["1", None]
    write_explanation(explanation, tmp_path / "out")
    with pytest.raises(
        UserError, match=r"auroc must be defined, but poor.csv lacks what it compares; try score=accuracy"
    ):
        explain(run, tmp_path / "poor.csv", score="auroc")
