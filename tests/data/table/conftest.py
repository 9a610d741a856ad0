"""Files for the tests of tables."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes text or bytes to a file in a folder of its own."""
    folder, numbers = tmp_path_factory.mktemp("tables"), itertools.count()

    def to_file(content: str | bytes, name: str = "table.csv", encoding: str = "utf-8") -> Path:
        path = folder / str(next(numbers)) / name
        path.parent.mkdir()
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return to_file
