"""Every random number as a function of (seed, stream, epoch, step).

Nothing that is learned may depend on the state that a generator happens to be in: then validating, drawing a
figure or resuming in the middle would change the result. So each use derives its own seed from the run's seed
and from where it stands, and starts a generator from that.
"""

from functools import lru_cache

import torch

STREAMS = {"initialization": 1, "order": 2, "step": 3}
"""What randomness is used for. A new use takes a new number; numbers are never used again."""

_MASK = (1 << 64) - 1


def _mixed(value: int) -> int:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014): each input bit reaches every output bit."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def derive_seed(seed: int, stream: str, *position: int) -> int:
    """A 63-bit seed for one use: the run's `seed`, the name of the stream, and where in the run it stands.

    Neighbouring inputs give unrelated outputs, so that seed 1 at step 2 is not seed 2 at step 1.
    """
    value = _root(seed, stream, *position[:1])
    for part in position[1:]:
        value = _mixed(value ^ (part & _MASK))
    return value >> 1


@lru_cache(maxsize=64)
def _root(seed: int, stream: str, *first: int) -> int:
    """What the seeds of an epoch's steps have in common."""
    value = _mixed(seed & _MASK)
    for part in (STREAMS[stream], *first):
        value = _mixed(value ^ (part & _MASK))
    return value


def batch_order(n_rows: int, seed: int, epoch: int) -> torch.Tensor:
    """The order in which the training rows are visited in an epoch: a permutation (n_rows,) of int64."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(n_rows, generator=generator)


def seed_generators(seed: int, device: torch.device | None = None) -> None:
    """Starts PyTorch's default generators (CPU, and CUDA's where the device is one) from `seed`.

    Unlike `torch.manual_seed` it costs a few microseconds, so it can be called at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.manual_seed(seed)
