"""Calibrates the best state of a run on the validation part, before the test."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mlplab.callbacks.checkpoints import Checkpoints
from mlplab.callbacks.network_outputs import network_outputs
from mlplab.data.module import DataModule
from mlplab.learner import Learner
from mlplab.objectives.calibration import Reliability, calibrate, coverage, reliability
from mlplab.objectives.objective import predictions

LEVEL = 0.9
"""Level of the intervals whose coverage is measured."""


class Calibration(Callback):
    """Stores temperature and conformity scores of the validation part in best.ckpt.

    They affect neither training nor test. `scripts/predict.py` uses them on request, for intervals, sets and scaled
    probabilities.

    Attributes:
        summary: for result.json, as plain values; empty until the run has been calibrated.
        before, after: reliability on the test part without and with the temperature; None for regression. `after` is
            also None if no temperature was found.
    """

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.before: Reliability | None = None
        self.after: Reliability | None = None

    # By now the learner has the best weights, after their last validation.
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or not isinstance(pl_module, Learner) or not isinstance(data, DataModule):
            return
        outputs, targets = _outputs(trainer, pl_module, data, "val")
        calibration = calibrate(outputs, targets, pl_module.task)
        if calibration is None:
            return
        pl_module.card["calibration"] = calibration
        self._measure(trainer, pl_module, data, calibration)
        checkpoints = next((one for one in trainer.callbacks if isinstance(one, Checkpoints)), None)  # type: ignore[attr-defined]
        if checkpoints is not None:
            checkpoints.write_best(trainer, pl_module, again=True)

    def _measure(self, trainer: pl.Trainer, learner: Learner, data: DataModule, calibration: dict[str, Any]) -> None:
        """Measures the quality of the calibration on the test part."""
        outputs, targets = _outputs(trainer, learner, data, "test")
        covered = coverage(calibration, LEVEL, outputs, targets, learner.task)
        self.summary = {"rows": calibration["n_rows"], f"test_coverage_of_{LEVEL}": covered}
        if learner.task.kind != "classification":
            return
        temperature = self.summary["temperature"] = calibration["temperature"]
        self.before = reliability(predictions(outputs, learner.task), targets)
        self.summary["test_ece"] = self.before.error
        if temperature is not None:
            self.after = reliability(predictions(outputs / temperature, learner.task), targets)
            self.summary["test_ece_with_temperature"] = self.after.error


def _outputs(trainer: pl.Trainer, learner: Learner, data: DataModule, part: str) -> tuple[Tensor, Tensor]:
    """Returns the network's outputs for all rows of a part, on the CPU and in 32 bits or more, and the targets."""
    features, targets = data.part(part)  # type: ignore[arg-type]
    return network_outputs(trainer, learner, features), targets.cpu()
