"""The mean of several networks, as one network."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Ensemble(nn.Module):
    """Averages what its members predict: (B, F) -> (B, C), or (B, T) values (Lakshminarayanan et al. 2017).

    The outputs are such that `predictions` makes the means of them: log p̄ for the mean probabilities p̄ of classes,
    log p̄ − log(1 − p̄) for labels, and the mean of the values for a regression.

    Args:
        members: networks with their input layers. Of two classes, one may have one logit and another two.
        kind: of the task.
    """

    def __init__(self, members: Sequence[nn.Module], kind: str) -> None:
        super().__init__()
        self.members, self.kind = nn.ModuleList(members), kind

    def forward(self, features: Tensor) -> Tensor:
        outputs = [member(features) for member in self.members]
        if self.kind == "regression":
            return torch.stack(outputs).mean(0)
        if self.kind == "multilabel":
            # In logarithms throughout: a sigmoid of 1.0 would have an infinite logit.
            return _log_mean(map(functional.logsigmoid, outputs)) - _log_mean(
                functional.logsigmoid(-z) for z in outputs
            )
        # One logit z is that of two with the logits 0 and z.
        logits = [torch.cat([torch.zeros_like(z), z], 1) if z.shape[1] == 1 else z for z in outputs]
        return _log_mean(torch.log_softmax(z, 1) for z in logits)


def _log_mean(logarithms: Iterable[Tensor]) -> Tensor:
    """Computes log Σ exp(l) / K from K logarithms l of one shape."""
    stacked = torch.stack(list(logarithms))
    return torch.logsumexp(stacked, 0) - math.log(len(stacked))
