"""Combines K networks of one shape in one module: parameters are stacked, and each member has views of its row."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import MLP
from mlplab.randomness import seed_generators
from mlplab.stacked.networks.gradients import Backward, pass_through
from mlplab.stacked.networks.layers import StackedCategoryInputs, StackedMLP, StackedPixelInputs
from mlplab.stacked.networks.stacked_tensors import Workspace, named_tensors


class StackedNetwork(nn.Module):
    """Computes K networks at once: features (K, B, F), or shared (B, F) -> (K, B, C).

    Legend: K members, B batch, F features, C outputs.

    The members' parameters and buffers move into tensors (K, …), and become views of their rows. So a member can be
    called, saved and loaded by itself at any time. (`torch.save` writes the whole tensor behind a view: clone a
    member's tensors before saving.)

    Before each step with dropout, set one of `seeds` for each member: its masks are then the same as alone. The user's
    own modules all draw from the first seed, which is equal in distribution only.

    Args:
        networks: of one `network_shape` of `mlplab.stacked.eligibility`.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = list(networks)
        self.seeds: Sequence[int] | None = None
        self.stack = _Branch()
        named = [dict(named_tensors(network)) for network in networks]
        for name, first in named[0].items():
            # A copy; `_arrange` turns the members' own tensors into views of it.
            rows = torch.stack([tensors[name].detach() for tensors in named])
            if isinstance(first, nn.Parameter):
                self.stack.plant(name, nn.Parameter(rows, requires_grad=first.requires_grad))
            else:
                self.stack.plant(name, rows)
        self._arrange()

    def forward(self, features: Tensor) -> Tensor:
        features = self._behind_inputs(features)
        body = self._body
        if isinstance(body, StackedModule):
            if self.training and self.seeds:
                seed_generators(self.seeds[0], features.device)
            return body(features, self.training)
        # Not in our own memory: autograd keeps masks until the backward pass.
        return body.by_autograd(features, self._masks(body, features, Workspace(features)), self.training)

    def with_backward(self, features: Tensor) -> tuple[Tensor, Backward]:
        """Returns the outputs (K, B, C), and a function that carries their gradient to `.grad` of all parameters.

        For training, and only if `has_kernels`.
        """
        features, body = self._behind_inputs(features), self._body
        assert isinstance(body, StackedMLP)
        return pass_through(body, features, self._masks(body, features, self._memory), self._memory)

    def _behind_inputs(self, features: Tensor) -> Tensor:
        return features if self._inputs is None else self._inputs(features)

    def _masks(self, body: StackedMLP, features: Tensor, memory: Workspace) -> Sequence[Tensor | None]:
        return body.masks.draw(self.seeds, features, memory) if self.training else body.masks.none()

    @property
    def draws(self) -> bool:
        """Returns whether a step draws random numbers, or a user's own module may."""
        # A user's own module may draw at any time.
        return isinstance(self._body, StackedModule) or self._body.masks.draws

    @property
    def has_kernels(self) -> bool:
        """Returns whether `with_backward` gives all gradients: for plain perceptrons without trainable input layers."""
        learns_before = any(isinstance(tensor, nn.Parameter) for tensor in _below(self.tensors, "inputs").values())
        # The kernels compute all gradients, those of frozen parameters as well.
        is_frozen = any(not parameter.requires_grad for parameter in self.stack.parameters())
        return isinstance(self._body, StackedMLP) and self._body.has_kernels and not (learns_before or is_frozen)

    def select(self, rows: Sequence[int]) -> None:
        """Keeps these members, in this order. The others get their own memory, unchanged."""
        index = torch.tensor(rows, dtype=torch.int64, device=next(iter(self.tensors.values())).device)
        staying = set(rows)
        for row, network in enumerate(self.networks):
            # Before the rows change, as these members are views of them.
            if row not in staying:
                for _, tensor in named_tensors(network):
                    tensor.data = tensor.data.clone()
        self.networks = [self.networks[row] for row in rows]
        for tensor in self.tensors.values():
            # Removed first, as PyTorch refuses a gradient whose shape differs from its tensor's.
            gradient, tensor.grad = tensor.grad, None
            tensor.data = tensor.data.index_select(0, index)
            if gradient is not None:
                tensor.grad = gradient.index_select(0, index)
        if self.seeds is not None:
            self.seeds = [self.seeds[row] for row in rows]
        self._arrange()

    def _arrange(self) -> None:
        """Turns the members into views of their rows, and collects the tensors for the passes."""
        self.tensors: dict[str, Tensor] = dict(named_tensors(self.stack))
        for row, network in enumerate(self.networks):
            for name, tensor in named_tensors(network):
                # `.data` changes only the memory: optimizers and learners keep the same parameter objects.
                tensor.data = self.tensors[name].data[row]
        if not self.networks:  # no members are left
            return
        first = self.networks[0]
        self._inputs: StackedPixelInputs | StackedCategoryInputs | None = None
        bodies, tensors = self.networks, self.tensors
        if isinstance(first, WithInputs):
            bodies = [network.network for network in self.networks if isinstance(network, WithInputs)]
            below = _below(self.tensors, "inputs")
            if isinstance(first.inputs, PixelInputs):
                self._inputs = StackedPixelInputs(below)
            elif isinstance(first.inputs, CategoryInputs):
                self._inputs = StackedCategoryInputs(first.inputs, below)
            tensors = _below(self.tensors, "network")
        perceptrons = [network for network in bodies if isinstance(network, MLP)]
        self._body = StackedMLP(perceptrons, tensors) if perceptrons else StackedModule(bodies, tensors)
        # Memory for the old number of members is no longer useful.
        self._memory = Workspace(next(self.stack.parameters()))

    def _apply(self, fn: Any, recurse: bool = True) -> "StackedNetwork":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # Moving to another device or type makes new tensors, so the views must be renewed.
        self._arrange()
        return self


class StackedModule:
    """Computes K modules of a user's own class by `torch.vmap` over `forward`, slower than stacked layers.

    Each member has its own dropout masks, but not the same ones as alone.

    Args:
        networks: the members.
        stacked: their parameters and buffers (K, …) by name.
    """

    def __init__(self, networks: Sequence[nn.Module], stacked: Mapping[str, Tensor]) -> None:
        # Its own values are replaced by the members'. Not on the meta device: a parameter that two layers share would
        # be two there.
        self.skeleton = copy.deepcopy(networks[0])
        for tensor in [*self.skeleton.parameters(), *self.skeleton.buffers()]:
            tensor.data = torch.empty_like(tensor)  # not a row of all the members' memory
        self.stacked = dict(stacked)

    def __call__(self, features: Tensor, is_training: bool) -> Tensor:
        """Calls `forward` of all members. (K, B, F) or (B, F) -> (K, B, C)."""
        # Only when it changes, as setting the mode visits all modules.
        if self.skeleton.training != is_training:
            self.skeleton.train(is_training)
        every_member = vmap(self._one, in_dims=(0, 0 if features.ndim == 3 else None), randomness="different")
        return every_member(self.stacked, features)

    def _one(self, tensors: dict[str, Tensor], features: Tensor) -> Tensor:
        return functional_call(self.skeleton, tensors, (features,))  # type: ignore[no-any-return]


class _Branch(nn.Module):
    """Holds tensors under their names in each member."""

    def plant(self, name: str, tensor: Tensor) -> None:
        """Sets a tensor by its full name, and creates the branches on the way."""
        first, _, rest = name.partition(".")
        if rest:
            if not isinstance(getattr(self, first, None), _Branch):
                setattr(self, first, _Branch())
            self.get_submodule(first).plant(rest, tensor)  # type: ignore[operator]
        elif isinstance(tensor, nn.Parameter):
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, tensor)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
