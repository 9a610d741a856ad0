"""Logs the size of the gradient in every layer, to show vanishing and exploding gradients."""

import contextlib
import math
from itertools import islice

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from mlplab.callbacks.training_curves import logged_step


class GradientNorms(Callback):
    """Logs `gradient_norm/LAYER`, the L2 norm over the layer's weights and biases, at the steps of `logged_step`.

    Norms are taken before clipping. `gradient_norm/all` is the norm over all layers, which clipping by norm limits.

    Args:
        log10: also logs `gradient_norm_log10/LAYER`, the exponents. TensorBoard prints four decimals: a norm of 2e-5
            reads 0.0000, its exponent −4.7. A norm of 0 is left out.

    Attributes:
        pending: step and norms of each parameter, to be written to the loggers.
    """

    def __init__(self, log10: bool = False) -> None:
        self._log10 = log10
        self._layers: dict[str, list[nn.Parameter]] = {}
        self._n_groups: int | None = None
        self.pending: list[tuple[int, list[Tensor]]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._find_layers(pl_module, {id(p) for p in pl_module.parameters() if p.requires_grad})

    def _find_layers(self, pl_module: pl.LightningModule, learned: set[int]) -> None:
        # With an input layer the MLP is called `network`; curves name its layers without it.
        network = getattr(pl_module, "model", None)
        network = network if isinstance(network, nn.Module) else pl_module
        parameters = {
            # The network itself has an empty name, under which parameters outside of layers are found.
            name.removeprefix("network.") or "model": [p for p in layer.parameters(recurse=False) if id(p) in learned]
            for name, layer in network.named_modules()
        }
        self._layers = {name: members for name, members in parameters.items() if members}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        # The step of the update that is about to be made.
        step = logged_step(trainer.global_step + 1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if step is None:
            return
        if self.pending and self.pending[-1][0] == step:
            return  # the first point of a line search is the current weights
        n_groups = sum(len(one.param_groups) for one in trainer.optimizers)
        if n_groups != self._n_groups:
            self.flush_logs(trainer)
            # Only parameters of the optimizers (finetuning adds some): the gradients of others are never cleared.
            groups = [group for one in trainer.optimizers for group in one.param_groups]
            self._find_layers(pl_module, {id(p) for group in groups for p in group["params"]})
            self._n_groups = n_groups
        # Tensors until the end of the epoch, as reading a number makes the CPU wait for a GPU.
        norms = [
            torch.linalg.vector_norm(p.grad) if p.grad is not None else torch.zeros((), device=p.device)
            for members in self._layers.values()
            for p in members
        ]
        self.pending.append((step, norms))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush_logs(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        with contextlib.suppress(OSError):  # the exception may be a full disk
            self.flush_logs(trainer)

    def flush_logs(self, trainer: pl.Trainer) -> None:
        """Writes the pending norms to the loggers. Also called before a checkpoint, which stores the logs' length."""
        if not self.pending:
            return
        # One transfer from the device for all pending norms.
        of_parameters = iter(torch.stack([norm for _, norms in self.pending for norm in norms]).tolist())
        for step, _ in self.pending:
            named = {
                f"gradient_norm/{name}": math.hypot(*islice(of_parameters, len(members)))
                for name, members in self._layers.items()
            }
            named["gradient_norm/all"] = math.hypot(*named.values())
            if self._log10:
                exponents = {name: math.log10(norm) for name, norm in named.items() if norm > 0}
                named |= {
                    name.replace("gradient_norm/", "gradient_norm_log10/"): value for name, value in exponents.items()
                }
            for logger in trainer.loggers:
                logger.log_metrics(named, step=step)
        self.pending = []
