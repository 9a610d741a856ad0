"""The mean of several networks, as one network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlplab.models.tabm import average_members


class Ensemble(nn.Module):
    """Averages what its members predict: (B, F) -> (B, C), or (B, T) values (Lakshminarayanan et al. 2017).

    The outputs are such that `predictions` makes the means of them, see `average_members`.

    Args:
        members: K networks with their input layers. Of two classes, one may have one logit and another two.
        kind: of the task.
    """

    def __init__(self, members: Sequence[nn.Module], kind: str) -> None:
        super().__init__()
        self.members, self.kind = nn.ModuleList(members), kind

    def forward(self, features: Tensor) -> Tensor:
        outputs = [member(features) for member in self.members]
        if self.kind == "classification":
            # One logit z is that of two with the logits 0 and z.
            outputs = [torch.cat([torch.zeros_like(z), z], 1) if z.shape[1] == 1 else z for z in outputs]
        average_of = {"classification": "softmax", "multilabel": "sigmoid", "regression": "values"}[self.kind]
        return average_members(torch.stack(outputs, dim=1), average_of)
