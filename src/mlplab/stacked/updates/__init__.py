"""The updates of K networks at once, each by its own options and with its own state."""

from mlplab.stacked.updates.optimizer import StackedOptimizer
from mlplab.stacked.updates.stacking import shape_of, why_not_stackable

__all__ = ["StackedOptimizer", "shape_of", "why_not_stackable"]
