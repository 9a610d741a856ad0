"""Reads a table, step by step. Each step stands in a file of its own.

file_formats                 what the file is by its first bytes; packed files and pipes
spreadsheets, json_tables    sheets as text, JSON as a frame
text_encoding, text_layout   how the text is written, detected or as the user says
text_header, text_footer     the lines around the rows
text_records, table_reading  the strings of the rows, as many in each, and null for missing values
column_inference             what each column holds
target_column                the task, and the classes or values to learn
row_weights                  how much each row counts
column_values                the strings of each column as numbers, categories or datetimes
split_columns                which rows belong to which part
table_preprocessing          statistics of the training part, which `TableDataset` fits once the rows are split
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.table.column_inference import Column, Hints, infer_column
from mlplab.data.table.column_values import as_enum, column_values, n_unreadable, tell_markers, tell_unreadable
from mlplab.data.table.file_formats import read_once
from mlplab.data.table.number_strings import plain_numbers
from mlplab.data.table.row_weights import infer_weights, row_weights
from mlplab.data.table.several_targets import (
    AnyTarget,
    Targets,
    columns_of,
    infer_targets,
    missing_of_each,
    read_targets,
    target_from_dict,
)
from mlplab.data.table.spellings import Spellings
from mlplab.data.table.split_columns import require_decided, split_rules, time_column_of
from mlplab.data.table.table_checks import empty_columns, require_columns, require_date_format, require_named_columns
from mlplab.data.table.table_dataset import TableDataset
from mlplab.data.table.table_preprocessing import TablePreprocessing
from mlplab.data.table.table_reading import (
    RawTable,
    Reading,
    fingerprint,
    read_grouping_points,
    read_table,
    without_empty_rows,
)
from mlplab.data.table.target_column import Target, rows_have
from mlplab.data.table.text_layout import TextOptions
from mlplab.data.threads import for_each, in_background
from mlplab.errors import UserError, counted

ROLES = {"split_column": "says which part a row belongs to", "group_column": "keeps its groups together"}


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

    The arguments are the values of conf/data/table.yaml, where each is explained; beside them `trained`, the card of a
    checkpoint. Its columns, target and preprocessing are taken instead of inferred and fitted, as another release may
    take a column for something else.

    Raises:
        UserError: the file cannot be read or does not fit what is said of it; with the column, how many values, and
            the first row.
    """
    keys = {"data.path": path, **({"data.test_path": str(test_path)} if test_path else {})}
    paths = [read_once(Path(given).expanduser(), key) for key, given in keys.items()]
    # A column may be called 2020, which YAML reads as a number.
    names = [str(name) for name in (target if isinstance(target, list | tuple) else [target])]
    column_lists = {
        "drop": [str(name) for name in drop],
        "numeric": [str(name) for name in numeric],
        "categorical": [str(name) for name in categorical],
    }
    deciding = {"split_column": split_column, "group_column": group_column, "time_column": time_column}
    deciding["weight_column"] = weight_column
    special = {key: str(name) for key, name in deciding.items() if name is not None}
    reading = Reading(
        TextOptions(delimiter, quote, header, encoding, skip_lines, sheet=None if sheet is None else str(sheet)),
        tuple(str(value) for value in missing_values),
        keep_values,
        # Read as text: as numbers, the categories 007 and 7 would be one.
        tuple(column_lists["categorical"]),
        decimal,
    )
    known: TablePreprocessing | None = None
    if trained is not None:
        known = TablePreprocessing.from_dict(trained["preprocessing"])
        then = Reading.from_dict(trained["data"]["reading"])
        text = replace(reading.text, encoding_if_not_utf8=then.text.encoding_if_not_utf8)
        reading = replace(reading, text=text, keeps_zeros=then.keeps_zeros)
    known_columns = {column.name: column for column in known.inputs.columns} if known else {}
    # Hashing takes as long as reading. It runs beside it, from the start.
    hashed = in_background(lambda: fingerprint(paths))

    # The layout of the text, and its strings.
    named = [*names, *special.values(), *(name for names in column_lists.values() for name in names)]
    raw = without_empty_rows(read_table(paths[0], reading, known_names=named, labels=names))
    require_named_columns(raw.frame, names, column_lists, special, keep_values, raw.first_names)

    # What each column holds.
    roles = {special[key]: role for key, role in ROLES.items() if key in special}
    roles |= {name: "left out: data.drop" for name in column_lists["drop"] if name not in special.values()}
    empty, notes = empty_columns(raw.frame, {*names, *roles, *special.values()})
    roles |= dict.fromkeys(empty, "left out: no value in any row")
    # Another file is likely in the encoding of this one.
    reading = replace(reading, text=replace(reading.text, encoding_if_not_utf8=raw.encoding))

    others = [name for name in raw.frame.columns if name not in names]

    def infer(frame: pl.DataFrame, with_commas: Sequence[str] = ()) -> tuple[AnyTarget, list[Column]]:
        def hints(name: str) -> Hints:
            kind = next((kind for kind in ("numeric", "categorical") if name in column_lists[kind]), None)
            mark = "," if name in with_commas else decimal
            return Hints(kind, mark, raw.prefers_comma, date_format, reading.kept(name), unreadable_cells)

        def column(name: str) -> Column:
            if name == special.get("weight_column"):
                return infer_weights(frame[name], hints(name))
            if name in known_columns:
                return known_columns[name]
            if known and name not in (*roles, *special.values()):
                return Column(name, "", reason="no feature when the training began")
            return Column(name, "", reason=roles[name]) if name in roles else infer_column(frame[name], hints(name))

        # data.numeric, data.categorical and data.date_format are about features: the target has data.task.
        def of_target(name: str) -> Hints:
            return replace(hints(name), kind=None, date_format=None, unreadable_cells=0.0)

        learned = target_from_dict(trained["data"]["reading"]["target"]) if trained else None
        return learned or infer_targets(frame, names, task, of_target), for_each(others, column)

    learned, columns = infer(raw.frame)
    # Once one column has decimal commas, the points of others may group thousands: these are read again as text.
    if decimal == "auto" and any(
        column.decimal == "," for column in (*(one.column for one in columns_of(learned)), *columns)
    ):
        grouped = read_grouping_points(raw.frame, paths[0], reading)
        # The target's text may have been kept.
        labels = [raw.frame[name] for name in names if raw.frame[name].dtype == pl.String]
        grouped += [one for one in labels if plain_numbers(one, ",", ".").null_count() == one.null_count()]
        raw = replace(raw, frame=raw.frame.with_columns(grouped))
        learned, columns = infer(raw.frame, [series.name for series in grouped])
    if known is None:
        require_date_format(columns, date_format)
    time, time_role = time_column_of(columns, special, column_lists["drop"])
    roles |= time_role
    weight_column = special.pop("weight_column", None)
    weight = next((column for column in columns if column.name == weight_column), None)
    if weight is not None:
        roles[weight.name] = "says how much a row counts"
    features = [column for column in columns if column.is_feature and column is not weight]
    if all(column.name in roles for column in features):
        raise UserError(
            f"{paths[0].name} must have a feature beside the target",
            f"none of {counted(len(columns), 'other column')} is one",
            "data.categorical=[…] for columns that were taken for text, or fewer in data.drop",
        )

    # The values of each file, and the rules for the split.
    def values_of(table: RawTable, path: Path) -> "FileValues":
        return _values_of_file(
            table.frame,
            path,
            features,
            learned,
            reading,
            special,
            time,
            weight,
            drop_missing_target=drop_missing_target,
        )

    files, notes = [values_of(raw, paths[0])], [*raw.notes, *notes]
    for test in paths[1:]:
        alike = reading.like(raw)
        other = without_empty_rows(
            read_table(test, alike, known_names=raw.frame.columns, key="data.test_path"), f" of {test.name}"
        )
        for name in names:
            if name not in other.frame.columns:
                raise UserError(
                    f"data.test_path must have the target, column {name!r}",
                    f"{test.name} lacks it",
                    "data.test_path=null, and scripts/predict.py for rows without a target",
                )
        # Columns that are no features may be missing in the test file.
        needed = [*(column.name for column in features), *names, *special.values(), *([weight.name] if weight else [])]
        notes += require_columns(other.frame, needed, test, "data.test_path")
        files.append(_spelled_alike(values_of(other, test), files[0], test))
    return TableDataset(
        name=paths[0].name,
        # After the files are put together, so that both share the categories.
        values=pl.DataFrame(for_each(pl.concat([file.values for file in files]), as_enum)),
        columns=tuple(columns),
        target=learned,
        weight=weight,
        targets=np.concatenate([file.targets for file in files]),
        fingerprint=hashed(),
        unit=_units(unit, learned),
        split_rules=replace(
            split_rules([file.special for file in files], [len(file.targets) for file in files]),
            rare_classes=rare_classes,
        ),
        numeric_scaling=numeric_scaling,
        one_hot_levels=one_hot_levels,
        embedding_dim=embedding_dim,
        reading={
            **reading.as_dict(),
            "target": learned.as_dict(),
            "weight": None if weight is None else weight.as_dict(),
        },
        notes=(*notes, *(note for file in files for note in file.notes)),
        known=known,
        warnings=tuple(warning for file in files for warning in file.warnings),
        roles=roles,
    )


