"""Dropout masks of K members, each drawn from its own seed.

Legend: K members, B batch.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from mlplab.stacked.networks.stacked_tensors import Workspace


class StackedMasks:
    """Draws the masks of a step: 0 for what is dropped, 1/(1 − p) for what is kept.

    PyTorch draws in one thread, and for a small network that takes as long as all else. So the members are shared out
    among as many threads as it computes with, each with generators of its own.

    Args:
        places: width, and share p of each member (K,), of each place with dropout, in the order of the pass.
    """

    def __init__(self, places: Sequence[tuple[int, Sequence[float]]]) -> None:
        self.places = [(width, [1 - share for share in shares]) for width, shares in places]
        self.n_members = len(self.places[0][1])
        self.n_threads = min(torch.get_num_threads(), self.n_members)
        self._helpers: ThreadPoolExecutor | None = None

    @property
    def draws(self) -> bool:
        """Returns whether anything is dropped anywhere."""
        return any(min(kept) < 1 for _, kept in self.places)

    def none(self) -> list[Tensor | None]:
        """Returns the masks of a step that drops nothing."""
        return [None] * len(self.places)

    def draw(self, seeds: Sequence[int] | None, like: Tensor, memory: Workspace) -> list[Tensor | None]:
        """Draws the factors (K, B, width) of each place; None where no member drops anything.

        Each member draws from its seed, place by place: the bits that it draws when alone.

        Args:
            seeds: of the members for this step (K,).
            like: (K, B, F) or (B, F), whose type and rows the masks have.
            memory: where they lie.
        """
        masks = self.none()
        drawn = []
        for place, (width, kept) in enumerate(self.places):
            if min(kept) < 1:
                masks[place] = mask = memory.take((self.n_members, like.shape[-2], width))
                drawn.append((mask.unbind(0), kept))
        if not drawn:
            return masks
        assert seeds is not None, "each member must have a seed for the step"

        def draw(members: Iterable[int]) -> None:
            generator = torch.Generator(like.device)
            for member in members:
                generator.manual_seed(seeds[member])
                for rows, kept in drawn:
                    if kept[member] < 1:
                        rows[member].bernoulli_(kept[member], generator=generator)
                    else:
                        rows[member].fill_(1.0)

        shares = [range(first, self.n_members, self.n_threads) for first in range(self.n_threads)]
        others = [self._threads().submit(draw, share) for share in shares[1:]]
        draw(shares[0])
        for other in others:
            other.result()
        for factors, (_, kept) in zip(masks, self.places, strict=True):
            if factors is not None:
                factors.div_(torch.tensor(kept, dtype=torch.float64).to(factors).view(-1, 1, 1))
        return masks

    def _threads(self) -> ThreadPoolExecutor:
        if self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.n_threads - 1, thread_name_prefix="masks")
        return self._helpers
