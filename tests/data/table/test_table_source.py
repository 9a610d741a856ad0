"""From a file to a data set, and from files that are no such thing to a message."""

import csv
import gzip
import itertools
import json
import math
import re
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from drawn import examples
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mlplab.data.module import DataModule
from mlplab.data.table.column_values import column_values
from mlplab.data.table.reading_options import Reading
from mlplab.data.table.strings import null_missing
from mlplab.data.table.table_dataset import TableDataset
from mlplab.data.table.table_opening import open_table
from mlplab.data.table.table_reading import read_table, table_blocks
from mlplab.data.table.table_source import table
from mlplab.data.table.text_layout import TextOptions
from mlplab.errors import UserError

Write = Callable[..., Path]


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows, ""])


def rows(n_rows: int = 12, form: str = "{x},{c}") -> list[str]:
    return [form.format(n=n, x=n * 1.5, c="ab"[n % 2]) for n in range(n_rows)]


def kinds(dataset: TableDataset) -> dict[str, str]:
    return {column.name: column.kind for column in dataset.columns}


def test_a_value_far_down_is_a_value(write: Write) -> None:
    dataset = table(str(write(lines("a,b,y", *["NA,1,2"] * 200, "3,4,5"))), "y")
    assert dataset.values["a"].null_count() == 200
    assert kinds(dataset)["a"] == "numeric"


def test_categories_of_a_test_file_beside_those_of_training(write: Write) -> None:
    train, test = write(lines("a,y", *rows(20, "{c},{x}"))), write(lines("a,y", *["c,1"] * 3, "b,2"))
    dataset = table(str(train), "y", test_path=str(test))
    assert dataset.values["a"].dtype == pl.Enum(["a", "b", "c"])
    assert dataset.values["a"][-4:].to_list() == ["c", "c", "c", "b"]
    fitted = dataset.fit(np.arange(20))
    assert dataset.inputs(np.arange(18, 24), fitted)[1].flatten().tolist() == [1, 2, 0, 0, 0, 2]


def test_a_file_and_a_target_are_all_it_takes(write: Write) -> None:
    text = lines("area,town,sold,new?,name,y", *rows(40, "{x},{c},2024-01-{n:02},yes,house {n},{c}"))
    text = text.replace("2024-01-00", "NA").replace("yes", "no", 5)
    text = re.sub(r"2024-01-(3\d)", "2024-02-11", text)
    dataset = table(str(write(text, "houses.csv")), "y")
    assert kinds(dataset) == {
        "area": "numeric", "town": "categorical", "sold": "datetime", "new?": "boolean", "name": "identifier",
    }  # fmt: skip
    assert dataset.values.columns == ["area", "town", "sold", "new?"]
    assert dataset.values["area"].to_list() == [n * 1.5 for n in range(40)]
    assert dataset.values["sold"].null_count() == 1
    assert (dataset.name, dataset.class_names) == ("houses.csv", ("a", "b"))
    assert dataset.targets.tolist() == [0, 1] * 20
    assert (dataset.notes, dataset.unit, dataset.split_rules.parts) == ((), "", None)
    assert len(dataset.fingerprint) == 64


def test_parquet_gives_what_text_gives(write: Write) -> None:
    text = write(lines("x,c,y", *rows(40, "{x},{c},{n}.5")))
    out = BytesIO()
    pl.read_csv(text).write_parquet(out)
    one, other = table(str(text), "y"), table(str(write(out.getvalue(), "table.parquet")), "y")
    assert one.values.equals(other.values)
    assert (one.columns, one.targets.tolist()) == (other.columns, other.targets.tolist())


def test_how_it_was_read_is_plain_values(write: Write) -> None:
    dataset = table(str(write(lines("x,y", *rows()))), "y", missing_values=[-9, "x"], keep_values={"x": ["NA"]})
    again = json.loads(json.dumps(dataset.reading))
    assert again["missing_values"] == ["-9", "x"]
    assert again["keep_values"] == {"x": ["NA"]}
    assert again["target"]["class_names"] == ["a", "b"]


@pytest.mark.parametrize(
    "name", ["a b", "a.b", "[a]", "it's", "größe", "名前", "${x}", "{k}", "1", "NA", "?", "a|b", "\\", "#", "%d", "=x"]
)
def test_columns_of_any_name_are_targets_and_features_and_can_be_dropped(write: Write, name: str) -> None:
    path = str(write(lines(f"{name},z,y", *rows(20, "{c},{x},{c}"))))
    assert table(path, name).class_names == ("a", "b")
    described = DataModule(lambda: table(path, "y"))
    described.setup()
    assert name in described.description.as_text()
    assert kinds(table(path, "y"))[name] == "categorical"
    assert table(path, "y", drop=[name]).values.columns == ["z"]
    assert table(path, "y", categorical=[name], group_column="z").values.columns == [name]


def test_what_is_said_of_columns_is_done(write: Write) -> None:
    path = str(write(lines("code,id,word,gone,y", *rows(30, "00{n},{n},word {n},{x},{c}"))))
    dataset = table(path, "y", categorical=["code"], numeric=["id"], drop=["gone"])
    assert kinds(dataset) == {"code": "categorical", "id": "numeric", "word": "identifier", "gone": ""}
    assert dataset.values["code"][0] == "000"
    assert dataset.roles == {"gone": "left out: data.drop"}


def test_rows_without_a_value_are_left_out_of_training_and_told(write: Write) -> None:
    dataset = table(str(write(lines("x,c,y", *rows(20, "{x},{c},{c}"), ",,", "NA,,", *rows(5, "{x},{c},{c}")))), "y")
    assert len(dataset.targets) == 25
    assert dataset.notes == ("2 rows have no value and are left out, and not counted",)
    # Points that group thousands are read again, without those rows.
    grouped = table(str(write(lines("x;p;y", *rows(10, "1,{n};1.00{n};{c}"), ";;", "2,5;1.000;a"))), "y")
    assert grouped.values["p"][-1] == 1000


