"""The cores of this process, and how its threads wait for one another."""

import os
import subprocess
import sys

import pytest

from mlplab.processors import available_cores, let_waiting_threads_sleep

POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def no_policy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in POLICIES:
        monkeypatch.setenv(name, "0")  # so that what is set below is undone
        monkeypatch.delenv(name)
    return monkeypatch


def test_waiting_threads_sleep(no_policy: pytest.MonkeyPatch) -> None:
    let_waiting_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_is_set_already_stays(no_policy: pytest.MonkeyPatch, name: str) -> None:
    no_policy.setenv(name, "ACTIVE")
    let_waiting_threads_sleep()
    assert {policy: os.environ.get(policy) for policy in POLICIES} == {**dict.fromkeys(POLICIES), name: "ACTIVE"}


@pytest.mark.slow
def test_openmp_has_read_the_policy_when_pytorch_computes(no_policy: pytest.MonkeyPatch) -> None:
    no_policy.setenv("OMP_DISPLAY_ENV", "true")
    command = [sys.executable, "-c", "import mlplab, torch"]  # in the order of train.py and of every script
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in told


def test_a_launcher_tells_the_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = available_cores()
    for share, expected in (("1", 1), ("0", cores), ("many", cores), (str(cores + 1), cores)):
        monkeypatch.setenv("OMP_NUM_THREADS", share)
        assert available_cores() == expected
