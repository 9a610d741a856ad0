"""The quick Trainer answers as Lightning's does."""

from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.trainer.states import RunningStage, TrainerFn

from mlplab.engine.lean_trainer import Trainer
from mlplab.learner import Learner

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture
def both() -> list[Any]:
    return [kind(accelerator="cpu", max_epochs=1, **QUIET) for kind in (Trainer, pl.Trainer)]


@pytest.mark.parametrize("stage", [None, *RunningStage])
def test_it_knows_in_which_stage_it_is(both: list[Any], stage: RunningStage | None) -> None:
    for trainer in both:
        trainer.state.fn, trainer.state.stage = TrainerFn.FITTING, stage
    quick, plain = both
    for name in ("training", "validating", "sanity_checking", "testing", "predicting"):
        assert getattr(quick, name) is getattr(plain, name), name
    for name in ("training", "validating", "sanity_checking"):
        for trainer in both:
            setattr(trainer, name, True)
            trainer.validating = False
        assert quick.state.stage is plain.state.stage, name


def test_it_validates_what_can_be_validated_now(both: list[Any]) -> None:
    class Mute(pl.LightningModule):
        """Learns, and is not validated."""

    for trainer in both:
        source = trainer.fit_loop.epoch_loop.val_loop._data_source
        answers = []
        for module, loaders, limit in (
            (Learner.__new__(Learner), [1], 1.0), (Learner.__new__(Learner), [1], 0), (Mute(), [1], 1.0),
            (Learner.__new__(Learner), pl.LightningDataModule(), 1.0), (Learner.__new__(Learner), [1], 3),
        ):  # fmt: skip
            pl.LightningModule.__init__(module)
            trainer.strategy._lightning_module = module
            source.instance, trainer.limit_val_batches = loaders, limit
            answers.append([trainer.enable_validation for _ in range(2)])
        assert answers == [[True] * 2, [False] * 2, [False] * 2, [False] * 2, [True] * 2], type(trainer)