def test_notes_on_a_test_file_are_told_with_its_name(write: Write) -> None:
    train = write(lines("x,y", *rows(20, "{x},{c}")), "train.csv")
    test = write(lines("x,y", "1,a", ",", "2,b"), "test.csv")
    dataset = table(str(train), "y", test_path=str(test))
    assert dataset.notes == ("test.csv: 1 row has no value and is left out, and not counted",)


def test_a_column_that_is_dropped_need_not_make_sense(write: Write) -> None:
    path = str(write(lines("bad,empty,x,y", *rows(30, "{n},,{x},{c}"), "oops,,1,a")))
    assert table(path, "y", drop=["bad", "empty"]).values.columns == ["x"]
    with pytest.raises(UserError, match="'bad'"):
        table(path, "y", drop=["empty"])
    dataset = table(path, "y", drop=["bad"])
    assert dataset.roles == {"bad": "left out: data.drop", "empty": "left out: no value in any row"}
    assert dataset.notes == ("1 column has no value and is left out: empty",)


def test_markers_are_missing_or_kept_in_all_columns_or_in_one(write: Write) -> None:
    path = str(write(lines("c,d,x,y", *rows(20, "NA,NA,{x},{c}"), *rows(20, "p,q,-200,{c}"))))
    dataset = table(path, "y", missing_values=[-200])
    assert dataset.values.null_count().row(0) == (20, 20, 20)
    dataset = table(path, "y", keep_values={"c": ["NA"]})
    assert dataset.values.null_count().row(0) == (0, 20, 0)
    assert table(path, "y", keep_values=["NA"]).values.null_count().row(0) == (0, 0, 0)


@pytest.mark.parametrize("cell", ["-200", "-200.0", "-200,0"])
def test_a_number_that_means_missing_does_so_however_it_is_written(write: Write, cell: str) -> None:
    mark = "," if "," in cell else "."
    path = str(write(lines("x;y", *rows(20, "1,25;{c}".replace(",", mark)), f"{cell};a", f"0{mark}5;a")))
    assert table(path, "y", missing_values=[-200]).values["x"].to_list()[-2:] == [None, 0.5]


def test_the_order_of_the_files_columns_does_not_matter_for_a_test_file(write: Write) -> None:
    path, other = write(lines("x,c,y", *rows(20, "{x},{c},{c}"))), write(lines("more,y,c,x", "1, A. ,q,7", "2,b,,8"))
    dataset = table(str(path), "y", test_path=str(other))
    assert dataset.values["x"].to_list()[-2:] == [7.0, 8.0]
    assert dataset.values["c"].to_list()[-2:] == ["q", None]
    assert dataset.targets.tolist()[-2:] == [0, 1]
    assert dataset.split_rules.parts is not None
    assert (dataset.split_rules.parts[-2:] == "test").all()
    assert dataset.notes == (
        "table.csv has 1 column that is not used: more",
        "1 row has the label 'A.', which is taken for 'a'",
    )


def test_a_test_file_may_be_written_in_another_way(write: Write) -> None:
    path = write(lines("x;c;y", *rows(20, "{n},5;{c};{c}")))
    other = write(gzip.compress('x,c,y\n7.5,"a",a\n8.5,"b",b\n'.encode("utf-16")))
    assert table(str(path), "y", test_path=str(other)).values["x"].to_list()[-2:] == [7.5, 8.5]


def test_a_test_file_is_read_as_text_where_training_was(write: Write) -> None:
    path = write(lines("code;y", *(f"0{n % 3}{'b' * (n % 2)};{'uv'[n % 2]}" for n in range(30))))
    # Alone, this file's codes would be 1 and 2.
    other = write(lines("code;y", "01;u", "02;v"))
    dataset = table(str(path), "y", test_path=str(other))
    assert dataset.values["code"].to_list()[-2:] == ["01", "02"]
    assert set(dataset.values["code"].to_list()) == {"00", "00b", "01", "01b", "02", "02b"}


def test_beside_decimal_commas_a_point_sets_off_thousands_in_the_target_and_in_a_test_file_too(write: Write) -> None:
    path = write(lines("size;people;y", *(f"{n},5;{n}.{n}00;{n}.{n}50" for n in [*range(1, 10)] * 3)))
    # Alone, this file's numbers would be 7.8 and 9.95.
    other = write(lines("size;people;y", "1,5;7.800;9.950"))
    dataset = table(str(path), "y", test_path=str(other), task="regression")
    assert dataset.values["people"].to_list()[::27] == [1100.0, 7800.0]
    assert dataset.targets[::27].tolist() == [1150.0, 9950.0]
    # Where only the target has decimal commas, the same holds.
    path = write(lines("people;y", *(f"{n}.{n}00;{n},5" for n in [*range(1, 10)] * 3)))
    assert table(str(path), "y").values["people"][0] == 1100.0
    # But it must fit every value of a column.
    path = write(lines("share;y", *(f"0.{n}00;{n},5" for n in [*range(1, 10)] * 3)))
    assert table(str(path), "y").values["share"][0] == 0.1


def test_files_without_names_go_together_by_position(write: Write) -> None:
    path, other = (
        write(lines(*rows(20, "{x},{c},{c}"))),
        write(lines("7,a,b", "8,b,a")),
    )
    dataset = table(str(path), "column_3", test_path=str(other))
    assert dataset.values["column_1"].to_list()[-2:] == [7.0, 8.0]


