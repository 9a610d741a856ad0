from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inference.small_runs import change_card, save_run, table_options, write_houses, write_images

from mlplab.inference.trained import TrainedRun, load_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    """A run on a table; modules that train one of their own override it."""
    return load_run(save_run(folder / "table", table_options(write_houses(folder / "houses.csv"))))


@pytest.fixture(scope="module")
def diabetes(folder: Path) -> TrainedRun:
    return load_run(save_run(folder / "diabetes", {"name": "diabetes"}, source="mlplab.data.bundled.bundled"))


@pytest.fixture(scope="module")
def pixels(folder: Path) -> TrainedRun:
    options = {"directory": str(write_images(folder / "idx"))}
    return load_run(save_run(folder / "pixels", options, source="mlplab.data.idx.idx_images"))


@pytest.fixture
def own_run(tmp_path: Path) -> Callable[..., TrainedRun]:
    def make(place: tuple[str, ...] = (), value: Any = None) -> TrainedRun:
        directory = save_run(tmp_path / "run", table_options(write_houses(tmp_path / "houses.csv")))
        if place:
            change_card(directory, place, value)
        return load_run(directory)

    return make
