"""A run that early stopping has ended trains on with more patience, as if it had had it from the beginning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from comparing import difference

from mlplab.training import train

WORDS = ["data=wine", "model.hidden_dims=[4]", "optimizer.lr=0.3", "trainer.max_epochs=40", "callbacks.figures=null"]
PATIENCE = "callbacks.early_stopping.patience"


def test_a_converged_run_trains_on(make_config: Callable[..., Any], tmp_path: Path) -> None:
    for name, patience in (("first", 1), ("whole", 12)):
        train(make_config(*WORDS, f"{PATIENCE}={patience}", f"paths.run={tmp_path}/{name}"))
    assert difference(tmp_path / "first", tmp_path / "whole") != ""
    train(make_config(*WORDS, f"{PATIENCE}=12", f"paths.run={tmp_path}/first"), resume=True)
    assert difference(tmp_path / "first", tmp_path / "whole") == ""
