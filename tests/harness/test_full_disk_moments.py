"""Commands whose disk runs full at one moment after the other: one line, nothing lost, and the command goes on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.full_disk import CASES, small_disk, try_case

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("MLPLAB_FULL_DISK_MOMENTS", "3"))
"""Of each case and each kind of fault; 1000 are all."""

NEEDS = {"joblib": "joblib", "optuna": "optuna", "comparison": "optuna", "onnx": "onnxruntime"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("full")
    try:
        with small_disk(folder / "disk"):
            yield folder / "disk", folder / "scratch"
    except PermissionError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", CASES)
def test_a_full_disk_loses_nothing_at_any_moment(parts: tuple[Path, Path], name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    tried = try_case(CASES[name], *parts, most=MOMENTS)
    assert tried.wrong == []
    assert tried.noticed > 0
