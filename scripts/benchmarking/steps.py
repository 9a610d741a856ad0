"""Measures the parts of a step: several ways to the gradient and to the update of one small network, in turn.

    python scripts/benchmarking/steps.py

64-128-64-10 without dropout, batches of 32, one thread, nothing but the step. Takes about ten seconds.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.autograd import Function
from torch.optim import Adam, Optimizer

from mlplab.engine.fused_adam import FusedAdam
from mlplab.engine.fused_step import FusedStep
from mlplab.learner import Learner
from mlplab.models import MLP
from mlplab.objectives.losses import cross_entropy
from mlplab.objectives.objective import Objective
from mlplab.task import Task

ROUNDS, STEPS = 15, 300
N_FEATURES, N_CLASSES, N_ROWS = 64, 10, 32

Batch = tuple[Tensor, Tensor]
Gradient = Callable[[Batch], None]


def by_autograd(learner: Learner) -> Gradient:
    def compute(batch: Batch) -> None:
        learner.objective(learner.model(batch[0]), batch[1]).backward()

    return compute


def fused(learner: Learner) -> Gradient:
    step = FusedStep(learner)

    def compute(batch: Batch) -> None:
        _, backward = step(batch)
        backward()

    return compute


class OneNode(Function):
    """Wraps the fused step as a single node of autograd's graph."""

    @staticmethod
    def forward(ctx: Any, step: FusedStep, batch: Batch, *parameters: Tensor) -> Tensor:
        outputs, ctx.through_all = step(batch)
        ctx.parameters = parameters
        return outputs["loss"]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.through_all()
        found = tuple(parameter.grad for parameter in ctx.parameters)
        for parameter in ctx.parameters:
            parameter.grad = None
        return None, None, *found


def as_one_node(learner: Learner) -> Gradient:
    step, parameters = FusedStep(learner), list(learner.model.parameters())
    return lambda batch: OneNode.apply(step, batch, *parameters).backward()


WAYS: dict[str, tuple[Callable[[Learner], Gradient], type[Optimizer]]] = {
    "autograd, PyTorch's fused Adam": (by_autograd, Adam),
    "autograd, Adam's kernel directly": (by_autograd, FusedAdam),
    "the fused step as one node, PyTorch's fused Adam": (as_one_node, Adam),
    "the fused step, PyTorch's fused Adam": (fused, Adam),
    "the fused step, Adam's kernel directly": (fused, FusedAdam),
}


def microseconds(way: Callable[[Learner], Gradient], rule: Any, learner: Learner, batch: Batch) -> float:
    """Time of a step in microseconds."""
    optimizer = rule(learner.model.parameters(), lr=0.001, fused=True)
    gradient = way(learner)
    began = time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad()
        gradient(batch)
        optimizer.step()
    return (time.perf_counter() - began) / STEPS * 1e6


def learner_of(n_features: int, n_classes: int, **options: Any) -> Learner:
    """Holds a network with all that a step needs."""
    names = tuple(map(str, range(n_classes)))
    return Learner(
        model=MLP(in_features=n_features, out_features=n_classes, **options),
        objective=Objective(cross_entropy),
        task=Task(kind="classification", n_features=n_features, class_names=names),
        optimizer=Adam,
    )


def main() -> None:
    torch.set_num_threads(1)
    learner = learner_of(N_FEATURES, N_CLASSES)
    batch = torch.randn(N_ROWS, N_FEATURES), torch.randint(0, N_CLASSES, (N_ROWS,))
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, (way, rule) in WAYS.items():
            times[name].append(microseconds(way, rule, learner, batch))
    first = times[next(iter(WAYS))]
    for name, values in times.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(values, first, strict=True))
        print(f"{name:50}{statistics.median(values):8.0f} µs{ratio:7.2f}")


if __name__ == "__main__":
    main()
