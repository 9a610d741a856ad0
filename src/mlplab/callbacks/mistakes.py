"""Draws images of the test part that the best weights misclassify."""

from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.callbacks.network_outputs import network_outputs
from mlplab.callbacks.notes import print_note
from mlplab.data.module import DataModule
from mlplab.errors import counted
from mlplab.figures.image_figures import mistakes_figure
from mlplab.learner import Learner
from mlplab.objectives.objective import predictions
from mlplab.plots import as_png, log_picture
from mlplab.runs.files import write_bytes

NAME = "mistakes"

MOST_IMAGES = 36
"""Maximum of mistakes to draw; the most confident ones come first."""


class Mistakes(Callback):
    """Draws the misclassified images of the test part, most confident first.

    It uses the test part together with the run's own test, with the same weights, and writes mistakes.png.

    Args:
        directory: for the file.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        is_ours = isinstance(data, DataModule) and isinstance(pl_module, Learner)
        if not is_ours or data.image_shape is None or data.task.kind != "classification":
            print_note(
                f"callbacks.{NAME} draws nothing: {getattr(data, 'name', type(data).__name__)} has no images of classes"
            )
            return
        assert isinstance(pl_module, Learner)
        features, targets = data.part("test")
        # A separate pass, as each of several processes has tested only its share of the rows.
        probabilities = predictions(network_outputs(trainer, pl_module, features), data.task)
        wrong = most_confident_mistakes(probabilities, targets)
        shown = wrong[:MOST_IMAGES]
        # As they were read: uint8 pixels are scaled only in the network.
        unscaled = data.preprocessor.unscaled(features[shown])
        images = (features[shown] if unscaled is None else unscaled).double().reshape(-1, *data.image_shape)
        names, predicted = data.task.class_names, probabilities[shown].argmax(1)
        title = f"test part: {len(wrong):,} of {counted(len(targets), 'row')} wrong"
        if len(shown) < len(wrong):
            title += f", the {len(shown)} most confident ones"
        figure = mistakes_figure(
            images.numpy(),
            [names[number] for number in targets[shown].tolist()],
            [names[number] for number in predicted.tolist()],
            probabilities[shown].max(1).values.tolist(),
            title,
        )
        png = as_png(figure)
        write_bytes(self.directory / f"{NAME}.png", png)
        log_picture(trainer.loggers, f"test/{NAME}", png, trainer.global_step)


def most_confident_mistakes(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Returns the misclassified rows, the most confident first: (N, C), (N,) -> (n,)."""
    best = probabilities.max(1)
    wrong = torch.nonzero(best.indices != targets)[:, 0]
    # Stable: rows of equal probability keep their order.
    return wrong[best.values[wrong].argsort(descending=True, stable=True)]
