"""Early stopping held against Lightning's own, value by value."""

from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlplab.callbacks import EarlyStopping

VALUES = st.one_of(st.sampled_from([0.0, 0.5, 0.5, 1.0, float("nan"), float("inf")]), st.floats(-2, 2, width=32))


@given(
    values=st.lists(VALUES, min_size=1, max_size=12),
    options=st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "patience": st.integers(0, 4),
            "min_delta": st.sampled_from([0.0, 0.0, 0.1]),
            "check_finite": st.booleans(),
            "stopping_threshold": st.sampled_from([None, None, 0.25]),
            "divergence_threshold": st.sampled_from([None, None, 1.5]),
        }
    ),
)
def test_it_decides_and_remembers_as_lightnings_does(values: list[float], options: dict[str, Any]) -> None:
    both = [kind(monitor="val/loss", verbose=False, **options) for kind in (EarlyStopping, pl.callbacks.EarlyStopping)]
    ends = []
    for callback in both:
        trainer: Any = SimpleNamespace(
            should_stop=False, fast_dev_run=False, current_epoch=0, callback_metrics={},
            strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
        )  # fmt: skip
        for epoch, value in enumerate(values):
            trainer.current_epoch, trainer.callback_metrics["val/loss"] = epoch, torch.tensor(value)
            callback._run_early_stopping_check(trainer)
            if trainer.should_stop:
                break
        ends.append((trainer.current_epoch, trainer.should_stop, str(callback.state_dict())))
    assert ends[0] == ends[1]
    assert both[0].state_key == both[1].state_key  # a checkpoint of either goes on with the other


def test_what_it_is_asked_to_tell_it_tells() -> None:
    callback = EarlyStopping(monitor="val/loss", verbose=True)
    _, words = callback._evaluate_stopping_criteria(torch.tensor(1.0))
    assert words is not None
    assert "improved" in words
