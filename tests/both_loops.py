"""The same run by the lean loops and by Lightning's own."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest

from mlplab import building, training


def use_lightnings_loops(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(building, "use_lean_loop", lambda trainer: None)
    patch.setattr(building, "Trainer", pl.Trainer)


def run_both(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, make_callback: Callable[[], Any], *overrides: str
) -> list[tuple[Any, Any]]:
    """A callback and the run that it was in, lean first."""
    outcomes = []
    build_callbacks = training.build_callbacks
    for is_lean in (True, False):
        callback = make_callback()
        with monkeypatch.context() as patch:
            patch.setattr(training, "build_callbacks", lambda config, c=callback: [*build_callbacks(config), c])
            if not is_lean:
                use_lightnings_loops(patch)
            outcomes.append((callback, train_run("trainer.max_epochs=3", *overrides)))
    return outcomes


def spy_on_lean(monkeypatch: pytest.MonkeyPatch, loop: type) -> list[bool]:
    """What a kind of loop answers, each time that it is asked whether it can be lean."""
    decisions: list[bool] = []
    decide = loop._can_be_lean  # type: ignore[attr-defined]

    def note(self: Any, *arguments: Any) -> bool:
        decisions.append(decide(self, *arguments))
        return decisions[-1]

    monkeypatch.setattr(loop, "_can_be_lean", note)
    return decisions
