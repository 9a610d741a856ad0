"""Binds a loss function to a task: its options, its class weights, and how outputs become predictions."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlplab.errors import UserError
from mlplab.objectives import losses
from mlplab.objectives.options import LOSSES
from mlplab.task import Task

LossFunction = Callable[..., Tensor]

OWN = "own"
"""Name in checkpoints for the user's own losses and networks."""


def balanced_class_weights(class_counts: Sequence[float]) -> Tensor:
    """Computes N / (C · n_c) for each class c. Over the N training rows the weights average to 1. -> (C,).

    C counts the classes with training rows. A class without any, as a split by group may leave, gets the weight 1.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32)
    return torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts), 1.0)


class Objective(nn.Module):
    """The mean loss of a batch: outputs (B, C or T), targets (B,) or (B, T), and perhaps weights (B,) -> ().

    For an ensemble, with outputs (B, k, C or T), it is the mean of the losses of the k members.

    Args:
        function: a loss of `mlplab.objectives.losses`, or a function or module of the same form.
        class_weights: (C,), or None; kept as a buffer, so that it follows the module to its device.
        options: keyword arguments for the function.
        name: for checkpoints; that of the function by default.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        function: LossFunction,
        *,
        class_weights: Tensor | None = None,
        options: Mapping[str, Any] = {},
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.function = function
        self.name: str = name or function.__name__
        # A copy: the caller's mapping may change, and the default is shared by all calls.
        self.options = dict(options)
        # Not in the state dict, as they follow from configuration and data.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor, *weights: Tensor) -> Tensor:
        if outputs.ndim == 3:  # an ensemble of k members, (B, k, C)
            # Each member's outputs become rows of their own: the mean over the B·k rows is that of the members' losses.
            k = outputs.shape[1]
            outputs, targets = outputs.flatten(0, 1), targets.repeat_interleave(k, dim=0)
            weights = tuple(of_rows.repeat_interleave(k) for of_rows in weights)
        # Losses of regression accept no class weights, not even None.
        if self.class_weights is None:
            return self.function(outputs, targets, *weights, **self.options)
        return self.function(outputs, targets, *weights, class_weights=self.class_weights, **self.options)


def build_objective(
    name: str,
    task: Task,
    *,
    class_counts: Sequence[float] = (),
    class_weights: Any = None,
    has_weights: bool = False,
    **options: Any,
) -> Objective:
    """Builds the objective by its name.

    Args:
        name: a loss of `LOSSES`, or `auto`: cross_entropy for classification, mse for regression,
            binary_cross_entropy for several labels.
        task: what is learned.
        class_counts: rows of each class in the training part, or their weight, for balanced class weights.
        class_weights: None, "balanced", or one number for each class.
        has_weights: whether the rows have weights.
        **options: of the loss (label_smoothing, delta).

    Raises:
        UserError: the loss does not fit the task, takes no such option or no weights, or the class weights do not fit.
    """
    fitting = LOSSES[task.kind]
    if name == "auto":
        # The first loss is the usual one of its task.
        name = fitting[0]
        # `auto` accepts the options of all; the loss of regression has none.
        if task.kind == "regression":
            options.pop("label_smoothing", None)
    if name not in fitting:
        raise UserError(f"the loss must fit a {task.kind} task", f"loss={name}", f"loss={' or loss='.join(fitting)}")
    if name == "binary_cross_entropy" and task.kind == "classification" and task.n_classes != 2:
        raise UserError(
            "loss=binary_cross_entropy must have two classes",
            f"the data have {task.n_classes}",
            "loss=cross_entropy",
        )
    function: LossFunction = getattr(losses, name)
    # The options of a loss are the keyword arguments of its function.
    parameters = inspect.signature(function).parameters
    known = [option for option in parameters if option not in ("outputs", "targets", "weights")]
    if has_weights:
        require_weights(name, function)
    weights = {} if class_weights is None else {"class_weights": class_weights}
    for option, value in {**options, **weights}.items():
        if option not in known:
            takes = f"one of {', '.join(known)}" if known else "no options at all"
            raise UserError(f"loss={name} must be given {takes}", f"loss.{option}={value}", f"loss={name} alone")
    return Objective(function, class_weights=resolve_class_weights(class_weights, task, class_counts), options=options)


def require_weights(name: str, function: LossFunction) -> None:
    """Refuses a loss whose third argument is not `weights`.

    Raises:
        UserError: as above.
    """
    if "weights" not in list(inspect.signature(function).parameters)[:3]:
        raise UserError(
            f"loss={name} must take weights, as the rows of the data have some",
            f"the third argument of {getattr(function, '__name__', name)} is not weights",
            "data.weight_column=null",
        )


def resolve_class_weights(class_weights: Any, task: Task, class_counts: Sequence[float]) -> Tensor | None:
    """Converts class weights, "balanced" or numbers, to a tensor (C,); None stays None.

    Raises:
        UserError: their number is not that of the classes, or there are no classes.
    """
    if class_weights is None:
        return None
    if task.kind == "multilabel":
        raise UserError(
            "loss.class_weights must be null for several labels",
            f"loss.class_weights={class_weights}",
            "loss.class_weights=null",
        )
    if class_weights == "balanced":
        return balanced_class_weights(class_counts)
    if len(class_weights) != task.n_classes:
        raise UserError(
            f"loss.class_weights must have one number for each of the {task.n_classes} classes",
            f"{len(class_weights)} were given",
            "loss.class_weights=balanced",
        )
    return torch.tensor([float(weight) for weight in class_weights])


def n_outputs(loss: str, task: Task) -> int:
    """Returns the output layer's width for the objective of this name."""
    if task.target_names:
        return len(task.target_names)
    # One logit is enough for two classes, as their probabilities add up to 1.
    if task.kind == "regression" or loss == "binary_cross_entropy":
        return 1
    return task.n_classes


def averaged_over_members(outputs_width: int, task: Task) -> str:
    """Returns which predictions an ensemble averages over its members, as `average_of` of `TabM`."""
    if task.kind == "regression":
        return "values"
    return "sigmoid" if task.kind == "multilabel" or outputs_width == 1 else "softmax"


def predictions(outputs: Tensor, task: Task) -> Tensor:
    """Converts raw outputs to predictions.

    Classification: probabilities (B, C), from C logits by softmax, from one logit by sigmoid.
    Regression: values (B, T) in the target's own unit. Several labels: probabilities (B, T) that they are true.
    """
    if task.kind == "regression":
        # For a mean far larger than the std, such as 1e17 ± 800, float32 would lose the differences.
        if (np.abs(task.target_mean) > 1e4 * np.asarray(task.target_std)).any():
            outputs = outputs.double()
        return outputs * _per_target(task.target_std, outputs) + _per_target(task.target_mean, outputs)
    if task.kind == "multilabel":
        return torch.sigmoid(outputs)
    if outputs.shape[1] == 1:  # one logit, from binary_cross_entropy
        second = torch.sigmoid(outputs)
        # Columns in the order of the class indices, as softmax gives them.
        return torch.cat([1 - second, second], dim=1)
    return torch.softmax(outputs, dim=1)


def _per_target(value: float | tuple[float, ...], outputs: Tensor) -> float | Tensor:
    """Returns a statistic as a number for one target, or as a row (T,) for several."""
    return outputs.new_tensor(value) if isinstance(value, tuple) else value
