"""The LightningModule, as somebody would use it without the rest."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from mlplab.data.dataset import Dataset
from mlplab.data.module import DataModule
from mlplab.learner import Learner
from mlplab.models import MLP
from mlplab.objectives.objective import build_objective


def make_data(kind: str) -> DataModule:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(90, 3, generator=generator, dtype=torch.float64).numpy()
    if kind == "classification":
        data = Dataset("made", features, (features[:, 0] > 0).astype("int64"), class_names=("no", "yes"))
    else:
        data = Dataset("made", features, 100 + 50 * features[:, 1], unit="kg")
    module = DataModule(lambda: data, batch_size=8)
    module.setup()
    return module


def make_learner(data: DataModule, loss: str = "auto", **options: object) -> Learner:
    objective = build_objective(loss, data.task, class_counts=data.class_counts)
    outputs = 2 if loss != "binary_cross_entropy" and data.task.n_classes else 1
    torch.manual_seed(0)
    return Learner(
        model=MLP(in_features=3, out_features=outputs, hidden_dims=[8]),
        objective=objective,
        task=data.task,
        optimizer=partial(torch.optim.Adam, lr=0.01),
        **options,  # type: ignore[arg-type]
    )


def make_trainer(**flags: object) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, **flags,  # type: ignore[arg-type]
    )  # fmt: skip


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_it_works_with_lightnings_own_trainer_and_loop(loss: str) -> None:
    data = make_data("classification")
    learner = make_learner(data, loss)
    trainer = make_trainer(max_epochs=8)
    trainer.fit(learner, data)
    (scores,) = trainer.test(learner, data, verbose=False)
    assert scores["test/accuracy"] > 0.8
    probabilities = torch.cat(trainer.predict(learner, data))  # type: ignore[arg-type]
    assert probabilities.shape == (14, 2)
    assert probabilities.sum(dim=1) == pytest.approx(torch.ones(14), abs=1e-6)


def test_predictions_and_scores_of_a_regression_are_in_the_targets_unit() -> None:
    data = make_data("regression")
    learner = make_learner(data)
    trainer = make_trainer(max_epochs=10)
    trainer.fit(learner, data)
    (scores,) = trainer.test(learner, data, verbose=False)
    predicted = torch.cat(trainer.predict(learner, data))  # type: ignore[arg-type]
    features, targets = data.part("test")
    truth = targets * data.task.target_std + data.task.target_mean
    rmse = (predicted - truth).square().mean().sqrt().item()
    assert scores["test/rmse"] == pytest.approx(rmse, rel=1e-5)
    assert scores["test/loss"] == pytest.approx(rmse**2 / data.task.target_std**2, rel=1e-4)
    assert 40 < predicted.mean() < 160
    assert features.abs().max() < 10


def test_the_penalty_is_in_the_loss_that_is_differentiated_and_not_in_the_one_that_is_shown() -> None:
    data = make_data("classification")
    plain, penalised = make_learner(data), make_learner(data, l1=0.1, l2=0.2)
    make_trainer(max_epochs=0).fit(plain, data)
    make_trainer(max_epochs=0).fit(penalised, data)
    batch = data.part("train")
    shown, outputs = plain.training_step(batch, 0)["data_loss"], penalised.training_step(batch, 0)
    weights = [penalised.model.hidden[0].linear.weight, penalised.model.output.weight]  # type: ignore[union-attr,index]
    penalty = sum(0.1 * w.abs().sum() + 0.1 * w.square().sum() for w in weights)  # type: ignore[operator,union-attr]
    assert outputs["data_loss"].item() == shown.item()
    assert outputs["loss"].item() == pytest.approx(shown.item() + float(penalty.detach()), rel=1e-6)


def test_evaluation_does_not_use_dropout() -> None:
    data = make_data("classification")
    learner = make_learner(data)
    learner.model = MLP(in_features=3, out_features=2, hidden_dims=[8], dropout=0.9)
    trainer = make_trainer(max_epochs=1)
    first, second = (trainer.validate(learner, data, verbose=False) for _ in range(2))
    assert first == second


def test_a_foreign_network_is_trained_alike() -> None:
    data = make_data("classification")
    learner = make_learner(data)
    learner.model = nn.Sequential(nn.Linear(3, 2))
    trainer = make_trainer(max_epochs=10)
    trainer.fit(learner, data)
    assert trainer.callback_metrics["val/accuracy"] > 0.6


def test_the_card_is_in_every_checkpoint_that_lightning_writes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = make_data("classification")
    learner = make_learner(data, card={"format": 1})
    trainer = make_trainer(max_epochs=1)
    trainer.fit(learner, data)
    trainer.save_checkpoint(tmp_path / "any.ckpt")
    assert torch.load(tmp_path / "any.ckpt", weights_only=True)["card"] == {"format": 1}
