"""Callbacks for training, one small file each."""

from mlplab.callbacks.checkpoints import Checkpoints
from mlplab.callbacks.gradient_norms import GradientNorms
from mlplab.callbacks.histograms import Histograms
from mlplab.callbacks.history import History
from mlplab.callbacks.learning_rate_range import LearningRateRange
from mlplab.callbacks.non_finite_guard import NonFiniteGuard
from mlplab.callbacks.progress import ProgressLine
from mlplab.callbacks.pruning import Pruning
from mlplab.callbacks.result_figures import Figures
from mlplab.callbacks.status import Status
from mlplab.callbacks.training_curves import TrainingCurves

__all__ = [
    "Checkpoints",
    "Figures",
    "GradientNorms",
    "Histograms",
    "History",
    "LearningRateRange",
    "NonFiniteGuard",
    "ProgressLine",
    "Pruning",
    "Status",
    "TrainingCurves",
]
