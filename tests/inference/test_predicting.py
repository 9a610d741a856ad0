import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from inference.small_runs import FEATURES, files_of_at_most, houses, save_run, table_options, write_houses

from mlplab.data.module import DataModule
from mlplab.data.table import table_reading
from mlplab.errors import UserError
from mlplab.inference import trained
from mlplab.inference.predicting import predict_file, require_writable, write_once
from mlplab.inference.row_reader import source_named
from mlplab.inference.trained import TrainedRun, load_run

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predicting")
    write_houses(folder / "houses.csv")
    new = houses(30, seed=1)
    # Levels that training never saw, and values missing where it missed none.
    colour, length = new["colour"].to_list(), new["length"].to_list()
    colour[3], colour[4], length[5] = "pink", "", ""
    new.with_columns(colour=pl.Series(colour), length=pl.Series(length)).write_csv(folder / "new.csv")
    return folder


def make(folder: Path, name: str, target: str, **more: Any) -> TrainedRun:
    return load_run(save_run(folder / name, table_options(folder / "houses.csv", target), **more))


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return make(folder, "classes", "kind")


@pytest.fixture(scope="module")
def regression(folder: Path) -> TrainedRun:
    return make(folder, "values", "price")


def predicted(run: TrainedRun, path: Path, out: Path, **options: Any) -> pl.DataFrame:
    predict_file(run, path, out, **{"id_column": None, "probabilities": False, "overwrite": False, **options})
    if out.suffix == ".parquet":
        return pl.read_parquet(out)
    return pl.read_csv(out, separator="\t" if out.suffix == ".tsv" else ",", infer_schema_length=None)


def refusal_of(run: TrainedRun, path: Path, out: Path, **options: Any) -> UserError:
    before = {file: file.read_bytes() for file in out.parent.iterdir() if file.is_file()} if out.parent.is_dir() else {}
    with pytest.raises(UserError) as refusal:
        predicted(run, path, out, **options)
    after = {file: file.read_bytes() for file in out.parent.iterdir() if file.is_file()} if out.parent.is_dir() else {}
    assert before == after  # nothing written, nothing left over, nothing changed
    assert len(str(refusal.value).splitlines()) == 1
    return refusal.value


def by_hand(run: TrainedRun, path: Path) -> Array:
    """The network's outputs, all in NumPy: what is known of preprocessing and network, applied to the cells as text."""
    data = run.card["data"]
    module = DataModule(lambda: source_named(data["source"])(**data["options"]), **data["split"])
    train_rows = module.read()[1].train
    train = pl.read_csv(data["options"]["path"], infer_schema=False)[train_rows]
    new = pl.read_csv(path, infer_schema=False)

    def number(cell: str | None) -> float:
        return float(cell) if cell else np.nan

    def moment(cell: str) -> datetime:
        return datetime.strptime(cell, "%Y-%m-%d %H:%M")

    extract = {
        "length": ("length", number),
        "gap": ("gap", number),
        "month": ("when", lambda cell: moment(cell).month),
        "day": ("when", lambda cell: moment(cell).day),
        "weekday": ("when", lambda cell: moment(cell).isoweekday()),
        "hour": ("when", lambda cell: moment(cell).hour),
    }
    columns: list[Array] = []
    for column, read in extract.values():
        known = np.array([read(cell) for cell in train[column]], dtype=float)
        median = np.nanmedian(known)
        known = np.where(np.isnan(known), median, known)
        given = np.array([read(cell) for cell in new[column]], dtype=float)
        columns.append((np.where(np.isnan(given), median, given) - known.mean()) / known.std())
    columns.append(np.array([np.isnan(number(cell)) for cell in new["gap"]], dtype=float))
    for column, levels in (("colour", ["blue", "green", "red"]), ("flag", ["no", "yes"])):
        columns += [(new[column] == level).fill_null(False).to_numpy().astype(float) for level in levels]
    towns = sorted({cell for cell in train["town"] if cell != "NA"})
    vectors = run.predictor.state_dict()["model.inputs.embeddings.0.weight"].double().numpy()
    numbers = [
        1 + towns.index(cell) if cell in towns else len(towns) + 1 if cell == "NA" else 0 for cell in new["town"]
    ]
    assert vectors.shape[0] == len(towns) + 2
    assert (vectors[0] == 0).all()
    values = np.hstack([np.stack(columns, axis=1), vectors[numbers]])
    weights = {name: value.double().numpy() for name, value in run.predictor.state_dict().items()}
    for layer in ("hidden.0.linear", "hidden.1.linear", "output"):
        name = f"model.network.{layer}"
        values = values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        if layer != "output":
            values = np.maximum(values, 0)
    return values


