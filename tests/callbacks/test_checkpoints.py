import json
from typing import Any

import pytest
import torch

from mlplab.callbacks import Checkpoints

QUICK = ["callbacks=minimal", "logger=none", "data=wine"]


def load(run: Any, name: str) -> dict[str, Any]:
    return torch.load(run.directory / "checkpoints" / f"{name}.ckpt", weights_only=True)  # type: ignore[no-any-return]


def count_files(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    write = Checkpoints.write

    def note(self: Checkpoints, trainer: Any, module: Any) -> None:
        steps.append(trainer.global_step)
        write(self, trainer, module)

    monkeypatch.setattr(Checkpoints, "write", note)
    return steps


def test_best_is_the_state_with_the_best_score_and_last_the_final_one(train_run: Any) -> None:
    run = train_run(*QUICK, "optimizer.lr=0.05", "callbacks.early_stopping.patience=6")
    best, last = load(run, "best"), load(run, "last")
    assert best["global_step"] == run.result["best_step"] < last["global_step"] == run.result["steps"]
    assert best["metrics"]["val/loss"] == run.result["objective"]
    assert set(best["state_dict"]) == set(last["state_dict"])
    assert not torch.equal(best["state_dict"]["model.output.weight"], last["state_dict"]["model.output.weight"])


def test_the_best_weights_are_not_overwritten_by_later_steps(train_run: Any) -> None:
    short = train_run(*QUICK, "trainer.max_epochs=2")
    long = train_run(*QUICK, "trainer.max_epochs=9", "callbacks.early_stopping.patience=50", "optimizer.lr=0.001")
    assert short.result["best_step"] == 8
    assert long.result["best_step"] > 8
    worse = train_run(*QUICK, "trainer.max_epochs=2", "monitor=val/accuracy", "mode=max", "optimizer.lr=1e-12")
    assert worse.result["best_step"] == 4  # an equal score is no improvement


def test_files_are_written_by_the_clock_and_at_the_end(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = count_files(monkeypatch)
    train_run(*QUICK, "trainer.max_epochs=5")
    assert steps == [20]
    steps.clear()
    train_run(*QUICK, "trainer.max_epochs=5", "callbacks.checkpoints.every_seconds=0")
    assert steps == [*range(1, 21)]
    steps.clear()
    train_run(*QUICK, "trainer.max_epochs=5", "callbacks.checkpoints.every_n_epochs=2")
    assert steps == [8, 16, 20]


def test_nothing_half_written_is_left(train_run: Any) -> None:
    run = train_run(*QUICK, "trainer.max_epochs=3", "callbacks.checkpoints.every_seconds=0")
    assert {path.name for path in (run.directory / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    }


def test_a_score_that_is_not_a_number_is_never_the_best() -> None:
    for mode in ("min", "max"):
        checkpoints = Checkpoints("nowhere", "val/loss", mode)
        assert not (float("nan") < checkpoints.best.score if mode == "min" else float("nan") > checkpoints.best.score)


def test_the_card_makes_a_checkpoint_complete(train_run: Any) -> None:
    run = train_run(*QUICK, "trainer.max_epochs=1")
    for name in ("best", "last"):
        card = load(run, name)["card"]
        assert card["format"] == 1
        assert card["model"]["name"] == "mlp"
        assert card["model"]["architecture"]["hidden_dims"] == [128, 64]
        assert card["task"]["class_names"] == ["class_0", "class_1", "class_2"]
        assert card["loss"]["name"] == "cross_entropy"
        assert card["preprocessing"]["mean"].shape == (13,)
    json.dumps({key: value for key, value in card.items() if key != "preprocessing"})  # plain values only
