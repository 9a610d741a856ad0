"""Two processes share every batch and follow the path of one; a signal reaches one that waits for the other."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comparing import difference
from launching import ROOT, Running, run_program, start_program

from mlplab.building import set_threads_per_process
from mlplab.errors import UserError
from mlplab.runs.processes import environment_of

STOPPED = "stopped by SIGTERM while it waited for other processes"


def weights_of(directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    state = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state, json.loads((directory / "result.json").read_text())["validation"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        ["data=iris", "data.batch_size=13"],  # 13 rows are shared as 7 and 6; the last batch has a single one
        ["data=diabetes", "data.batch_size=full"],
        ["data=wine", "loss=cross_entropy", "loss.class_weights=balanced"],
        ["data=iris", "data.batch_size=1"],
    ],
)
def test_two_processes_follow_the_path_of_one(train_run: Any, tmp_path: Path, data: list[str]) -> None:
    words = [*data, "model.dropout=0", "trainer.max_epochs=3", "trainer.precision=64-true", "callbacks=minimal"]
    words += ["logger=none", "regularization.l2=0.01", "trainer.accelerator=cpu"]
    one, one_scores = weights_of(train_run(*words).directory)
    done = run_program("train.py", ["trainer=ddp", *words, f"paths.logs={tmp_path}"], tmp_path)
    assert done.status == 0, done.stderr
    two, two_scores = weights_of(next((tmp_path / "runs").iterdir()))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-12)
    assert two_scores == pytest.approx(one_scores, rel=1e-5)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def nodes_of_slurm(words: list[str], folder: Path) -> list[Running]:
    """Starts the processes that `srun --nodes=2 --ntasks=2` would start, both on this machine."""
    shared = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_LOCALID": "0"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [
        start_program("train.py", words, folder, **shared, SLURM_PROCID=node, SLURM_NODEID=node) for node in ("0", "1")
    ]


def test_two_nodes_of_slurm_are_one_run_that_follows_the_path_of_one_process_and_goes_on(
    train_run: Any, tmp_path: Path
) -> None:
    words = ["data=iris", "model.dropout=0", "trainer.precision=64-true", "callbacks=minimal", "logger=none"]
    words += ["trainer.accelerator=cpu", "callbacks.checkpoints.every_n_epochs=1"]
    words += ["data.batch_size=13"]  # rows that are shared as 7 and 6; the last batch has a single one
    one, one_scores = weights_of(train_run(*words, "trainer.max_epochs=4").directory)
    nodes = ["trainer=ddp", "trainer.devices=1", "+trainer.num_nodes=2"]
    started = [*nodes, *words, "trainer.max_epochs=2", f"paths.logs={tmp_path / 'logs'}"]
    ended = [node.end() for node in nodes_of_slurm(started, tmp_path)]
    assert [done.status for done in ended] == [0, 0], ended[0].stderr
    assert (ended[1].stdout, ended[1].stderr) == ("", "")
    (run,) = (tmp_path / "logs" / "runs").iterdir()
    assert len(list(tmp_path.rglob("manifest.json"))) == 2  # with that of the single process
    ended = [node.end() for node in nodes_of_slurm([f"resume={run}", "trainer.max_epochs=4"], tmp_path)]
    assert [done.status for done in ended] == [0, 0], ended[0].stderr
    two, two_scores = weights_of(run)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-12)
    assert two_scores == pytest.approx(one_scores, rel=1e-5)


@pytest.mark.slow
def test_torchrun_makes_one_run(tmp_path: Path) -> None:
    words = ["data=iris", "trainer=ddp", "trainer.accelerator=cpu", "callbacks=minimal", "logger=none"]
    words += ["trainer.max_epochs=2"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += [str(ROOT / "train.py"), *words, f"paths.logs={tmp_path / 'logs'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("data    iris") == 1
    (run,) = (tmp_path / "logs" / "runs").iterdir()
    assert run_program("train.py", [*words, f"paths.logs={tmp_path / 'alone'}"], tmp_path).status == 0
    (alone,) = (tmp_path / "alone" / "runs").iterdir()
    assert difference(run, alone) == ""


@pytest.mark.parametrize(
    ("tasks", "words", "told"),
    [
        ("3", ["trainer.devices=2"], "srun --nodes=1 --ntasks-per-node=2"),
        ("2", ["trainer.devices=2", "+trainer.num_nodes=2"], "srun --nodes=2 --ntasks-per-node=2"),
    ],
)
def test_another_number_of_tasks_than_devices_is_refused(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, tasks: str, words: list[str], told: str
) -> None:
    for name, value in {"SLURM_NTASKS": tasks, "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_NTASKS_PER_NODE", "SLURM_LOCALID"):
        monkeypatch.setenv(name, "1")  # removed again afterwards
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match=told):
        environment_of(make_config("trainer=ddp", *words))


def test_within_one_task_lightning_starts_the_processes(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_of(make_config("trainer=ddp")) == []
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert len(environment_of(make_config("trainer=ddp"))) == 1
    monkeypatch.setenv("SLURM_NTASKS", "4")  # each of them is a run of its own
    assert len(environment_of(make_config())) == 1


@pytest.mark.parametrize("node", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_that_waits_for_another_machine(tmp_path: Path, node: int) -> None:
    words = ["data=iris", "callbacks=minimal", "logger=none", "trainer=ddp", "trainer.accelerator=cpu"]
    words += ["trainer.devices=1", "+trainer.num_nodes=2", f"paths.logs={tmp_path / 'logs'}"]
    surroundings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "NODE_RANK": str(node)}
    process = start_program("train.py", words, tmp_path, **surroundings)
    while node == 0 and not list(tmp_path.rglob("status.json")):
        assert process.process.is_alive()
        time.sleep(0.05)
    time.sleep(0.5 if node == 0 else 8)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while process.process.is_alive() and time.monotonic() - began < 10:
        time.sleep(0.05)
    waited = time.monotonic() - began
    process.process.kill()  # where it has not ended
    done = process.end()
    assert waited < 10
    # PyTorch's own C++ may tell of the call that the signal interrupts.
    assert (done.status, done.stderr.splitlines()[-1]) == (128 + signal.SIGTERM, f"train.py: {STOPPED}")
    if node == 0:
        (status,) = (tmp_path / "logs").rglob("status.json")
        assert json.loads(status.read_text()) | {"state": "stopped", "reason": STOPPED} == json.loads(
            status.read_text()
        )


TELLS_THREADS = """
import torch
from lightning.pytorch.callbacks import Callback

