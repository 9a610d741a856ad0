"""Ends a run whose validation no longer gets better."""

import math

import lightning.pytorch as pl
from torch import Tensor


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Lightning's, which makes up words for each improvement, and compares two numbers by ten calls of PyTorch.

    Where nothing but the value decides, and nothing is told, it is compared as a number; all else is Lightning's.
    """

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        value, best = current.item(), self.best_score.item()
        has_limits = self.min_delta or self.stopping_threshold is not None or self.divergence_threshold is not None
        if self.verbose or has_limits or not math.isfinite(value):
            return super()._evaluate_stopping_criteria(current)
        if value < best if self.mode == "min" else value > best:
            self.best_score, self.wait_count = current, 0
        elif self.wait_count + 1 >= self.patience:
            return super()._evaluate_stopping_criteria(current)
        else:
            self.wait_count += 1
        return False, None
