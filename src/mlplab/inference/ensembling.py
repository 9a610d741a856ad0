"""Combines several runs into one model, whose predictions are the means of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlplab.errors import UserError
from mlplab.inference.evaluating import Evaluation, evaluate
from mlplab.inference.output_files import new_directory
from mlplab.inference.trained import TrainedRun, load_run
from mlplab.inference.training_rows import rows_of_training
from mlplab.objectives.calibration import calibrate
from mlplab.objectives.options import LOSSES
from mlplab.runs.checkpoint import FORMAT, AtomicCheckpointIO, explain_bad_card, predictor_of
from mlplab.runs.files import write_json


@dataclass(frozen=True)
class MadeEnsemble:
    """A written ensemble, with its metrics on the parts of its members' data.

    Attributes:
        has_loss_of_members: whether `loss` is the same function in its metrics and in those of its members.
    """

    directory: Path
    members: Sequence[TrainedRun]
    evaluations: Mapping[str, Evaluation]
    has_loss_of_members: bool


def make_ensemble(members: Sequence[Path], out: Path, chosen_by: str) -> MadeEnsemble:
    """Writes an ensemble as a directory that evaluate.py, predict.py, explain.py and export.py accept as a run.

    Args:
        members: directories of runs, two or more; the first one names the data.
        out: the new directory.
        chosen_by: how the members were chosen, for result.json.

    Raises:
        UserError: there are fewer than two members, they differ in data or target, or one cannot be loaded.
    """
    if len(members) < 2:
        raise UserError("an ensemble must have two members or more", f"there is {len(members)}", "top=5 of a sweep")
    runs = [load_run(path) for path in members]
    checkpoint = out / "checkpoints" / "best.ckpt"
    with explain_bad_card(runs[0].checkpoint):
        for run in runs[1:]:
            _require_same_data(runs[0], run)
        card = _card(runs)
    made = TrainedRun(out, checkpoint, card, predictor_of(checkpoint, card))
    calibration = _calibration(made)
    evaluations = {part: evaluate(made, part=part) for part in ("val", "test")}
    # Metrics in best.ckpt have the names of training.
    metrics = {part: {f"{part}/{n}": v for n, v in found.metrics.items()} for part, found in evaluations.items()}
    content = {
        "state_dict": {f"model.{name}": weight for name, weight in card["weights"].items()},
        "metrics": metrics["val"],
        "card": {name: value for name, value in card.items() if name != "weights"}
        | ({} if calibration is None else {"calibration": calibration}),
    }
    with new_directory(out):
        AtomicCheckpointIO().save_checkpoint(content, checkpoint)
        result = {"chosen_by": chosen_by, "members": [str(run.directory) for run in runs]}
        write_json(out / "result.json", {**result, "validation": metrics["val"], "test": metrics["test"]})
    return MadeEnsemble(out, runs, evaluations, _shared_loss(runs) is not None)


def _require_same_data(one: TrainedRun, other: TrainedRun) -> None:
    """Refuses members with another task or other rows: one might have learned from another's test rows.

    Raises:
        UserError: names the first difference.
    """
    pairs = {
        "the same data": [run.card["data"]["fingerprint"] for run in (one, other)],
        "the same split of the data": [run.card["data"]["split"] for run in (one, other)],
        "the same target": [run.card["task"] for run in (one, other)],
        "the same preprocessing": [run.card["preprocessing"] for run in (one, other)],
    }
    # The batch size does not affect the split.
    pairs["the same split of the data"] = [
        {name: value for name, value in split.items() if name != "batch_size"}
        for split in pairs["the same split of the data"]
    ]
    for what, (first, second) in pairs.items():
        if not _are_equal(first, second):
            names = (
                [name for name in first if not _are_equal(first[name], second.get(name))]
                if what != "the same data"
                else []
            )
            raise UserError(
                f"members of an ensemble must have {what}",
                f"{other.directory.name} has another than {one.directory.name}"
                + (f" ({', '.join(names)})" if names else ""),
                "members of a sweep over seeds",
            )


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_are_equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _card(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    first = runs[0].card
    loss = _shared_loss(runs) or {"name": LOSSES[first["task"]["kind"]][0], "options": {}, "class_weights": None}
    if first["task"]["kind"] == "classification":
        # An ensemble has one output per class; for two classes, binary cross-entropy is the same number.
        loss["name"] = "cross_entropy"
    precisions = {str(run.card.get("precision", "32-true")) for run in runs}
    return {
        "format": FORMAT,
        "model": {"name": "ensemble", "architecture": {"members": [dict(run.card["model"]) for run in runs]}},
        "task": first["task"],
        "preprocessing": first["preprocessing"],
        "loss": loss,
        "metrics": first.get("metrics", {}),
        "data": first["data"],
        "precision": precisions.pop() if len(precisions) == 1 else "32-true",
        "weights": {
            f"members.{number}.{name}": weight
            for number, run in enumerate(runs)
            for name, weight in run.card["weights"].items()
        },
    }


def _shared_loss(runs: Sequence[TrainedRun]) -> dict[str, Any] | None:
    """Returns the loss of all members; None if they differ, or it is the user's own, which may take other outputs."""
    losses = [run.card["loss"] for run in runs]
    is_usual = losses[0]["name"] in LOSSES[runs[0].card["task"]["kind"]]
    return dict(losses[0]) if is_usual and all(_are_equal(losses[0], other) for other in losses) else None


def _calibration(run: TrainedRun) -> dict[str, Any] | None:
    """Calibrates the ensemble on its members' validation part, as in a run; None if that is impossible."""
    rows = [(run.outputs(inputs), run.scaled_targets(targets)) for inputs, targets, _ in rows_of_training(run, "val")]
    outputs, targets = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return calibrate(outputs, targets, run.task)
