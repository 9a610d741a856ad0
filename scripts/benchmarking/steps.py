"""What a step is made of: ways to the gradient and to the update of the same small network, in turn in one process.

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
from torch import Tensor, nn
from torch.autograd import Function
from torch.optim import Adam, Optimizer

from mlplab.engine.backpropagation import TAPE
from mlplab.engine.fused_adam import LeanAdam
from mlplab.engine.fused_step import loss_of
from mlplab.engine.kernels import pass_through
from mlplab.engine.loss_kernels import WRITTEN_OUT
from mlplab.models import MLP
from mlplab.objectives.losses import cross_entropy
from mlplab.objectives.objective import Objective

ROUNDS, STEPS = 15, 300
OBJECTIVE = Objective(cross_entropy)

Gradient = Callable[[MLP, Tensor, Tensor], None]


def by_autograd(network: MLP, features: Tensor, targets: Tensor) -> None:
    OBJECTIVE(network(features), targets).backward()


def written_out(network: MLP, features: Tensor, targets: Tensor) -> None:
    with TAPE.recording():
        loss = OBJECTIVE(network(features), targets)
    TAPE.backward(loss)


def written_out_whole(network: MLP, features: Tensor, targets: Tensor) -> None:
    with TAPE.recording():
        loss = loss_of(network, OBJECTIVE, features, targets)
    TAPE.backward(loss)


class OneNode(Function):
    """The passes that are written out, as a single node of autograd's graph."""

    @staticmethod
    def forward(ctx: Any, network: MLP, features: Tensor, targets: Tensor, *parameters: Tensor) -> Tensor:
        outputs, ctx.through_network = pass_through(network.hidden, network.output, features)
        loss, ctx.through_loss = WRITTEN_OUT[cross_entropy](outputs, targets)
        ctx.parameters = parameters
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.through_network(ctx.through_loss(gradients[0]))
        found = tuple(parameter.grad for parameter in ctx.parameters)
        for parameter in ctx.parameters:
            parameter.grad = None
        return None, None, None, *found


def as_one_node(network: MLP, features: Tensor, targets: Tensor) -> None:
    OneNode.apply(network, features, targets, *network.parameters()).backward()


WAYS: dict[str, tuple[Gradient, type[Optimizer]]] = {
    "autograd, PyTorch's fused Adam": (by_autograd, Adam),
    "autograd, Adam's kernel directly": (by_autograd, LeanAdam),
    "one autograd.Function, PyTorch's fused Adam": (as_one_node, Adam),
    "written out, PyTorch's fused Adam": (written_out, Adam),
    "written out, Adam's kernel directly": (written_out, LeanAdam),
    "written out whole, Adam's kernel directly": (written_out_whole, LeanAdam),
}


def microseconds(gradient: Gradient, rule: Any, network: nn.Module, features: Tensor, targets: Tensor) -> float:
    """Of a step."""
    optimizer = rule(network.parameters(), lr=0.001, fused=True)
    TAPE.allow(network, OBJECTIVE)
    began = time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad()
        gradient(network, features, targets)  # type: ignore[arg-type]
        optimizer.step()
    return (time.perf_counter() - began) / STEPS * 1e6


def main() -> None:
    torch.set_num_threads(1)
    network = MLP(in_features=64, out_features=10)
    batch = torch.randn(32, 64), torch.randint(0, 10, (32,))
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, (gradient, rule) in WAYS.items():
            times[name].append(microseconds(gradient, rule, network, *batch))
    first = times[next(iter(WAYS))]
    for name, values in times.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(values, first, strict=True))
        print(f"{name:46}{statistics.median(values):8.0f} µs{ratio:7.2f}")


if __name__ == "__main__":
    main()
