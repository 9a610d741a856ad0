"""Reads a table, step by step. Each step stands in a file of its own.

table_opening                  opens a file of any format, by the files below
  file_formats                   what it is by its first bytes; packed files and pipes
  spreadsheets, json_tables      sheets as text, JSON as a frame
  text_encoding, text_layout     how the text is written, detected or as the user says
  text_header, header_names      the lines above the rows, and the names of the columns
  text_footer                    the lines below the rows
  row_count, text_records        as many strings in each row, counted, or else written to a copy
table_reading, csv_reading     the strings of the rows, and null for missing values
named_columns                  errors where the file lacks a column that the user names
table_columns                  what becomes of each column, by the files below
  column_inference               features: numbers, categories, dates, or what is left out
  target_inference               the task, and the classes or values to learn
file_values                    the values of a file, by the files below
  column_values                  the strings of a column as numbers, categories or datetimes
  targets, row_weights           what is learned, and how much each row counts
split_columns                  which rows belong to which part
table_preprocessing            statistics of the training part, which `TableDataset` fits once the rows are split
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlplab.data.table.column_values import as_enum
from mlplab.data.table.file_formats import read_once
from mlplab.data.table.file_values import TableColumns, values_of_file
from mlplab.data.table.named_columns import NamedColumns, require_columns, require_named_columns
from mlplab.data.table.reading_options import RawTable, Reading
from mlplab.data.table.split_columns import split_rules
from mlplab.data.table.table_columns import ColumnRules, infer_columns
from mlplab.data.table.table_dataset import TableDataset
from mlplab.data.table.table_preprocessing import TablePreprocessing
from mlplab.data.table.table_reading import fingerprint, read_table, without_empty_rows
from mlplab.data.table.targets import AnyTarget, Targets, columns_of
from mlplab.data.table.text_layout import TextOptions
from mlplab.data.threads import for_each, in_background
from mlplab.errors import UserError


def table(
    path: str,
    target: str | Sequence[Any],
    *,
    task: str = "auto",
    test_path: str | None = None,
    header: bool | str = "auto",
    delimiter: str = "auto",
    quote: str = "auto",
    encoding: str = "auto",
    decimal: str = "auto",
    skip_lines: int = 0,
    sheet: str | int | None = None,
    date_format: str | None = None,
    missing_values: Sequence[Any] = (),
    keep_values: Any = None,
    drop: Sequence[Any] = (),
    numeric: Sequence[Any] = (),
    categorical: Sequence[Any] = (),
    unreadable_cells: float = 0.02,
    drop_missing_target: bool = False,
    rare_classes: str = "keep",
    split_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    weight_column: str | None = None,
    numeric_scaling: str = "standardize",
    one_hot_levels: int = 10,
    embedding_dim: int | str = "auto",
    unit: str | Sequence[str] = "",
    trained: Mapping[str, Any] | None = None,
) -> TableDataset:
    """Reads a file of text, JSON, Parquet, Arrow or a spreadsheet, packed or not, and infers what its columns hold.

    The arguments are the values of conf/data/table.yaml, where each is explained. Beside them, `trained` is the card of
    a checkpoint: its columns, target and preprocessing are used, as another release may infer something else.

    Raises:
        UserError: the file cannot be read, or does not fit an option. The message names the column, how many values do
            not fit, and the first row.
    """
    keys = {"data.path": path, **({"data.test_path": str(test_path)} if test_path else {})}
    paths = [read_once(Path(given).expanduser(), key) for key, given in keys.items()]
    named = NamedColumns.of(
        target,
        {"drop": drop, "numeric": numeric, "categorical": categorical},
        {
            "split_column": split_column,
            "group_column": group_column,
            "time_column": time_column,
            "weight_column": weight_column,
        },
    )
    reading = Reading(
        TextOptions(delimiter, quote, header, encoding, skip_lines, sheet=None if sheet is None else str(sheet)),
        tuple(str(value) for value in missing_values),
        keep_values,
        # Read as text: as numbers, the categories 007 and 7 would be one.
        named.lists["categorical"],
        decimal,
    )
    if trained is not None:
        reading = reading.as_trained(trained["data"]["reading"])
    # Hashing takes as long as reading. It runs beside it, from the start.
    hashed = in_background(lambda: fingerprint(paths))

    all_named = [name for _, name in named.with_keys()]
    raw = without_empty_rows(read_table(paths[0], reading, known_names=all_named, labels=named.targets))
    require_named_columns(raw.frame, named, keep_values, raw.first_names)
    reading = reading.in_encoding(raw.encoding)
    rules = ColumnRules(named, reading, task, date_format, unreadable_cells, named.roles())
    raw, columns = infer_columns(raw, paths[0], rules if trained is None else rules.as_trained(trained))
    files = [values_of_file(raw.frame, paths[0], columns, reading.missing_values, drop_missing_target)]
    notes = list(raw.notes)
    for test in paths[1:]:
        frame, unused = _read_test_file(test, reading.like(raw), raw, columns)
        of_test = values_of_file(frame, test, columns, reading.missing_values, drop_missing_target)
        files.append(of_test.spelled_as_in(files[0], test))
        notes += unused
    of_split = split_rules([file.of_split for file in files], [len(file.targets) for file in files])
    return TableDataset(
        name=paths[0].name,
        # After the files are put together, so that both share the categories.
        values=pl.DataFrame(for_each(pl.concat([file.values for file in files]), as_enum)),
        columns=columns.columns,
        target=columns.target,
        weight=columns.weight,
        targets=np.concatenate([file.targets for file in files]),
        fingerprint=hashed(),
        unit=_units(unit, columns.target),
        split_rules=replace(of_split, rare_classes=rare_classes),
        numeric_scaling=numeric_scaling,
        one_hot_levels=one_hot_levels,
        embedding_dim=embedding_dim,
        reading={**reading.as_dict(), **columns.as_dict()},
        notes=(*notes, *(note for file in files for note in file.notes)),
        known=None if trained is None else TablePreprocessing.from_dict(trained["preprocessing"]),
        warnings=tuple(warning for file in files for warning in file.warnings),
        roles=dict(columns.roles),
    )


def _read_test_file(
    path: Path, reading: Reading, training: RawTable, columns: TableColumns
) -> tuple[pl.DataFrame, list[str]]:
    """Reads the file of the test part; returns its rows, and notes on what is not as in the training file."""
    raw = without_empty_rows(read_table(path, reading, known_names=training.frame.columns, key="data.test_path"))
    for one in columns_of(columns.target):
        if one.name not in raw.frame.columns:
            raise UserError(
                f"data.test_path must have the target, column {one.name!r}",
                f"{path.name} lacks it",
                "data.test_path=null, and scripts/predict.py for rows without a target",
            )
    notes = [f"{path.name}: {note}" for note in raw.notes if note not in training.notes]
    # Columns that are no features may be missing in the test file.
    return raw.frame, [*notes, *require_columns(raw.frame, columns.needed, path, "data.test_path")]


def _units(unit: str | Sequence[str], target: AnyTarget) -> str | tuple[str, ...]:
    """Returns the unit of the target, or of each of several targets.

    One text holds for all of them. Without one, the unit is what stands around the numbers in the file.
    """
    n_targets = len(columns_of(target))
    units = (unit,) * n_targets if isinstance(unit, str) else tuple(unit)
    if unit == "":
        units = tuple(one.column.unit for one in columns_of(target))
    if len(units) != n_targets:
        raise UserError(
            f"data.unit must be one text, or one for each of the targets, {n_targets} in all",
            f"data.unit has {len(units)}",
            'data.unit=""',
        )
    return units if isinstance(target, Targets) else units[0]
