"""Dropout masks of K members, each drawn from its own seed.

Legend: K members, B batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlplab.stacked.networks.stacked_tensors import Workspace


class StackedMasks:
    """Draws the masks of a step: 0 for what is dropped, 1/(1 − p) for what is kept.

    Args:
        places: width, and share p of each member (K,), of each place with dropout, in the order of the pass.
    """

    def __init__(self, places: Sequence[tuple[int, Sequence[float]]]) -> None:
        # The share that is kept, as `bernoulli_` takes it.
        self.places = [(width, [1 - share for share in shares]) for width, shares in places]
        self.n_members = len(self.places[0][1])

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
            # Where no member drops anything there is no mask, and nothing to multiply by.
            if min(kept) < 1:
                masks[place] = mask = memory.take((self.n_members, like.shape[-2], width))
                drawn.append((mask.unbind(0), kept))
        if not drawn:
            return masks
        assert seeds is not None, "each member must have a seed for the step"

        # A generator of its own, so that the default one stays where it is; for one seed both draw the same bits.
        generator = torch.Generator(like.device)
        for member, seed in enumerate(seeds):
            generator.manual_seed(seed)
            for rows, kept in drawn:
                # A member without dropout draws nothing alone either, and its later masks would be others.
                if kept[member] < 1:
                    rows[member].bernoulli_(kept[member], generator=generator)
                else:
                    rows[member].fill_(1.0)
        for factors, (_, kept) in zip(masks, self.places, strict=True):
            if factors is not None:
                # By a number in the masks' type, as `functional.dropout` divides.
                factors.div_(torch.tensor(kept, dtype=torch.float64).to(factors).view(-1, 1, 1))
        return masks
