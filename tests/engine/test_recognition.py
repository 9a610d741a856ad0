"""The digests of the code that gradients are written out for: a change of that code is to be seen."""

from typing import Any

import pytest

from mlplab.engine.recognition import KNOWN, digest, is_as_written
from mlplab.learner import Learner
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.objectives import losses
from mlplab.objectives.objective import Objective
from mlplab.objectives.penalties import l1_l2_penalty

CODE: list[Any] = [
    HiddenLayer.forward,
    MLP.forward,
    MLP._layer_by_layer,
    WithInputs.forward,
    Objective.forward,
    Objective._loss,
    losses.cross_entropy,
    losses.mse,
    losses.mae,
    losses.huber,
    losses.binary_cross_entropy,
    l1_l2_penalty,
    Learner.training_step,
]


def test_the_digests_are_those_of_the_code() -> None:
    assert {function.__qualname__: digest(function) for function in CODE} == KNOWN, (
        "this code has been changed, so that autograd finds its gradient and sweeps run its jobs alone; put its digest "
        "into KNOWN only where models/written_out.py, objectives/written_out.py and the stacked forms compute the same"
    )
    assert is_as_written(*CODE)


def test_other_code_is_not_taken_for_it() -> None:
    def cross_entropy(outputs: Any, targets: Any) -> Any:
        return outputs.mean()

    cross_entropy.__qualname__ = "cross_entropy"
    assert not is_as_written(cross_entropy)
    assert not is_as_written(len)
    assert not is_as_written(lambda outputs, targets: outputs.mean())


@pytest.mark.parametrize("part", [HiddenLayer, MLP])
def test_a_layer_of_other_code_has_no_closed_form(monkeypatch: pytest.MonkeyPatch, part: Any) -> None:
    assert MLP(in_features=2, out_features=2).has_closed_form()
    forward = part.forward
    monkeypatch.setattr(part, "forward", lambda self, inputs: forward(self, inputs).clamp(max=30.0))
    assert not MLP(in_features=2, out_features=2).has_closed_form()
