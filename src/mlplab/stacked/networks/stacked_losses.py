"""The losses and penalties of K members at once, each what the member's own would be.

Legend: K members, B batch, C outputs, T targets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlplab.engine.kernels import BELOW_AUTOGRAD
from mlplab.engine.recognition import LOSSES
from mlplab.errors import UserError
from mlplab.objectives.losses import cross_entropy, mse
from mlplab.objectives.objective import Objective
from mlplab.stacked.networks.loss_gradients import LossesAndBackward, cross_entropies, squared_errors
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.tensors import per_member


class StackedObjective(nn.Module):
    """The mean losses of K batches: outputs (K, B, C or T), targets (K, B) or (K, B, T) -> (K,).

    Args:
        objectives: the members' own, of one `loss_shape` of `mlplab.stacked.eligibility`.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.function = objectives[0].function
        self._arrange(objectives)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self._require_members(outputs, targets)
        if self.has_kernels:
            return self._with_kernels(outputs, targets)[0]
        if self.function in LOSSES:  # `torch.vmap` carries their one definition over; somebody's own it may not
            return self._batched(outputs, targets)
        members = zip(self.objectives, outputs, targets, strict=True)
        return torch.stack([objective(rows, wanted) for objective, rows, wanted in members])

    def with_backward(self, outputs: Tensor, targets: Tensor) -> LossesAndBackward:
        """Returns the losses (K,), and a function from their gradient (K,) to that of the outputs (K, B, C).

        Of a loss without a kernel, autograd finds it.
        """
        if self.has_kernels:
            self._require_members(outputs, targets)
            with BELOW_AUTOGRAD():
                losses, kernel = self._with_kernels(outputs, targets)

            def below_autograd(gradient: Tensor) -> Tensor:
                with BELOW_AUTOGRAD():
                    return kernel(gradient)

            return losses, below_autograd
        leaf = outputs.requires_grad_()
        losses = self(leaf, targets)

        def backward(gradient: Tensor) -> Tensor:
            (of_outputs,) = torch.autograd.grad((losses * gradient).sum(), leaf)
            return of_outputs

        return losses.detach(), backward

    @property
    def has_kernels(self) -> bool:
        """Returns whether the gradient is computed by kernels."""
        return self.function in (cross_entropy, mse)

    def _require_members(self, outputs: Tensor, targets: Tensor) -> None:
        if outputs.shape[:2] != targets.shape[:2] or len(outputs) != len(self.objectives):
            raise UserError(
                f"outputs and targets must have {len(self.objectives)} members and the same rows",
                f"{tuple(outputs.shape)} and {tuple(targets.shape)}",
                "features and targets of the same members",
            )

    def select(self, rows: Sequence[int]) -> None:
        """Leaves those members, in that order."""
        self._arrange([self.objectives[row] for row in rows])

    def _arrange(self, objectives: Sequence[Objective]) -> None:
        self.objectives = list(objectives)
        weights = [objective.class_weights for objective in objectives if objective.class_weights is not None]
        shares = [float(objective.options.get("label_smoothing", 0.0)) for objective in objectives]
        self.class_weights = torch.stack(weights) if weights else None
        self.label_smoothing = torch.tensor(shares, dtype=torch.float64) if any(shares) else None

    def _with_kernels(self, outputs: Tensor, targets: Tensor) -> LossesAndBackward:
        if self.function is mse:
            return squared_errors(outputs, targets)
        return cross_entropies(outputs, targets, self.class_weights, self.label_smoothing)

    def _batched(self, outputs: Tensor, targets: Tensor) -> Tensor:
        shared = {name: v for name, v in self.objectives[0].options.items() if name != "label_smoothing"}
        own: dict[str, Tensor] = {}
        if self.class_weights is not None:
            own["class_weights"] = self.class_weights
        if self.label_smoothing is not None:
            own["label_smoothing"] = self.label_smoothing.to(outputs.dtype)

        def one(outputs: Tensor, targets: Tensor, own: Mapping[str, Any]) -> Tensor:
            return self.function(outputs, targets, **shared, **own)

        return torch.vmap(one)(outputs, targets, own)


class StackedPenalty:
    """l1·Σ|w| + (l2/2)·Σw² of each member, as `mlplab.objectives.penalties` has it for one.

    Args:
        l1: one for each member (K,).
        l2: one for each member (K,).
        penalised: the names of the parameters that it falls on, as they are called in each member.

    Attributes:
        is_none: whether there is nothing to add.
    """

    def __init__(self, l1: Sequence[float], l2: Sequence[float], penalised: Sequence[str]) -> None:
        self.l1 = torch.tensor(l1, dtype=torch.float64)
        self.l2 = torch.tensor(l2, dtype=torch.float64)
        self.penalised = list(penalised)
        self.is_none = not (any(l1) or any(l2))

    @torch.no_grad()
    def add_gradients(self, network: StackedNetwork) -> None:
        """Adds l1·sign(w) + l2·w to `.grad`."""
        for name in self.penalised:
            weight = network.tensors[name]
            for factors, direction in ((self.l1, torch.sign), (self.l2, torch.positive)):
                if factors.any():
                    gradient = direction(weight) * per_member(factors, weight)
                    weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)

    @torch.no_grad()
    def values(self, network: StackedNetwork) -> Tensor:
        """What each member's loss grows by: (K,)."""
        total = torch.zeros(())
        for name in self.penalised:
            weights = network.tensors[name].flatten(1)
            if self.l1.any():
                total = total + weights.abs().sum(1) * per_member(self.l1, weights[:, 0])
            if self.l2.any():
                total = total + weights.square().sum(1) * per_member(0.5 * self.l2, weights[:, 0])
        return total.expand(len(self.l1))

    def select(self, rows: Sequence[int]) -> None:
        """Leaves those members, in that order."""
        self.l1, self.l2 = self.l1[list(rows)], self.l2[list(rows)]
