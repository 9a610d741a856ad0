"""K networks of a user's own class at once, by torch.func: slower than the perceptron's own stacked layers."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class StackedModule:
    """K modules of one class, computed by its own `forward` under `torch.vmap`.

    Dropout is drawn for each member apart, but its masks are not those that the member draws alone.

    Args:
        networks: the members.
        stacked: their parameters and buffers (K, …) by name.
    """

    def __init__(self, networks: Sequence[nn.Module], stacked: Mapping[str, Tensor]) -> None:
        # Holds no numbers, as those of the members are put in their place. Not on the meta device: a parameter that
        # two layers share would be two there.
        self.skeleton = copy.deepcopy(networks[0])
        for tensor in [*self.skeleton.parameters(), *self.skeleton.buffers()]:
            tensor.data = torch.empty_like(tensor)  # not a row of all the members' memory
        self.stacked = dict(stacked)

    def __call__(self, features: Tensor, is_training: bool) -> Tensor:
        """Calls `forward` of all members. (K, B, F) or (B, F) -> (K, B, C)."""
        # Setting the mode walks through all modules, so it is set only when it changes.
        if self.skeleton.training != is_training:
            self.skeleton.train(is_training)
        every_member = vmap(self._one, in_dims=(0, 0 if features.ndim == 3 else None), randomness="different")
        return every_member(self.stacked, features)

    def _one(self, tensors: dict[str, Tensor], features: Tensor) -> Tensor:
        return functional_call(self.skeleton, tensors, (features,))  # type: ignore[no-any-return]
