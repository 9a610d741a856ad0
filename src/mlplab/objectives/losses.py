"""Loss functions, each the mean over the rows of a batch (and over the outputs, where there are several).

Legend: B batch, C classes, T targets. Pure functions: nothing is drawn, stored or changed. Shapes that PyTorch
would silently broadcast, (B,) against (B, 1) giving (B, B), are refused.

`weights` (B,) are factors on the rows: the loss is Σ w·l / B. Dividing by the sum of the batch's weights instead would
make a row's influence depend on the rest of its batch. The DataModule gives weights whose mean over the training part
is 1.
"""

from torch import Tensor
from torch.nn import functional

from mlplab.errors import UserError


def _require_same_shape(outputs: Tensor, targets: Tensor) -> None:
    # Equal shapes only: (B,) against (B, 1) would broadcast to (B, B), and train without an error.
    if outputs.shape != targets.shape:
        raise UserError(
            "outputs and targets must have the same shape",
            f"they have {tuple(outputs.shape)} and {tuple(targets.shape)}",
            "targets.reshape(outputs.shape), if that is what is meant",
        )


def _require_classes(outputs: Tensor, targets: Tensor, n_outputs: int | None = None) -> None:
    # PyTorch would take targets with two dimensions, one-hot rows, for class probabilities.
    fits = outputs.ndim == 2 and targets.ndim == 1 and len(outputs) == len(targets)
    if not fits or (n_outputs is not None and outputs.shape[1] != n_outputs):
        width = "C" if n_outputs is None else n_outputs
        raise UserError(
            f"outputs must have shape (B, {width}) and targets (B,)",
            f"they have {tuple(outputs.shape)} and {tuple(targets.shape)}",
            "class indices as targets, not one-hot rows",
        )


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Computes Σ w·l / B from the losses (B,), or (B, T), and the weights (B,) of the rows."""
    if len(losses) != len(weights) or weights.ndim != 1:
        raise UserError(
            "weights must have shape (B,), one for each row",
            f"they have {tuple(weights.shape)} for {len(losses)} rows",
            "weights.squeeze(1), if that is what is meant",
        )
    per_row = losses if losses.ndim == 1 else losses.mean(1)
    return (per_row * weights).mean()


def mse(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Computes the mean of (ŷ − y)², without a factor ½ (Goodfellow et al. 2016, eq. 5.4). (B, T), (B, T) -> ()."""
    _require_same_shape(outputs, targets)
    if weights is None:  # one kernel, instead of a vector of losses and its mean
        return functional.mse_loss(outputs, targets)
    return _weighted_mean(functional.mse_loss(outputs, targets, reduction="none"), weights)


def mae(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Computes the mean of |ŷ − y|, with gradient 0 at 0. (B, T), (B, T) -> ()."""
    _require_same_shape(outputs, targets)
    if weights is None:
        return functional.l1_loss(outputs, targets)
    return _weighted_mean(functional.l1_loss(outputs, targets, reduction="none"), weights)


def huber(outputs: Tensor, targets: Tensor, weights: Tensor | None = None, *, delta: float = 1.0) -> Tensor:
    """Computes the mean of ½e² for |e| ≤ δ, else δ(|e| − ½δ), with e = ŷ − y (Huber 1964). (B, T), (B, T) -> ()."""
    _require_same_shape(outputs, targets)
    if weights is None:
        return functional.huber_loss(outputs, targets, delta=delta)
    return _weighted_mean(functional.huber_loss(outputs, targets, delta=delta, reduction="none"), weights)


def cross_entropy(
    outputs: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Computes the mean of −log softmax(outputs)[target]. (B, C) logits, (B,) class indices -> ().

    Args:
        outputs: logits; the softmax is computed here, in its stable form.
        targets: int64 class indices.
        weights: (B,), or None.
        class_weights: (C,), the factor on each row by its class. NOTE[DIFF]: the mean is over rows.
            PyTorch's `weight=` divides by the sum of the batch's weights instead, which makes a row's pull
            depend on which rows it shares a batch with, and in single-sample batches undoes the weights.
        label_smoothing: ε in [0, 1): the true class gets 1 − ε + ε/C, each other ε/C (Szegedy et al. 2016,
            section 7).
    """
    _require_classes(outputs, targets)
    if class_weights is None and weights is None:  # one kernel, instead of a vector of losses and its mean
        return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
    per_row = functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing, reduction="none")
    if class_weights is not None:
        per_row = per_row * class_weights[targets]
    return per_row.mean() if weights is None else _weighted_mean(per_row, weights)


def binary_cross_entropy(
    outputs: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Computes the cross-entropy from one logit, that of class 1 of two. (B, 1) logits, (B,) of 0 and 1 -> ().

    For T labels, each true or false: the mean over the labels. (B, T), (B, T) of 0.0 and 1.0 -> ().

    Args:
        outputs: the logit z of p(class 1) = sigmoid(z).
        targets: int64 class indices, 0 or 1; or floating-point labels.
        weights: (B,), or None.
        class_weights: (2,), as in `cross_entropy`.
        label_smoothing: ε: the target becomes y(1 − ε) + ε/2.
    """
    if targets.is_floating_point():
        _require_same_shape(outputs, targets)
        logits = outputs
    else:
        _require_classes(outputs, targets, n_outputs=1)
        # Only the second dimension: a bare `squeeze()` would also drop the first in a batch of one row.
        logits = outputs.squeeze(1)
    # PyTorch computes it from the logit: the logarithm of a sigmoid is −∞ for large negative z.
    smoothed = targets.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    if class_weights is None and weights is None:
        return functional.binary_cross_entropy_with_logits(logits, smoothed)
    per_row = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    if class_weights is not None:
        per_row = per_row * class_weights[targets]
    # The mean over rows, not over weights; see `cross_entropy`.
    return per_row.mean() if weights is None else _weighted_mean(per_row, weights)
