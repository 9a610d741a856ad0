"""Combines several networks into one that averages their predictions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlplab.models.tabm import average_members


class Ensemble(nn.Module):
    """Averages the predictions of its members: (B, F) -> (B, C), or (B, T) values (Lakshminarayanan et al. 2017).

    It returns raw outputs, which `predictions` converts to the means; see `average_members`.

    Args:
        members: K networks with their input layers. For two classes, members may have one logit or two.
        kind: of the task.
    """

    def __init__(self, members: Sequence[nn.Module], kind: str) -> None:
        super().__init__()
        self.members, self.kind = nn.ModuleList(members), kind

    def forward(self, features: Tensor) -> Tensor:
        outputs = [member(features) for member in self.members]
        if self.kind == "classification":
            # One logit z is equivalent to the two logits 0 and z.
            outputs = [torch.cat([torch.zeros_like(z), z], 1) if z.shape[1] == 1 else z for z in outputs]
        average_of = {"classification": "softmax", "multilabel": "sigmoid", "regression": "values"}[self.kind]
        return average_members(torch.stack(outputs, dim=1), average_of)