def test_probabilities_are_the_networks_on_values_preprocessed_by_hand(
    run: TrainedRun, folder: Path, tmp_path: Path
) -> None:
    outputs = by_hand(run, folder / "new.csv")
    expected = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    frame = predicted(run, folder / "new.csv", tmp_path / "out.csv", probabilities=True)
    names = ["large, old", "medium", "small"]
    assert frame.columns == ["prediction", *(f"probability_{name}" for name in names)]
    np.testing.assert_allclose(frame[:, 1:].to_numpy(), expected, atol=1e-6)
    assert frame["prediction"].to_list() == [names[index] for index in expected.argmax(1)]
    assert len(set(frame["prediction"])) > 1


def test_values_are_in_the_targets_unit(regression: TrainedRun, folder: Path, tmp_path: Path) -> None:
    task = regression.task
    expected = by_hand(regression, folder / "new.csv")[:, 0] * task.target_std + task.target_mean
    frame = predicted(regression, folder / "new.csv", tmp_path / "out.csv")
    assert frame.columns == ["prediction"]
    np.testing.assert_allclose(frame["prediction"].to_numpy(), expected, rtol=1e-5)
    assert frame["prediction"].std() > 1  # type: ignore[operator]


def test_one_logit_gives_the_probabilities_of_two_classes(folder: Path, tmp_path: Path) -> None:
    run = make(folder, "binary", "binary", loss="binary_cross_entropy")
    second = 1 / (1 + np.exp(-by_hand(run, folder / "new.csv")[:, 0]))
    frame = predicted(run, folder / "new.csv", tmp_path / "out.csv", probabilities=True)
    np.testing.assert_allclose(frame["probability_dear"].to_numpy(), second, atol=1e-6)
    np.testing.assert_allclose(frame["probability_cheap"].to_numpy(), 1 - second, atol=1e-6)
    assert frame["prediction"].to_list() == ["dear" if p > 0.5 else "cheap" for p in second]