def test_rows_without_a_target_are_refused_or_left_out_and_counted(write: Write) -> None:
    path = str(write(lines("x,y", *rows(20), "7,", "8,NA")))
    with pytest.raises(UserError) as refusal:
        table(path, "y")
    assert refusal.value.args == (
        "every row of table.csv must have a target in column 'y'",
        "2 of 22 have none, the first is row 21",
        "data.drop_missing_target=true, which leaves them out",
    )
    dataset = table(path, "y", drop_missing_target=True)
    assert (len(dataset.values), len(dataset.targets)) == (20, 20)
    assert dataset.notes == ("2 rows have no target: left out, of 22 in table.csv",)


def test_rows_are_numbered_as_in_the_file_though_some_are_left_out(write: Write) -> None:
    path = str(write(lines("x,g,y", "1,g1,", *rows(20, "{x},g{n},{c}"), "1e39,g,a")))
    with pytest.raises(UserError, match=r"the first is 1e\+39 in row 22"):
        table(path, "y", drop_missing_target=True)
    path = str(write(lines("x,g,y", "1,,", *rows(20, "{x},g{n},{c}"), "1,,a")))
    with pytest.raises(UserError, match="'g' has none in 1 of 22, the first is row 22"):
        table(path, "y", drop_missing_target=True, group_column="g")
    path = str(write(lines("x,p,y", "1,so,", *rows(10, "{x},train,{c}"), *rows(10, "{x},test,{c}"), "1,so,a")))
    with pytest.raises(UserError, match="1 of 22 rows say something else, the first is 'so' in row 22"):
        table(path, "y", drop_missing_target=True, split_column="p")


def test_a_column_of_parts_is_followed(write: Write) -> None:
    parts = ["Train"] * 20 + ["valid"] * 10 + ["TEST"] * 10
    path = write(lines("x,p,y", *(f"{n},{part},{'ab'[n % 2]}" for n, part in enumerate(parts))))
    module = DataModule(lambda: table(str(path), "y", split_column="p"))
    module.setup()
    assert [len(module.part(part)[1]) for part in ("train", "val", "test")] == [20, 10, 10]  # type: ignore[arg-type]
    assert module.task.feature_names == ("x",)


def test_times_decide_what_is_tested_and_are_a_feature_only_as_dates(write: Write) -> None:
    text = lines("t,day,x,y", *(f"{99 - n},2024-01-{n % 28 + 1:02},{n % 7},{n % 5}.5" for n in range(100)))
    path = str(write(text))
    module = DataModule(lambda: table(path, "y", time_column="t"))
    module.setup()
    assert "t" not in module.task.feature_names
    _, split = module.read()
    assert split.test.tolist() == list(range(15))  # the largest times
    assert split.val.tolist() == list(range(15, 30))
    module = DataModule(lambda: table(path, "y", time_column="day"))
    module.setup()
    assert "day.day" in module.task.feature_names
    days = table(path, "y", time_column="day").split_rules.times
    assert days is not None
    _, split = module.read()
    assert days[split.train].max() < days[split.val].min() <= days[split.val].max() < days[split.test].min()


def test_a_date_that_decides_the_split_is_no_feature_where_it_is_dropped(write: Write) -> None:
    path = str(
        write(lines("day,x,y", *(f"2024-{n % 12 + 1:02}-{n % 28 + 1:02},{n % 7},{n % 5}.5" for n in range(100))))
    )
    module = DataModule(lambda: table(path, "y", time_column="day", drop=["day"]))
    module.setup()
    assert module.task.feature_names == ("x",)
    assert module.description.columns[0].use == "says what comes later"
    assert module.read()[0].split_rules.times is not None


def test_numbers_that_name_the_rows_may_be_the_times(write: Write) -> None:
    path = write(lines("id,x,y", *rows(30, "{n},{x},{c}")))
    times = table(str(path), "y", time_column="id").split_rules.times
    assert times is not None
    assert times.tolist() == [float(n) for n in range(30)]


def test_words_are_no_times(write: Write) -> None:
    path = str(write(lines("when,x,y", *rows(30, "{c},{x},{c}"))))
    with pytest.raises(UserError, match=r"data\.time_column must hold dates or numbers, but 'when' holds categorical"):
        table(path, "y", time_column="when")


