import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlplab.data.table.json_tables import read_json
from mlplab.data.table.table_source import table
from mlplab.errors import UserError

Write = Callable[..., Path]
RECORDS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
FRAME = {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("content", "within"),
    [
        (RECORDS, ""),
        ({"a": [1, 2], "b": ["x", "y"]}, ""),
        ({"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": "y"}}, ""),
        ({"first": RECORDS[0], "second": RECORDS[1]}, "their names, which are left out"),
        ({"columns": ["a", "b"], "index": [0, 1], "data": [[1, "x"], [2, "y"]]}, ""),
        ([["a", "b"], [1, "x"], [2, "y"]], ""),
        ({"count": 2, "results": RECORDS}, "'results'"),
        ({"meta": {"pages": 1}, "data": RECORDS, "links": []}, "'data'"),
        ({"response": {"ok": True, "rows": RECORDS}}, "'response'"),
        ([{"page": 1}, RECORDS], ""),
        (
            {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": r} for r in RECORDS]},
            "'features'",
        ),
    ],
)
def test_tables_are_read_in_the_forms_in_which_programs_write_them(write: Write, content: Any, within: str) -> None:
    path = write(json.dumps(content))
    frame, notes = read_json(path, path)
    assert frame.select("a", "b").to_dict(as_series=False) == FRAME
    assert notes == ([f"the records stand under {within}"] if within else [])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_lines_of_records_are_read(write: Write, end: str) -> None:
    path = write(end.join(json.dumps(record) for record in RECORDS) + end)
    assert read_json(path, path)[0].to_dict(as_series=False) == FRAME


def test_documents_over_several_lines_and_nan_are_read(write: Write) -> None:
    path = write("\n".join(json.dumps(record, indent=1) for record in RECORDS))
    assert read_json(path, path)[0].to_dict(as_series=False) == FRAME
    path = write('{"a": NaN, "b": "x"}\n{"a": 2, "b": "y"}\n')
    assert read_json(path, path)[0]["b"].to_list() == ["x", "y"]


def test_fields_within_are_columns_and_what_lacks_is_missing(write: Write) -> None:
    records = [{"a": 1, "in": {"b": 2, "c": {"d": 3}}}, {"a": 2.5, "e": "x"}, {"a": "NA"}]
    for text in (json.dumps(records), "\n".join(map(json.dumps, records))):
        path = write(text)
        frame = read_json(path, path)[0]
        assert frame["a"].to_list() == ["1", "2.5", "NA"]
        assert frame["in.b"].to_list() == [2, None, None]
        assert frame["in.c.d"].to_list() == [3, None, None]
        assert frame["e"].to_list() == [None, "x", None]


@pytest.mark.parametrize(
    "content", [{"a": 1}, [1, 2], {"a": [1], "b": [1, 2]}, [[1], [1, 2]], {"x": RECORDS, "y": RECORDS}]
)
def test_other_json_is_refused(write: Write, content: Any) -> None:
    path = write(json.dumps(content))
    with pytest.raises(UserError, match="JSON must hold a table") as refusal:
        read_json(path, path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a"', '{"a": 1}\n{"a": ', '{"a": 1}\n[1]\nx'])
def test_damaged_json_is_refused(write: Write, text: str) -> None:
    path = write(text)
    with pytest.raises(UserError, match="must be a table that can be read"):
        read_json(path, path)


def test_json_trains(write: Write) -> None:
    records = [{"x": n * 1.5, "c": "ab"[n % 2], "flag": n % 3 == 0, "y": "pq"[n % 2]} for n in range(40)]
    dataset = table(str(write("\n".join(map(json.dumps, records)))), "y")
    assert {column.name: column.kind for column in dataset.columns} == {
        "x": "numeric",
        "c": "categorical",
        "flag": "boolean",
    }
