"""Evaluates a trained run on rows with known targets: metrics and a figure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlplab.errors import UserError, first_of
from mlplab.inference.output_files import new_directory
from mlplab.inference.trained import BATCH_ROWS, TrainedRun
from mlplab.inference.training_rows import Rows, rows_of_training
from mlplab.instantiation import build_function
from mlplab.learner_parts import build_own_objective, require_known_code
from mlplab.objectives.objective import OWN, Objective, build_objective
from mlplab.objectives.scores import Metric, Scores
from mlplab.parts import require_part
from mlplab.plots import as_png, result_figures
from mlplab.runs.checkpoint import explain_bad_card
from mlplab.runs.files import write_bytes, write_json


@dataclass
class Evaluation:
    """The result of a run on some rows.

    Attributes:
        name: of the rows.
        metrics: loss and scores, in the target's own unit.
        n_rows: number of these rows.
        predicted: probabilities (N, C), or values (N,); of several targets (N, T).
        targets: class indices (N,), or values (N,); of several targets (N, T).
        notes: remarks from reading the rows, for people.
    """

    name: str
    metrics: dict[str, float]
    n_rows: int
    predicted: Tensor
    targets: Tensor
    notes: list[str] = field(default_factory=list)


def evaluate(
    run: TrainedRun,
    path: Path | None = None,
    part: str = "test",
    written: Mapping[str, Any] = {},
    *,
    accepts_unknown: bool = False,
) -> Evaluation:
    """Evaluates on the rows of a file, or on a part of the data that the run was trained on.

    Raises:
        UserError: the rows cannot be read, or no row has a target.
    """
    if path is None:
        evaluation = _evaluate(run, rows_of_training(run, part), f"{part} part")
    else:
        require_part("tables", f"data.path={path}", "part=test, which reads the data of the training again")
        from mlplab.inference.row_reader import RowReader, rows_with_targets

        reader = RowReader(run, written, accepts_unknown=accepts_unknown)
        evaluation = _evaluate(run, rows_with_targets(reader, path), path.name)
        # Complete only now, as rows are read block by block during the evaluation.
        evaluation.notes += reader.notes
    precision = str(run.card.get("precision", "32-true"))
    if precision not in ("32-true", "32"):
        evaluation.notes.append(f"trained in {precision}, evaluated in 32-true: the metrics can differ a little")
    return evaluation


def _evaluate(run: TrainedRun, rows: Rows, name: str) -> Evaluation:
    predictor, objective = run.predictor, objective_of(run)
    metrics, missing = _metrics(run)
    scores = Scores(run.task, metrics)
    predicted, known = [], []
    total_weight = 0.0
    for inputs, targets, weights in rows:
        # As the loss takes them: targets, and weights if there are any.
        learned = [run.scaled_targets(targets), *([] if weights is None else [torch.from_numpy(weights).float()])]
        total_weight += len(targets) if weights is None else float(weights.sum())
        for batch in zip(*(torch.split(tensor, BATCH_ROWS) for tensor in (*inputs, *learned)), strict=True):
            of_batch = batch[len(inputs) :]
            with torch.inference_mode():
                outputs = predictor.model(predictor.preprocessing(*batch[: len(inputs)]))
                made, true = scores.update(objective(outputs, *of_batch), outputs, *of_batch)
            predicted.append(made)
            known.append(true)
    if not total_weight:
        above = " and a weight above 0" if predicted else ""
        raise UserError(f"there must be rows with a target{above}", f"{name} has none", "another file")
    all_predicted, all_known = torch.cat(predicted), torch.cat(known)
    found, notes = _computed(scores, all_known, run)
    if weights is not None:
        notes.append("the metrics are weighted, as in training")
    return Evaluation(name, found, len(all_known), all_predicted, all_known, [*notes, *missing])


def _metrics(run: TrainedRun) -> tuple[dict[str, Metric], list[str]]:
    """Rebuilds those metrics whose code conf/ names; returns them, and notes on the others."""
    metrics, notes = {}, []
    with explain_bad_card(run.checkpoint):
        for name, node in run.card.get("metrics", {}).items():
            try:
                described = require_known_code("metrics", node or {}, run.checkpoint)
            except UserError as unknown:
                notes.append(f"the metric {name} is left out: {unknown.requirement}, {unknown.actual}")
                continue
            if node is not None:
                metrics[name] = build_function(f"metrics.{name}", described)
    return metrics, notes


def objective_of(run: TrainedRun) -> Objective:
    """Rebuilds the training loss with its class weights, so that its value compares with the validation's."""
    with explain_bad_card(run.checkpoint):
        loss = run.card["loss"]
        weights = loss["class_weights"]
        if loss["name"] == OWN:
            described = require_known_code("loss", loss["options"], run.checkpoint)
            given = {} if weights is None else {"class_weights": weights.tolist()}
            objective = build_own_objective({**described, **given}, run.task)
            objective.load_state_dict(run.card["loss_weights"])  # the user's own loss may have trained parameters
            return objective.eval()
        return build_objective(
            loss["name"], run.task, class_weights=None if weights is None else weights.tolist(), **loss["options"]
        )


