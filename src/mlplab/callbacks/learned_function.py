"""Draws the learned function of one or two inputs during training."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.callbacks.input_grid import grid_where_possible
from mlplab.callbacks.network_outputs import network_outputs
from mlplab.callbacks.notes import has_time_to_draw
from mlplab.errors import rounded
from mlplab.figures.animation import as_frame, as_gif
from mlplab.figures.function_figures import FunctionPicture, function_picture
from mlplab.learner import Learner
from mlplab.objectives.objective import predictions
from mlplab.plots import as_png, log_picture
from mlplab.runs.files import write_bytes
from mlplab.task import Task

MOST_FRAMES = 48
"""Maximum of frames of the animation. When it is reached, every other frame is dropped, and frames are taken half as
often. An even number, so that the next frame fits the new interval.
"""

NAME = "learned_function"

SHOWN = ("val/loss", "val/accuracy", "val/rmse")
"""Metrics in the title, if known."""


class LearnedFunction(Callback):
    """Draws the predictions and the data over the inputs: decision boundaries, or the curve of a regression.

    A figure goes to TensorBoard before training, every few epochs, and at its end. Then all frames become an animation,
    learned_function.gif. Checkpoints hold the frames, so a resumed run's animation is complete.

    It shows the current weights, not those of the best epoch.

    Args:
        directory: for the files.
        every_n_epochs: how often; a figure takes about a tenth of a second.

    Attributes:
        frames: of the animation; each has `epoch`, `step`, the metrics of `SHOWN`, and `values`: 16-bit predictions,
            of all classes but the first, or of the standardised target.
    """

    def __init__(self, directory: str, every_n_epochs: int = 5) -> None:
        self.directory = Path(directory)
        self.every_n_epochs = every_n_epochs
        self.frames: list[dict[str, Any]] = []
        self._thinned = 1
        self._pngs: dict[int, bytes] = {}
        self._picture: FunctionPicture | None = None
        self._points = torch.empty(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._picture = None
        found = grid_where_possible(trainer, pl_module, NAME)
        if found is not None:
            grid, self._points = found
            self._picture = function_picture(grid)
        if trainer.global_step == 0:
            self._take(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % (self.every_n_epochs * self._thinned) == 0:
            self._take(trainer, pl_module, epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._take(trainer, pl_module, trainer.current_epoch)
        self._write()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if has_time_to_draw(exception):  # shows how a run diverged
            self._write()

    def _take(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        """Keeps the current function as a frame, and logs its figure."""
        picture = self._picture
        if picture is None or (self.frames and self.frames[-1]["step"] == trainer.global_step):
            return
        assert isinstance(pl_module, Learner)
        values = packed(network_outputs(trainer, pl_module, self._points), pl_module.task)
        metrics = {name: float(trainer.callback_metrics[name]) for name in SHOWN if name in trainer.callback_metrics}
        frame = {"epoch": epoch, "step": trainer.global_step, "metrics": metrics if epoch else {}, "values": values}
        if len(self.frames) == MOST_FRAMES:
            self._thinned *= 2
            every = self.every_n_epochs * self._thinned
            self.frames = [kept for kept in self.frames if kept["epoch"] % every == 0]
        self.frames.append(frame)
        log_picture(trainer.loggers, NAME, self._drawn(picture, frame), trainer.global_step)

    def _drawn(self, picture: FunctionPicture, frame: dict[str, Any]) -> bytes:
        """Draws a frame, unless it has been drawn since this process began."""
        if frame["step"] not in self._pngs:
            # From the 16-bit values, so that a resumed run draws the same.
            predicted = unpacked(frame["values"], picture.grid.task)
            values = predicted.double().reshape(-1, *[len(axis) for axis in picture.grid.axes])
            picture.draw(values.numpy(), title_of(frame))
            self._pngs[frame["step"]] = as_frame(picture.figure)
        return self._pngs[frame["step"]]

    def _write(self) -> None:
        """Writes the animation, and its last frame as an image."""
        picture = self._picture
        if picture is None or not self.frames:
            return
        write_bytes(self.directory / f"{NAME}.gif", as_gif([self._drawn(picture, frame) for frame in self.frames]))
        self._pngs.pop(self.frames[-1]["step"])
        self._drawn(picture, self.frames[-1])
        write_bytes(self.directory / f"{NAME}.png", as_png(picture.figure))

    def state_dict(self) -> dict[str, Any]:
        return {"frames": list(self.frames), "thinned": self._thinned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.frames, self._thinned = state_dict["frames"], state_dict["thinned"]


def title_of(frame: dict[str, Any]) -> str:
    """Returns the title of a frame: its epoch, and the scores of the validation part."""
    if not frame["epoch"]:
        return "before training"
    told = [f"{name.removeprefix('val/')} {rounded(value, 3)}" for name, value in frame["metrics"].items()]
    return f"epoch {frame['epoch']}" + (f": validation {', '.join(told)}" if told else "")


def packed(outputs: Tensor, task: Task) -> Tensor:
    """Packs the network's outputs (N, C or 1) in 16 bits for a checkpoint: (C − 1, N), or (1, N)."""
    if task.kind == "regression":
        return outputs.T.half()  # still standardised: the target's own unit may be too large for 16 bits
    # Less the mean 1/C, as 16 bits are finest near 0: on the boundary between two classes.
    return (predictions(outputs, task).T[1:] - 1 / task.n_classes).half()


def unpacked(values: Tensor, task: Task) -> Tensor:
    """Restores predictions from the result of `packed`: (C, N), or (1, N) in the target's own unit."""
    if task.kind == "regression":
        return predictions(values.double().T, task).T
    others = values.double() + 1 / task.n_classes
    return torch.cat([1 - others.sum(0, keepdim=True), others])
