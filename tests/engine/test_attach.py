"""What the engine sets in PyTorch when it is attached to a Trainer."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from mlplab.engine.attach import attach


@pytest.fixture(autouse=True)
def settings_as_before() -> Any:
    before = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.utils.deterministic.fill_uninitialized_memory = before
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_new_memory_is_filled_only_to_find_a_mistake(engine: Any) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, deterministic=True)
    attach(trainer, pl.LightningModule(), engine=engine)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    looking = pl.Trainer(accelerator="cpu", logger=False, deterministic=True, detect_anomaly=True)
    attach(looking, pl.LightningModule(), engine=engine)
    assert torch.isnan(torch.empty(1000)).all()