def test_groups_stay_together(write: Write) -> None:
    path = write(lines("who,x,y", *(f"p{n // 5},{n},{'ab'[n % 2]}" for n in range(100))))
    module = DataModule(lambda: table(str(path), "y", group_column="who"))
    module.setup()
    _, split = module.read()
    parts = [set((rows // 5).tolist()) for rows in (split.train, split.val, split.test)]
    assert sum(len(part) for part in parts) == 20
    assert set.union(*parts) == set(range(20))
    assert "who" not in module.task.feature_names


NUMBERS = [f"{n},{n / 7}" for n in range(60)]

BAD: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty": ("", {}, r"data\.path must hold something, but .*table\.csv is empty; try another file"),
    "header only": ("a,b\n", {}, "data.path must hold rows"),
    "no such target": (lines("a,bb", *NUMBERS), {}, "got b; try data.target=bb$"),
    "a target with gaps": (
        lines("a,b", *NUMBERS, "7,"),
        {},
        "1 of 61 has none, the first is row 61; try data.drop_missing",
    ),
    "an infinite target": (lines("a,b", *NUMBERS, "7,inf"), {}, "in column 'b' must be finite, .*inf in row 61"),
    "a constant target": (
        lines("a,b", *rows(9, "{n},3.5")),
        {},
        "the target 'b' must vary, but every row has 3.5",
    ),
    "a single class": (lines("a,b", *rows(9, "{n},so")), {}, "at least two classes, but every row has 'so'"),
    "numbers as classes": (
        lines("a,b", *NUMBERS),
        {"task": "classification"},
        r"must be text, .*row 2 has 0\.142857; try data\.task=regression",
    ),
    "text as numbers": (
        lines("a,b", *rows(20, "{x},{c}")),
        {"task": "regression"},
        "20 of 20 values are not, the first is 'a' in row 1",
    ),
    "a few unreadable values": (
        lines("a,b", *NUMBERS, "oh,7", "no,8"),
        {},
        r"column 'a' must be a number, but 2 of 62 .*'oh' in row 61; try "
        r"data\.missing_values=\[oh,no\] if they mean that there is no value, or data\.unreadable_cells=0\.04 .*, or "
        r"data\.categorical=\[a\]",
    ),
    "a number beyond 32 bits": (
        lines("a,b", *NUMBERS, "1e39,7"),
        {},
        r"column 'a' must fit into 32 bits.*1e\+39 in row 61",
    ),
    "an infinite cell": (
        lines("a,b", *NUMBERS, "-inf,7"),
        {},
        r"column 'a' must be finite, .*-inf in row 61; try data\.miss",
    ),
    "fewer cells": (
        lines("a,b", *NUMBERS, *["7"] * 9),
        {},
        "must have 2 values.*but 9 rows differ, the first in line 62 with 1",
    ),
    "more cells": (
        lines("a,b", *NUMBERS, "7,8,9"),
        {},
        "must have 2 values.*but 1 row differs, the first in line 62 with 3",
    ),
    "a quote that is open": (
        lines("a,b", *NUMBERS, '"7,8'),
        {},
        "must be closed, but one that opens in line 62 is not",
    ),
    "a binary file": (b"\x7fELF\x02\x01\x01\x00\x00\x00", {}, "holds bytes that are no text"),
    "an Excel file": (b"PK\x03\x04\x14\x00\x06\x00", {}, "must be a table that can be read, but .*zip"),
    "a truncated gzip": (
        gzip.compress(lines("a,b", *NUMBERS).encode())[:-9],
        {},
        "can be read, but .*end-of-stream",
    ),
    "truncated Parquet": (b"PAR1\x15\x04\x15\x00", {}, "must be a table that can be read"),
    "another encoding": (
        lines("ä,b", *NUMBERS).encode("latin-1"),
        {"encoding": "utf-8"},
        "is no utf-8: .*; try data.enc",
    ),
    "parts in other words": (
        lines("p,a,b", *rows(9, "{c},{x},{n}")),
        {"split_column": "p"},
        "9 of 9 rows say something else, .*'a' in row 1",
    ),
    "parts without test": (
        lines("p,a,b", *rows(9, "train,{x},{n}")),
        {"split_column": "p"},
        "must give a row to the test part",
    ),
    "times that lack": (
        lines("t,a,b", "7,1,2", ",3,4"),
        {"time_column": "t"},
        "'t' has none in 1 of 2, the first is row 2",
    ),
    "groups that lack": (
        lines("t,a,b", "7,1,2", ",3,4"),
        {"group_column": "t"},
        "'t' has none in 1 of 2, the first is row 2",
    ),
    "one column": ("b\n1.5\n2.5\n", {}, "must be a column beside the target"),
    "nothing but text": (
        lines("t,b", *rows(30, "word{n},{x}")),
        {},
        "must have a feature beside the target",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_or_learned_is_refused_in_one_line(write: Write, case: str) -> None:
    content, options, message = BAD[case]
    module = DataModule(lambda: table(str(write(content)), "b", **options))
    with pytest.raises(UserError, match=message) as refusal:
        module.setup()
    assert "\n" not in str(refusal.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path must be a file, but .* is a folder"):
        table(str(tmp_path), "b")


def test_a_group_in_both_files_is_refused(write: Write) -> None:
    path, other = write(lines("g,x,y", *rows(20, "{n},{x},{c}"))), write(lines("g,x,y", "7.0,1,a", "70,2,b"))
    with pytest.raises(UserError, match="no group must be in two parts, but 1 group is, such as '7'"):
        table(str(path), "y", test_path=str(other), group_column="g")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y\n", r"data\.test_path must hold rows"),
        (
            "z,y\n1,a\n",
            "data.test_path must have every column that the model takes, but other.csv lacks 1 of 2: 'x'",
        ),
        (
            "x,y\n1,a\n2,c\n",
            "other.csv: every label in column 'y' must be one of the 2 classes .*'c' stands in 1 row, .* row 2",
        ),
        (
            "x,y\n1,a\noh,b\n",
            "every value of column 'x' must be a number, but 1 of 2 values is not, .*'oh' in row 2",
        ),
        ("x,y\n1,a\n2,\n", "every row of other.csv must have a target"),
        ("x,y\n1,a\n2\n", "every row of other.csv must have 2 values"),
    ],
)
def test_a_test_file_that_does_not_fit_is_refused(write: Write, content: str, message: str) -> None:
    path, other = write(lines("x,y", *rows(20))), write(content, "other.csv")
    with pytest.raises(UserError, match=message):
        table(str(path), "y", test_path=str(other))


def test_a_test_file_that_is_not_there_is_refused_by_its_own_key(write: Write) -> None:
    path = write(lines("x,y", *rows(20)))
    with pytest.raises(UserError, match=r"data\.test_path must be a file that exists"):
        table(str(path), "y", test_path=f"{path}.gz")


# Cells that are hard to write down: quotes, delimiters, line breaks, blanks of all kinds, other scripts.
WILD = st.text(st.sampled_from(list("ab\"',;|\t \n.-0é中😀\u2028\x85\x0b\x1c$#\\{}[]=:%ß\u00a0\u200b")), max_size=6)
TAME = st.text(st.sampled_from(list("abcXYZ é.-_()")), min_size=1, max_size=8)
NUMBER = st.one_of(
    st.none(), st.integers(-(10**6), 10**6).map(float), st.floats(-1e30, 1e30, allow_nan=False, allow_infinity=False)
)
MARKERS = ["", "NA", "n/a", "NaN", "null", "?", "NULL", "Nan", " "]
BLANKS = "\t\n\x0b\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What Unicode calls white space."""


def level(cell: str) -> str | None:
    stripped = cell.strip(BLANKS)
    return None if stripped.lower() in ("", "?", "na", "n/a", "#n/a", "nan", "null") else stripped


def written(
    cells: list[tuple[str, str, float | None]], names: list[str] | None, comma: bool, markers: list[str], **dialect: Any
) -> str:
    """Two levels, a number and a class in each row; gaps among the numbers by the markers in turn."""
    out, gaps = StringIO(), itertools.cycle(markers)
    writer = csv.writer(out, **dialect)
    if names:
        writer.writerow(names)
    for position, (one, other, number) in enumerate(cells):
        text = next(gaps) if number is None else repr(number).replace(".", ",") if comma else repr(number)
        writer.writerow([one, other, text, "uv"[position % 2]])
    return out.getvalue()


def require_read(dataset: TableDataset, cells: list[tuple[str, str, float | None]], names: list[str]) -> None:
    assert dataset.values[names[0]].to_list() == [level(one) for one, _, _ in cells]
    assert dataset.values[names[1]].to_list() == [level(other) for _, other, _ in cells]
    assert dataset.values[names[2]].to_list() == [number for _, _, number in cells]
    assert dataset.targets.tolist() == [position % 2 for position in range(len(cells))]


def columns_have_values(cells: list[tuple[str, str, float | None]]) -> bool:
    return all(
        any(value is not None for value in column)
        for column in ([level(c[0]) for c in cells], [level(c[1]) for c in cells], [c[2] for c in cells])
    )


@settings(max_examples=examples(20))
@given(
    cells=st.lists(st.tuples(WILD, WILD, NUMBER), min_size=8, max_size=20).filter(columns_have_values),
    delimiter=st.sampled_from([("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("bar", "|"), ("blank", " ")]),
    quote=st.sampled_from([("double", '"'), ("single", "'")]),
    quotes_all=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    has_header=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    is_packed=st.booleans(),
    comma=st.booleans(),
    markers=st.lists(st.sampled_from(MARKERS), min_size=1, max_size=4),
    block_rows=st.integers(1, 8),
)
def test_wild_values_are_read_as_they_were_written_by_training_and_by_prediction(
    write: Write,
    cells: list[tuple[str, str, float | None]],
    delimiter: tuple[str, str],
    quote: tuple[str, str],
    quotes_all: bool,
    end: str,
    has_header: bool,
    encoding: str,
    is_packed: bool,
    comma: bool,
    markers: list[str],
    block_rows: int,
) -> None:
    names = ["a b", "ü", "x", "y"] if has_header else [f"column_{number}" for number in range(1, 5)]
    quoting = csv.QUOTE_ALL if quotes_all or delimiter[0] == "blank" else csv.QUOTE_MINIMAL
    text = written(
        cells, names if has_header else None, comma, markers,
        delimiter=delimiter[1], quotechar=quote[1], quoting=quoting, lineterminator=end,
    )  # fmt: skip
    content = text.encode(encoding)
    path = write(gzip.compress(content, 1) if is_packed else content)
    said: dict[str, Any] = {"delimiter": delimiter[0], "quote": quote[0], "header": has_header}
    dataset = table(
        str(path), names[3], categorical=names[:2], numeric=names[2:3], decimal="," if comma else ".", **said
    )
    require_read(dataset, cells, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlplab.data.table.table_reading.BLOCK_ROWS", block_rows)
        with open_table(path, TextOptions(**said)) as opened:
            blocks = list(table_blocks(path, opened, []))
    for column in dataset.columns:
        again = pl.concat([column_values(null_missing(block[column.name], (), ()), column, ()) for block in blocks])
        assert again.equals(dataset.values[column.name], null_equal=True)


@settings(max_examples=examples(25))
@given(
    cells=st.lists(st.tuples(TAME, WILD, NUMBER), min_size=10, max_size=20).filter(columns_have_values),
    delimiter=st.sampled_from(",;\t|"),
    quotes_all=st.booleans(),
    has_header=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    comma=st.booleans(),
)
def test_how_a_file_is_written_is_found_out(
    write: Write,
    cells: list[tuple[str, str, float | None]],
    delimiter: str,
    quotes_all: bool,
    has_header: bool,
    encoding: str,
    comma: bool,
) -> None:
    names = ["first", "second", "third", "y"] if has_header else [f"column_{number}" for number in range(1, 5)]
    quoting = csv.QUOTE_ALL if quotes_all else csv.QUOTE_MINIMAL
    # A cell in apostrophes could as well be one in single quotes.
    cells = [(one, other.replace("'", ""), number) for one, other, number in cells]
    assume(columns_have_values(cells))
    text = written(
        cells, names if has_header else None, comma, [""], delimiter=delimiter, quoting=quoting, lineterminator="\n"
    )
    dataset = table(str(write(text.encode(encoding))), names[3], categorical=names[:2], numeric=names[2:3])
    require_read(dataset, cells, names)
    assert not any("encoding" in note for note in dataset.notes)


COLUMNS = {
    "numbers": st.floats(-1e9, 1e9, allow_nan=False).map(repr),
    "whole": st.integers(-1000, 1000).map(str),
    "mixed": st.one_of(st.integers(-9, 9).map(str), st.floats(0, 9).map(repr)),
    "levels": st.sampled_from(["p", "q", "r s"]),
    "codes": st.sampled_from(["1", "2", "2b", "3c"]),
    "truth": st.sampled_from(["True", "False"]),
    "answers": st.sampled_from(["yes", "No"]),
    "days": st.dates().map(str).filter(lambda day: day > "1000"),
    "years": st.integers(1900, 2100).map(str),
    "zeros": st.sampled_from(["001", "002", "010"]),
    "money": st.floats(0, 999).map(lambda number: f"${number:.2f}"),
    "percent": st.integers(0, 100).map(lambda number: f"{number} %"),
    "clock": st.times().map(lambda time: f"{time:%I:%M %p}"),
    "comma": st.floats(-999, 999).map(lambda number: f"{number:.3f}".replace(".", ",")),
    "grouped": st.integers(1000, 10**7).map(lambda number: f"{number:,}".replace(",", ".")),
}


@settings(max_examples=examples(12))
@given(
    data=st.data(),
    chosen=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True),
    gaps=st.booleans(),
    said=st.booleans(),
)
def test_prediction_reads_the_values_that_training_read(
    write: Write, data: st.DataObject, chosen: list[str], gaps: bool, said: bool
) -> None:
    cells = [
        [
            data.draw(st.one_of(COLUMNS[name], st.sampled_from(["NA", "", "?"])) if gaps else COLUMNS[name])
            for name in chosen
        ]
        for _ in range(12)
    ]
    text = lines(";".join([*chosen, "y"]), *(";".join([*row, "uv"[n % 2]]) for n, row in enumerate(cells)))
    path = write(text)
    categorical = [chosen[0]] if said else []
    refusal = refusal_of(lambda: table(str(path), "y", categorical=categorical))
    if refusal is not None:
        assert re.search("must have a value in some row|must be a number", refusal.requirement)
        return
    # A test file with the same rows, and the blocks that prediction reads.
    dataset = table(str(path), "y", categorical=categorical, test_path=str(write(text)))
    with open_table(path, TextOptions()) as opened:
        (block,) = table_blocks(path, opened, [])
    for column in dataset.columns:
        if column.is_feature:
            training = dataset.values[column.name][: len(cells)]
            assert dataset.values[column.name][len(cells) :].equals(training, null_equal=True), column
            known = null_missing(block[column.name], (), ())
            assert column_values(known, column, ()).equals(training, null_equal=True), column


NASTY = [
    '"', "'", ",", ";", "\t", "|", " ", "\n", "\r", "\r\n", "\n\n", '""', '"\n', ',"', "\x00", "\ufeff", "\u2028",
    "\x85", "é", "NA", "nan", "-nan", "inf", "1e400", "1e39", "?", "0", "-1", "1.5", "1,5", "1.234.567", "2020-01-01",
    "12:30",
    "31.12.2020", "true", "yes", "\x0b", "\x1c", "9" * 50, "١", "x" * 200, "-", "\\", "${x}", "[b]", "\x1b[31m",
    "1/2/20", "null", "column_1", "y",
]  # fmt: skip
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "header": st.sampled_from([True, False]),
        "delimiter": st.sampled_from(["auto", "auto", "comma", "semicolon", "tab", "blank", "bar", "x", '"', "-"]),
        "quote": st.sampled_from(["double", "single", "none"]),
        "encoding": st.sampled_from(["auto", "auto", "auto", "utf-8", "latin-1", "utf-16", "utf-16-le", "hex"]),
        "decimal": st.sampled_from([".", ","]),
        "skip_lines": st.sampled_from([0, 0, 0, 1, 3]),
        "missing_values": st.lists(st.sampled_from([-1, "x", "a", 0, "inf", math.inf, "nan"]), max_size=2),
        "keep_values": st.sampled_from([["NA"], ["nan", "?"], {"a": ["NA"]}, {"b": "nan"}]),
        "categorical": st.sampled_from([[], ["a"], ["b"]]),
        "numeric": st.sampled_from([[], ["a"], ["c"]]),
        "drop": st.sampled_from([[], ["b"]]),
        "drop_missing_target": st.booleans(),
        "task": st.sampled_from(["classification", "regression"]),
        "numeric_scaling": st.sampled_from(["standardize", "quantile_normal"]),
        "one_hot_levels": st.sampled_from([0, 10]),
        "time_column": st.sampled_from([None, None, "c"]),
        "group_column": st.sampled_from([None, None, "a"]),
        "split_column": st.sampled_from([None, None, "b"]),
        "weight_column": st.sampled_from([None, None, "c"]),
        "target": st.sampled_from(["y", ["y"], ["y", "c"], ["a", "y", "b"]]),
        "date_format": st.sampled_from([None, "%d/%m/%Y", "%", "%Q"]),
    },
)
TEXT_OPTIONS = ("header", "delimiter", "quote", "encoding", "skip_lines")


def refusal_of(action: Callable[[], object]) -> UserError | None:
    try:
        action()
    except UserError as refusal:
        return refusal
    return None


def is_read_or_refused(path: Path, options: dict[str, Any]) -> bool:
    """Whether a file is read, from end to end; if not, it must be refused, in one line."""
    text_options = {name: value for name, value in options.items() if name in TEXT_OPTIONS}

    def read_blocks() -> None:
        with open_table(path, TextOptions(**text_options)) as opened:
            list(table_blocks(path, opened, []))

    module = DataModule(lambda: table(str(path), **{"target": "y", **options}))
    refusals = [refusal_of(read_blocks), refusal_of(module.setup)]
    assert all("\n" not in str(refusal) for refusal in refusals)
    if refusals[1] is not None:
        return False
    for part in ("train", "val", "test"):
        assert np.isfinite(module.part(part)[0].numpy()).all()  # type: ignore[arg-type]
    assert module.description.as_text()
    json.dumps(module.description.as_dict())
    json.dumps(module.reading)
    return True


@settings(max_examples=examples(60))
@given(content=st.binary(min_size=1, max_size=200), options=OPTIONS)
@example(b"y\x00", {})
@example(b"\xff\xfey", {})
@example(b"\x1f\x8b", {})
@example(b"PAR1", {})
@example(b"y,y\n", {"header": True})
def test_random_bytes_are_read_or_refused(write: Write, content: bytes, options: dict[str, Any]) -> None:
    is_read_or_refused(write(content), options)


@settings(max_examples=examples(40))
@given(
    cells=st.lists(
        st.tuples(*[st.one_of(st.sampled_from(NASTY), st.sampled_from("pq"), st.floats().map(repr))] * 4),
        min_size=3, max_size=20,
    ),
    delimiter=st.sampled_from(",;\t| "),
    options=OPTIONS,
)  # fmt: skip
def test_tables_of_nasty_values_are_read_or_refused(
    write: Write, cells: list[tuple[str, ...]], delimiter: str, options: dict[str, Any]
) -> None:
    out = StringIO()
    csv.writer(out, delimiter=delimiter).writerows([("a", "b", "c", "y"), *cells, *cells])
    is_read_or_refused(write(out.getvalue()), options)


@settings(max_examples=examples(80))
@given(
    seed=st.integers(0, 2**30),
    mutations=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(["insert", "delete", "repeat"]), st.sampled_from(NASTY)), max_size=5
    ),
    delimiter=st.sampled_from(",;\t| "),
    encoding=st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1"]),
    is_packed=st.booleans(),
    cut=st.one_of(st.none(), st.none(), st.floats(0, 1)),
    options=OPTIONS,
)
def test_tables_with_mistakes_are_read_or_refused(
    write: Write,
    seed: int,
    mutations: list[tuple[float, str, str]],
    delimiter: str,
    encoding: str,
    is_packed: bool,
    cut: float | None,
    options: dict[str, Any],
) -> None:
    generator = np.random.default_rng(seed)
    out = StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=["\n", "\r\n"][generator.integers(2)])
    writer.writerow("abcy")
    for _ in range(40):
        number = f"{generator.normal():.2f}".replace(".", ".,"[seed % 2])
        writer.writerow(
            [
                number if generator.random() > 0.1 else "NA",
                "pqr"[generator.integers(3)],
                f"2020-01-{generator.integers(28) + 1:02}",
                "uv"[generator.integers(2)] if seed % 3 else f"{generator.normal():.3f}",
            ]
        )
    text = out.getvalue()
    for where, kind, what in mutations:
        place = int(where * len(text))
        if kind == "insert":
            text = text[:place] + what + text[place:]
        elif kind == "delete":
            text = text[:place] + text[place + len(what) :]
        else:
            end = text.find("\n", place) + 1
            text = text[:place] + text[place:end] * 2 + text[end:]
    content = text.encode(encoding, errors="replace")
    content = gzip.compress(content, 1) if is_packed else content
    path = write(content if cut is None else content[: int(cut * len(content))])
    was_read = is_read_or_refused(path, options)
    if not mutations and cut is None and not options and delimiter in "\t;|":
        assert was_read


def test_a_table_is_read_again_with_what_is_kept_of_its_reading(write: Write) -> None:
    text = lines("code;x;y", *rows(20, "00{n};{n},5;{c}"), "-;-9;a")
    path = write(text)
    dataset = table(str(path), "y", categorical=["code"], missing_values=["-", -9])
    reading = Reading.from_dict(json.loads(json.dumps(dataset.reading)))
    again = read_table(path, reading).frame
    for column in dataset.columns:
        assert column_values(null_missing(again[column.name], (), ()), column, reading.missing_values).equals(
            dataset.values[column.name], null_equal=True
        )


def test_beside_decimal_commas_a_point_sets_off_thousands(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{n},5;{100 + n}.{n:03};0.{n:03};{'uv'[n % 2]}" for n in range(60)]
    path.write_text("\n".join(["a;preis;share;y", *rows]), encoding="utf-8")
    values = table(str(path), "y").values
    assert values["preis"].to_list()[:2] == [100_000.0, 101_001.0]
    assert values["share"].to_list()[:2] == [0.0, 0.001]


def test_said_decimal_commas_are_kept_to_in_columns_of_points_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["a;y", *(f"1.{n:03};{'uv'[n % 2]}" for n in range(60))]), encoding="utf-8")
    assert table(str(path), "y", decimal=",").values["a"].to_list()[:2] == [1000.0, 1001.0]
    assert table(str(path), "y").values["a"].to_list()[:2] == [1.0, 1.001]


