"""Measures the step of K networks that are computed as one, per network, against the best hand-written loop.

    python scripts/benchmarking/stacked_steps.py

64-128-64-10 without dropout, batches of 32 of each member's own rows, Adam; nothing but the step. Members share one
learning rate, or have each their own. The best of several rounds in turn counts: other work on the machine slows down
two threads that wait for each other many times over. Takes about a minute.
"""

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Adam

from mlplab.models import MLP
from mlplab.objectives.losses import cross_entropy
from mlplab.objectives.objective import Objective
from mlplab.optimization.optimizers import build_optimizer
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_losses import StackedObjective
from mlplab.stacked.networks.stacked_optimizer import StackedOptimizer

N_ROWS, BATCH = 1437, 32
ROUNDS, SECONDS = 12, 0.2
MEMBERS = (1, 8, 32, 64, 128)

Step = Callable[[], object]


def rows_of(n_members: int) -> tuple[Tensor, Tensor]:
    """Returns the features (N, F) and targets (N,) that all members draw from."""
    generator = torch.Generator().manual_seed(n_members)
    return torch.randn(N_ROWS, 64, generator=generator), torch.randint(0, 10, (N_ROWS,), generator=generator)


def best_loop() -> Step:
    """Makes the steps by hand: one network, autograd, PyTorch's fused Adam."""
    features, targets = rows_of(1)
    network = MLP(in_features=64, out_features=10)
    optimizer = Adam(network.parameters(), lr=0.001, fused=True)

    def step() -> None:
        rows = torch.randint(0, N_ROWS, (BATCH,))
        loss = functional.cross_entropy(network(features.index_select(0, rows)), targets.index_select(0, rows))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def stacked(n_members: int, *, own_rates: bool) -> Step:
    features, targets = rows_of(n_members)
    networks = [MLP(in_features=64, out_features=10) for _ in range(n_members)]
    network, objective = StackedNetwork(networks), StackedObjective([Objective(cross_entropy)] * n_members)
    rates = [0.001 * (1 + member / 100 * own_rates) for member in range(n_members)]
    optimizers = [
        build_optimizer(partial(Adam, lr=lr, fused=True), one) for lr, one in zip(rates, networks, strict=True)
    ]
    optimizer = StackedOptimizer(optimizers, network, networks)
    parameters = list(network.parameters())
    inputs, ones = torch.empty(n_members * BATCH, 64), torch.ones(n_members)

    def step() -> None:
        rows = torch.randint(0, N_ROWS, (n_members * BATCH,))
        torch.index_select(features, 0, rows, out=inputs)
        labels = targets.index_select(0, rows).view(n_members, BATCH)
        outputs, through_network = network.with_backward(inputs.view(n_members, BATCH, -1))
        _, through_losses = objective.with_backward(outputs, labels)
        for parameter in parameters:
            parameter.grad = None
        through_network(through_losses(ones))
        optimizer.step()

    return step


def microseconds(step: Step) -> float:
    step()
    steps, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < SECONDS:
        step()
        steps += 1
    return seconds / steps * 1e6


def main() -> None:
    print("µs per member and step    threads  one rate  own rates")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ways = {(k, own): stacked(k, own_rates=own) for k in MEMBERS for own in (False, True)}
        loop, of_loop = best_loop(), math.inf
        best = dict.fromkeys(ways, math.inf)
        for _ in range(ROUNDS):
            of_loop = min(of_loop, microseconds(loop))
            for (k, own), step in ways.items():
                best[k, own] = min(best[k, own], microseconds(step) / k)
        print(f"{'the best loop':26}{threads:7}{of_loop:10.0f}")
        for k in MEMBERS:
            one, own = best[k, False], best[k, True]
            print(f"{f'K = {k}':26}{threads:7}{one:10.1f}{own:11.1f}")


if __name__ == "__main__":
    main()
