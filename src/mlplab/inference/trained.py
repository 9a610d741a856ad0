"""A run that was trained, as its checkpoint holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplab.config.suggestions import nearest_name
from mlplab.errors import Refusal
from mlplab.runs.checkpoint import Predictor, predictor_of, read_card
from mlplab.task import Task


@dataclass(frozen=True)
class TrainedRun:
    """What a run has learned.

    Attributes:
        directory: of the run; of the checkpoint, where that stands alone.
        checkpoint: the file.
        card: its plain values.
        predictor: network and preprocessing, in evaluation mode.
    """

    directory: Path
    checkpoint: Path
    card: Mapping[str, Any]
    predictor: Predictor

    @property
    def task(self) -> Task:
        return self.predictor.task


def load_run(path: Path) -> TrainedRun:
    """The best state of a run, or the last where none was validated.

    Args:
        path: of a run's directory, or of a checkpoint.

    Raises:
        Refusal: there is none, or it cannot be rebuilt from its checkpoint alone.
    """
    if path.is_file():
        checkpoint = path
        directory = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    else:
        if not path.is_dir():
            folder = path.parent
            names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
            near = nearest_name(path.name, names)
            remedy = f"run={folder / near}" if near else "run=logs/runs/NAME"
            raise Refusal("run must be the directory of a run", f"there is no {path}", remedy)
        directory = path
        found = [path / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
        checkpoint = next((file for file in found if file.is_file()), found[0])
        if not checkpoint.is_file():
            raise Refusal(
                "run must be the directory of a run with a checkpoint",
                f"{path} has no checkpoints/best.ckpt",
                "another run, such as one of logs/runs/*",
            )
    card = read_card(checkpoint)
    return TrainedRun(directory, checkpoint, card, predictor_of(checkpoint, card))