class Tells(Callback):
    def on_train_batch_end(self, trainer, *rest):
        open(f"threads_of_{trainer.global_rank}", "w").write(str(torch.get_num_threads()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "expected"), [("1", 1), ("3", 3), ("auto", 1)])
def test_each_process_has_the_threads_that_were_asked_for(threads: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text(TELLS_THREADS)
    words = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.threads={threads}", "data=wine"]
    words += ["trainer.max_epochs=1", "callbacks=minimal", "logger=none", "+callbacks.tells={_target_: tells.Tells}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words, f"paths.logs={tmp_path / 'logs'}"],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(tmp_path)}, check=True, capture_output=True,
    )  # fmt: skip
    assert [int((tmp_path / f"threads_of_{rank}").read_text()) for rank in (0, 1)] == [expected] * 2


def test_threads_are_shared_among_the_processes_of_a_machine(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    several: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=object()), num_devices=4)
    alone: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=None), num_devices=1)
    monkeypatch.setattr("mlplab.trainer_settings.available_cores", lambda: 8)
    before = torch.get_num_threads()
    for trainer, threads, expected in ((several, "auto", "2"), (several, "3", "3"), (alone, "3", None)):
        with monkeypatch.context() as patch:
            patch.delenv("OMP_NUM_THREADS", raising=False)
            torch.set_num_threads(8 if threads == "auto" else int(threads))
            set_threads_per_process(make_config(f"trainer.threads={threads}"), trainer)
            assert os.environ.pop("OMP_NUM_THREADS", None) == expected
            assert torch.get_num_threads() == int(expected or threads)
    torch.set_num_threads(before)
