"""Computes losses and penalties of K members at once, each with the same value as alone.

Legend: K members, B batch, C outputs, T targets.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlplab.engine.kernels import BELOW_AUTOGRAD
from mlplab.engine.recognition import LOSSES
from mlplab.objectives.losses import cross_entropy, mse
from mlplab.objectives.objective import Objective
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_tensors import per_member

LossesAndBackward = tuple[Tensor, Callable[[Tensor], Tensor]]
"""The losses (K,), and a function from their gradient (K,) to that of the outputs (K, B, C)."""


class StackedObjective(nn.Module):
    """The mean losses of K batches: outputs (K, B, C or T), targets (K, B) or (K, B, T) -> (K,).

    Args:
        objectives: the members' own, of one `loss_shape` of `mlplab.stacked.eligibility`.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.function = objectives[0].function
        self._arrange(objectives)

    @property
    def has_kernels(self) -> bool:
        """Returns whether the gradient is computed by kernels."""
        # Losses without a kernel use autograd, but only up to the outputs.
        return self.function in (cross_entropy, mse)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.has_kernels:
            return self._with_kernels(outputs, targets)[0]
        if self.function in LOSSES:  # `torch.vmap` applies the original definition to all members
            return self._batched(outputs, targets)
        # Member by member, as a user's own loss may branch on values, which `torch.vmap` refuses.
        members = zip(self.objectives, outputs, targets, strict=True)
        return torch.stack([objective(rows, wanted) for objective, rows, wanted in members])

    def with_backward(self, outputs: Tensor, targets: Tensor) -> LossesAndBackward:
        """Returns the losses (K,), and a function from their gradient (K,) to that of the outputs (K, B, C).

        Autograd computes the gradient of a loss without a kernel.
        """
        if self.has_kernels:
            with BELOW_AUTOGRAD():
                losses, kernel = self._with_kernels(outputs, targets)

            def below_autograd(gradient: Tensor) -> Tensor:
                with BELOW_AUTOGRAD():
                    return kernel(gradient)

            return losses, below_autograd
        # A leaf, so that autograd stops at the outputs.
        leaf = outputs.requires_grad_()
        losses = self(leaf, targets)

        def backward(gradient: Tensor) -> Tensor:
            # A member's loss depends only on its own outputs, so one pass gives all gradients.
            (of_outputs,) = torch.autograd.grad((losses * gradient).sum(), leaf)
            return of_outputs

        return losses.detach(), backward

    def select(self, rows: Sequence[int]) -> None:
        """Keeps those members, in that order."""
        self._arrange([self.objectives[row] for row in rows])

    def _arrange(self, objectives: Sequence[Objective]) -> None:
        self.objectives = list(objectives)
        # Either all members have class weights or none, see `loss_shape`.
        weights = [objective.class_weights for objective in objectives if objective.class_weights is not None]
        shares = [float(objective.options.get("label_smoothing", 0.0)) for objective in objectives]
        self.class_weights = torch.stack(weights) if weights else None
        self.label_smoothing = torch.tensor(shares, dtype=torch.float64) if any(shares) else None

    def _with_kernels(self, outputs: Tensor, targets: Tensor) -> LossesAndBackward:
        if self.function is mse:
            return _squared_errors(outputs, targets)
        return _cross_entropies(outputs, targets, self.class_weights, self.label_smoothing)

    def _batched(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # Equal for all members, except the smoothing.
        shared = {name: v for name, v in self.objectives[0].options.items() if name != "label_smoothing"}
        own: dict[str, Tensor] = {}
        if self.class_weights is not None:
            own["class_weights"] = self.class_weights
        if self.label_smoothing is not None:
            own["label_smoothing"] = self.label_smoothing.to(outputs)

        def one(outputs: Tensor, targets: Tensor, own: Mapping[str, Any]) -> Tensor:
            return self.function(outputs, targets, **shared, **own)

        return torch.vmap(one)(outputs, targets, own)


# By hand, as `torch.vmap` over the room's definition takes ten times as long.
def _cross_entropies(
    outputs: Tensor, targets: Tensor, class_weights: Tensor | None, label_smoothing: Tensor | None
) -> LossesAndBackward:
    """Computes `losses.cross_entropy` of each member. (K, B, C), (K, B), weights (K, C), ε (K,) -> (K,).

    With q the smoothed target and w the weight of a row's class, the loss is the mean of −w Σ q log softmax(z).
    """
    n_rows, n_classes = outputs.shape[1:]
    # (K, C, B), as over a short last dimension the kernel takes twenty times as long.
    log_probabilities = torch.log_softmax(outputs.transpose(1, 2), 1)
    places = targets.unsqueeze(1)
    row_losses = -log_probabilities.gather(1, places).squeeze(1)
    of_true = of_all = None
    if label_smoothing is not None:
        of_true, of_all = (
            share.to(outputs).unsqueeze(1) for share in (1 - label_smoothing, label_smoothing / n_classes)
        )
        row_losses = of_true * row_losses - of_all * log_probabilities.sum(1)
    row_weights = None if class_weights is None else class_weights.gather(1, targets)
    if row_weights is not None:
        row_losses = row_losses * row_weights

    def backward(gradient: Tensor) -> Tensor:
        # The gradient of each row's log-probability: the mean divides by the rows, the loss has a minus.
        of_rows = (gradient / -n_rows).unsqueeze(1).expand(targets.shape)
        if row_weights is not None:
            of_rows = of_rows * row_weights
        if of_true is None or of_all is None:
            of_logs = torch.zeros_like(log_probabilities).scatter_(1, places, of_rows.unsqueeze(1))
        else:
            of_logs = (of_rows * of_all).unsqueeze(1).repeat(1, n_classes, 1)
            of_logs.scatter_add_(1, places, (of_rows * of_true).unsqueeze(1))
        return torch._log_softmax_backward_data(of_logs, log_probabilities, 1, outputs.dtype).transpose(1, 2)

    return row_losses.mean(1), backward


def _squared_errors(outputs: Tensor, targets: Tensor) -> LossesAndBackward:
    """Computes `losses.mse` of each member. (K, B, T), (K, B, T) -> (K,)."""
    errors = outputs - targets
    # The mean is over the values of one member.
    n_values = errors[0].numel()
    return errors.square().mean((1, 2)), lambda gradient: errors * (gradient * (2 / n_values)).view(-1, 1, 1)


class StackedPenalty:
    """The gradient of l1·Σ|w| + (l2/2)·Σw² of each member, see `mlplab.objectives.penalties`.

    Args:
        l1, l2: one for each member.
        regularized: the names of the penalised parameters.
    """

    def __init__(self, l1: Sequence[float], l2: Sequence[float], regularized: Sequence[str]) -> None:
        self._terms = [
            (torch.tensor(factors, dtype=torch.float64), derivative)
            # d|w|/dw = sign(w), and d(½w²)/dw = w.
            for factors, derivative in ((l1, torch.sign), (l2, torch.positive))
            # A penalty that no member has is skipped.
            if any(factors)
        ]
        self._regularized = list(regularized)

    @torch.no_grad()
    def add_gradients(self, network: StackedNetwork) -> None:
        """Adds l1·sign(w) + l2·w to `.grad`."""
        for factors, derivative in self._terms:
            for name in self._regularized:
                weight = network.tensors[name]
                gradient = derivative(weight) * per_member(factors, weight)
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)

    def select(self, rows: Sequence[int]) -> None:
        """Keeps those members, in that order."""
        self._terms = [(factors[list(rows)], derivative) for factors, derivative in self._terms]
