import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from inference.small_runs import FEATURES, houses, save_run
from slow_cases import slow
from torch import Tensor

from mlplab.data.table import table_reading
from mlplab.data.table.table_rules import OF_ANY_FILE
from mlplab.errors import UserError
from mlplab.inference.row_reader import RowReader
from mlplab.inference.trained import TrainedRun, load_run


def new(path: Path, n_rows: int = 30, **columns: list[str]) -> Path:
    frame = houses(n_rows, seed=1).select(FEATURES)
    frame.with_columns(**{name: pl.Series(cells) for name, cells in columns.items()}).write_csv(path)
    return path


def inputs(run: TrainedRun, path: Path) -> tuple[Tensor, ...]:
    blocks = list(RowReader(run).blocks(path))
    return tuple(torch.cat(tensors) for tensors in zip(*(block.inputs for block in blocks), strict=True))


def notes(run: TrainedRun, path: Path) -> list[str]:
    reader = RowReader(run)
    for _ in reader.blocks(path):
        pass
    return reader.notes


def refusal_of(run: TrainedRun, path: Path) -> UserError:
    with pytest.raises(UserError) as refusal:
        notes(run, path)
    return refusal.value


def assert_equal(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


# How the rows of a file are read.


def test_values_by_hand(run: TrainedRun, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text(
        "length,gap,colour,town,when,flag\n1.5,,red,NA,2024-02-29 23:00,no\n-2,7,pink,town B,2024-12-30 05:00,YES\n"
    )
    numeric, categorical = inputs(run, path)
    # Year does not vary in training. 29 February 2024 is a Thursday, 30 December 2024 a Monday.
    names = [number.name for number in run.predictor.preprocessing.inputs.numeric]  # type: ignore[union-attr]
    assert names == ["length", "gap", "when.month", "when.day", "when.weekday", "when.hour"]
    torch.testing.assert_close(
        numeric,
        torch.tensor([[1.5, float("nan"), 2, 29, 4, 23], [-2, 7, 12, 30, 1, 5]], dtype=torch.float64),
        equal_nan=True,
    )
    # blue, green, red are 1, 2, 3; the towns 1 to 14 and missing 15; false, true are 1, 2; what is unknown is 0.
    assert categorical.tolist() == [[3, 15, 1], [0, 2, 2]]
    assert (numeric.dtype, categorical.dtype) == (torch.float64, torch.int64)


def test_columns_are_found_by_name_in_any_order_and_others_are_counted(run: TrainedRun, tmp_path: Path) -> None:
    path = new(tmp_path / "new.csv")
    frame = pl.read_csv(path, infer_schema=False)
    shuffled = frame.select("town", "flag", pl.lit("1").alias("other"), "gap", "when", "colour", "length")
    shuffled.write_csv(tmp_path / "shuffled.csv")
    assert_equal(inputs(run, tmp_path / "shuffled.csv"), inputs(run, path))
    assert notes(run, path) == []
    assert notes(run, tmp_path / "shuffled.csv") == ["shuffled.csv has 1 column that is not used: other"]


@pytest.mark.parametrize("form", ["semicolon", "tab", "gzip", "latin-1", "utf-16", "bom", "crlf", "parquet"])
def test_the_form_of_the_file_does_not_matter(run: TrainedRun, tmp_path: Path, form: str) -> None:
    path, other = new(tmp_path / "new.csv"), tmp_path / "other"
    frame = pl.read_csv(path, infer_schema=False)
    text = path.read_text()
    if form == "parquet":
        frame.with_columns(pl.col("length", "gap").cast(pl.Float64, strict=False)).write_parquet(other)
    elif form in ("semicolon", "tab"):
        frame.write_csv(other, separator={"semicolon": ";", "tab": "\t"}[form])
    elif form == "gzip":
        other.write_bytes(gzip.compress(text.encode()))
    elif form == "crlf":
        other.write_bytes(text.replace("\n", "\r\n").encode())
    else:
        other.write_text(text, encoding={"bom": "utf-8-sig"}.get(form, form))
    assert_equal(inputs(run, other), inputs(run, path))


@pytest.mark.parametrize(
    ("form", "block_rows"), [("csv", 30), ("parquet", 7), *slow(("csv", 1), ("csv", 31), ("parquet", 29))]
)
def test_blocks_give_the_same_rows_and_notes_as_the_whole(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_rows: int, form: str
) -> None:
    colours = ["pink" if number % 10 == 3 else "red" for number in range(30)]
    path = new(tmp_path / "new.csv", colour=colours)
    if form == "parquet":
        pl.read_csv(path, infer_schema=False).write_parquet(path)
    expected, expected_notes = inputs(run, path), notes(run, path)
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", block_rows)
    blocks = list(RowReader(run).blocks(path))
    assert [len(block.frame) for block in blocks] == [min(block_rows, 30 - n) for n in range(0, 30, block_rows)]
    assert [block.first_row for block in blocks] == list(range(1, 31, block_rows))
    assert_equal(inputs(run, path), expected)
    assert notes(run, path) == expected_notes
    assert expected_notes == ["3 rows have a category of 'colour' that training did not have: 'pink'"]


def test_what_training_did_not_have_is_counted_once_each(run: TrainedRun, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text(
        "length,gap,colour,town,when,flag\n"
        "1,,red,NA,2024-01-01 00:00,no\n"
        ",,pink,Atlantis,2024-01-01 00:00,no\n"
        ",1,,town A,,maybe\n"
    )
    # Training missed `gap` and `town`: that is nothing new.
    assert notes(run, path) == [
        "1 row has a category of 'colour' that training did not have: 'pink'",
        "1 row has a category of 'town' that training did not have: 'Atlantis'",
        "1 row has a category of 'flag' that training did not have: 'maybe'",
        "2 rows have no value of 'length', of which training missed none",
        "1 row has no value of 'when', of which training missed none",
        "1 row has no value of 'colour', of which training missed none",
    ]


def test_a_missing_column_is_refused_with_the_nearest(run: TrainedRun, tmp_path: Path) -> None:
    new(tmp_path / "new.csv").write_text("lenght,gap,town,when,flag\n1,1,town A,2024-01-01 00:00,no\n")
    refusal = refusal_of(run, tmp_path / "new.csv")
    assert refusal.actual == "new.csv lacks 2 of 6: 'length', 'colour'"
    assert refusal.hint == "renaming 'lenght'"


@pytest.mark.parametrize("column", ["length", "when"])
def test_rows_in_messages_are_those_of_the_whole_file(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    cells = pl.read_csv(new(tmp_path / "new.csv"), infer_schema=False)[column].to_list()
    path = new(tmp_path / "new.csv", **{column: [*cells[:27], "oops", *cells[28:]]})
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", 8)
    assert "the first is 'oops' in row 28" in refusal_of(run, path).actual


def test_an_infinite_number_is_refused_with_its_row(run: TrainedRun, tmp_path: Path) -> None:
    path = new(tmp_path / "new.csv", length=["1"] * 28 + ["inf", "2"])
    assert "is inf in row 29" in refusal_of(run, path).actual


@pytest.mark.parametrize(
    "content",
    [
        "length,gap,colour,town,when,flag\nx,1,red,town A,2024-01-01 00:00,no\n",
        "length,gap,colour,town,when,flag\n1,1,red,town A,2024-01-01 00:00\n",
        "length,gap,colour,town,when,flag\n1,1,red,town A,01/01/2024,no\n",
        'length,gap,colour,town,when,flag\n1,1,"red,town A,2024-01-01 00:00,no\n',
        "length,length,colour,town,when,flag\n1,1,red,town A,2024-01-01 00:00,no\n",
        "length,,colour,town,when,flag\n1,1,red,town A,2024-01-01 00:00,no\n",
        "length,gap,colour,town,when,flag\n",
    ],
)
def test_no_refusal_proposes_a_setting_that_only_training_takes(run: TrainedRun, tmp_path: Path, content: str) -> None:
    path = tmp_path / "new.csv"
    path.write_text(content)
    refusal = refusal_of(run, path)
    assert set(re.findall(r"data\.(\w+)", refusal.hint)) <= {*OF_ANY_FILE, "path"}
    assert len(str(refusal).splitlines()) == 1


def test_a_note_proposes_an_option_of_a_file(run: TrainedRun, tmp_path: Path) -> None:
    path = new(tmp_path / "new.csv", town=["Köln", *["town A"] * 29])
    path.write_bytes(path.read_text().encode("latin-1"))
    assert "the file is no UTF-8 and is read as cp1252; data.encoding=… says otherwise" in notes(run, path)


# Files that another program has written.


@pytest.fixture(scope="module")
def codes(folder: Path) -> TrainedRun:
    """A column of whole numbers as categories, one of codes with leading zeros, and text with an accent."""
    lines = [f"{n % 3 + 1},{n % 4:03},{('café', 'tea')[n % 2]},{n / 8},{'pq'[n % 2]}" for n in range(80)]
    (folder / "codes.csv").write_text("\n".join(["whole,code,drink,x,y", *lines]))
    options = {"path": str(folder / "codes.csv"), "target": "y", "categorical": ["whole", "code"]}
    return load_run(save_run(folder / "codes", options))


@pytest.mark.parametrize(
    "lines",
    [
        ["whole,code,drink,x", "1.0,0,CAFE\u0301,0.5", "3.0,3, Tea,1234.5"],  # pandas and a spreadsheet
        ["whole;code;drink;x", "1,0;000;café;0,5", "3,0;003;tea;1.234,5"],  # a decimal comma
        ["whole\tcode\tdrink\tx", "1\t0.0\tcafé\t+0,5", "3\t3.0\ttea\t1 234,5"],
    ],
)
def test_categories_and_numbers_are_found_as_another_program_writes_them(
    codes: TrainedRun, tmp_path: Path, lines: list[str]
) -> None:
    path = tmp_path / "new.csv"
    path.write_text("\n".join(lines))
    numeric, categorical = inputs(codes, path)
    assert numeric.tolist() == [[0.5], [1234.5]]
    assert categorical.tolist() == [[1, 1, 1], [3, 4, 2]]
    assert notes(codes, path)
    assert not any("did not have" in note for note in notes(codes, path))


def test_a_column_of_unknown_categories_is_refused_unless_they_are_new(codes: TrainedRun, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("whole,code,drink,x\n1,000,thé,1\n2,001,bière,2\n3,002,thé,3\n")
    refusal = refusal_of(codes, path)
    assert refusal.requirement == "column 'drink' must hold categories that training had: 'café', 'tea'"
    assert refusal.actual == "3 of 3 rows have others: 'thé', 'bière'"
    assert "accept_unknown=true" in refusal.hint
    reader = RowReader(codes, accepts_unknown=True)
    assert len(list(reader.blocks(path))) == 1
    assert reader.notes == ["3 rows have a category of 'drink' that training did not have: 'thé', 'bière'"]


def test_a_number_that_could_be_two_is_refused_until_the_mark_is_said(codes: TrainedRun, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("whole;code;drink;x\n1;000;tea;1,234\n2;001;tea;5,678\n")
    assert "data.decimal=" in refusal_of(codes, path).hint
    for decimal, value in ((",", 1.234), (".", 1234.0)):
        (block,) = RowReader(codes, {"decimal": decimal}).blocks(path)
        assert block.inputs[0][0].item() == value


def test_dates_of_another_form_are_read_if_they_can_be_one_date_only(run: TrainedRun, tmp_path: Path) -> None:
    path = new(tmp_path / "new.csv", when=["02/13/2024 05:00", *["02/03/2024 05:00"] * 29])
    assert inputs(run, path)[0][1, 2:].tolist() == [2, 3, 6, 5]
    assert any("dates of the form %m/%d/%Y %H:%M are read in when" in note for note in notes(run, path))
    assert "data.date_format" in refusal_of(run, new(path, when=["02/03/2024 05:00"] * 30)).hint
    (block,) = RowReader(run, {"date_format": "%d/%m/%Y %H:%M"}).blocks(path)
    assert block.inputs[0][0, 2:].tolist() == [3, 2, 6, 5]


def test_options_say_how_a_new_file_is_written(run: TrainedRun, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("a\nlength|gap|colour|town|when|flag\n1,5|none|red|town A|05_02_2024 00h00|1\n")
    written = {
        "delimiter": "bar",
        "skip_lines": 1,
        "decimal": ",",
        "date_format": "%d_%m_%Y %Hh%M",
        "missing_values": ["none"],
    }
    (block,) = RowReader(run, written).blocks(path)
    torch.testing.assert_close(
        block.inputs[0], torch.tensor([[1.5, float("nan"), 2, 5, 1, 0]], dtype=torch.float64), equal_nan=True
    )
    assert block.inputs[1].tolist() == [[3, 1, 2]]


@pytest.mark.parametrize("how", ["missing", "empty", "folder", "zip"])
def test_what_is_no_table_is_refused(run: TrainedRun, tmp_path: Path, how: str) -> None:
    path = tmp_path / "new.csv"
    if how == "folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(b"" if how == "empty" else b"PK\x03\x04" + bytes(50))
    assert str(path) in refusal_of(run, path).actual


def test_a_further_column_must_be_there(run: TrainedRun, tmp_path: Path) -> None:
    path = new(tmp_path / "new.csv")
    with pytest.raises(UserError) as refusal:
        next(RowReader(run).blocks(path, {"id": "lenth"}))
    assert refusal.value.requirement == "data.path must have the column of the id, 'lenth'"
    assert refusal.value.hint == "id=length"
    path.write_text(path.read_text().replace("length", "length (cm)", 1))
    with pytest.raises(UserError) as refusal:
        next(RowReader(run).blocks(path, {"id": "length(cm)"}))
    assert refusal.value.hint == "'id=length (cm)'"
    with pytest.raises(UserError, match="column of the target, 'kind'"):
        next(RowReader(run).blocks(path, {"target": "kind"}))


def test_files_without_a_header_are_read_as_the_training_file_was(tmp_path: Path) -> None:
    frame = houses(120).select("length", "colour", "kind")
    frame.write_csv(tmp_path / "train.csv", include_header=False)
    options = {"path": str(tmp_path / "train.csv"), "target": "column_3"}
    run = load_run(save_run(tmp_path / "run", options))
    (tmp_path / "new.csv").write_text("3.5,red\n4.5,blue\n")
    numeric, categorical = inputs(run, tmp_path / "new.csv")
    assert (numeric.tolist(), categorical.tolist()) == ([[3.5], [4.5]], [[3], [1]])


def test_markers_and_decimal_marks_are_those_of_training(tmp_path: Path) -> None:
    lines = [f"{n % 9},{n % 10};{'none' if n % 4 else 'some'};{'p' if n % 2 else 'q'}" for n in range(60)]
    (tmp_path / "train.csv").write_text("\n".join(["x;c;y", *lines]))
    options = {"path": str(tmp_path / "train.csv"), "target": "y", "missing_values": ["-9", "some"]}
    run = load_run(save_run(tmp_path / "run", options))
    (tmp_path / "new.csv").write_text("x;c\n1,5;none\n-9;some\n")
    numeric, categorical = inputs(run, tmp_path / "new.csv")
    assert numeric[0].item() == 1.5
    assert numeric[1].isnan()
    assert categorical.tolist() == [[1], [2]]


# Data that are no table.


def test_features_of_arrays_are_read_by_name_in_double_precision(diabetes: TrainedRun, tmp_path: Path) -> None:
    names = list(diabetes.task.feature_names)
    values = np.random.default_rng(0).normal(size=(5, len(names)))
    pl.DataFrame(values, schema=names).select(reversed(names)).write_csv(tmp_path / "new.csv")
    (features,) = inputs(diabetes, tmp_path / "new.csv")
    assert features.dtype == torch.float64
    np.testing.assert_array_equal(features.numpy(), values)


def test_features_of_arrays_must_all_be_there(
    diabetes: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(diabetes.task.feature_names)
    lines = [",".join(["1"] * len(names))] * 9
    lines[6] = ",".join(["1", "", *["1"] * (len(names) - 2)])
    (tmp_path / "new.csv").write_text("\n".join([",".join(names), *lines]))
    monkeypatch.setattr(table_reading, "BLOCK_ROWS", 4)
    refusal = refusal_of(diabetes, tmp_path / "new.csv")
    assert repr(names[1]) in refusal.requirement
    assert refusal.actual.endswith("first in row 7, counted in rows 5 to 8")


def test_pixels_are_bytes(pixels: TrainedRun, tmp_path: Path) -> None:
    names = pixels.task.feature_names
    (tmp_path / "new.csv").write_text(f"{','.join(names)}\n{','.join(str(12 * n) for n in range(20))}\n")
    (features,) = inputs(pixels, tmp_path / "new.csv")
    assert features.dtype == torch.uint8
    assert features.tolist() == [list(range(0, 240, 12))]


@pytest.mark.parametrize("value", ["-1", "256", "0.5", "1e9"])
def test_what_is_no_byte_is_no_pixel(pixels: TrainedRun, tmp_path: Path, value: str) -> None:
    names = pixels.task.feature_names
    (tmp_path / "new.csv").write_text(f"{','.join(names)}\n{','.join(['0'] * 19)},{value}\n")
    assert refusal_of(pixels, tmp_path / "new.csv").requirement == "pixels must be whole numbers from 0 to 255"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("data",), ...),
        (("data",), None),
        (("data", "reading"), {}),
        (("data", "reading"), {"_target_": "os.system"}),
        (("data", "reading", "missing_values"), 1),
    ],
)
def test_a_card_that_does_not_say_how_to_read_is_refused(
    own_run: Callable[..., TrainedRun], place: tuple[str, ...], value: Any
) -> None:
    with pytest.raises(UserError, match="card must describe its run"):
        RowReader(own_run(place, value))


def test_a_card_without_its_target_is_refused_where_the_target_is_read(own_run: Callable[..., TrainedRun]) -> None:
    reader = RowReader(own_run(("data", "reading", "target"), {"_target_": "os.system"}))
    with pytest.raises(UserError, match="card must describe its run"):
        _ = reader.target
