"""The contestants: each takes the settings and arrays of a workload, and returns a function that trains once.

The function starts its clock by `begin` just before the first step. It returns the seconds, the steps, and the accuracy
of the trained network on the test part.
"""

import contextlib
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]
Begin = Callable[[], float]
Outcome = tuple[float, int, float]
Train = Callable[[Begin], Outcome]


def template(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains as `python train.py` does: TensorBoard, checkpoints, validation, early stopping, progress."""
    return _template(settings)


def template_plain(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains as `python train.py engine=plain` does."""
    return _template(settings, "engine=plain")


def mixup(network: Any, loss: Any, features: Any, targets: Any) -> Any:
    """Computes the loss of means of two rows each (Zhang et al. 2018, "mixup", with alpha = 1)."""
    import torch

    share, other = torch.rand(()), torch.randperm(len(targets))
    outputs = network(share * features + (1 - share) * features[other])
    return share * loss(outputs, targets) + (1 - share) * loss(outputs, targets[other])


def template_own_step(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains as `python train.py` does once somebody has written a training step of their own: mixup."""
    import torch

    from mlplab import building
    from mlplab.learner import Learner

    class MixupLearner(Learner):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            features, targets = batch
            loss: torch.Tensor = mixup(self.model, self.objective, features, targets)
            return loss

    building.Learner = MixupLearner  # type: ignore[misc]
    return _template(settings)


def _template(settings: dict[str, Any], *overrides: str) -> Train:
    from benchmarking.workloads import ROOT, composed
    from mlplab import training
    from mlplab.config.resolvers import register_resolvers

    register_resolvers(ROOT)
    fit = training._fit

    def train(begin: Begin) -> Outcome:
        seconds = math.nan

        def timed(*arguments: Any) -> Any:
            nonlocal seconds
            began = begin()
            try:
                return fit(*arguments)
            finally:
                seconds = time.perf_counter() - began

        training._fit = timed
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            training.train(composed([*settings["overrides"], *overrides, f"paths.run={folder}"]))
            result = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
        return seconds, result["steps"], result["test"]["test/accuracy"]

    return train


def _loop(
    settings: dict[str, Any], arrays: Arrays, *, in_memory: bool, mixes: bool = False, validates: bool = False
) -> Train:
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset

    features, targets = (torch.from_numpy(arrays[f"train_{name}"]) for name in ("features", "targets"))
    size, n_held_out = settings["batch_size"], settings["n_validation_rows"]
    held_out, held_out_targets = (
        torch.from_numpy(arrays[f"test_{name}"])[:n_held_out] for name in ("features", "targets")
    )
    if in_memory:

        def batches() -> Any:
            for rows in torch.randperm(len(targets)).split(size):
                yield features.index_select(0, rows), targets.index_select(0, rows)

    else:
        loader = DataLoader(TensorDataset(features, targets), batch_size=size, shuffle=True)

        def batches() -> Any:
            return loader

    def train(begin: Begin) -> Outcome:
        network = _network(settings, features.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), lr=settings["lr"], **({"fused": True} if in_memory else {}))
        steps = 0
        began = begin()
        for _ in range(settings["epochs"]):
            for inputs, labels in batches():
                if mixes:
                    loss = mixup(network, cross_entropy, inputs, labels)
                else:
                    loss = cross_entropy(network(inputs), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps += 1
            if validates:
                with torch.no_grad():
                    cross_entropy(network(held_out), held_out_targets).item()
        seconds = time.perf_counter() - began
        with torch.no_grad():
            predicted = network(torch.from_numpy(arrays["test_features"])).argmax(1).numpy()
        return seconds, steps, _share_right(predicted, arrays)

    return train


def best_loop(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains as a good engineer does by hand: tensors in memory, index_select, fused Adam, nothing logged."""
    return _loop(settings, arrays, in_memory=True)


def best_loop_mixup(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by the same loop with the step of `template_own_step`, to compare that one with."""
    return _loop(settings, arrays, in_memory=True, mixes=True)


def best_loop_validating(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by the same loop, with the loss of as many validation rows as the template has after each epoch."""
    return _loop(settings, arrays, in_memory=True, validates=True)


def explicit_loop(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by the loop of the textbooks: a DataLoader, and Adam with its defaults."""
    return _loop(settings, arrays, in_memory=False)


def usual_style(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by Lightning as the common templates use it."""
    from benchmarking.usual_style import fit

    return lambda begin: fit(settings, arrays, begin, _network(settings, arrays["train_features"].shape[1]))


def scikit_learn(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains scikit-learn's MLPClassifier, whose gradients are written by hand."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore", message=".*Maximum iterations.*")

    def train(begin: Begin) -> Outcome:
        classifier = MLPClassifier(
            settings["hidden_dims"], alpha=0.0, batch_size=settings["batch_size"], learning_rate_init=settings["lr"],
            max_iter=settings["epochs"], n_iter_no_change=10**6, tol=0.0,
        )  # fmt: skip
        began = begin()
        classifier.fit(arrays["train_features"], arrays["train_targets"])
        seconds = time.perf_counter() - began
        return seconds, _n_steps(settings, arrays), _share_right(classifier.predict(arrays["test_features"]), arrays)

    return train


def skorch(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains skorch's NeuralNetClassifier without validation or printing."""
    import torch
    from skorch import NeuralNetClassifier

    def train(begin: Begin) -> Outcome:
        classifier = NeuralNetClassifier(
            _network(settings, arrays["train_features"].shape[1]), criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam, lr=settings["lr"], batch_size=settings["batch_size"],
            max_epochs=settings["epochs"], iterator_train__shuffle=True, train_split=None, verbose=0,
        )  # fmt: skip
        classifier.initialize()
        began = begin()
        classifier.partial_fit(arrays["train_features"], arrays["train_targets"])
        seconds = time.perf_counter() - began
        return seconds, _n_steps(settings, arrays), _share_right(classifier.predict(arrays["test_features"]), arrays)

    return train


def _keras(settings: dict[str, Any], arrays: Arrays, *, backend: str, is_compiled_before: bool = False) -> Train:
    os.environ["KERAS_BACKEND"] = backend
    import keras

    def train(begin: Begin) -> Outcome:
        widths = settings["hidden_dims"]
        layers = [keras.layers.Dense(width, "relu", kernel_initializer="he_uniform") for width in widths]
        model = keras.Sequential([*layers, keras.layers.Dense(settings["n_classes"])])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(settings["lr"]), loss=loss)
        fit = {"batch_size": settings["batch_size"], "verbose": 0, "shuffle": True}
        if is_compiled_before:
            model.fit(arrays["train_features"], arrays["train_targets"], epochs=1, **fit)
        began = begin()
        model.fit(arrays["train_features"], arrays["train_targets"], epochs=settings["epochs"], **fit)
        seconds = time.perf_counter() - began
        predicted = np.asarray(model.predict(arrays["test_features"], verbose=0)).argmax(1)
        return seconds, _n_steps(settings, arrays), _share_right(predicted, arrays)

    return train


def keras_torch(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by `model.fit` of Keras 3 on PyTorch."""
    return _keras(settings, arrays, backend="torch")


def keras_jax(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by `model.fit` of Keras 3 on JAX. Compiling counts, as whoever calls it waits for it."""
    __import__("jax")
    return _keras(settings, arrays, backend="jax")


def keras_jax_compiled(settings: dict[str, Any], arrays: Arrays) -> Train:
    """Trains by Keras on JAX after an epoch that is not counted, so that compiling is left out."""
    __import__("jax")
    return _keras(settings, arrays, backend="jax", is_compiled_before=True)


CONTESTANTS: dict[str, tuple[str, Callable[[dict[str, Any], Arrays], Train]]] = {
    "template": ("this template, everything on", template),
    "template_plain": ("this template, engine=plain", template_plain),
    "template_own_step": ("this template, own step (mixup)", template_own_step),
    "best_loop": ("best hand-written loop", best_loop),
    "best_loop_mixup": ("best hand-written loop, mixup", best_loop_mixup),
    "best_loop_validating": ("best hand-written loop, validation loss", best_loop_validating),
    "explicit_loop": ("loop with a DataLoader", explicit_loop),
    "usual_style": ("Lightning in the usual style", usual_style),
    "scikit_learn": ("scikit-learn", scikit_learn),
    "skorch": ("skorch", skorch),
    "keras_torch": ("Keras on PyTorch", keras_torch),
    "keras_jax": ("Keras on JAX", keras_jax),
    "keras_jax_compiled": ("Keras on JAX, compiled before", keras_jax_compiled),
}


def _network(settings: dict[str, Any], n_features: int) -> Any:
    from mlplab.models import MLP

    return MLP(in_features=n_features, out_features=settings["n_classes"], hidden_dims=settings["hidden_dims"])


def _n_steps(settings: dict[str, Any], arrays: Arrays) -> int:
    return int(settings["epochs"] * math.ceil(len(arrays["train_targets"]) / settings["batch_size"]))


def _share_right(predicted: Any, arrays: Arrays) -> float:
    return float((np.asarray(predicted) == arrays["test_targets"]).mean())
