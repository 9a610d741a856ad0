"""Explains a trained run by the columns of its table, as files and for the terminal."""

import csv
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError, first_of
from mlplab.inference.explanation_figures import MOST_CLASSES, dependence_figure, importance_figure
from mlplab.inference.feature_effects import (
    SCORES,
    Explanation,
    Input,
    Rows,
    inputs_of_columns,
    partial_dependence,
    permutation_importance,
)
from mlplab.inference.output_files import new_directory, without_formulas
from mlplab.inference.row_reader import RowReader, rows_with_targets
from mlplab.inference.trained import TrainedRun
from mlplab.inference.training_rows import Rows as BlocksOfRows
from mlplab.inference.training_rows import rows_of_training
from mlplab.plots import as_png
from mlplab.runs.files import write_bytes
from mlplab.runs.summary import describe_metrics
from mlplab.task import Task

SHOWN = 15
"""Maximum of columns in the table on the terminal; the file lists all."""

LONG = 60
"""Estimated seconds of the permutations from which the user is told."""

CORRELATED = 0.8
"""Rank correlation from which two columns are reported as correlated."""

MOST_COMPARED = 300
"""Maximum of numeric columns for computing correlations."""


def explain(
    run: TrainedRun,
    path: Path | None = None,
    part: str = "test",
    *,
    score: str | None = None,
    repeats: int = 5,
    most_rows: int = 10_000,
    seed: int = 0,
    top: int = 6,
    columns: Sequence[str] = (),
    classes: Sequence[str] = (),
    target: str | None = None,
    written: Mapping[str, Any] = {},
    accepts_unknown: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Explanation:
    """Explains a run on the rows of a file, or on a part of the data that it was trained on.

    Args:
        run: on a table or a bundled data set.
        path: of the file.
        part: of the run's own data: train, val or test.
        score: one of `SCORES`; None takes the first for the task.
        repeats: permutations of each column.
        most_rows: of more, a sample is drawn.
        seed: of sample and permutations.
        top: number of most important columns whose partial dependence is computed.
        columns: these columns instead.
        classes: whose probabilities are drawn; if empty, all of up to ten.
        target: the one of several targets to explain.
        written: how the file is written, as in `RowReader`.
        accepts_unknown: likewise.
        tell: called with a message if it will take minutes.

    Raises:
        UserError: the rows cannot be read, an option does not fit the run, or there are fewer than two rows.
    """
    task, place = _task_of(run, target)
    score = _require_score(score, task)
    inputs = inputs_of_columns(run)
    _require_names(columns, list(inputs), "columns")
    if classes and task.kind == "regression":
        raise UserError("classes must be for a classification", "the run is a regression", "leaving it out")
    _require_names(classes, task.class_names, "classes")

    reader = RowReader(run, written, accepts_unknown=accepts_unknown)
    read = rows_of_training(run, part) if path is None else rows_with_targets(reader, path)
    rows, n_all = _sample(run, read, most_rows, seed, task, place)
    name = f"{part} part" if path is None else path.name
    _require_rows(rows, name)
    n_rows = len(rows.targets)
    notes = list(reader.notes)
    if n_rows < n_all:
        notes.append(f"{n_rows:,} of {n_all:,} rows, drawn at random: rows={n_all} takes all of them")

    began = time.perf_counter()
    base = rows.score(score)
    seconds = (time.perf_counter() - began) * len(inputs) * repeats
    if math.isnan(base):
        raise UserError(f"{score} must be defined", f"{name} lacks what it compares", f"score={SCORES[task.kind][0]}")
    if seconds > LONG:
        tell(f"{len(inputs):,} columns take about {seconds / 60:.0f} minutes: smaller rows=… and repeats=… take less")
    orders = [torch.from_numpy(np.random.default_rng((seed, repeat)).permutation(n_rows)) for repeat in range(repeats)]
    # The largest first; ties in the order of the table.
    importances = sorted(permutation_importance(rows, inputs, score, orders), key=lambda one: -one.mean)
    chosen = list(columns) or [one.column for one in importances[:top]]
    drawn, said = _classes_to_draw(rows, classes)
    return Explanation(
        rows=name,
        n_rows=n_rows,
        task=task,
        score=score,
        base=base,
        repeats=repeats,
        importances=importances,
        dependences=[partial_dependence(rows, column, one) for column in chosen for one in inputs[column]],
        classes=drawn,
        notes=[*notes, *_correlations(rows, inputs, chosen), *said],
    )


def _require_score(score: str | None, task: Task) -> str:
    """Returns the score, or the usual one of the task."""
    possible = SCORES[task.kind]
    if score not in (None, *possible):
        raise UserError(
            f"score must be one of {', '.join(possible)} for a {task.kind}", f"score={score}", f"score={possible[0]}"
        )
    return score or possible[0]


def _require_rows(rows: Rows, name: str) -> None:
    if len(rows.targets) < 2:
        raise UserError(
            "there must be at least two rows with a target", f"{name} has {len(rows.targets)}", "other rows"
        )
    if rows.weights is not None and not bool(rows.weights.any()):
        raise UserError("there must be rows with a weight above 0", f"{name} has none", "other rows")


def _classes_to_draw(rows: Rows, classes: Sequence[str]) -> tuple[tuple[int, ...], list[str]]:
    names = rows.task.class_names
    if classes or len(names) < 2:
        return tuple(names.index(name) for name in classes) or (0,), []
    if len(names) == 2:  # the first class's probability is the rest
        return (1,), []
    if len(names) <= MOST_CLASSES:
        return tuple(range(len(names))), []
    counts = torch.bincount(rows.targets, minlength=len(names))
    frequent = counts.argsort(descending=True, stable=True)[:MOST_CLASSES].sort().values
    note = f"the {MOST_CLASSES} most frequent of {len(names)} classes are drawn: classes=… chooses others"
    return tuple(frequent.tolist()), [note]


def _require_names(given: Sequence[str], known: Sequence[str], key: str) -> None:
    for name in given:
        if name not in known:
            near = nearest_name(name, known) or (known[0] if known else "…")
            # As it can be typed, also with commas and blanks.
            typed = shlex.quote(f'"{near}"' if "," in near else near)
            raise UserError(f"{key} must be among {first_of(known, 8)}", f"{key}={name}", f"{key}={typed}")


def _task_of(run: TrainedRun, target: str | None) -> tuple[Task, int | None]:
    """Returns the task to explain, and the index of its target among several."""
    names = run.task.target_names
    if target is None and not names:
        return run.task, None
    if target is None:
        typed = shlex.quote(names[0])
        raise UserError("target must name one of several", f"the run has {first_of(names, 8)}", f"target={typed}")
    _require_names([target], names or [run.task.target_name], "target")
    return (run.task.of_each_target()[names.index(target)], names.index(target)) if names else (run.task, None)


def _sample(
    run: TrainedRun, blocks: BlocksOfRows, most: int, seed: int, task: Task, place: int | None
) -> tuple[Rows, int]:
    """Draws at most `most` rows, in order; returns them with the number of all rows."""
    generator, n_all = np.random.default_rng(seed), 0
    kept: list[Tensor] = []
    kind = np.int64 if task.kind == "classification" else np.float64
    for inputs, targets, weights in blocks:
        known = torch.from_numpy((targets if place is None else targets[:, place]).astype(kind))
        keys = torch.from_numpy(generator.random(len(known)))
        # Keys first, then targets and weights, then the inputs.
        own = [keys, known, torch.ones(len(known)) if weights is None else torch.from_numpy(weights), *inputs]
        kept = [torch.cat(pair) for pair in zip(kept, own, strict=True)] if n_all else own
        n_all += len(known)
        if len(kept[0]) > most:
            # Keeps those with the smallest keys so far, so that memory does not grow with the rows.
            chosen = kept[0].topk(most, largest=False, sorted=False).indices.sort().values
            kept = [tensor[chosen] for tensor in kept]
    if not n_all:
        return Rows(run, task, (), torch.empty(0)), 0
    # Copies, as permuting changes them and the data set may be shared.
    _, targets_of_all, weights_of_all, *inputs_of_all = (tensor.clone() for tensor in kept)
    has_weights = bool((weights_of_all != 1).any())
    used = weights_of_all.double() if has_weights else None
    return Rows(run, task, tuple(inputs_of_all), targets_of_all, used, place), n_all


def _correlations(rows: Rows, columns: Mapping[str, Sequence[Input]], chosen: Sequence[str]) -> list[str]:
    """Lists correlated pairs of numeric columns with a chosen one: they share their importance."""
    numeric = {name: inputs[0] for name, inputs in columns.items() if len(inputs) == 1 and inputs[0].category is None}
    if not 2 <= len(numeric) <= MOST_COMPARED:
        return []
    frame = pl.DataFrame(
        [pl.Series(str(at), rows.inputs[0][:, one.position]) for at, one in enumerate(numeric.values())]
    )
    ranks = frame.select(pl.all().fill_nan(None).rank()).select(pl.all().fill_null(strategy="mean")).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):  # a column may be constant in these rows
        correlations = np.nan_to_num(np.corrcoef(ranks, rowvar=False))
    names = list(numeric)
    pairs = [
        (abs(correlations[i, j]), correlations[i, j], names[i], names[j])
        for i, j in zip(*np.triu_indices(len(names), 1), strict=True)
        if abs(correlations[i, j]) >= CORRELATED and {names[i], names[j]} & set(chosen)
    ]
    said = [f"{one!r} and {other!r} ({value:.2f})" for _, value, one, other in sorted(pairs, reverse=True)]
    if not said:
        return []
    return [f"columns that go together (rank correlation) hide each other's importance: {first_of(said, 3)}"]


