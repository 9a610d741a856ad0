"""Jobs on a real cluster of Ray, which is this machine alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from comparing import difference
from launching import ROOT, SMALL, launch

from mlplab.errors import UserError
from mlplab.sweeps import ray_jobs
from mlplab.sweeps.ray_jobs import RayJobs

RAY = ["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"]
LONG = ["trainer.max_epochs=1000", "callbacks.early_stopping=null", "callbacks.checkpoints.every_seconds=0.2"]
SETTINGS: dict[str, Any] = {
    "init": {"address": None, "num_cpus": None, "num_gpus": None}, "remote": {"num_cpus": "auto", "num_gpus": "auto"}
}  # fmt: skip

on_ray = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(ray_jobs.importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), "-m", *words, *RAY, f"paths.logs={folder}"]


def ended(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *words), capture_output=True, text=True, timeout=900, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"""try pip install -c constraints.txt -e "\.\[ray\]"$"""):
        RayJobs(*[None] * 3, SETTINGS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "option", "told"),
    [("init", {"num_cpus": 0}, "a positive number of cores"), ("remote", {"num_gpus": "two"}, "a number of GPUs")],
)
def test_options_are_refused_before_ray_is_started(
    monkeypatch: pytest.MonkeyPatch, part: str, option: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(ray_jobs.importlib.util, "find_spec", lambda name: True)
    settings = {**SETTINGS, part: {**SETTINGS[part], **option}}
    with pytest.raises(UserError, match=f"hydra.launcher.ray.{part}.* must be .*{told}"):
        RayJobs(*[None] * 3, settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such\nargument"), "ray.init starts, but no such argument, for .*; try hydra.launcher"),
        (Exception("timed out"), "Ray must start, but timed out; try it again when this machine is less busy$"),
    ],
)
def test_a_ray_that_does_not_start_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def init(**given: Any) -> None:
        raise error

    monkeypatch.setattr(ray_jobs.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    with pytest.raises(UserError, match=told):
        RayJobs(*[None] * 3, SETTINGS)._started()  # type: ignore[arg-type]


class TestOnRay:
    pytestmark = on_ray

    def test_jobs_come_to_the_same_and_see_a_gpu_each(self, tmp_path: Path) -> None:
        words = [*SMALL, "sweep.name=study", "optimizer=sgd,adam", "seed=0,1"]
        assert launch(words, tmp_path / "alone").status == 0
        done = ended(tmp_path / "ray", *words, "hydra.launcher.ray.init.num_gpus=2", CUDA_VISIBLE_DEVICES="2,5")
        assert (done.returncode, done.stderr) == (0, "")
        alone = {path.name: path for path in (tmp_path / "alone" / "sweeps" / "study").glob("*_*")}
        assert len(alone) == 4
        seen = set()
        for name, path in alone.items():
            job = tmp_path / "ray" / "sweeps" / "study" / name
            assert difference(job, path) == ""
            seen.add(json.loads((job / "manifest.json").read_text())["hardware"]["visible_gpus"])
        assert seen == {"2", "5"}

    @pytest.mark.parametrize(
        "words",
        [
            ["hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-3,1))", "hydra.sweeper.trials=4"],
            [
                "hydra/sweeper=comparison", "hydra.sweeper.trials=2", "hydra.sweeper.seeds=[7]",
                "hydra.sweeper.arms={a: {optimizer: sgd, optimizer.lr: \'0.1,0.2\'}, b: {optimizer: adam}}",
            ],
        ],
        ids=["optuna", "comparison"],
    )  # fmt: skip
    def test_searches_and_comparisons_hand_over_as_many_as_there_is_room_for(
        self, tmp_path: Path, words: list[str]
    ) -> None:
        done = ended(tmp_path, *SMALL, "sweep.name=study", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "best    val/loss" in done.stdout
        processes = [json.loads(path.read_text())["process"] for path in tmp_path.glob("sweeps/study/*/status.json")]
        assert len(set(processes)) >= 2

    def test_ctrl_c_saves_its_jobs_and_nothing_listened_beyond_this_machine(self, tmp_path: Path) -> None:
        words = [*SMALL, *LONG, "sweep.name=study", "seed=0,1,2"]
        process = subprocess.Popen(
            command(tmp_path, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        study = tmp_path / "sweeps" / "study"
        began = time.monotonic()
        while len(list(study.glob("*/checkpoints/last.ckpt"))) < 2:
            assert process.poll() is None
            assert time.monotonic() - began < 200
            time.sleep(0.1)
        if sys.platform == "linux":
            assert {address for address in _listening(process.pid) if address not in LOCAL} == set()
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=90)[1]
        assert process.returncode == 130
        assert told.startswith("train.py: stopped by Ctrl-C")
        assert told.count("\n") == 1
        assert told.endswith("the same command goes on with the sweep\n")
        states = {path.parent.name: json.loads(path.read_text())["state"] for path in study.glob("*/status.json")}
        assert states == {"0_seed-0": "stopped", "1_seed-1": "stopped"}
        done = ended(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert launch([*SMALL, *LONG, "sweep.name=study", "seed=0"], tmp_path / "alone").status == 0
        (alone,) = (tmp_path / "alone" / "sweeps" / "study").glob("0*")
        assert difference(study / "0_seed-0", alone) == ""


LOCAL = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
"""127.0.0.1 and ::1, as Linux lists them."""


def _listening(session: int) -> set[str]:
    """The addresses at which the processes of a session listen."""
    sockets = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # Ray's own processes have sessions of their own, and name the one that has started them.
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            sockets |= {os.readlink(file) for file in (entry / "fd").iterdir()}
        except OSError:
            continue
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].partition(":")[0])
    return found