def test_stray_quotes_that_swallow_lines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["a,colour,b,y", *(f'{n},"red,5,yes' for n in range(60))]), encoding="utf-8")
    with pytest.raises(UserError, match=r"one that opens in line 2 is not; try mending that line, or data.quote=none"):
        table(str(path), "y")
    with pytest.raises(UserError, match="at least two classes"):
        table(str(path), "y", quote="none")


def test_codes_with_leading_zeros_are_told_apart_as_features_and_as_classes(write: Write) -> None:
    path = write(lines("zip,y", *["01234,01", "1234,1", "90210,10"] * 9))
    dataset = table(str(path), "y")
    assert dataset.class_names == ("01", "1", "10")
    assert dataset.values["zip"].unique().sort().cast(pl.String).to_list() == ["01234", "1234", "90210"]
    assert kinds(table(str(path), "y", numeric=["zip"])) == {"zip": "numeric"}


def test_a_few_unreadable_cells_are_missing_in_every_file_with_a_warning(write: Write) -> None:
    content = lines("a,d,y", *[f"{n},2024-01-{n % 28 + 1:02},{n}" for n in range(99)], "2100 - 2850,-,1")
    dataset = table(str(write(content)), "y", test_path=str(write(content)))
    assert dataset.values["a"].null_count() == 2
    assert (
        dataset.warnings
        == (
            "a: 1 of 100 values is no number, counted as missing: '2100 - 2850' in row 100; data.unreadable_cells=0 "
            "refuses them",
        )
        * 2
    )
    assert "d: 1 value taken for missing: '-'" in dataset.notes
    with pytest.raises(UserError, match=r"data\.unreadable_cells=0\.01 to count"):
        table(str(write(content)), "y", unreadable_cells=0)
    with pytest.raises(UserError, match="2 of 3 values are not"):
        table(str(write(content)), "y", test_path=str(write(lines("a,d,y", "x,-,1", "z,-,2", "1,-,3"))))


