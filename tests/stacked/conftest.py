"""Sweeps that are trained in stacks, and the same trained one by one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from launching import Done, launch

SMALL = [
    "data=wine", "model.hidden_dims=[8]", "trainer.max_epochs=3", "trainer.threads=1", "trainer.log_every_n_steps=2",
    "trainer.precision=64-true", "callbacks.figures=null", "sweep.name=study",
]  # fmt: skip
STACKED = "hydra/launcher=stacked"


def stacked(words: list[str], folder: Path) -> Done:
    """A sweep with the stacked launcher."""
    return launch([STACKED, *SMALL, *words], folder)


def jobs_in(folder: Path) -> list[Path]:
    """The directories of a sweep's jobs, by their numbers."""
    found = (path for path in (folder / "sweeps" / "study").iterdir() if path.is_dir())
    return sorted(found, key=lambda path: int(path.name.partition("_")[0]))


@pytest.fixture
def both(tmp_path: Path) -> Callable[..., tuple[list[Path], list[Path], Done]]:
    """Trains a sweep one by one and in stacks; gives the directories of both, and what the latter said."""

    def train(*words: str) -> tuple[list[Path], list[Path], Done]:
        small = [word for word in SMALL if "~model" not in words or not word.startswith("model.")]
        launch([*small, *words], tmp_path / "alone")
        done = launch([STACKED, *small, *words], tmp_path / "stacked")
        alone, together = jobs_in(tmp_path / "alone"), jobs_in(tmp_path / "stacked")
        assert [path.name for path in alone] == [path.name for path in together], done.stderr
        return alone, together, done

    return train
