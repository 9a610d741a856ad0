"""Callbacks for training, one small file each."""

from mlplab.callbacks.averaging import ExponentialMovingAverage as ExponentialMovingAverage
from mlplab.callbacks.averaging import StochasticWeightAverage as StochasticWeightAverage
from mlplab.callbacks.calibrating import Calibration as Calibration
from mlplab.callbacks.checkpoints import Checkpoints as Checkpoints
from mlplab.callbacks.configured_patience import ConfiguredPatience as ConfiguredPatience
from mlplab.callbacks.flat_cosine import FlatCosine as FlatCosine
from mlplab.callbacks.gradient_norms import GradientNorms as GradientNorms
from mlplab.callbacks.hidden_units import HiddenUnits as HiddenUnits
from mlplab.callbacks.histograms import Histograms as Histograms
from mlplab.callbacks.history import History as History
from mlplab.callbacks.layer_statistics import LayerStatistics as LayerStatistics
from mlplab.callbacks.learned_function import LearnedFunction as LearnedFunction
from mlplab.callbacks.learning_rate_range import LearningRateRange as LearningRateRange
from mlplab.callbacks.mistakes import Mistakes as Mistakes
from mlplab.callbacks.non_finite_guard import NonFiniteGuard as NonFiniteGuard
from mlplab.callbacks.own_module import OwnModule as OwnModule
from mlplab.callbacks.progress import ProgressLine as ProgressLine
from mlplab.callbacks.result_figures import Figures as Figures
from mlplab.callbacks.status import Status as Status
from mlplab.callbacks.training_curves import TrainingCurves as TrainingCurves
from mlplab.callbacks.weight_images import WeightImages as WeightImages