def test_a_date_format_of_no_column_is_refused_with_the_columns_of_dates(write: Write) -> None:
    path = write(lines("a,d,y", *[f"{n},2024-01-{n % 28 + 1:02},{n}" for n in range(99)]))
    with pytest.raises(UserError, match=r"'%d/%m/%Y' is that of none; these look like dates: d \(%Y-%m-%d\)"):
        table(str(path), "y", date_format="%d/%m/%Y")


def test_numbers_far_from_zero_vary_as_feature_and_as_target(write: Write) -> None:
    path = write(lines("a,y", *[f"{10**17 + 16 * n},{10**17 + 16 * (n % 50)}" for n in range(100)]))
    data = DataModule(lambda: table(str(path), "y"))
    data.setup()
    assert data.task.target_std == pytest.approx(16 * np.std(np.arange(100) % 50), rel=0.1)
    features = data.part("train")[0]
    assert float(features.std()) == pytest.approx(1, rel=0.05)


def test_a_table_that_goes_on_is_taken_for_what_it_was(write: Write) -> None:
    path = write(lines("zip,t,y", *[f"0{n % 7},{n % 5}:{n % 60:02},{'ab'[n % 2]}" for n in range(60)]))
    then = table(str(path), "y", numeric=["zip"], categorical=["t"])
    fitted = then.fit(np.arange(40))
    card = {"preprocessing": fitted.as_dict(), "data": {"reading": then.reading}}
    again = table(str(path), "y", trained=card)
    assert again.fit(np.arange(50)).feature_names == fitted.feature_names
    assert kinds(again) == {"zip": "numeric", "t": "categorical"}
    card["data"]["reading"] = {key: value for key, value in then.reading.items() if key != "keeps_zeros"}
    assert table(str(path), "y", trained=card).values["zip"].equals(then.values["zip"])


