"""The loss of a plain network on a batch, in one piece.

What `mlplab.backpropagation` spares each part, both together can do without as well: outputs that autograd could go on
from, and the calls through modules that somebody might listen to.
"""

import logging
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as of_all_modules

from mlplab.backpropagation import HOOKS, TAPE, WITHOUT_AUTOGRAD, Backward
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import MLP
from mlplab.models.written_out import pass_through
from mlplab.objectives.objective import Objective
from mlplab.objectives.written_out import WRITTEN_OUT

log = logging.getLogger("mlplab")

_TRIED: WeakSet[nn.Module] = WeakSet()
"""Networks and objectives for which autograd has been seen to find the same."""

FORWARD: dict[type[nn.Module], Any] = {part: part.forward for part in (WithInputs, MLP, Objective)}
"""As they are, whatever may be set in their place."""

GLOBAL_HOOKS = tuple(getattr(of_all_modules, f"_global{name}") for name in HOOKS)


def loss_of(model: nn.Module, objective: nn.Module, features: Tensor, targets: Tensor) -> Tensor:
    """`objective(model(features), targets)`, and in training where possible by a `WrittenOutLoss`.

    Args:
        model: (B, F) -> (B, C).
        objective: (B, C) and targets -> ().
        features: (B, F).
        targets: (B,) or (B, T).
    """
    if TAPE.allows(objective):
        both = model, objective
        if both not in TAPE.found:
            found = WrittenOutLoss.of(model, objective)
            TAPE.found[both] = found if found is None or found.is_right(features, targets) else None
        written_out = TAPE.found[both]
        if written_out is not None and written_out.takes(features, targets):
            return TAPE.record(*written_out(features, targets))
    return objective(model(features), targets)  # type: ignore[no-any-return]


class WrittenOutLoss:
    """The loss of an MLP on a batch, and what takes its gradient to the weights: the bits that autograd would give.

    Legend: B batch, F features.
    """

    def __init__(self, model: nn.Module, inputs: nn.Module | None, network: MLP, objective: Objective) -> None:
        modules = {model, objective, network, *(() if inputs is None else inputs.modules())}
        self._listeners = [*GLOBAL_HOOKS, *(vars(module)[name] for module in modules for name in HOOKS)]
        self._model, self._inputs, self._network, self._objective = model, inputs, network, objective
        self._hidden, self._output = list(network.hidden), network.output

    @staticmethod
    def of(model: nn.Module, objective: nn.Module) -> "WrittenOutLoss | None":
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
        return WrittenOutLoss(model, inputs, network, objective)

    def is_right(self, features: Tensor, targets: Tensor) -> bool:
        """Whether autograd finds the same on a batch: somebody may have changed what a network or a loss computes.

        It is tried once for a network and an objective; where it is not, they are left to autograd for good.
        """
        parts = self._network, self._objective
        if all(part in _TRIED for part in parts):
            return True
        if not self._agrees(features, targets):
            for part in parts:
                TAPE.refuse(part)
            log.warning(
                "the network or its loss computes something else than what its gradient is written out for: autograd "
                "finds it, in more time"
            )
            return False
        _TRIED.update(parts)
        return True

    def _agrees(self, features: Tensor, targets: Tensor) -> bool:
        parameters = list(self._network.parameters())
        gathered = [parameter.grad for parameter in parameters]
        state = torch.get_rng_state()
        with TAPE.paused(), torch.enable_grad():
            loss = self._objective(self._model(features), targets)
        expected = [loss.detach(), *torch.autograd.grad(loss, parameters, allow_unused=True)]
        for parameter in parameters:
            parameter.grad = None
        torch.set_rng_state(state)
        found, backward = self(features, targets)
        with WITHOUT_AUTOGRAD():
            backward(torch.ones_like(found))
        mine = [found, *(parameter.grad for parameter in parameters)]
        for parameter, gradient in zip(parameters, gathered, strict=True):
            parameter.grad = gradient
        torch.set_rng_state(state)
        return all(
            a is not None and b is not None and torch.allclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True)
            for a, b in zip(mine, expected, strict=True)
        )

    def takes(self, features: Tensor, targets: Tensor) -> bool:
        """Whether nobody listens now, and nothing of the batch is to have a gradient."""
        return not (any(self._listeners) or features.requires_grad or targets.requires_grad)

    def __call__(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Backward]:
        """The loss () of a batch (B, F), and what adds to `.grad` of all parameters what follows from its gradient."""
        with WITHOUT_AUTOGRAD():
            if self._inputs is not None:
                features = self._inputs(features)
            if self._network.input_dropout > 0:
                features = functional.dropout(features, self._network.input_dropout, self._network.training)
            outputs, through_network = pass_through(self._hidden, self._output, features)
            loss, through_loss = WRITTEN_OUT[self._objective.function](outputs, targets)
        return loss, lambda gradient: through_network(through_loss(gradient))
