"""Dropout and weight decay over the course of training."""

import math
from typing import Any

import pytest
from comparing import difference
from lightning.pytorch.callbacks import Callback

from mlplab import training
from mlplab.callbacks.flat_cosine import flat_cosine

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

WORDS = [
    "data=wine", "trainer.max_epochs=5", "callbacks=minimal", "logger=csv", "optimizer=adamw", "model.dropout=0.4",
    "optimizer.weight_decay=0.1", "+callbacks.flat_cosine={_target_: mlplab.callbacks.FlatCosine}",
]  # fmt: skip


def test_its_factor_is_that_of_the_authors() -> None:
    scheduling = pytest.importorskip("pytabkit.models.training.scheduling")
    theirs = scheduling.get_schedule("flat_cos")
    shares = [number / 40 for number in range(41)]
    assert [flat_cosine(share) for share in shares] == pytest.approx([theirs.call_time_(s) for s in shares], abs=1e-12)


class Record(Callback):
    """Keeps dropout and weight decay of each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, list[float]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *arguments: Any) -> None:
        groups = trainer.optimizers[0].param_groups
        self.seen.append((pl_module.model.hidden[1].dropout, [group["weight_decay"] for group in groups]))


def test_both_follow_it_and_a_stopped_run_goes_on_with_it(
    train_run: Any, go_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, build = Record(), training.build_callbacks
    with monkeypatch.context() as patch:
        patch.setattr(training, "build_callbacks", lambda config: [*build(config), record])
        run = train_run(*WORDS)
    factors = [1.0 if step <= 10 else (1 + math.cos(math.pi * (step / 10 - 1))) / 2 for step in range(20)]
    assert [dropout for dropout, _ in record.seen] == pytest.approx([0.4 * factor for factor in factors])
    assert [decays for _, decays in record.seen] == [pytest.approx([0.1 * factor, 0.0]) for factor in factors]
    assert "FlatCosine.on_train_batch_start may change the network" in (run.directory / "train.log").read_text()
    assert difference(run.directory, go_on(*WORDS, stops=(4, 15))) == ""
