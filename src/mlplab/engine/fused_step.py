"""The loss of a plain network on a batch, in one piece.

What `mlplab.engine.backpropagation` spares each part, both together can do without as well: outputs that autograd could
go on from, and the calls through modules that somebody might listen to.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as of_all_modules

from mlplab.engine.backpropagation import HOOKS, TAPE, WITHOUT_AUTOGRAD, Backward
from mlplab.engine.kernels import pass_through
from mlplab.engine.loss_kernels import WRITTEN_OUT
from mlplab.engine.recognition import is_as_written
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import MLP
from mlplab.objectives.objective import Objective

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
        is_known = is_known and (inputs is None or is_as_written(WithInputs.forward))
        learns_before = inputs is not None and next(inputs.parameters(), None) is not None
        is_watched = any(vars(model)[name] for name in HOOKS)
        if not is_known or learns_before or is_watched or not (TAPE.allows(network) and TAPE.allows(objective)):
            return None
        return WrittenOutLoss(model, inputs, network, objective)

    def is_right(self, features: Tensor, targets: Tensor) -> bool:
        """Whether autograd finds the same on a batch, see `Tape.is_right`."""
        return TAPE.is_right(
            (self._network, self._objective),
            lambda: self._objective(self._model(features), targets),
            partial(self, features, targets),
            self._network.parameters,
        )

    def takes(self, features: Tensor, targets: Tensor) -> bool:
        """Whether nobody listens now, and nothing of the batch is to have a gradient."""
        is_known = self._objective.function in WRITTEN_OUT
        return is_known and not (any(self._listeners) or features.requires_grad or targets.requires_grad)

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
