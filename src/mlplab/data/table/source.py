"""From a file and what is said of it to a data set."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlplab.config.paths import require_file
from mlplab.config.suggestions import nearest_name
from mlplab.data.split import SplitRules
from mlplab.data.table.columns import Column, kept_of, marker_spellings, present, understand, values
from mlplab.data.table.dataset import TableDataset, TableOptions
from mlplab.data.table.dialect import NAMELESS
from mlplab.data.table.files import (
    TextOptions,
    is_parquet,
    read_parquet,
    read_text,
    text_file,
)
from mlplab.data.table.target import Target, target_values, understand_target
from mlplab.errors import Refusal

PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}


@dataclass(frozen=True)
class RawTable:
    """A file as it was read: cells as text where they are not all numbers, dates or truth values."""

    frame: pl.DataFrame
    prefers_comma: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What must be known to read a file again as the training file was read."""

    text: TextOptions = field(default_factory=TextOptions)
    missing_values: tuple[str, ...] = ()
    keep_values: Any = None
    as_text: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values only; not the dialect, which another file may have of its own."""
        return {
            "missing_values": list(self.missing_values),
            "keep_values": self.keep_values,
            "as_text": list(self.as_text),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Reading":
        """The inverse of `as_dict`."""
        return cls(TextOptions(), tuple(plain["missing_values"]), plain["keep_values"], tuple(plain["as_text"]))


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
        Refusal: the file cannot be read or does not fit what is said of it; with the column, how many cells, and
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
    )
    named = [target, *special.values(), *(column for columns in said.values() for column in columns)]
    raw = read_table(paths[0], reading, known_names=named)
    _require_columns_said(raw.frame, target, said, special, keep_values)
    _require_one_header(raw.frame, reading)
    notes = list(raw.notes)
    is_nameless = NAMELESS.fullmatch(raw.frame.columns[0]) is not None

    def cells(frame: pl.DataFrame, name: str) -> pl.Series:
        return present(frame[name], kept_of(name, keep_values), reading.missing_values)

    understood = understand_target(
        cells(raw.frame, target),
        task=task,
        decimal=decimal,
        prefers_comma=raw.prefers_comma,
        kept=kept_of(target, keep_values),
    )
    roles = {special[name]: text for name, text in (
        ("split_column", "says which part a row belongs to"), ("group_column", "keeps its groups together"),
    ) if name in special}  # fmt: skip
    roles |= {name: "left out: data.drop" for name in said["drop"] if name not in special.values()}
    columns = []
    for name in raw.frame.columns:
        if name == target:
            continue
        if name in roles:
            columns.append(Column(name, "", reason=roles[name]))
            continue
        columns.append(
            understand(
                cells(raw.frame, name),
                said=next((kind for kind in ("numeric", "categorical") if name in said[kind]), None),
                decimal=decimal,
                prefers_comma=raw.prefers_comma,
                date_format=date_format,
                kept=kept_of(name, keep_values),
            )
        )
    time = next((column for column in columns if column.name == special.get("time_column")), None)
    if time is not None and time.kind not in ("datetime", "numeric", "identifier"):
        raise Refusal(
            "data.time_column must hold dates or numbers",
            f"{time.name!r} holds {time.kind} cells",
            "data.date_format='%d/%m/%Y' if that is how they are written",
        )
    if time is not None and time.kind != "datetime":
        roles[time.name] = "says what comes later"
        time = replace(time, kind="numeric")
    features = [column for column in columns if column.is_feature]
    files = [_file_rows(raw.frame, paths[0], features, understood, reading, special, drop_missing_target)]
    if len(paths) > 1:
        other = read_table(paths[1], reading, known_names=raw.frame.columns, usual_header=not is_nameless)
        needed = [*(column.name for column in features), target, *special.values()]
        notes += require_columns(other.frame, needed, paths[1], "data.test_path")
        files.append(_file_rows(other.frame, paths[1], features, understood, reading, special, drop_missing_target))
    return TableDataset(
        name=paths[0].name,
        values=pl.concat([file.values for file in files]),
        columns=tuple(columns),
        target=understood,
        targets=np.concatenate([file.targets for file in files]),
        fingerprint=fingerprint(paths),
        unit=unit,
        split_rules=_split_rules(files, time),
        options=TableOptions(numeric_scaling, one_hot_levels, embedding_dim),
        reading={**reading.as_dict(), "is_nameless": is_nameless, "target": understood.as_dict()},
        notes=(*notes, *(note for file in files for note in file.notes)),
        roles=roles,
    )


def read_table(
    path: Path, reading: Reading, *, known_names: Sequence[str] = (), usual_header: bool = True, key: str = "data.path"
) -> RawTable:
    """The whole file, typed where polars is sure of the type.

    Raises:
        Refusal: it cannot be read.
    """
    require_file(path, key)
    if is_parquet(path):
        frame = read_parquet(path)
        if len(frame) == 0 or not frame.columns:
            raise Refusal(f"{key} must hold rows", f"{path} has none", "another file")
        return RawTable(frame)
    with text_file(path, reading.text, known_names=known_names, usual_header=usual_header) as file:
        as_text = [name for name in reading.as_text if name in file.names]
        missing = marker_spellings(reading.missing_values, reading.keep_values)
        frame = read_text(path, file, as_text=as_text, missing=missing)
        return RawTable(frame, file.dialect.delimiter != ",", file.notes)


def fingerprint(paths: Sequence[Path]) -> str:
    """SHA-256 over the bytes of the files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _require_columns_said(
    frame: pl.DataFrame, target: str, said: Mapping[str, Sequence[str]], special: Mapping[str, str], keep_values: Any
) -> None:
    """Refuses the name of a column that is not there, and one that is to be two things."""
    names = frame.columns
    keeping = list(keep_values) if isinstance(keep_values, Mapping) else []
    lists = {**said, "keep_values": keeping}
    wanted = [("target", target), *special.items(), *((key, name) for key, list_ in lists.items() for name in list_)]
    for key, name in wanted:
        if name not in names:
            near = nearest_name(name, names)
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise Refusal(
                f"data.{key} must name a column of the file: {shown}",
                f"data.{key}={name}",
                f"data.{key}={near if near is not None else names[-1]}",
            )
    if len(names) < 2:
        raise Refusal("there must be a column beside the target", f"the file has only {names[0]!r}", "data.delimiter=…")
    for key, name in wanted[1:]:
        if name == target and key != "keep_values":
            raise Refusal(f"data.{key} must not name the target", f"data.{key}={name}", "another column")
    for name in said["numeric"]:
        if name in said["categorical"]:
            raise Refusal(
                "a column must be numeric or categorical", f"{name!r} is named as both", f"data.numeric=[{name}]"
            )
    if "group_column" in special and "time_column" in special:
        raise Refusal(
            "the split must go by groups or by time",
            f"data.group_column={special['group_column']} data.time_column={special['time_column']}",
            "one of them",
        )