def test_rare_classes_are_kept_in_training_or_left_out_and_that_is_told(write: Write) -> None:
    path = str(write(lines("x,y", *rows(60), "1,rare", "2,rare", "3,single")))
    module = DataModule(lambda: table(path, "y"))
    module.setup()
    assert module.task.class_names == ("a", "b", "rare", "single")
    assert module.class_counts[2:] == [2, 1]
    assert any("'rare' (2 rows), 'single' (1 row)" in note for note in module.description.notes)
    assert "auroc of the val and test part is the mean over the classes that have rows in it" in (
        module.description.warnings
    )
    module = DataModule(lambda: table(path, "y", rare_classes="drop"))
    module.setup()
    assert module.task.class_names == ("a", "b")
    assert sum(len(module.part(part)[1]) for part in ("train", "val", "test")) == 60  # type: ignore[arg-type]
    assert any("3 rows left out for their class" in note for note in module.description.notes)


def test_labels_are_those_of_the_file_and_those_of_a_test_file_are_recognised(write: Write) -> None:
    train = write(lines("x,y", *(f"{n},{('007', '1.0', 'TRUE')[n % 3]}" for n in range(60))))
    test = write(lines("x,y", "1,7", "2,1", "3,true", "4,007"))
    dataset = table(str(train), "y", test_path=str(test))
    assert dataset.class_names == ("1.0", "007", "TRUE")
    assert dataset.targets[60:].tolist() == [1, 0, 2, 1]


