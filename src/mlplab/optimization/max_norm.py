"""Limits the length of each unit's incoming weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def incoming_weights(model: nn.Module) -> list[Tensor]:
    """Returns the trainable weights (fan_out, fan_in) of the linear layers: a row for each unit."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return [layer.weight for layer in layers if layer.weight.requires_grad]


@torch.no_grad()
def limit_norms(weights: Iterable[Tensor], max_norm: float) -> None:
    """Scales each row w with ‖w‖ > `max_norm` to that length, in place (Srivastava et al. 2014, section 5.1).

    NOTE[DIFF]: the paper limits hidden units; here the units of the output layer are limited too.
    """
    for weight in weights:
        weight.renorm_(2, 0, max_norm)