def test_rows_keep_their_order_and_their_names(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    cells = pl.read_csv(folder / "new.csv", infer_schema=False)
    frame = predicted(run, folder / "new.csv", tmp_path / "a.csv", id_column="row", probabilities=True)
    assert frame.columns[0] == "row"
    assert frame["row"].to_list() == cells["row"].to_list()
    cells.reverse().write_csv(tmp_path / "reversed.csv")
    other = predicted(run, tmp_path / "reversed.csv", tmp_path / "b.csv", id_column="row", probabilities=True).reverse()
    assert other.select("row", "prediction").equals(frame.select("row", "prediction"))
    np.testing.assert_allclose(other[:, 2:].to_numpy(), frame[:, 2:].to_numpy(), atol=1e-6)


def test_identifiers_are_copied_as_they_are_written(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    ids = ["007", "1e5", "NA", "", ' "quoted", with\na line', "ä", *map(str, range(24))]
    pl.read_csv(folder / "new.csv", infer_schema=False).with_columns(row=pl.Series(ids)).write_csv(tmp_path / "new.csv")
    predicted(run, tmp_path / "new.csv", tmp_path / "out.csv", id_column="row")
    found = pl.read_csv(tmp_path / "out.csv", infer_schema=False)["row"].fill_null("").to_list()
    assert found == ids


@pytest.mark.parametrize("name", ["colour", "length"])
def test_an_identifier_can_be_a_feature(run: TrainedRun, folder: Path, tmp_path: Path, name: str) -> None:
    frame = predicted(run, folder / "new.csv", tmp_path / "out.csv", id_column=name)
    assert frame.columns == [name, "prediction"]


@pytest.mark.parametrize("ending", [".tsv", ".parquet"])
def test_every_ending_holds_the_same(run: TrainedRun, folder: Path, tmp_path: Path, ending: str) -> None:
    expected = predicted(run, folder / "new.csv", tmp_path / "out.csv", id_column="row", probabilities=True)
    frame = predicted(run, folder / "new.csv", tmp_path / f"out{ending}", id_column="row", probabilities=True)
    assert frame.columns == expected.columns
    assert frame[:, :2].equals(expected[:, :2])
    np.testing.assert_allclose(frame[:, 2:].to_numpy(), expected[:, 2:].to_numpy(), rtol=1e-6)
    if ending == ".tsv":
        assert (tmp_path / "out.tsv").read_text().startswith("row\tprediction\t")


@pytest.mark.parametrize("block_rows", [1, 7, 29, 30])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_blocks_give_the_same_as_the_whole(
    run: TrainedRun, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_rows: int, ending: str
) -> None:
    options = {"id_column": "row", "probabilities": True, "overwrite": False}
    whole = predict_file(run, folder / "new.csv", tmp_path / f"whole{ending}", **options)  # type: ignore[arg-type]
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(trained, "BATCH_ROWS", 4)
    parts = predict_file(run, folder / "new.csv", tmp_path / f"parts{ending}", **options)  # type: ignore[arg-type]
    assert whole == parts
    assert whole.n_rows == 30
    read = pl.read_parquet if ending == ".parquet" else pl.read_csv
    frames = [read(tmp_path / f"{name}{ending}") for name in ("whole", "parts")]
    assert frames[0][:, :2].equals(frames[1][:, :2])
    np.testing.assert_allclose(frames[0][:, 2:].to_numpy(), frames[1][:, 2:].to_numpy(), atol=1e-6)


def test_what_is_odd_is_counted_and_told(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    made = predict_file(
        run, folder / "new.csv", tmp_path / "out.csv", id_column="row", probabilities=False, overwrite=False
    )
    assert made.notes == (
        "new.csv has 3 columns that are not used: kind, binary, price",
        "1 row has a category of 'colour' that training did not have: 'pink'",
        "1 row has no value of 'length', of which training missed none",
        "1 row has no value of 'colour', of which training missed none",
    )


def test_a_single_row_is_enough(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    expected = predicted(run, folder / "new.csv", tmp_path / "all.csv", probabilities=True)
    pl.read_csv(folder / "new.csv", infer_schema=False)[:1].write_csv(tmp_path / "one.csv")
    frame = predicted(run, tmp_path / "one.csv", tmp_path / "out.csv", probabilities=True)
    np.testing.assert_allclose(frame[:, 1:].to_numpy(), expected[:1, 1:].to_numpy(), atol=1e-6)


def test_nothing_is_learned_from_the_rows_that_are_predicted(folder: Path, tmp_path: Path) -> None:
    """Batch normalisation and dropout are as in evaluation: a row's prediction does not depend on the others."""
    run = make(folder, "normalised", "kind", normalization="batch", dropout=0.5)
    frame = pl.read_csv(folder / "new.csv", infer_schema=False)
    alone = []
    for number in range(3):
        frame[number : number + 1].write_csv(tmp_path / f"{number}.csv")
        alone.append(predicted(run, tmp_path / f"{number}.csv", tmp_path / f"out_{number}.csv", probabilities=True))
    together = predicted(run, folder / "new.csv", tmp_path / "out.csv", probabilities=True)
    np.testing.assert_allclose(pl.concat(alone)[:, 1:].to_numpy(), together[:3, 1:].to_numpy(), atol=1e-6)


# What is never written, or not by half.


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_that_is_there_stays_unless_it_may_be_replaced(
    run: TrainedRun, folder: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out{ending}"
    out.write_text("precious")
    assert "overwrite=true" in refusal_of(run, folder / "new.csv", out).hint
    assert len(predicted(run, folder / "new.csv", out, overwrite=True)) == 30


def test_a_file_that_comes_while_the_rows_are_predicted_stays(
    run: TrainedRun, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, predict = tmp_path / "out.csv", trained.predict

    def slowly(*given: Any) -> torch.Tensor:
        out.write_text("precious")
        return predict(*given)

    monkeypatch.setattr(trained, "predict", slowly)
    with pytest.raises(UserError, match="must be a new file"):
        predicted(run, folder / "new.csv", out)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out.csv": "precious"}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_value_in_the_last_row_that_cannot_be_read_leaves_no_file_or_the_old_one(
    run: TrainedRun, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, overwrite: bool
) -> None:
    path, out = tmp_path / "new.csv", tmp_path / f"out{ending}"
    cells = pl.read_csv(folder / "new.csv", infer_schema=False)
    cells.with_columns(length=pl.Series([*cells["length"][:-1], "oops"])).write_csv(path)
    if overwrite:
        out.write_text("old")
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", 8)
    refusal = refusal_of(run, path, out, overwrite=overwrite)
    assert "'oops' in row 30" in refusal.actual


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), RuntimeError("no")])
def test_an_interruption_in_a_later_block_leaves_nothing(
    run: TrainedRun, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    predict, calls = trained.predict, []

    def interrupted(*given: Any) -> torch.Tensor:
        calls.append(len(list(tmp_path.iterdir())))
        if len(calls) == 3:
            raise error
        return predict(*given)

    monkeypatch.setattr(trained, "predict", interrupted)
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", 8)
    with pytest.raises(type(error)):
        predicted(run, folder / "new.csv", tmp_path / "out.csv")
    assert calls == [1, 1, 1]  # the temporary file
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_never_written_over(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_bytes((folder / "new.csv").read_bytes())
    (tmp_path / "link.csv").symlink_to(path)
    os.link(path, tmp_path / "hard.csv")
    for name in ("new.csv", "link.csv", "hard.csv"):
        for overwrite in (False, True):
            assert (
                "another file than data.path" in refusal_of(run, path, tmp_path / name, overwrite=overwrite).requirement
            )


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("out.txt", "out.csv"),
        ("out", "out.csv"),
        ("folder/out.xlsx", "folder/out.csv"),
        ("folder", "folder/predictions.csv"),
        (".", "predictions.csv"),
        ("nowhere/out.csv", "mkdir -p nowhere"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(UserError) as refusal:
        require_writable(Path(name), False, [".csv", ".tsv"])
    assert refusal.value.hint.removeprefix("out=") == remedy


def test_a_link_to_nowhere_is_not_followed(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(UserError, match="must be a new file"):
        predicted(run, folder / "new.csv", tmp_path / "out.csv")
    assert not (tmp_path / "elsewhere.csv").exists()


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_a_full_disk_is_said(run: TrainedRun, folder: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"out{ending}"
    with files_of_at_most(20), pytest.raises(UserError) as refusal:
        predicted(run, folder / "new.csv", out)
    assert "File too large" in refusal.value.actual  # polars adds the system's number
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError) as refusal:
        write_once(tmp_path / "out.csv", fill, False)
    assert refusal.value.requirement == "out must fit on the disk"
    assert refusal.value.actual == f"{tmp_path / 'out.csv'}: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupted_command_has_left_of_the_file_is_taken_away(tmp_path: Path) -> None:
    for name in ("out.csv", "other.csv"):
        (tmp_path / f".{name}.0123456789abcdef.tmp").touch()
    write_once(tmp_path / "out.csv", lambda path: path.write_text("whole"), False)
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", ".other.csv.0123456789abcdef.tmp"}


def test_a_regression_has_no_probabilities(regression: TrainedRun, folder: Path, tmp_path: Path) -> None:
    refusal = refusal_of(regression, folder / "new.csv", tmp_path / "out.csv", probabilities=True)
    assert refusal.hint == "proba=false"


def test_an_identifier_that_is_not_there_is_refused_with_the_nearest(
    run: TrainedRun, folder: Path, tmp_path: Path
) -> None:
    assert refusal_of(run, folder / "new.csv", tmp_path / "out.csv", id_column="rwo").hint == "id=row"


@pytest.mark.parametrize(("name", "probabilities"), [("prediction", False), ("probability_small", True)])
def test_an_identifier_with_the_name_of_an_output_is_refused(
    run: TrainedRun, folder: Path, tmp_path: Path, name: str, probabilities: bool
) -> None:
    pl.read_csv(folder / "new.csv", infer_schema=False).rename({"row": name}).write_csv(tmp_path / "new.csv")
    options = {"id_column": name, "probabilities": probabilities}
    assert refusal_of(run, tmp_path / "new.csv", tmp_path / "out.csv", **options).actual == f"id={name}"


def test_an_identifier_that_is_no_value_is_refused(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(folder / "new.csv", infer_schema=False).select(*FEATURES, row=pl.Series([[1]] * 30))
    frame.write_parquet(tmp_path / "new.parquet")
    assert "List" in refusal_of(run, tmp_path / "new.parquet", tmp_path / "out.csv", id_column="row").actual
