"""Histograms as TensorBoard reads them, of ordinary networks and of those that diverge."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from mlplab.callbacks import Histograms
from mlplab.loggers.tensorboard import CalmTensorBoardLogger


def written(directory: Path, *values: torch.Tensor) -> EventAccumulator:
    """What TensorBoard reads after the parameters `0`, `1`, … with these values have been written."""
    logger = CalmTensorBoardLogger(str(directory))
    trainer: Any = SimpleNamespace(global_step=7, is_global_zero=True, loggers=[logger])
    parameters: Any = nn.ParameterList(values)
    Histograms().on_train_end(trainer, parameters)
    logger.finalize("success")
    return EventAccumulator(str(directory), size_guidance={"histograms": 0}).Reload()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-15, 1.0, 1e18])
def test_the_page_has_the_distribution(tmp_path: Path, dtype: torch.dtype, size: float) -> None:
    values = (size * torch.tensor([[-2.0, 0.0], [1.0, 4.0]])).to(dtype)
    (event,) = written(tmp_path, values).Histograms("0")
    found = event.histogram_value
    exact = values.double()
    assert (event.step, found.num) == (7, 4)
    assert (found.min, found.max, found.sum) == (exact.min(), exact.max(), exact.sum())
    assert sum(found.bucket) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e20, -1e30])
def test_what_cannot_be_drawn_is_left_out_and_the_rest_is_drawn(tmp_path: Path, value: float) -> None:
    log = written(tmp_path, torch.tensor([0.5, value]), torch.tensor([value]), torch.empty(0), torch.ones(2))
    assert log.Tags()["histograms"] == ["3"]


def test_a_number_is_drawn_too(tmp_path: Path) -> None:
    assert written(tmp_path, torch.tensor(2.0)).Histograms("0")[0].histogram_value.num == 1
