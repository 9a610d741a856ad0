"""Reads JSON as a frame: lines of records, a list of records, and the other forms in which programs write tables."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.data.table.file_formats import unreadable_file
from mlplab.errors import UserError

UNREADABLE = (OSError, ValueError, RecursionError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""Errors over damaged JSON."""


def read_json(path: Path, named: Path) -> tuple[pl.DataFrame, list[str]]:
    """Reads a JSON file; returns its rows and notes. A field of an object within is a column called `OUTER.INNER`.

    Args:
        path: of the file, in UTF-8.
        named: what the user calls it, for messages.

    Raises:
        UserError: it is damaged, or no table.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = [file.readline(), file.readline()]
        # Several documents, one in each line: polars reads them in little time and memory.
        if lines[1].strip() and _is_document(lines[0]):
            with suppress(*UNREADABLE):  # it reads no NaN, which Python writes
                return _flat(pl.read_ndjson(path, infer_schema_length=None)), []
        documents = _documents(path.read_text(encoding="utf-8-sig"))
        content = documents[0] if len(documents) == 1 else documents
        records, within = _records(content)
        if records is None:
            raise UserError(
                "JSON must hold a table: a list of records, a record in each line, or a list for each column",
                f"{named.name} holds {_described(content)}",
                "saving the records as CSV",
            )
        # Integers and texts in one column become text.
        frame = pl.DataFrame(records, infer_schema_length=None, strict=False, orient=_orientation(records))
    except UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise unreadable_file(named, error) from None
    return _flat(frame), [f"the records stand under {within}"] if within else []


def _is_document(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _documents(text: str) -> list[Any]:
    """Reads documents that follow one another, with any blanks between them."""
    decoder, documents, place = json.JSONDecoder(), [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        document, place = decoder.raw_decode(text, place)
        documents.append(document)
    return documents


def _orientation(records: Any) -> Any:
    return "row" if isinstance(records, list) and records and isinstance(records[0], list) else None


def _records(content: Any) -> tuple[Any, str]:
    """Finds the table in a document; returns records or columns, and the name under which they stand."""
    if isinstance(content, list):
        if content and all(isinstance(record, dict) for record in content):
            # GeoJSON: what is known of a place stands one level further down.
            if all(
                record.get("type") == "Feature" and isinstance(record.get("properties"), dict) for record in content
            ):
                content = [{**record["properties"], "geometry": record.get("geometry")} for record in content]
            return content, ""
        if len(content) > 1 and all(isinstance(row, list) and len(row) == len(content[0]) for row in content):
            # As the World Bank and others write them: names in the first row.
            if all(isinstance(name, str) for name in content[0]):
                return [dict(zip(map(str, content[0]), row, strict=True)) for row in content[1:]], ""
            return content, ""
        lists = [part for part in content if isinstance(part, list)]
        # A page of an API: a header of its own before the records.
        return _records(lists[0]) if len(lists) == 1 and len(content) == 2 else (None, "")
    if not isinstance(content, Mapping) or not content:
        return None, ""
    # pandas' orient="split".
    if {"columns", "data"} <= content.keys() and isinstance(content["data"], list):
        return [dict(zip(map(str, content["columns"]), row, strict=True)) for row in content["data"]], ""
    values = list(content.values())
    if all(isinstance(value, Mapping) for value in values) and len(values) > 1:
        first = values[0].keys()
        if all(value.keys() == first for value in values):
            # pandas' default: of each column, a value for each number of a row. Else a record for each name.
            if list(first) != [str(number) for number in range(len(first))]:
                return values, "their names, which are left out"
            return {name: list(value.values()) for name, value in content.items()}, ""
        return None, ""
    are_lists = all(isinstance(value, list) for value in values)
    if are_lists and len({len(value) for value in values}) == 1 and not isinstance((values[0] or [None])[0], Mapping):
        return content, ""
    tables = {
        name: value
        for name, value in content.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    if len(tables) == 1:
        ((name, records),) = tables.items()
        return _records(records)[0], repr(name)
    # One record alone, or an envelope around an envelope.
    inner = {name: _records(value) for name, value in content.items() if isinstance(value, Mapping)}
    found = {name: table for name, table in inner.items() if table[0] is not None}
    if len(found) == 1 and not tables:
        ((name, (records, _)),) = found.items()
        return records, repr(name)
    return None, ""


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"one object with {', '.join(list(content)[:5])}"
    return f"{type(content).__name__} {content!r}"[:60]


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Makes a column of each field of an object."""
    while structs := [series.name for series in frame if isinstance(series.dtype, pl.Struct)]:
        frame = frame.unnest(structs, separator=".")
    return frame
