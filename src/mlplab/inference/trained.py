"""Loads a run that was trained, from its checkpoint alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplab.config.paths import find_run
from mlplab.errors import UserError
from mlplab.runs.checkpoint import Predictor, predictor_of, read_card
from mlplab.task import Task


@dataclass(frozen=True)
class TrainedRun:
    """A run with what it has learned.

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

    def own_folder(self, name: str) -> Path:
        """Returns a folder in the run's directory, for evaluations or exports.

        Raises:
            UserError: it is a link that leads elsewhere.
        """
        folder = self.directory / name
        # Resolved on both sides, as the run itself may be reached by a link.
        if not folder.resolve().is_relative_to(self.directory.resolve()):
            raise UserError(
                "a run must contain only ordinary files and folders", f"{folder} leads to {folder.resolve()}",
                "out=SOMEWHERE_ELSE",
            )  # fmt: skip
        return folder


def load_run(path: Path) -> TrainedRun:
    """Loads the best state of a run, or the last where none was validated.

    Args:
        path: of a run's directory, or of a checkpoint.

    Raises:
        UserError: there is none, or it cannot be rebuilt from its checkpoint alone.
    """
    directory, checkpoint = find_run(path)
    # The card alone: config.yaml of a run from elsewhere could name any code to execute.
    card = read_card(checkpoint)
    return TrainedRun(directory, checkpoint, card, predictor_of(checkpoint, card))