def require_columns(frame: pl.DataFrame, needed: Sequence[str], path: Path, key: str) -> list[str]:
    """Refuses a file that lacks a column; notes for people about those that it has beside.

    Raises:
        Refusal: with the missing names, and the nearest to the first that is there.
    """
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        near = nearest_name(missing[0], [name for name in frame.columns if name not in needed])
        names = ", ".join(repr(name) for name in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise Refusal(
            f"{key} must have every column that the model takes",
            f"{path.name} lacks {len(missing)} of {len(needed)}: {names}",
            f"renaming {near!r}" if near else "a file with the columns of the training file",
        )
    extra = [name for name in frame.columns if name not in needed]
    if not extra:
        return []
    names = ", ".join(extra[:5]) + (", …" if len(extra) > 5 else "")
    return [f"{path.name} has {len(extra)} {'column' if len(extra) == 1 else 'columns'} that are not used: {names}"]


def _require_one_header(frame: pl.DataFrame, reading: Reading) -> None:
    """Refuses a file whose first row is text where everything below it is numbers: a second header line."""
    if len(frame) < 3:
        return
    text = [series for series in frame if series.dtype == pl.String]
    second = []
    for series in text:
        cells = present(series, (), reading.missing_values)
        numbers = cells[1:].cast(pl.Float64, strict=False)
        n_numbers = len(numbers) - numbers.null_count()
        is_rest_numeric = n_numbers > 0 and numbers.null_count() == cells[1:].null_count()
        if is_rest_numeric and cells[0] is not None and cells[0:1].cast(pl.Float64, strict=False).null_count():
            second.append((str(series.name), str(cells[0])))
    if second and len(second) >= 0.5 * (len(frame.columns) - (len(text) - len(second))) and len(second) > 1:
        name, cell = second[0]
        raise Refusal(
            "the names of the columns must stand in one line",
            f"{len(second)} columns hold numbers below a second line of text, such as {cell!r} in row 1 of {name!r}",
            "deleting one of the two lines, or data.skip_lines=1 if the second holds the names",
        )


@dataclass(frozen=True)
class FileRows:
    """The rows of one file that have a target."""

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
    drop_missing_target: bool,
) -> FileRows:
    try:
        targets, notes = target_values(frame[target.name], target, reading.missing_values)
    except Refusal as refusal:
        raise Refusal(f"{path.name}: {refusal.must}", refusal.given, refusal.remedy) from None
    is_missing = targets.astype(np.int64) < 0 if target.class_names else np.isnan(targets.astype(np.float64))
    n_missing = int(is_missing.sum())
    if n_missing and not drop_missing_target:
        row = int(np.flatnonzero(is_missing)[0]) + 1
        raise Refusal(
            f"every row of {path.name} must have a target in column {target.name!r}",
            f"{n_missing:,} of {len(targets):,} have none, the first is row {row}",
            "data.drop_missing_target=true, which leaves them out",
        )
    if n_missing:
        notes.append(f"{n_missing:,} of {len(targets):,} rows of {path.name} have no target and are left out")
        frame, targets = frame.filter(~is_missing), targets[~is_missing]
    return FileRows(
        pl.DataFrame([values(frame[column.name], column, reading.missing_values) for column in features]),
        targets,
        {key: _complete(frame[name], key, reading) for key, name in special.items()},
        tuple(notes),
    )


