"""Makes synthetic data sets, each to show one property of networks.

All take the number of rows, the standard deviation of the noise, and a seed, which determine the rows.
Features are (x, y) in the plane; of the wave, x alone.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mlplab.data.dataset import Dataset
from mlplab.errors import UserError

# With two features in float64, 160 MB.
MOST_SAMPLES = 10_000_000

Array = npt.NDArray[np.float64]


def circles(n_samples: int, noise: float, seed: int) -> Dataset:
    """Makes a disc inside a ring: no straight line separates them, one hidden layer does."""
    generator = np.random.default_rng(seed)
    targets = _alternating(n_samples, 2)
    angle = generator.uniform(0, 2 * math.pi, n_samples)
    # Radii 0.5 and 1: with a noise below about 0.1 the classes hardly touch.
    radius = np.where(targets == 0, 0.5, 1.0)
    features = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return _classes("circles", features, targets, noise, generator, ("inner", "outer"))


def spirals(n_samples: int, noise: float, seed: int) -> Dataset:
    """Makes two intertwined spirals (Lang and Witbrock 1988): hard for small hidden layers."""
    generator = np.random.default_rng(seed)
    targets = _alternating(n_samples, 2)
    # The root spreads rows evenly over the area; 0.02 excludes the centre, where both spirals meet.
    turn = np.sqrt(generator.uniform(0.02, 1, n_samples)) * 3 * math.pi
    # The second spiral is the first, rotated by 180°.
    angle = turn + math.pi * targets
    radius = turn / (3 * math.pi)
    features = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return _classes("spirals", features, targets, noise, generator, ("first", "second"))


def xor(n_samples: int, noise: float, seed: int) -> Dataset:
    """Makes XOR: opposite corners of a square have one class. No perceptron learns it (Minsky and Papert 1969)."""
    generator = np.random.default_rng(seed)
    corner = _alternating(n_samples, 4)
    features = np.stack([corner % 2, corner // 2], axis=1).astype(np.float64)
    targets = (corner % 2) ^ (corner // 2)
    return _classes("xor", features, targets, noise, generator, ("same", "different"))


def gaussians(n_samples: int, noise: float, seed: int) -> Dataset:
    """Makes three Gaussian clouds, for which a linear model is optimal."""
    generator = np.random.default_rng(seed)
    targets = _alternating(n_samples, 3)
    # Centres at the corners of a triangle with equal sides.
    angle = 2 * math.pi * targets / 3
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _classes("gaussians", features, targets, noise, generator, ("right", "top", "bottom"))


def plane(n_samples: int, noise: float, seed: int) -> Dataset:
    """Makes a regression on z = 2x − y + ½ with noise on z, the lower limit of any error."""
    generator = np.random.default_rng(seed)
    features = generator.uniform(-1, 1, (n_samples, 2))
    # Noise on the target only, so its variance is the mse that no model can beat.
    height = plane_height(features) + noise * generator.standard_normal(n_samples)
    return Dataset("plane", features, height, feature_names=("x", "y"), target_name="height", truth=plane_height)


def plane_height(features: Array) -> Array:
    """Computes z = 2x − y + ½: (N, 2) -> (N,)."""
    height: Array = 2 * features[:, 0] - features[:, 1] + 0.5
    return height


def wave(n_samples: int, noise: float, seed: int) -> Dataset:
    """Makes a regression on a wave that becomes faster, y = sin(2πx²) for x in [0, 2], with noise on y.

    Networks learn the slow part first (Rahaman et al. 2019, "On the spectral bias of neural networks").
    """
    generator = np.random.default_rng(seed)
    features = generator.uniform(0, 2, (n_samples, 1))
    heights = wave_height(features) + noise * generator.standard_normal(n_samples)
    return Dataset("wave", features, heights, feature_names=("x",), target_name="y", truth=wave_height)


def wave_height(features: Array) -> Array:
    """Computes y = sin(2πx²): (N, 1) -> (N,)."""
    waves: Array = np.sin(2 * math.pi * features[:, 0] ** 2)
    return waves


SYNTHETIC: dict[str, Callable[[int, float, int], Dataset]] = {
    "circles": circles,
    "spirals": spirals,
    "xor": xor,
    "gaussians": gaussians,
    "plane": plane,
    "wave": wave,
}


def synthetic(name: str, n_samples: int, noise: float, seed: int) -> Dataset:
    """Makes one of `SYNTHETIC`.

    Raises:
        UserError: the number of rows is not between 1 and `MOST_SAMPLES`.
    """
    if not 1 <= n_samples <= MOST_SAMPLES:
        raise UserError(f"data.n_samples must be from 1 to {MOST_SAMPLES}", f"data.n_samples={n_samples}", "1000")
    return SYNTHETIC[name](n_samples, noise, seed)


def _alternating(n_samples: int, n_classes: int) -> npt.NDArray[np.int64]:
    # In turn, not at random, so that the classes are equally frequent to within one row.
    return np.arange(n_samples, dtype=np.int64) % n_classes


def _classes(
    name: str,
    centres: Array,
    targets: npt.NDArray[np.int64],
    noise: float,
    generator: np.random.Generator,
    class_names: tuple[str, ...],
) -> Dataset:
    features = centres + noise * generator.standard_normal(centres.shape)
    return Dataset(name, features, targets, feature_names=("x", "y"), class_names=class_names, target_name="class")
