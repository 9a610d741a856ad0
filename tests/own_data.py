"""Data sets that are nobody's but a test's."""

import numpy as np

from mlplab.data.dataset import Dataset


def pixels(name: str) -> Dataset:
    """Small pictures in bytes, brighter from class to class."""
    generator = np.random.default_rng(0)
    targets = np.arange(90) % 3
    features = generator.integers(0, 180, (90, 6)) + 30 * targets[:, np.newaxis]
    return Dataset(name, features.astype(np.uint8), targets, class_names=("dark", "grey", "bright"))
