from pathlib import Path

import pytest
from inference.small_runs import save_run, table_options, write_houses, write_images

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
