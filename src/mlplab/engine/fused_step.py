"""Computes a training step of the project's own learner by direct kernel calls: autograd's bits in less time.

For a small network, autograd's recording and traversal of the graph take longer than the computation. `FusedStep`
computes loss and gradients of an MLP by the kernels that autograd calls, in the same order (Goodfellow et al. 2016,
algorithms 6.3 and 6.4). It replaces `Learner.training_step`, `MLP.forward` and the loss. It is built only if
engine/recognition.py finds all of them unchanged.
Legend: B batch, F features, H hidden, C outputs.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlplab.engine.kernels import ACTIVATION_KERNELS, BELOW_AUTOGRAD, LOSS_KERNELS, ActivationKernel
from mlplab.learner import Learner
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.objectives.penalties import l1_l2_penalty

Outputs = dict[str, Any]
"""Value of `training_step` for callbacks, with `loss` divided by the batches per update."""

Backward = Callable[[], None]
"""Adds the gradient of the loss to `.grad` of all parameters."""


Step = Callable[[Any, int], tuple[Outputs, Backward]]
"""Computes a batch's loss, given the batches per update; returns it with a function that adds its gradient."""


class HasFusedStep:
    """A LightningModule with a fused step of its own, such as a stack."""

    @abstractmethod
    def fused_step(self) -> Step | None:
        """Returns the fused step for the module as it is now; None if autograd must compute `training_step`."""


@dataclass(frozen=True)
class _Layer:
    """A snapshot of a hidden layer, with its parts looked up once."""

    weight: Tensor
    bias: Tensor
    kernel: ActivationKernel
    dropout: float
    residual: bool

    @classmethod
    def of(cls, layer: nn.Module) -> "_Layer":
        assert isinstance(layer, HiddenLayer)
        kernel = ACTIVATION_KERNELS[layer.activation]
        return cls(layer.linear.weight, layer.linear.bias, kernel, layer.dropout, layer.residual)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor, "_Gradients", bool], Tensor]]:
        """Returns the outputs (B, H), and a function that maps their gradient to those of weights and inputs."""
        sums = functional.linear(inputs, self.weight, self.bias)
        # In place, a kernel would overwrite the gradient that a residual connection still needs.
        in_place = None if self.residual else self.kernel.in_place
        activations = outputs = self.kernel.forward(sums) if in_place is None else in_place[0](sums)
        mask = None
        if self.dropout > 0:  # as `functional.dropout`, which draws the same numbers
            # Dropout in its inverted form: what is kept is divided by its share.
            keep = 1 - self.dropout
            mask = torch.empty_like(outputs).bernoulli_(keep).div_(keep)
            outputs = outputs * mask
        if self.residual:
            outputs = outputs + inputs

        def backward(gradient: Tensor, gradients: "_Gradients", needs_inputs: bool) -> Tensor:
            # Kept for the residual connection, which passes the gradient on unchanged.
            of_outputs = gradient
            if mask is not None:
                gradient = gradient * mask
            if in_place is None:
                gradient = self.kernel.backward(gradient, sums, activations)
            else:
                gradient = in_place[1](gradient, activations)
            gradients.add_linear(self.weight, self.bias, inputs, gradient)
            # Features need no gradient, so the backward pass ends at the first layer.
            if not needs_inputs:
                return gradient
            gradient = gradient.mm(self.weight)
            return gradient + of_outputs if self.residual else gradient

        return outputs, backward


class _Gradients:
    """Accumulates gradients in `.grad`, as autograd does.

    Autograd first sums all gradients of one backward pass, then adds the sum to `.grad`. The same order is kept here:
    with accumulated batches, another order would change the last bits.

    Args:
        of_penalty: parameter → the gradient of the penalty.
    """

    def __init__(self, of_penalty: Mapping[Tensor, Tensor]) -> None:
        self._of_penalty = of_penalty

    def add_linear(self, weight: Tensor, bias: Tensor, inputs: Tensor, gradient: Tensor) -> None:
        """Adds the gradients of a linear layer, sums = inputs · Wᵀ + b, from the gradient of the sums (B, H)."""
        self._add(weight, gradient.t().mm(inputs))
        self._add(bias, gradient.sum(0))

    def _add(self, parameter: Tensor, gradient: Tensor) -> None:
        if self._of_penalty and parameter in self._of_penalty:
            gradient = self._of_penalty[parameter] + gradient
        if parameter.grad is None:
            # Assigned, not added to zeros, as autograd does.
            parameter.grad = gradient
        else:
            parameter.grad += gradient


