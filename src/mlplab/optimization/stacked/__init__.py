"""The updates of K networks at once, each by its own options and with its own state."""

from mlplab.optimization.stacked.optimizer import StackedOptimizer
from mlplab.optimization.stacked.stacking import shape_of, why_not_stackable

__all__ = ["StackedOptimizer", "shape_of", "why_not_stackable"]
