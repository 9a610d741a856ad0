"""Losses, metrics, modules and data that are nobody's but a test's."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split


class Focal(nn.Module):
    """The focal loss, with a temperature that learns."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma, self.temperature = gamma, nn.Parameter(torch.ones(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        logs = functional.log_softmax(outputs * self.temperature, 1).gather(1, targets.unsqueeze(1))
        return -((1 - logs.exp()) ** self.gamma * logs).mean()


def cubic(outputs: Tensor, targets: Tensor, *, power: float = 3.0) -> Tensor:
    return (outputs - targets).abs().pow(power).mean()


def per_row(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().mean(1)


def hits(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Has two values."""
    right = predicted.argmax(1) == targets
    return {"share": right.float().mean(), "number": right.sum()}


class Autoencoder(pl.LightningModule):
    """Learns the features of a batch, whatever comes behind them."""

    def __init__(self, in_features: int, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(in_features, width), nn.Dropout(0.2), nn.Linear(width, in_features)
        )

    def _loss(self, batch: Any) -> Tensor:
        return functional.mse_loss(self.layers(batch[0]), batch[0].flatten(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train/error", loss.detach(), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


class WithBackbone(pl.LightningModule):
    """A head behind a backbone, which callbacks freeze; its optimizer begins with the head."""

    def __init__(self, in_features: int, out_features: int, learning_rate: float = 0.01) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(in_features, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, out_features)
        self.learning_rate = learning_rate

    def _loss(self, batch: Any) -> Tensor:
        return functional.cross_entropy(self.head(self.backbone(batch[0])), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.head.parameters(), self.learning_rate)


class TwoOptimizers(pl.LightningModule):
    """Makes its updates itself, logs a value of training, and has neither validation nor test."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = nn.Linear(in_features, 2), nn.Linear(2, in_features)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            loss = functional.mse_loss(self.second(self.first(batch[0]) + torch.randn(2)), batch[0])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("pull", loss)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(part.parameters(), 0.01) for part in (self.first, self.second)]


class Mixed(pl.LightningModule):
    """Trains the project's network, loss and optimizer by a step of its own."""

    def __init__(self, model: nn.Module, loss: nn.Module, optimizer: Any) -> None:
        super().__init__()
        self.network, self.loss, self.optimizer = model, loss, optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self.network(batch[0] + 0.1 * torch.randn_like(batch[0])), batch[1])  # type: ignore[no-any-return]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.network.parameters())  # type: ignore[no-any-return]


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Turns some of its pictures round."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pictures = torch.randn(60, 1, 4, 4, generator=generator)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        picture = self.pictures[place]
        return picture.flip(-1) if np.random.rand() < 0.5 else picture, (picture.mean() > 0).long()  # noqa: NPY002


class PictureData(pl.LightningDataModule):
    """Splits anew whenever it is set up."""

    num_classes = 2

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        self.parts = random_split(Pictures(), [0.6, 0.2, 0.2])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[0], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[1], 50)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[2], 50)


class FoldedPictures(PictureData):
    """Takes every third picture or so as test part."""

    def __init__(self, folds: int, fold: int) -> None:
        super().__init__()
        self.folds, self.fold = folds, fold

    def setup(self, stage: str) -> None:
        rows = range(len(Pictures()))
        learned = [row for row in rows if row % self.folds != self.fold]
        tested = [row for row in rows if row % self.folds == self.fold]
        self.parts = [Subset(Pictures(), part) for part in (learned[3:], learned[:3], tested)]


def padded(rows: list[Tensor]) -> dict[str, Tensor]:
    return {"numbers": pad_sequence(rows, batch_first=True), "length": torch.tensor([len(row) for row in rows])}


class SequenceData(pl.LightningDataModule):
    """Sequences of unequal length; a batch is neither a tensor nor a pair."""

    def __init__(self, n_sequences: Any = 40) -> None:
        super().__init__()
        self.n_sequences = n_sequences

    def setup(self, stage: str) -> None:
        self.n_validated = self.n_sequences // 2

    def _loader(self, n_rows: int, *, shuffle: bool = False) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(n_rows)
        rows = [torch.randn(3 + place % 5, generator=generator) for place in range(n_rows)]
        return DataLoader(rows, 8, shuffle=shuffle, collate_fn=padded)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.n_sequences, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.n_validated)


class OfSequences(pl.LightningModule):
    """Learns the mean of each sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(1, 4, batch_first=True)

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        means = batch["numbers"].sum(1) / batch["length"]
        return functional.mse_loss(self.layer(batch["numbers"].unsqueeze(2))[1][0, :, 0], means)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self._loss(batch), batch_size=len(batch["length"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


class Silent(OfSequences):
    """Logs nothing."""

    def _loss(self, batch: Any) -> Tensor:
        return self.layer(batch[0].unsqueeze(2))[1].mean()  # type: ignore[no-any-return]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._loss(batch)


class NumberData(PictureData):
    def setup(self, stage: str) -> None:
        rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        self.parts = random_split(TensorDataset(rows, (rows[:, 0] > 0).long()), [0.6, 0.2, 0.2])


class Convolution(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, out_features))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)  # type: ignore[no-any-return]