class FusedStep:
    """Computes the step of a learner whose model is an MLP, possibly behind an input layer without parameters.

    It is a snapshot of the learner: build a new one after anything may have changed the learner.
    `mlplab.engine.recognition.why_not_fused` says whether a learner has a fused step.

    Args:
        learner: in training mode.
    """

    def __init__(self, learner: Learner) -> None:
        model = learner.model
        # The input layer has no parameters here, so no gradient passes it.
        network = model.network if isinstance(model, WithInputs) else model
        assert isinstance(network, MLP)
        self._learner = learner
        self._inputs = model.inputs if isinstance(model, WithInputs) else None
        self._input_dropout = network.input_dropout
        self._layers = [_Layer.of(layer) for layer in network.hidden]
        self._output = network.output.weight, network.output.bias
        objective = learner.objective
        # A label smoothing of 0 is the same as none.
        has_options = objective.class_weights is not None or any(objective.options.values())
        self._objective, self._loss = objective, None if has_options else LOSS_KERNELS.get(objective.function)

    def __call__(self, batch: tuple[Tensor, ...], batches_per_update: int = 1) -> tuple[Outputs, Backward]:
        """Computes the loss of a batch; its gradient is computed when `Backward` is called.

        Args:
            batch: features (B, F), targets, and perhaps weights (B,).
            batches_per_update: the number of accumulated batches, by which the loss is divided.
        """
        features, targets, *weights = batch
        learner = self._learner
        # The kernels take no weights.
        by_kernel = None if weights else self._loss
        with BELOW_AUTOGRAD():
            outputs, through_network = self._forward(features)
            if by_kernel is not None:
                loss, through_loss = by_kernel(outputs, targets)
        # Outside of that context, as such a loss needs autograd.
        if by_kernel is None:
            loss, through_loss = self._loss_by_autograd(outputs, targets, *weights)
        penalty = l1_l2_penalty(learner.regularized, l1=learner.l1, l2=learner.l2) if learner.regularized else None
        with BELOW_AUTOGRAD():
            # `data_loss`, which curves show, excludes the penalty.
            total = loss if penalty is None else loss + penalty.detach()
            if batches_per_update > 1:
                total = total / batches_per_update

        def backward() -> None:
            # d(loss)/d(loss), where every backward pass starts.
            share = torch.ones_like(loss)
            of_penalty: dict[Tensor, Tensor] = {}
            if batches_per_update > 1:
                share = share / batches_per_update
            if penalty is not None and penalty.requires_grad:  # l1 and l2 may have been set to 0 in training
                # Divided here: for a factor given to `grad` (`grad_outputs`), PyTorch imports SymPy, half a second.
                found = torch.autograd.grad(penalty / batches_per_update, learner.regularized)
                of_penalty = dict(zip(learner.regularized, found, strict=True))
            if by_kernel is None:
                of_outputs = through_loss(share)
            with BELOW_AUTOGRAD():
                if by_kernel is not None:
                    of_outputs = through_loss(share)
                through_network(of_outputs, _Gradients(of_penalty))

        # For a loss without a kernel, autograd has recorded the outputs.
        plain = outputs if by_kernel is not None else outputs.detach()
        return {"loss": total, "data_loss": loss, "outputs": plain}, backward

    def _forward(self, features: Tensor) -> tuple[Tensor, Callable[[Tensor, _Gradients], None]]:
        """Returns the outputs (B, C), and a function that propagates their gradient to the weights."""
        if self._inputs is not None:
            # No gradient is needed here, see `why_not_fused`.
            features = self._inputs(features)
        inputs = functional.dropout(features, self._input_dropout) if self._input_dropout else features
        backwards = []
        for layer in self._layers:
            inputs, backward_of_layer = layer.forward(inputs)
            backwards.append(backward_of_layer)
        weight, bias = self._output
        outputs = functional.linear(inputs, weight, bias)

        def backward(gradient: Tensor, gradients: _Gradients) -> None:
            gradients.add_linear(weight, bias, inputs, gradient)
            # A linear model has no hidden layers.
            if backwards:
                gradient = gradient.mm(weight)
            for depth in range(len(backwards) - 1, -1, -1):
                gradient = backwards[depth](gradient, gradients, depth > 0)

        return outputs, backward

    def _loss_by_autograd(self, outputs: Tensor, *targets: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Computes a loss without a kernel; autograd gives its gradient with respect to the outputs."""
        leaf = outputs.requires_grad_()
        loss = self._objective(leaf, *targets)

        def backward(share: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(loss * share, leaf)
            return gradient

        return loss.detach(), backward


MOST_COMPARED = 256
"""Maximum of rows on which the fused step is compared with autograd."""


def matches_autograd(fused: FusedStep, learner: pl.LightningModule, batch: Any, batch_idx: int) -> bool:
    """Returns whether the fused step gives exactly the loss and gradients of `training_step` for a batch.

    Gradients and random generators are restored.
    """
    # More rows take the same kernels; a whole batch of 1024 images would take as long as two steps.
    batch = tuple(part[:MOST_COMPARED] for part in batch)
    # Without frozen parameters: a learner may hold a copy of the network.
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    generator = torch.get_rng_state()
    accumulated = [parameter.grad for parameter in parameters]
    try:
        # `backward`, not `torch.autograd.grad`, so that hooks on gradients are called.
        expected, gradients = _with_gradients(parameters, lambda: _by_autograd(learner, batch, batch_idx))
        # Both passes draw the same dropout masks.
        torch.set_rng_state(generator)
        try:
            loss, found = _with_gradients(parameters, lambda: _by_kernels(fused, batch))
        except (RuntimeError, IndexError):  # the kernels do not take these shapes
            return False
    finally:
        torch.set_rng_state(generator)
        # Restores whatever had been accumulated.
        for parameter, gradient in zip(parameters, accumulated, strict=True):
            parameter.grad = gradient
    pairs = zip([loss, *found], [expected, *gradients], strict=True)
    return all(
        # Identical objects are None: a parameter without a gradient.
        a is b or (a is not None and b is not None and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True))
        for a, b in pairs
    )


def _with_gradients(
    parameters: list[nn.Parameter], compute: Callable[[], Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    for parameter in parameters:
        parameter.grad = None
    loss = compute()
    return loss.detach(), [parameter.grad for parameter in parameters]


def _by_autograd(learner: pl.LightningModule, batch: Any, batch_idx: int) -> Tensor:
    with torch.enable_grad():
        outputs: Any = learner.training_step(batch, batch_idx)
    loss: Tensor = outputs["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


def _by_kernels(fused: FusedStep, batch: Any) -> Tensor:
    outputs, backward = fused(batch)
    backward()
    loss: Tensor = outputs["loss"]
    return loss
