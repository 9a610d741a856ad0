"""Reads plain text by polars, which infers the types of columns, but for codes such as 01234."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlplab.data.table.file_errors import UNREADABLE, unreadable_file
from mlplab.data.table.strings import are_read
from mlplab.data.table.text_encoding import BLOCK_BYTES
from mlplab.data.table.text_layout import TextFile

INFERENCE_ROWS = 1000
"""Rows from which polars first infers the types. If a later row does not fit, it looks at all."""

LONGEST_CODE = 64
"""Digits of the longest code whose leading zero is found."""


def typed_beside_nulls(series: pl.Series, *, keeps_zeros: bool) -> pl.Series:
    """Types a column of text as polars would have done, had nulls stood in place of its missing markers."""
    return series if series.null_count() in (0, len(series)) else typed(series, keeps_zeros=keeps_zeros)


def typed(series: pl.Series, *, keeps_zeros: bool) -> pl.Series:
    """Types a column if all of its text is numbers."""
    if series.dtype != pl.String:
        return series
    # Whole numbers first, as these may number the rows or be classes; long ones exactly.
    # The first rows rule most text out without a pass over the column.
    for dtype in (pl.Int64, pl.Int128, pl.Float64):
        if all(are_read(rows, rows.cast(dtype, strict=False)) for rows in (series.head(99), series)):
            # As a number, the code 007 would be 7.
            is_code = keeps_zeros and dtype != pl.Float64 and _has_leading_zero(series)
            return series if is_code else series.cast(dtype)
    return series


def with_leading_zeros(file: TextFile, frame: pl.DataFrame) -> pl.DataFrame:
    """Puts text in place of whole numbers where one begins with 0: the code 01234 may be another than 1234."""
    places = [place for place, series in enumerate(frame) if series.dtype.is_integer()]
    # The look takes a tenth of the time of the reading.
    if not places or not has_leading_zero(file):
        return frame
    text = pl.read_csv(file.path, **csv_options(file), columns=places, infer_schema=False)
    return frame.with_columns(series for series in text if _has_leading_zero(series))


def _has_leading_zero(text: pl.Series) -> bool:
    return bool(text.str.contains(r"^\s*0\d").any())


def has_leading_zero(file: TextFile) -> bool:
    """Looks through the bytes of a plain file for a string of digits that begins with 0, but is not 0."""
    ends = [ord(file.dialect.delimiter), *b'\n\r"']
    before = b"\n"
    with file.path.open("rb") as source:
        while block := source.read(BLOCK_BYTES):
            # Strings that the end of a block cuts are in the next one, too.
            text = np.frombuffer(before + block + b"\n" * (len(block) < BLOCK_BYTES), np.uint8)
            before = (before + block)[-LONGEST_CODE:]
            first, second, third = text[:-2], text[1:-1], text[2:]
            begins = (first == ends[0]) | (first == ends[1]) | (first == ends[3])
            end = np.flatnonzero(begins & (second == ord("0")) & (third >= ord("0")) & (third <= ord("9"))) + 3
            while len(end := end[end < len(text)]):
                if np.isin(text[end], ends).any():
                    return True
                end = end[(text[end] >= ord("0")) & (text[end] <= ord("9"))] + 1
    return False


def csv_options(file: TextFile) -> dict[str, Any]:
    """Returns the options by which polars reads a plain file."""
    return {
        "has_header": False,
        "skip_lines": file.n_before,
        "separator": file.dialect.delimiter,
        "quote_char": file.dialect.quote or None,
        "new_columns": list(file.names),
        "glob": False,
    }


def read_csv(path: Path, file: TextFile, as_text: Sequence[str], markers: Sequence[str]) -> pl.DataFrame:
    """Reads a plain file; columns that are not all of one type come as text."""
    attempts: list[dict[str, Any]] = [
        # Inferring from the first rows takes a tenth of the time, and the types seldom change further down.
        {"infer_schema_length": INFERENCE_ROWS},
        # Comparing each string with each marker takes as long as half of the reading.
        {"infer_schema_length": INFERENCE_ROWS, "null_values": markers},
        {"infer_schema_length": None, "null_values": markers},
        # polars may infer a type that a string does not have. Then `infer_column` finds the types alone.
        {"infer_schema": False},
    ]
    overrides = dict.fromkeys(as_text, pl.String)
    for attempt in attempts:
        try:
            return pl.read_csv(file.path, **csv_options(file), schema_overrides=overrides, **attempt)
        except UNREADABLE as error:
            # Python deletes the name `error` at the end of its clause.
            last_error = error
    raise unreadable_file(path, last_error)
