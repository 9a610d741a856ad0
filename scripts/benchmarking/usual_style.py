"""The style of the common Lightning templates: metrics and self.log at every step, Rich's bar, default collating."""

import tempfile
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy


class UsualModule(pl.LightningModule):
    def __init__(self, network: nn.Module, n_classes: int, lr: float) -> None:
        super().__init__()
        self.network, self.lr = network, lr
        self.criterion = nn.CrossEntropyLoss()
        parts = ("fit", "val", "test")
        self.losses = nn.ModuleDict({part: MeanMetric() for part in parts})
        self.accuracies = nn.ModuleDict({p: MulticlassAccuracy(n_classes, average="micro") for p in parts})

    def _step(self, part: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        features, targets = batch
        outputs = self.network(features)
        loss: Tensor = self.criterion(outputs, targets)
        self.losses[part](loss)
        self.accuracies[part](outputs.argmax(1), targets)
        self.log(f"{part}/loss", self.losses[part], on_step=False, on_epoch=True, prog_bar=True)
        self.log(f"{part}/acc", self.accuracies[part], on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step("fit", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._step("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._step("test", batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def fit(
    settings: dict[str, Any], arrays: dict[str, Any], begin: Callable[[], float], network: nn.Module
) -> tuple[float, int, float]:
    """Trains once, with the test part for validation too: it is as large."""
    parts = {
        part: TensorDataset(*(torch.from_numpy(arrays[f"{part}_{name}"]) for name in ("features", "targets")))
        for part in ("train", "test")
    }
    train_loader = DataLoader(parts["train"], batch_size=settings["batch_size"], shuffle=True)
    test_loader = DataLoader(parts["test"], batch_size=settings["batch_size"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=settings["epochs"],
            callbacks=[
                ModelCheckpoint(f"{folder}/checkpoints", monitor="val/acc", mode="max", save_last=True),
                EarlyStopping("val/acc", patience=1000, mode="max"),
                RichProgressBar(),
            ],
            logger=TensorBoardLogger(folder),
            num_sanity_val_steps=0,
            enable_model_summary=False,
        )
        module = UsualModule(network, settings["n_classes"], settings["lr"])
        began = begin()
        trainer.fit(module, train_loader, test_loader)
        seconds = time.perf_counter() - began
        accuracy = trainer.test(module, test_loader, verbose=False)[0]["test/acc"]
    return seconds, trainer.global_step, float(accuracy)
