"""Runs and sweeps that are killed at random moments and go on: equal to the last bit, and nothing left lying about."""

import os
import shutil

import pytest
import torch
from harness.kills import RUNS, SWEEPS, Killer
from harness.outcomes import differences, plain

pytestmark = pytest.mark.slow

KILLED = int(os.environ.get("MLPLAB_KILLED_RUNS", "1"))
"""Runs and sweeps of each case that are killed, up to three times each."""


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    if shutil.which("pgrep") is None:
        pytest.skip("there is no pgrep, by which workers are waited for")
    folder = tmp_path_factory.mktemp("killed")
    return Killer(folder, seed=int(os.environ.get("MLPLAB_KILL_SEED", "0")))


@pytest.mark.parametrize("name", [*RUNS, *SWEEPS])
def test_what_was_killed_ends_as_what_was_not(killer: Killer, name: str) -> None:
    if name in ("joblib", "optuna", "comparison"):
        pytest.importorskip("optuna")
    for _ in range(KILLED):
        assert killer.kill(name).wrong == []


def test_what_is_not_the_same_is_seen() -> None:
    weights = torch.tensor([1.0, 2.0])
    other = weights.clone()
    other.view(torch.int32)[1] ^= 1
    (found,) = differences({"weights": plain(weights)}, {"weights": plain(other)})
    assert found == "[weights]: 1 bits of 64 differ"
    assert differences({"a": 1}, {"a": 1, "b": 2}) == ["[b]: 'nothing' / 2"]
