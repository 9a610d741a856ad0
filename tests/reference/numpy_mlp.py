"""A multilayer perceptron in NumPy, from the formulas of the textbook: nothing of PyTorch, nothing of the project.

Notation of Goodfellow, Bengio and Courville 2016, algorithms 6.3 and 6.4, for a batch of rows: H⁰ = X,
Aˡ = Hˡ⁻¹Wˡᵀ + bˡ, Hˡ = f(Aˡ), and the outputs are the last A. All arrays are float64.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Parameters = list[Array]  # W¹, b¹, W², b², …

ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda a: np.maximum(a, 0.0), lambda a: (a > 0).astype(np.float64)),
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2),
}


def forward(parameters: Parameters, features: Array, activation: str) -> tuple[list[Array], list[Array]]:
    """The weighted sums A and the layers' outputs H, H⁰ = X first; the last A are the network's outputs."""
    function, _ = ACTIVATIONS[activation]
    sums, layers = [], [features]
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        sums.append(layers[-1] @ weight.T + bias)
        layers.append(function(sums[-1]))
    return sums, layers


def mean_squared_error(outputs: Array, targets: Array) -> tuple[float, Array]:
    """The loss and its gradient with respect to the outputs."""
    difference = outputs - targets
    return float(np.mean(difference**2)), 2 * difference / difference.size


def softmax_cross_entropy(outputs: Array, targets: npt.NDArray[np.int64]) -> tuple[float, Array]:
    """The loss and its gradient with respect to the logits: (softmax − one-hot) / rows."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(targets))
    gradient = np.exp(log_probabilities)
    gradient[rows, targets] -= 1
    return float(-log_probabilities[rows, targets].mean()), gradient / len(targets)


LOSSES = {"mse": mean_squared_error, "cross_entropy": softmax_cross_entropy}


def loss_and_gradients(
    parameters: Parameters,
    features: Array,
    targets: npt.NDArray[np.generic],
    *,
    activation: str,
    loss: str,
    l1: float = 0.0,
    l2: float = 0.0,
) -> tuple[float, Parameters]:
    """Backpropagation by hand. Penalties l1·Σ|w| + (l2/2)·Σw² fall on the weights, not on the biases."""
    sums, layers = forward(parameters, features, activation)
    value, delta = LOSSES[loss](sums[-1], targets)  # type: ignore[operator]
    _, derivative = ACTIVATIONS[activation]
    gradients: Parameters = []
    for layer in reversed(range(len(sums))):
        weight = parameters[2 * layer]
        value += l1 * float(np.abs(weight).sum()) + 0.5 * l2 * float((weight**2).sum())
        gradients = [delta.T @ layers[layer] + l1 * np.sign(weight) + l2 * weight, delta.sum(axis=0), *gradients]
        if layer > 0:
            delta = (delta @ weight) * derivative(sums[layer - 1])
    return value, gradients


class UpdateRule:
    """w ← w − the step of one of the rules, each with its own state for every parameter.

    `weight_decay` falls on the weights (even positions), not on the biases. With `adamw` it is decoupled,
    w ← w − lr·weight_decay·w; with the others it is added to the gradient.
    """

    def __init__(self, name: str, lr: float, weight_decay: float = 0.0) -> None:
        self.name, self.lr, self.weight_decay = name, lr, weight_decay
        self.step = 0
        self.first: dict[int, Array] = {}
        self.second: dict[int, Array] = {}

    def update(self, parameters: Parameters, gradients: Parameters) -> Parameters:
        self.step += 1
        return [self._updated(i, w, g) for i, (w, g) in enumerate(zip(parameters, gradients, strict=True))]

    def _updated(self, position: int, w: Array, g: Array) -> Array:
        decay = self.weight_decay if position % 2 == 0 else 0.0
        m = self.first.get(position, np.zeros_like(w))
        v = self.second.get(position, np.zeros_like(w))
        lr, t = self.lr, self.step
        if self.name == "adamw":
            w = w - lr * decay * w
        else:
            g = g + decay * w
        match self.name:
            case "sgd":
                step = lr * g
            case "momentum":  # Polyak 1964, with the learning rate outside: m ← μm + g
                m = 0.9 * m + g
                step = lr * m
            case "nesterov":  # Sutskever et al. 2013, in the form that looks ahead in the gradient
                m = 0.9 * m + g
                step = lr * (g + 0.9 * m)
            case "adam" | "adamw":  # Kingma and Ba 2015, algorithm 1
                m = 0.9 * m + (1 - 0.9) * g
                v = 0.999 * v + (1 - 0.999) * g**2
                step = lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            case "rmsprop":  # Hinton 2012, lecture 6e, with decay 0.99
                v = 0.99 * v + (1 - 0.99) * g**2
                step = lr * g / (np.sqrt(v) + 1e-8)
            case "adagrad":  # Duchi, Hazan and Singer 2011
                v = v + g**2
                step = lr * g / (np.sqrt(v) + 1e-10)
            case _:
                raise KeyError(self.name)
        self.first[position], self.second[position] = m, v
        return w - step
