"""A run that was trained, as its checkpoint holds it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplab.config.paths import find_run
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
    directory, checkpoint = find_run(path)
    card = read_card(checkpoint)
    return TrainedRun(directory, checkpoint, card, predictor_of(checkpoint, card))


@contextmanager
def following_card(checkpoint: Path) -> Iterator[None]:
    """Within it, a card that lacks something, or holds another thing in its place, is told as a refusal."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:  # whatever a card that somebody else has made can cause
        raise Refusal(
            "a checkpoint's card must describe its run", f"{checkpoint}: {error!r}", "another checkpoint"
        ) from None
