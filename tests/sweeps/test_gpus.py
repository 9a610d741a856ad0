"""GPUs of jobs that run at the same time, on a machine that needs none of its own."""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mlplab.errors import UserError
from mlplab.sweeps import gpus
from mlplab.sweeps.gpus import VISIBLE, n_gpus_wanted, own_gpus, visible_gpus

UUID = "GPU-8f7d1a2c-0000"


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize(
    ("trainer", "wanted"),
    [
        ({"accelerator": "auto", "devices": 1}, 1),
        ({"accelerator": "gpu", "devices": "2"}, 2),
        ({"accelerator": "auto", "devices": "auto"}, 1),
        ({"accelerator": "cpu", "devices": 2}, 0),
        ({"accelerator": "gpu", "devices": [1]}, 0),  # the user's own choice
        ({"accelerator": "gpu", "devices": -1}, 0),
        ({}, 1),
    ],
)
def test_a_job_wants_as_many_as_its_trainer_has_devices(trainer: dict[str, Any], wanted: int) -> None:
    assert n_gpus_wanted(OmegaConf.create({"trainer": trainer})) == wanted


@pytest.mark.parametrize(
    ("visible", "names"),
    [("2,5", ["2", "5"]), (f"{UUID}, 1", [UUID, "1"]), ("0,-1,2", ["0"]), ("", []), ("-1", []), ("3,3", ["3"])],
)
def test_what_the_user_lets_it_see_is_heeded(visible: str, names: list[str]) -> None:
    assert visible_gpus(visible) == names


def test_jobs_that_hold_gpus_at_once_have_different_ones_until_all_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "2,5")
    seen = []
    with own_gpus(1, "2,5"):
        seen.append(os.environ[VISIBLE])
        with own_gpus(1, "2,5"):  # flock tells two opened files apart, also within one process
            seen.append(os.environ[VISIBLE])
            with own_gpus(1, "2,5"), own_gpus(2, "2,5"):  # more jobs than GPUs share them
                seen.append(os.environ[VISIBLE])
    assert seen == ["2", "5", "2,5"]
    assert os.environ[VISIBLE] == "2,5"
    with own_gpus(1, f"{UUID},7"):
        assert os.environ[VISIBLE] == UUID


@pytest.mark.parametrize(("wanted", "visible"), [(0, "0,1"), (3, "0,1"), (1, ""), (1, None)])
def test_nothing_is_changed_where_there_is_nothing_to_give(
    wanted: int, visible: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "DRIVERS", ())
    monkeypatch.delenv(VISIBLE, raising=False)
    with own_gpus(wanted, visible):
        assert VISIBLE not in os.environ


def hold(folder: Path, number: int) -> None:
    tempfile.tempdir = str(folder)
    with own_gpus(1, "0,1"):
        (folder / f"seen.{number}").write_text(os.environ[VISIBLE])
        while not (folder / f"end.{number}").exists():
            time.sleep(0.01)


def test_a_gpu_is_free_again_when_its_job_has_ended_or_was_killed(tmp_path: Path) -> None:
    def seen(number: int) -> str:
        began = time.monotonic()
        while not ((tmp_path / f"seen.{number}").exists() and (tmp_path / f"seen.{number}").read_text()):
            assert time.monotonic() - began < 30
            time.sleep(0.01)
        return (tmp_path / f"seen.{number}").read_text()

    jobs = [multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, number)) for number in range(4)]
    for number in (0, 1):
        jobs[number].start()
    assert {seen(0), seen(1)} == {"0", "1"}
    (tmp_path / "end.0").touch()
    jobs[0].join()
    jobs[2].start()
    assert seen(2) == seen(0)
    jobs[1].kill()
    jobs[1].join()
    jobs[3].start()
    assert seen(3) == seen(1)
    for number in (2, 3):
        (tmp_path / f"end.{number}").touch()
        jobs[number].join()


def test_a_process_that_has_used_cuda_keeps_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "0,1")
    monkeypatch.setattr(gpus, "_uses_cuda", lambda: True)
    monkeypatch.setattr(gpus, "_kept", {})
    with own_gpus(1, "0,1"):
        pass
    assert os.environ[VISIBLE] == "0"
    with own_gpus(1, "0,1"):  # CUDA could not change to another
        assert os.environ[VISIBLE] == "0"
    for descriptor in gpus._kept.values():
        os.close(descriptor)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"mlplab-gpus-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="the folder of GPU locks must be your own"), own_gpus(1, "0,1"):
        pass
