"""On a GPU, where there is one; what of it can be shown without one is in the tests of its parts."""

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from mlplab import training
from mlplab.engine.epoch_loop import FastEpochLoop
from mlplab.engine.fused_adam import FusedAdam

GPU = ["trainer=gpu", "data=digits", "trainer.max_epochs=2"]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")


class Watch(Callback):
    """Notes where the batches are, and which loop runs."""

    def __init__(self) -> None:
        self.devices: set[str] = set()
        self.is_fast: list[bool] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.devices |= {tensor.device.type for tensor in batch}
        self.is_fast.append(trainer.fit_loop.epoch_loop._is_fast)


@needs_gpu
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "momentum"])
def test_the_data_are_on_the_gpu_and_the_lean_loop_runs(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    build_callbacks, watch = training.build_callbacks, Watch()
    monkeypatch.setattr(training, "build_callbacks", lambda config: [watch, *build_callbacks(config)])
    run = train_run(*GPU, f"optimizer={optimizer}")
    assert watch.devices == {"cuda"}
    assert all(watch.is_fast)
    assert run.result["steps"] == 80
    assert run.result["test"]["test/accuracy"] > 0.5


@needs_gpu
def test_a_gpu_learns_what_the_processor_learns(train_run: Any) -> None:
    on_gpu, on_cpu = (
        train_run("data=digits", "trainer.max_epochs=3", "model.dropout=0", f"trainer={device}")
        for device in ("gpu", "cpu")
    )
    assert on_gpu.objective == pytest.approx(on_cpu.objective, rel=0.02)


def test_adams_kernel_is_left_to_pytorch_elsewhere() -> None:
    for device, is_direct in (("cpu", True), ("meta", False)):
        optimizer = FusedAdam([torch.nn.Parameter(torch.zeros(3, device=device))], lr=0.001, fused=is_direct)
        assert vars(optimizer)["_is_direct"] == is_direct


def test_batches_go_by_the_strategy_where_the_device_is_not_the_processor(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    run_start, send = FastEpochLoop.on_run_start, pl.strategies.SingleDeviceStrategy.batch_to_device

    def elsewhere(self: Any, fetcher: Any) -> None:
        strategy = self.trainer.strategy
        with monkeypatch.context() as patch:
            patch.setattr(type(strategy), "root_device", property(lambda self: torch.device("meta")))
            run_start(self, fetcher)

    def note(self: Any, batch: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(batch)
        return send(self, batch, *arguments, **options)

    monkeypatch.setattr(FastEpochLoop, "on_run_start", elsewhere)
    monkeypatch.setattr(pl.strategies.SingleDeviceStrategy, "batch_to_device", note)
    train_run("data=wine", "trainer.max_epochs=1", "callbacks=minimal", "logger=none", "trainer.limit_val_batches=0")
    assert len(sent) >= 4


@needs_gpu
def test_pictures_are_drawn_of_a_network_on_a_gpu(train_run: Any) -> None:
    directory = train_run("trainer=gpu", "data=circles", "callbacks=pictures", "trainer.max_epochs=2").directory
    drawn = {path.name for path in (directory / "figures").iterdir()}
    assert {"learned_function.gif", "hidden_units_hidden.0.png", "gradients_by_depth.png"} <= drawn
    drawn = {path.name for path in (train_run(*GPU, "callbacks=pictures").directory / "figures").iterdir()}
    assert {"weight_images.png", "mistakes.png", "gradients_by_depth.png"} <= drawn
