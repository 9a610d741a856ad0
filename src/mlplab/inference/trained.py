"""A run that was trained, as its checkpoint holds it."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        folder = path.absolute().parent
        directory = folder.parent if folder.name == "checkpoints" else folder
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
    _require_undamaged(checkpoint)
    card = read_card(checkpoint)
    return TrainedRun(directory, checkpoint, card, predictor_of(checkpoint, card))


@contextmanager
def following_card(checkpoint: Path) -> Iterator[None]:
    """Within it, a card that lacks something, or holds another thing in its place, is told as a refusal."""
    try:
        yield
    except Refusal:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refusal(
            "a checkpoint's card must describe its run", f"{checkpoint}: {error!r}", "another checkpoint"
        ) from None


def _require_undamaged(checkpoint: Path) -> None:
    """Compares the checksums in the file, which PyTorch writes and does not read: a flipped bit is another weight."""
    if not zipfile.is_zipfile(checkpoint):
        return  # read_card says what is wrong with it
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        damaged = str(error)
    if damaged is not None:
        raise Refusal("a checkpoint must be as it was written", f"{checkpoint} is damaged: {damaged}", "another one")