def _computed(scores: Scores, targets: Tensor, run: TrainedRun) -> tuple[dict[str, float], list[str]]:
    """Computes the scores, with notes on how to read them."""
    notes, left_out = [], set()
    # r2 divides by the variance of the targets.
    if run.task.kind == "regression" and len(targets) < 2:
        notes.append("r2 is left out, for there is one row only")
        left_out = {"r2", *(f"r2_{name}" for name in run.task.target_names)}
    elif run.task.kind == "multilabel":
        constant = targets.min(dim=0).values == targets.max(dim=0).values
        same = [name for name, is_same in zip(run.task.target_names, constant, strict=True) if is_same]
        if same:
            shown, is_defined = first_of([repr(name) for name in same], 5), len(same) < len(constant)
            becomes = "the mean over the others" if is_defined else "left out"
            notes.append(f"the rows do not differ in {shown}: auroc is {becomes}")
            left_out = {*(f"auroc_{name}" for name in same), *(() if is_defined else ("auroc",))}
    elif run.task.kind == "classification":
        # Without minlength, the counts would end at the largest class present.
        counts = torch.bincount(targets, minlength=run.task.n_classes)
        absent = [class_name for class_name, count in zip(run.task.class_names, counts, strict=True) if not count]
        if absent:
            shown = first_of([repr(name) for name in absent], 5)
            is_defined = run.task.n_classes - len(absent) > 1
            notes.append(
                f"no row is of class {shown}: auroc is {'the mean over the others' if is_defined else 'left out'}"
            )
            left_out = set() if is_defined else {"auroc"}
    return {name: float(score) for name, score in scores.compute().items() if name not in left_out}, notes


def write_evaluation(evaluation: Evaluation, run: TrainedRun, directory: Path) -> Path:
    """Writes metrics.json and figures into a new directory; returns the path of the figure, or of their folder.

    Raises:
        UserError: the directory exists, or cannot be made; after any failure it is removed.
    """
    # Drawn before anything is written, so that a failing figure leaves no directory behind.
    figures = result_figures(evaluation.predicted, evaluation.targets, run.task, evaluation.name)
    content = {
        "checkpoint": str(run.checkpoint),
        "rows": {"from": evaluation.name, "count": evaluation.n_rows},
        "metrics": evaluation.metrics,
        "notes": evaluation.notes,
    }
    with new_directory(directory):
        for name, figure in figures.items():
            write_bytes(directory / f"{name}.png", as_png(figure))
        write_json(directory / "metrics.json", content)
    # Several figures are represented by their folder.
    return directory / f"{next(iter(figures))}.png" if len(figures) == 1 else directory