def split_names(text: str) -> list[str]:
    """Splits names at commas; quotes keep a comma within a name."""
    return [name.strip() for line in csv.reader([text], skipinitialspace=True) for name in line]


def describe_importances(explanation: Explanation) -> str:
    """Formats the most important columns as a table."""
    shown = explanation.importances[:SHOWN]
    table = {f"{explanation.change} of {explanation.score}": {one.column: one.mean for one in shown}}
    table["std"] = {one.column: one.std for one in shown}
    rest = len(explanation.importances) - len(shown)
    return describe_metrics(table, "column") + (f"\nand {rest:,} more in importance.csv" if rest else "")


def write_explanation(explanation: Explanation, directory: Path) -> list[Path]:
    """Writes two tables and two figures into a new directory; returns their paths.

    importance.csv has a row for each column: `column`, `score`, `base` (the score of the rows as they are), `mean` and
    `std` (how much worse it is with the column permuted). partial_dependence.csv has a row for each value of an input,
    and for each class: `column`, `input` (which differs for the parts of a date), `value` (empty if missing), `class`,
    `prediction`.

    Raises:
        UserError: the directory exists, or cannot be made; after any failure it is removed.
    """
    # Drawn before anything is written, so that a failing figure leaves no directory behind.
    figures = {"importance": importance_figure(explanation)}
    if explanation.dependences:
        figures["partial_dependence"] = dependence_figure(explanation)
    pictures = {f"{name}.png": as_png(figure) for name, figure in figures.items()}
    tables = {"importance.csv": _importance_table(explanation), "partial_dependence.csv": _table(explanation)}
    texts = {name: without_formulas(frame)[0].write_csv().encode() for name, frame in tables.items()}
    with new_directory(directory):
        for name, content in (texts | pictures).items():
            write_bytes(directory / name, content)
    return [directory / name for name in texts | pictures]


def _importance_table(explanation: Explanation) -> pl.DataFrame:
    found = explanation.importances
    columns = {"column": [one.column for one in found], "mean": [one.mean for one in found]}
    frame = pl.DataFrame({**columns, "std": [one.std for one in found]})
    return frame.select(
        "column", pl.lit(explanation.score).alias("score"), pl.lit(explanation.base).alias("base"), "mean", "std"
    )


def _table(explanation: Explanation) -> pl.DataFrame:
    names = explanation.task.class_names
    rows = [
        (one.column, one.name, value, *([names[number]] if names else []), prediction)
        for one in explanation.dependences
        for value, predicted in zip(one.labels, one.predicted, strict=True)
        for number, prediction in enumerate(predicted.tolist())
    ]
    kinds = {"column": pl.String, "input": pl.String, "value": pl.String}
    kinds |= {"class": pl.String} if names else {}
    return pl.DataFrame(rows, schema={**kinds, "prediction": pl.Float64}, orient="row")
