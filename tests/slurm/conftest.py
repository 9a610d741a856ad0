"""One SLURM for all tests beside this file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.cluster import Cluster, why_not


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    if why_not():
        pytest.skip(why_not())
    # The path of a socket may have a hundred characters, fewer than those of pytest's folders.
    with tempfile.TemporaryDirectory(prefix="slurm") as folder:
        cluster = Cluster(Path(folder))
        yield cluster
        cluster.stop()
