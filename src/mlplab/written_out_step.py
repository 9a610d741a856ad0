"""A training step of parts that all know their gradient, in one go.

What `mlplab.backpropagation` spares a step of parts, a whole step of them can do without as well: values that autograd
could go on from, and the calls through modules that somebody might listen to.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as of_all_modules

from mlplab.backpropagation import HOOKS, TAPE, WITHOUT_AUTOGRAD
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import MLP
from mlplab.models.written_out import pass_through
from mlplab.objectives.objective import Objective
from mlplab.objectives.written_out import WRITTEN_OUT

FORWARD: dict[type[nn.Module], Any] = {part: part.forward for part in (WithInputs, MLP, Objective)}
"""As they are, whatever may be set in their place."""

GLOBAL_HOOKS = tuple(getattr(of_all_modules, f"_global{name}") for name in HOOKS)


class WrittenOutStep:
    """The loss of an MLP on a batch, and its gradient: the bits that the tape, or autograd, would give.

    Legend: B batch, F features.
    """

    def __init__(self, inputs: nn.Module | None, network: MLP, objective: Objective) -> None:
        modules = [objective, network, *(() if inputs is None else inputs.modules())]
        self._listeners = [*GLOBAL_HOOKS, *(vars(module)[name] for module in modules for name in HOOKS)]
        self._inputs, self._network = inputs, network
        self._hidden, self._output = list(network.hidden), network.output
        self._loss = WRITTEN_OUT[objective.function]
        self._one = torch.ones((), dtype=network.output.weight.dtype)

    @staticmethod
    def of(model: nn.Module, objective: nn.Module) -> "WrittenOutStep | None":
        """That of a model's own MLP, in front of which nothing learns; None where the tape does not take both."""
        inputs, network = (model.inputs, model.network) if type(model) is WithInputs else (None, model)
        if type(network) is not MLP or type(objective) is not Objective:
            return None
        parts = (model, network, objective)
        is_known = all(FORWARD[type(part)] is type(part).forward and "forward" not in vars(part) for part in parts)
        learns_before = inputs is not None and next(inputs.parameters(), None) is not None
        is_watched = any(vars(model)[name] for name in HOOKS)
        if not is_known or learns_before or is_watched or not (TAPE.allows(network) and TAPE.allows(objective)):
            return None
        return WrittenOutStep(inputs, network, objective)

    def takes(self, features: Tensor, targets: Tensor) -> bool:
        """Whether nobody listens now, and nothing of the batch is to have a gradient."""
        return not (any(self._listeners) or features.requires_grad or targets.requires_grad)

    def __call__(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Callable[[], None]]:
        """The loss () of a batch (B, F), and what adds its gradient to `.grad` of all parameters."""
        with WITHOUT_AUTOGRAD():
            if self._inputs is not None:
                features = self._inputs(features)
            if self._network.input_dropout > 0:
                features = functional.dropout(features, self._network.input_dropout, self._network.training)
            outputs, backward = pass_through(self._hidden, self._output, features)
            loss, loss_backward = self._loss(outputs, targets)

        def go_back() -> None:
            with WITHOUT_AUTOGRAD():
                backward(loss_backward(self._one))

        return loss, go_back