def _units(unit: str | Sequence[str], target: AnyTarget) -> str | tuple[str, ...]:
    """Returns the unit of the target, or of each of several; one text holds for all, and none is that of the file."""
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


@dataclass(frozen=True)
class FileValues:
    """The rows of one file that have a target; in `special` the columns that decide the split, by their key.

    The weights, if there are some, are the last of the values.
    """

    values: pl.DataFrame
    targets: npt.NDArray[np.generic]
    special: dict[str, pl.Series]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def _spelled_alike(file: FileValues, training: FileValues, path: Path) -> FileValues:
    """Writes the categories of a test file as the training file does, which a note tells."""

    def column(series: pl.Series) -> tuple[pl.Series, str]:
        if series.dtype != pl.String:
            return series, ""
        known = training.values[series.name].drop_nulls().unique()
        alike = Spellings(tuple(known.sort())).as_known(series)
        n_other = int((alike != series).sum())
        example = series.filter(alike != series).first()
        note = f"a category of {series.name!r} in another spelling than training, such as {example!r}, in {path.name}"
        return alike, rows_have(n_other, note) if n_other else ""

    columns = for_each(file.values, column)
    notes = (*file.notes, *(note for _, note in columns if note))
    return replace(file, values=pl.DataFrame([series for series, _ in columns]), notes=notes)


