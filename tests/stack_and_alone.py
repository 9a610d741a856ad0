"""The same members trained alone, by the ordinary parts, and as a stack."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlplab.models import MLP
from mlplab.objectives.losses import cross_entropy
from mlplab.objectives.objective import Objective
from mlplab.optimization.optimizers import build_optimizer
from mlplab.randomness import derive_seed, seed_generators
from mlplab.stacked.networks.network import StackedNetwork
from mlplab.stacked.networks.stacked_losses import StackedObjective
from mlplab.stacked.networks.stacked_optimizer import StackedOptimizer
from mlplab.stacked.networks.stacked_tensors import named_tensors

N_FEATURES, N_CLASSES, N_ROWS = 6, 4, 9

Factory = Callable[[int], Any]
"""The optimizer of a member, which lacks only the parameters."""


def perceptrons(n: int = 3, dtype: torch.dtype = torch.float64, **options: Any) -> list[nn.Module]:
    """Members that differ in their first weights."""
    networks: list[nn.Module] = []
    for member in range(n):
        torch.manual_seed(member)
        shape = {"hidden_dims": [8, 8], "in_features": N_FEATURES, "out_features": N_CLASSES, **options}
        networks.append(MLP(**shape).to(dtype))
    return networks


def batch(member: int, step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A member's own rows of a step."""
    generator = torch.Generator().manual_seed(1000 * member + step)
    features = torch.randn(N_ROWS, N_FEATURES, generator=generator, dtype=torch.float64).to(dtype)
    return features, torch.randint(0, N_CLASSES, (N_ROWS,), generator=generator)


def seed_of(member: int, step: int) -> int:
    return derive_seed(member, "step", 0, step, 0)


def train_alone(
    member: int,
    network: nn.Module,
    optimizer: Optimizer,
    steps: Iterable[int],
    objective: Objective | None = None,
    clip: Callable[[list[nn.Parameter]], Any] = lambda parameters: None,
) -> None:
    objective = objective or Objective(cross_entropy)
    dtype = next(network.parameters()).dtype
    network.train()
    for step in steps:
        seed_generators(seed_of(member, step))
        features, targets = batch(member, step, dtype)
        optimizer.zero_grad()
        objective(network(features), targets).backward()
        clip(list(network.parameters()))
        optimizer.step()


class Stack:
    """Members that are trained as one."""

    def __init__(
        self, networks: Sequence[nn.Module], factory: Factory, objectives: Sequence[Objective] | None = None
    ) -> None:
        self.members = list(range(len(networks)))
        self.network = StackedNetwork(networks)
        self.objective = StackedObjective(objectives or [Objective(cross_entropy)] * len(networks))
        self.optimizers = [build_optimizer(factory(member), network) for member, network in enumerate(networks)]
        self.optimizer = StackedOptimizer(self.optimizers, self.network, networks)
        self.dtype = next(self.network.parameters()).dtype

    def train(self, steps: Iterable[int], *, change: Callable[[Tensor], Tensor] = lambda features: features) -> None:
        self.network.train()
        for step in steps:
            self.network.seeds = [seed_of(member, step) for member in self.members]
            batches = [batch(member, step, self.dtype) for member in self.members]
            features, targets = (torch.stack(parts) for parts in zip(*batches, strict=True))
            features = change(features)
            self.optimizer.step(lambda x=features, y=targets: self._gradients(x, y))

    def _gradients(self, features: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        if not self.network.has_kernels:
            loss: Tensor = self.objective(self.network(features), targets).sum()
            loss.backward()
            return loss
        outputs, through_network = self.network.with_backward(features)
        losses, through_losses = self.objective.with_backward(outputs, targets)
        through_network(through_losses(torch.ones_like(losses)))
        return losses.sum()

    def select(self, rows: Sequence[int]) -> None:
        self.optimizer.select(rows)
        self.network.select(rows)
        self.objective.select(rows)
        self.members = [self.members[row] for row in rows]


def distance(first: nn.Module, second: nn.Module, apart_from: tuple[str, ...] = ()) -> float:
    """The largest difference in any parameter or buffer but those whose names end so."""
    pairs = zip(named_tensors(first), named_tensors(second), strict=True)
    return max(float((a - b).detach().abs().max()) for (name, a), (_, b) in pairs if not name.endswith(apart_from))


def require_same_state(found: Optimizer, expected: Optimizer, within: float = 1e-9) -> None:
    """Of two optimizers: the same keys in the same order, the same types, the same numbers."""
    one, other = found.state_dict(), expected.state_dict()
    assert one["param_groups"] == other["param_groups"]
    assert one["state"].keys() == other["state"].keys()
    for index, values in other["state"].items():
        assert list(one["state"][index]) == list(values)
        for name, value in values.items():
            mine = one["state"][index][name]
            assert (mine.dtype, mine.shape, mine.is_contiguous()) == (value.dtype, value.shape, True), name
            assert torch.allclose(mine, value, rtol=within, atol=within), name
            most = 4 * len(other["state"]) if name == "step" else mine.nbytes  # updates are counted in one tensor
            assert mine.untyped_storage().nbytes() <= most, "what is saved is this and no more"
