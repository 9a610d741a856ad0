"""Passing over updates that are not finite on a GPU, without waiting there to hear whether one was."""

import torch
from torch import Tensor
from torch.optim import Optimizer

GUARDED = {"cuda"}
"""Kinds of devices that work while the processor goes ahead, so that asking for a number makes it wait."""


def can_guard(optimizer: Optimizer, device: torch.device) -> bool:
    """Whether the optimizer can be told on the device not to make an update, as the fused ones can."""
    return device.type in GUARDED and bool(getattr(optimizer, "_step_supports_amp_scaling", False))


class GuardedUpdates:
    """Looks at every loss and gradient on the device, where the optimizer passes over what is not finite.

    Attributes:
        n_unread: updates since somebody asked how many were passed over.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.n_unread = 0
        self._found, self._one = torch.zeros((), device=device), torch.ones((), device=device)
        self._passed_over, self._in_a_row, self._most_in_a_row, self._first = (
            torch.zeros((), dtype=torch.int64, device=device) for _ in range(4)
        )

    def guard(self, gradients: list[Tensor], loss: Tensor | None, step: int) -> None:
        """Before the update of a step, counted from 1."""
        found = self._found.zero_()
        if gradients:
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, self._one)
        if loss is not None:
            torch.maximum(found, (~loss.detach().isfinite()).to(found.dtype), out=found)
        self.optimizer.found_inf = found  # type: ignore[attr-defined]  # where a gradient scaler puts it
        is_bad = found.to(torch.int64)
        self._first += is_bad * (self._passed_over == 0) * step
        self._passed_over += is_bad
        self._in_a_row.add_(1).mul_(is_bad)
        torch.maximum(self._most_in_a_row, self._in_a_row, out=self._most_in_a_row)
        self.n_unread += 1

    def read(self) -> tuple[int, int, int]:
        """Since the last time: how many were passed over, the step of the first, and the most in a row so far."""
        counts = (self._passed_over, self._first, self._most_in_a_row)
        n_passed_over, first, most_in_a_row = torch.stack(counts).tolist()
        for count in counts:
            count.zero_()
        self.n_unread = 0
        return n_passed_over, first, most_in_a_row