def _complete(series: pl.Series, key: str, reading: Reading) -> pl.Series:
    """Refuses a column that decides the split and does not say it of every row."""
    cells = present(series, (), reading.missing_values)
    n_missing = cells.null_count()
    if n_missing:
        row = int(cells.is_null().arg_true()[0]) + 1
        raise Refusal(
            f"data.{key} must have a value in every row",
            f"{cells.name!r} has none in {n_missing:,} of {len(cells):,}, the first is row {row}",
            "another column, or leaving those rows out",
        )
    return cells


def _split_rules(files: Sequence[FileRows], time: Column | None) -> SplitRules:
    special = {key: pl.concat([file.special[key].cast(pl.String) for file in files]) for key in files[0].special
               if key != "time_column"}  # fmt: skip
    parts = None
    if "split_column" in special:
        parts = _named_parts(special["split_column"])
    if len(files) > 1:
        if parts is not None:
            raise Refusal(
                "the split must be given once", "data.split_column and data.test_path", "leaving one of them out"
            )
        parts = np.repeat(["", "test"], [len(file.targets) for file in files])
    groups = times = None
    if "group_column" in special:
        groups = special["group_column"].rank("dense").to_numpy().astype(np.int64) - 1
        if len(files) > 1:
            n_rows = len(files[0].targets)
            shared = np.intersect1d(groups[:n_rows], groups[n_rows:])
            if len(shared):
                name = special["group_column"].gather(np.flatnonzero(groups == shared[0])[:1])[0]
                raise Refusal(
                    "no group must be in two parts",
                    f"{len(shared)} groups of the training file are in the test file too, such as {name!r}",
                    "leaving them out of one of the files",
                )
    if time is not None:
        moments = [values(file.special["time_column"], time, []) for file in files]
        times = np.concatenate([series.to_physical().cast(pl.Float64).to_numpy() for series in moments])
    return SplitRules(parts, groups, times)


def _named_parts(names: pl.Series) -> npt.NDArray[np.str_]:
    spelled = names.str.to_lowercase()
    unknown = spelled.filter(~spelled.is_in(list(PART_NAMES)))
    if len(unknown):
        row = int((~spelled.is_in(list(PART_NAMES))).arg_true()[0])
        raise Refusal(
            "data.split_column must say train, validation or test",
            f"{len(unknown):,} of {len(names):,} rows say something else, the first is {names[row]!r} in row {row + 1}",
            "another column, or those words",
        )
    parts = spelled.replace_strict(PART_NAMES, return_dtype=pl.String).to_numpy().astype("<U5")
    for part in ("train", "test"):
        if not (parts == part).any():
            raise Refusal(f"data.split_column must give a row to the {part} part", "it gives none", "another column")
    if not (parts == "val").any():
        parts[parts == "train"] = ""  # from which the validation part is drawn
    return parts
