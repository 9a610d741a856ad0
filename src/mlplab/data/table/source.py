"""From a file and what is said of it to a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.data.table.cells import as_numbers, kept_of, present
from mlplab.data.table.columns import Column, understand
from mlplab.data.table.dataset import TableDataset, TableOptions
from mlplab.data.table.dialect import NAMELESS
from mlplab.data.table.files import TextOptions
from mlplab.data.table.reading import Reading, fingerprint, is_parquet, read_table
from mlplab.data.table.requirements import require_columns, require_named_columns, require_one_header, require_values
from mlplab.data.table.split_rules import complete, split_rules
from mlplab.data.table.target import Target, target_values, understand_target
from mlplab.data.table.values import numbered_levels, values
from mlplab.data.threads import for_each, in_background
from mlplab.errors import UserError, counted


def table(
    path: str,
    target: str,
    *,
    task: str = "auto",
    test_path: str | None = None,
    header: bool | str = "auto",
    delimiter: str = "auto",
    quote: str = "auto",
    encoding: str = "auto",
    decimal: str = "auto",
    skip_lines: int = 0,
    date_format: str | None = None,
    missing_values: Sequence[Any] = (),
    keep_values: Any = None,
    drop: Sequence[Any] = (),
    numeric: Sequence[Any] = (),
    categorical: Sequence[Any] = (),
    drop_missing_target: bool = False,
    split_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    numeric_scaling: str = "standardize",
    one_hot_levels: int = 10,
    embedding_dim: int | str = "auto",
    unit: str = "",
) -> TableDataset:
    """Reads a CSV, TSV or Parquet file (or gzip of the former), and finds out what its columns hold.

    The arguments are the values of conf/data/table.yaml, where each is explained.

    Raises:
        UserError: the file cannot be read or does not fit what is said of it; with the column, how many cells, and
            the first row.
    """
    paths = [Path(path).expanduser(), *([Path(str(test_path)).expanduser()] if test_path else [])]
    target = str(target)
    said = {name: [str(column) for column in columns] for name, columns in (
        ("drop", drop), ("numeric", numeric), ("categorical", categorical),
    )}  # fmt: skip
    special = {
        name: str(column)
        for name, column in (
            ("split_column", split_column), ("group_column", group_column), ("time_column", time_column),
        )
        if column is not None
    }  # fmt: skip
    reading = Reading(
        TextOptions(delimiter, quote, header, encoding, skip_lines),
        tuple(str(value) for value in missing_values),
        keep_values,
        tuple(said["categorical"]),
        decimal,
    )
    named = [target, *special.values(), *(column for columns in said.values() for column in columns)]
    hashed = in_background(lambda: fingerprint(paths))
    raw = read_table(paths[0], reading, known_names=named)
    require_named_columns(raw.frame, target, said, special, keep_values)
    require_one_header(raw.frame, reading.missing_values)
    notes = list(raw.notes)
    is_nameless = NAMELESS.fullmatch(raw.frame.columns[0]) is not None

    def cells(frame: pl.DataFrame, name: str) -> pl.Series:
        return present(frame[name], kept_of(name, keep_values), reading.missing_values)

    def target_as(decimal: str) -> Target:
        return understand_target(
            cells(raw.frame, target),
            task=task,
            decimal=decimal,
            prefers_comma=raw.prefers_comma,
            kept=kept_of(target, keep_values),
        )

    def column_as(name: str, decimal: str) -> Column:
        return understand(
            cells(raw.frame, name),
            said=next((kind for kind in ("numeric", "categorical") if name in said[kind]), None),
            decimal=decimal,
            prefers_comma=raw.prefers_comma,
            date_format=date_format,
            kept=kept_of(name, keep_values),
        )

    understood = target_as(decimal)
    roles = {special[name]: text for name, text in (
        ("split_column", "says which part a row belongs to"), ("group_column", "keeps its groups together"),
    ) if name in special}  # fmt: skip
    roles |= {name: "left out: data.drop" for name in said["drop"] if name not in special.values()}
    others = [name for name in raw.frame.columns if name != target]
    require_values(raw.frame, [name for name in others if name not in roles], cells)
    columns = for_each(
        others,
        lambda name: Column(name, "", reason=roles[name]) if name in roles else column_as(name, decimal),
    )
    if decimal == "auto" and any(column.decimal == "," for column in (*columns, understood.column)):
        grouped = {series.name: series for series in _with_grouping_points(raw.frame, paths[0], reading)}
        raw = replace(raw, frame=raw.frame.with_columns(*grouped.values()))
        columns = [column_as(c.name, ",") if c.is_feature and c.name in grouped else c for c in columns]
        understood = target_as(",") if target in grouped else understood
    time = next((column for column in columns if column.name == special.get("time_column")), None)
    if time is not None and time.kind not in ("datetime", "numeric", "identifier"):
        raise UserError(
            "data.time_column must hold dates or numbers",
            f"{time.name!r} holds {time.kind} cells",
            "data.date_format=… with the form that they are written in, such as '%d/%m/%y'",
        )
    if time is not None and (time.kind != "datetime" or time.name in said["drop"]):
        roles[time.name] = "says what comes later"
    if time is not None and time.kind != "datetime":
        time = replace(time, kind="numeric")
    features = [column for column in columns if column.is_feature]
    if not any(column.name not in roles for column in features):
        raise UserError(
            f"{paths[0].name} must have a feature beside the target",
            f"none of {counted(len(columns), 'other column')} is one",
            "data.categorical=[…] for columns that were taken for text, or fewer in data.drop",
        )
    files = [_file_rows(raw.frame, paths[0], features, understood, reading, special, time, drop_missing_target)]
    if len(paths) > 1:
        # Text where training had text, so that 1.234 and 007 mean the same in both.
        alike = replace(reading, as_text=tuple(series.name for series in raw.frame if series.dtype == pl.String))
        other = read_table(
            paths[1], alike, known_names=raw.frame.columns, usual_header=not is_nameless, key="data.test_path"
        )
        if target not in other.frame.columns:
            raise UserError(
                f"data.test_path must have the target, column {target!r}",
                f"{paths[1].name} lacks it",
                "data.test_path=null, and scripts/predict.py for rows without a target",
            )
        needed = [*(column.name for column in features), target, *special.values()]
        notes += require_columns(other.frame, needed, paths[1], "data.test_path")
        files.append(
            _file_rows(other.frame, paths[1], features, understood, reading, special, time, drop_missing_target)
        )
    return TableDataset(
        name=paths[0].name,
        values=pl.DataFrame(for_each(pl.concat([file.values for file in files]), numbered_levels)),
        columns=tuple(columns),
        target=understood,
        targets=np.concatenate([file.targets for file in files]),
        fingerprint=hashed(),
        unit=unit,
        split_rules=split_rules([file.special for file in files], [len(file.targets) for file in files]),
        options=TableOptions(numeric_scaling, one_hot_levels, embedding_dim),
        reading={**reading.as_dict(), "is_nameless": is_nameless, "target": understood.as_dict()},
        notes=(*notes, *(note for file in files for note in file.notes)),
        roles=roles,
    )


def _with_grouping_points(frame: pl.DataFrame, path: Path, reading: Reading) -> list[pl.Series]:
    """In a file with decimal commas, 1.234 is more likely 1234: the columns of which all cells can be that, as text."""
    doubtful = [series.name for series in frame if series.dtype.is_float()]
    if not doubtful or is_parquet(path):
        return []
    text = read_table(path, replace(reading, decimal=","), known_names=frame.columns).frame
    found = [present(text[name], (), reading.missing_values) for name in doubtful]
    return [text[cells.name] for cells in found if as_numbers(cells, ",", ".").null_count() == cells.null_count()]


@dataclass(frozen=True)
class FileRows:
    """The rows of one file that have a target; of `special`, what split_column, group_column or time_column says."""

    values: pl.DataFrame
    targets: npt.NDArray[np.generic]
    special: dict[str, pl.Series]
    notes: tuple[str, ...]


def _file_rows(
    frame: pl.DataFrame,
    path: Path,
    features: Sequence[Column],
    target: Target,
    reading: Reading,
    special: Mapping[str, str],
    time: Column | None,
    drop_missing_target: bool,
) -> FileRows:
    try:
        targets, notes = target_values(frame[target.name], target, reading.missing_values)
    except UserError as refusal:
        raise UserError(f"{path.name}: {refusal.requirement}", refusal.actual, refusal.hint) from None
    is_missing = targets.astype(np.int64) < 0 if target.class_names else np.isnan(targets.astype(np.float64))
    n_missing = int(is_missing.sum())
    if n_missing and not drop_missing_target:
        row = int(np.flatnonzero(is_missing)[0]) + 1
        raise UserError(
            f"every row of {path.name} must have a target in column {target.name!r}",
            f"{n_missing:,} of {len(targets):,} {'has' if n_missing == 1 else 'have'} none, the first is row {row}",
            "data.drop_missing_target=true, which leaves them out",
        )
    if n_missing:
        rows = "row has no target and is" if n_missing == 1 else "rows have no target and are"
        notes.append(f"{n_missing:,} {rows} left out, of {len(targets):,} in {path.name}")
    # Rows are left out last, so that messages number them as in the file.
    typed = for_each(features, lambda column: values(frame[column.name], column, reading.missing_values))
    deciding = {key: complete(frame[name], key, reading.missing_values, ~is_missing) for key, name in special.items()}
    if time is not None:
        deciding["time_column"] = values(deciding["time_column"], time, reading.missing_values)
    if n_missing:
        has_target = pl.Series(~is_missing)
        typed = [series.filter(has_target) for series in typed]
        deciding = {key: series.filter(has_target) for key, series in deciding.items()}
        targets = targets[~is_missing]
    return FileRows(pl.DataFrame(typed), targets, deciding, tuple(notes))
