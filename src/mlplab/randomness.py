"""Derives every random number from (seed, stream, epoch, step).

If results depended on the current state of a generator, then validating, drawing a figure or resuming would change
them. So each use derives its own seed from the run's seed and its position, and seeds a generator with that.
"""

import random
from functools import lru_cache

import numpy as np
import torch

STREAMS = {"initialization": 1, "order": 2, "step": 3, "data": 4, "epoch": 5}
"""Uses of randomness. A new use takes a new number; numbers are never reused."""

# Python's integers do not wrap around at 64 bits as the published algorithm expects.
_MASK = (1 << 64) - 1


def _mixed(value: int) -> int:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014): each input bit reaches every output bit."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def derive_seed(seed: int, stream: str, *position: int) -> int:
    """Derives a 63-bit seed from the run's seed, the name of the stream, and the position in the run.

    Neighbouring inputs give unrelated outputs, so that seed 1 at step 2 is not seed 2 at step 1.
    """
    value = _root(seed, stream, *position[:1])
    for part in position[1:]:
        value = _mixed(value ^ (part & _MASK))
    return value >> 1  # 63 bits fit into a signed integer of 64


@lru_cache(maxsize=64)
def _root(seed: int, stream: str, *first: int) -> int:
    """Mixes the part of the position that all steps of an epoch share; cached, as every step needs it."""
    value = _mixed(seed & _MASK)  # Python's integers have no limit, and negative ones no leading zeros
    for part in (STREAMS[stream], *first):
        value = _mixed(value ^ (part & _MASK))
    return value


def batch_order(n_rows: int, seed: int, epoch: int) -> torch.Tensor:
    """Draws the order of the training rows in an epoch: a permutation (n_rows,) of int64."""
    # Drawn on the CPU whatever the device: CUDA's generators give other permutations.
    # A generator of its own: the order must not depend on what else has been drawn, nor change it.
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n_rows, generator=generator)


def seed_generators(seed: int, device: torch.device | None = None) -> None:
    """Seeds PyTorch's default generators: that of the CPU, and that of CUDA if `device` is a CUDA device.

    Unlike `torch.manual_seed` it costs a few microseconds, so it can be called at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.manual_seed(seed)


def seed_all(seed: int, device: torch.device | None = None) -> None:
    """Seeds the generators of PyTorch, Python and NumPy, for code of the user's, which may draw from any."""
    seed_generators(seed, device)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # the generator that augmentations draw from
