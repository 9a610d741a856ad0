"""Logs activations and gradients of every layer, and reports dead units and vanishing gradients."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from mlplab.callbacks.hidden_activations import recording_activations
from mlplab.callbacks.histograms import log_histograms
from mlplab.callbacks.network_outputs import evaluating
from mlplab.callbacks.notes import has_time_to_draw, print_note
from mlplab.data.module import DataModule
from mlplab.errors import counted
from mlplab.figures.layer_figures import gradient_depth_figure
from mlplab.learner import Learner
from mlplab.plots import as_png, log_picture
from mlplab.runs.files import write_bytes

NAME = "layer_statistics"

PROBE_ROWS = 1024
"""Number of training rows for the measurements: always the same, spread over the training part."""

MOST_TOLD = 40
"""Maximum of lines in the figure of gradients; of more measurements, every other one is left out."""


class LayerStatistics(Callback):
    """Logs distributions of activations and gradients by layer, and the share of dead units.

    `activations/LAYER` and `gradients/LAYER` are histograms; `dead_units/LAYER` is the share of units whose activation
    is 0 for all of `PROBE_ROWS` training rows: with relu, no gradient reaches such a unit. The figure
    `gradients_by_depth` shows the gradients of all layers on a logarithmic axis. All is computed in a separate pass in
    evaluation mode, without dropout and penalties: before training, every few epochs, and at the end.

    Args:
        directory: for the file of the figure.
        every_n_epochs: how often; a pass takes as long as a few steps, its histograms as long as a short epoch.
        dead_above: share of dead units in a layer above which they are reported at the end of the run.
        vanishing_below: ratio of the first layer's gradient to the last layer's, below which it is reported.

    Attributes:
        gradients: epoch, and the root mean square of each layer's gradient.
    """

    def __init__(
        self, directory: str, every_n_epochs: int = 10, dead_above: float = 0.2, vanishing_below: float = 1e-3
    ) -> None:
        self.directory = Path(directory)
        self.every_n_epochs = every_n_epochs
        self.dead_above, self.vanishing_below = dead_above, vanishing_below
        self.gradients: list[tuple[int, dict[str, float]]] = []
        self._dead: dict[str, tuple[int, int]] = {}
        self._rows: tuple[Tensor, ...] = ()
        self._last_step = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._rows = ()
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, DataModule) or not isinstance(pl_module, Learner):
            print_note(f"callbacks.{NAME} logs nothing: it takes the project's own data and learner")
            return
        weights = data.weights["train"]
        self._rows = tuple(map(spread, (*data.part("train"), *([] if weights is None else [weights]))))
        if trainer.global_step == 0:
            self._measure(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            self._measure(trainer, pl_module, epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._measure(trainer, pl_module, trainer.current_epoch)
        self._draw(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if has_time_to_draw(exception):
            self._draw(trainer)

    def _draw(self, trainer: pl.Trainer) -> None:
        if self.gradients and self._rows:
            title = f"gradient by depth, {counted(len(self._rows[0]), 'training row')}"
            png = as_png(gradient_depth_figure(self.gradients, title))
            write_bytes(self.directory / "gradients_by_depth.png", png)
            log_picture(trainer.loggers, "gradients_by_depth", png, trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for line in self.findings():
            print_note(line)

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        if not self._rows or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        assert isinstance(pl_module, Learner)
        activations, gradients = probe(trainer, pl_module, self._rows)
        self._dead = {layer: dead_units(values) for layer, values in activations.items()}
        sizes = {layer: float(values.cpu().double().square().mean().sqrt()) for layer, values in gradients.items()}
        self.gradients.append((epoch, sizes))
        if len(self.gradients) > MOST_TOLD:
            self.gradients = self.gradients[::2]
        histograms = {f"activations/{layer}": values for layer, values in activations.items()}
        histograms |= {f"gradients/{layer}": values for layer, values in gradients.items()}
        log_histograms(trainer.loggers, histograms, trainer.global_step)
        shares = {f"dead_units/{layer}": n_dead / n for layer, (n_dead, n) in self._dead.items()}
        for logger in trainer.loggers if shares else ():
            logger.log_metrics(shares, step=trainer.global_step)

    def findings(self) -> list[str]:
        """Returns a line on dead units at the end, and one on gradients that vanish at the end or before training."""
        found = []
        dead = [
            f"{n_dead} of {n:,} in {layer}" for layer, (n_dead, n) in self._dead.items() if n_dead > self.dead_above * n
        ]
        if dead:
            rows = counted(len(self._rows[0]), "training row")
            found.append(f"dead units {when(self.gradients[-1][0])}: {', '.join(dead)} give 0 for all {rows} looked at")
        # The last measurement first, as it is of the trained network.
        for epoch, sizes in [self.gradients[-1], self.gradients[0]] if self.gradients else []:
            if len(sizes) < 2:
                continue
            (first, of_first), *_, (last, of_last) = sizes.items()
            if of_first < self.vanishing_below * of_last:
                both = f"{of_first:.1e} in {first}, {of_last:.1e} in {last} (root mean square over the weights)"
                found.append(f"vanishing gradients {when(epoch)}: {both}")
                break
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"gradients": [[epoch, sizes] for epoch, sizes in self.gradients], "last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.gradients = [(epoch, sizes) for epoch, sizes in state_dict["gradients"]]
        self._last_step = state_dict["last_step"]


def when(epoch: int) -> str:
    """Returns when a measurement was made, for people."""
    return f"after epoch {epoch}" if epoch else "before training"


def spread(rows: Tensor) -> Tensor:
    """Returns `PROBE_ROWS` rows, or all where there are fewer, at equal distances: (N, …) -> (n, …)."""
    places = torch.linspace(0, len(rows) - 1, min(len(rows), PROBE_ROWS)).round().long()
    return rows[places]


def probe(
    trainer: pl.Trainer, learner: Learner, rows: tuple[Tensor, ...]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Passes rows forwards and backwards through the network, and leaves the network unchanged.

    Returns:
        Layer → activations (n, H), and layer → gradient of the mean loss by the layer's weights.
    """
    features, *others = (tensor.to(learner.device) for tensor in rows)
    layers = {
        name.removeprefix("network."): module.weight
        for name, module in learner.model.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
        and module.weight.ndim > 1
        and module.weight.requires_grad
    }
    with evaluating(learner), torch.enable_grad(), recording_activations(learner.model) as activations:
        outputs = learner.model.forward(trainer.precision_plugin.convert_input(features))
        loss = learner.objective(outputs, *others)
        # Not `backward`, which would add to the gradients of the next update.
        gradients = torch.autograd.grad(loss, list(layers.values()), allow_unused=True)
    named = zip(layers, gradients, strict=True)
    return dict(activations), {name: gradient for name, gradient in named if gradient is not None}


def dead_units(activations: Tensor) -> tuple[int, int]:
    """Counts the units whose activation is 0 for every row: (n, …, H) -> number of dead units, of all units."""
    is_dead = (activations == 0).all(dim=0)
    return int(is_dead.sum()), is_dead.numel()
