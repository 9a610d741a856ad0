"""Whether a member is trained in a stack as alone; tests/engine/test_every_edit_is_heeded.py goes through all edits."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mlplab.building import build_data, build_learner
from mlplab.objectives.objective import Objective
from mlplab.stacked import same_step
from mlplab.stacked.same_step import OTHER_NUMBERS, why_another_step


def member(make_config: Any, *words: str) -> Any:
    config = make_config(*words)
    data = build_data(config)
    data.setup()
    return SimpleNamespace(data=data, learner=build_learner(config, data), callbacks=[], loggers=[])


AS_IT_IS = {
    "default": [],
    "dropout and batch normalisation": [
        "model.normalization=batch", "model.dropout=0.3", "model.input_dropout=0.1",
    ],
    "residual layers, all rows": ["model.hidden_dims=[16,16,16]", "model.residual=true", "data.batch_size=full"],
    "penalties": ["regularization.l1=0.01", "regularization.l2=0.1"],
    "label smoothing": ["loss=cross_entropy", "loss.label_smoothing=0.1"],
    "regression": ["data=plane"],
    "huber": ["data=plane", "loss=huber"],
    "one output": ["data=breast_cancer", "loss=binary_cross_entropy"],
    "single rows": ["data=iris", "data.batch_size=1"],
    "own network": ["~model", "+model={_target_:own_networks.Stackable}"],
}  # fmt: skip


@pytest.mark.parametrize("name", AS_IT_IS)
def test_what_is_as_it_was_is_stacked(make_config: Any, name: str) -> None:
    assert why_another_step(member(make_config, *AS_IT_IS[name])) is None


def test_nothing_is_left_of_the_look(make_config: Any) -> None:
    one = member(make_config, "model.normalization=batch", "model.dropout=0.5")
    before = {name: value.clone() for name, value in one.learner.state_dict().items()}
    state = torch.get_rng_state()
    why_another_step(one)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in one.learner.state_dict().items())
    assert all(parameter.grad is None and parameter.is_leaf for parameter in one.learner.parameters())


def test_what_no_comparison_of_code_finds_is_found_by_the_first_batch(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = member(make_config, "model.dropout=0.2")
    forward = Objective.forward
    monkeypatch.setattr(Objective, "forward", lambda *arguments: 2 * forward(*arguments))
    assert (
        why_another_step(one)
        == "test_what_no_comparison_of_code_finds_is_found_by_the_first_batch.<locals>.<lambda> was edited"
    )
    monkeypatch.setattr(same_step, "first_edited", lambda functions: None)
    assert why_another_step(one) == OTHER_NUMBERS