def _values_of_file(
    frame: pl.DataFrame,
    path: Path,
    features: Sequence[Column],
    target: AnyTarget,
    reading: Reading,
    special: Mapping[str, str],
    time: Column | None,
    weight: Column | None,
    *,
    drop_missing_target: bool,
) -> FileValues:
    try:
        targets, noticed = read_targets(frame, target, reading.missing_values)
    except UserError as error:
        # The error of a column does not say in which of the two files it is.
        raise UserError(f"{path.name}: {error.requirement}", error.actual, error.hint) from None
    notes = [rows_have(count, what) for what, count in noticed.items()]
    missing = missing_of_each(targets, target)
    for one, own in zip(columns_of(target), missing.T, strict=True):
        if own.any() and not drop_missing_target:
            raise UserError(
                f"every row of {path.name} must have a target in column {one.name!r}",
                f"{int(own.sum()):,} of {len(targets):,} {'has' if own.sum() == 1 else 'have'} none, the first is row "
                f"{int(own.argmax()) + 1}",
                "data.drop_missing_target=true, which leaves them out",
            )
    # A row that lacks one of several targets is left out whole.
    has_target = ~np.logical_or.reduce(missing, axis=1)
    n_missing = int((~has_target).sum())
    # Rows are left out last, so that messages number them as in the file.
    values = for_each(features, lambda column: column_values(frame[column.name], column, reading.missing_values))
    warnings = []
    for column, series in zip(features, values, strict=True):
        strings = frame[column.name]
        if n_unreadable(strings, series):
            warnings.append(tell_unreadable(strings, series, "numbers" if column.kind == "numeric" else "dates"))
        if strings.dtype == pl.String and series.null_count() > strings.null_count():
            notes += [told for told in [tell_markers(strings, series)] if told]
    if weight is not None:
        values.append(row_weights(frame[weight.name], weight, reading.missing_values, has_target))
    deciding = {key: frame[name] for key, name in special.items()}
    for key, series in deciding.items():
        require_decided(series, key, has_target)
    if time is not None:
        deciding["time_column"] = column_values(deciding["time_column"], time, reading.missing_values)
    if n_missing:
        what = "no target" if isinstance(target, Target) else "not every target"
        notes.append(f"{rows_have(n_missing, what)}: left out, of {len(targets):,} in {path.name}")
        rows = pl.Series(has_target)
        values = [series.filter(rows) for series in values]
        deciding = {key: series.filter(rows) for key, series in deciding.items()}
        targets = targets[has_target]
    return FileValues(pl.DataFrame(values), targets, deciding, tuple(notes), tuple(warnings))
