"""The same run by both engines, chosen as a user chooses: `engine=fast` and `engine=plain`."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import difference

from mlplab import training
from mlplab.engine import epoch_loop
from mlplab.engine.edited_functions import first_edited
from mlplab.engine.recognition import LOSSES, functions_of_step, functions_of_watchers
from mlplab.learner import Learner

ENGINES = ("fast", "plain")


def run_both(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, make_callback: Callable[[], Any], *overrides: str
) -> list[tuple[Any, Any]]:
    """Returns a callback and the run that it was in, by the fast engine first."""
    outcomes = []
    build_callbacks = training.build_callbacks
    for engine in ENGINES:
        callback = make_callback()
        with monkeypatch.context() as patch:
            patch.setattr(training, "build_callbacks", lambda config, c=callback: [*build_callbacks(config), c])
            outcomes.append((callback, train_run("trainer.max_epochs=3", *overrides, f"engine={engine}")))
    return outcomes


def require_same_bits(fast: Any, plain: Any) -> None:
    """Of two runs: checkpoints, history, curves and results; whatever is there."""
    found = difference(fast.directory, plain.directory)
    assert not found, found


def last_checkpoint(run: Any) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def why_autograd(directory: Path) -> list[str]:
    """Returns the reasons in train.log, in their order, for which autograd was used."""
    text = (directory / "train.log").read_text(encoding="utf-8")
    return re.findall("training uses autograd instead of the fused step: (.*)", text)


def require_reasons(run: Any, *reasons: str) -> None:
    """Requires these to be in train.log, and no others; none says that the fused step was used throughout."""
    skip_where_edited()
    assert why_autograd(run.directory) == list(reasons)


def skip_where_edited() -> None:
    """Leaves out a test that needs the fused step where somebody has edited a function that it stands for."""
    edited = first_edited([*functions_of_step(), *functions_of_watchers(), *LOSSES])
    if edited is not None:
        pytest.skip(f"{edited} was edited, so that training uses autograd")


def spy_on_fast(monkeypatch: pytest.MonkeyPatch, loop: type) -> list[bool]:
    """Returns what a kind of loop answers, each time that it is asked whether it can be fast."""
    decisions: list[bool] = []
    owner, name = (loop, "_can_be_fast") if hasattr(loop, "_can_be_fast") else (epoch_loop, "_why_lightnings_loop")
    decide = getattr(owner, name)

    def note(*arguments: Any) -> Any:
        answer = decide(*arguments)
        decisions.append(answer is None or answer is True)
        return answer

    monkeypatch.setattr(owner, name, note)
    return decisions


def spy_on_hooks(monkeypatch: pytest.MonkeyPatch, names: Iterable[str]) -> list[str]:
    """Overrides hooks of the learner, as a user's own module does; returns the names of those called, in order."""
    calls: list[str] = []
    for name in names:
        original = getattr(Learner, name)

        def overriding(self: Any, *arguments: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(Learner, name, overriding)
    return calls