def test_a_target_of_labels_may_have_grouping_points_beside_decimal_commas(write: Write) -> None:
    dataset = table(str(write(lines("x;y", *(f"{n},5;{1 + n % 9}.{n % 7}00" for n in range(60))))), "y")
    assert (dataset.targets[:3].tolist(), dataset.unit) == ([1000, 2100, 3200], "")
    dataset = table(str(write(lines("x,y", *(f"{n},{n * 7 % 50} %" for n in range(60))))), "y")
    assert (dataset.targets[1], dataset.unit) == (7, "%")


def test_categories_of_a_test_file_may_be_written_in_another_way(write: Write) -> None:
    train = str(write(lines("a,b,y", *(f"{n % 3},{'pq'[n % 2]},{n}" for n in range(60)))))
    test = str(write(lines("a,b,y", *(f"{n % 3}.0,{'rs'[n % 2]},{n}" for n in range(6)))))
    module = DataModule(lambda: table(train, "y", test_path=test, categorical=["a"]))
    module.setup()
    assert module.part("test")[0].tolist() == [[n % 3 + 1, 0] for n in range(6)]
    assert module.description.warnings[0].startswith(
        "6 of 6 rows of the test part have a category of b that training lacks, such as 'r'"
    )


def test_columns_may_be_called_count(write: Write) -> None:
    for target in ("count", "y"):
        module = DataModule(lambda target=target: table(str(write(lines("count,y", *rows(60, "{c},{c}")))), target))
        module.setup()
        assert [one.levels for one in module.description.columns] == [{"a": 30, "b": 30}]
