"""Two processes share every batch and follow the path of one; a signal reaches one that waits for the other."""

import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import run_program, start_program

STOPPED = "stopped by SIGTERM while it waited for other processes"


def weights_of(directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    state = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state, json.loads((directory / "result.json").read_text())["validation"]


@pytest.mark.parametrize(
    "data",
    [
        ["data=iris", "data.batch_size=13"],  # 13 rows are shared as 7 and 6; the last batch has a single one
        pytest.param(["data=diabetes", "data.batch_size=full"], marks=pytest.mark.slow),
        pytest.param(["data=wine", "loss=cross_entropy", "loss.class_weights=balanced"], marks=pytest.mark.slow),
        pytest.param(["data=iris", "data.batch_size=1"], marks=pytest.mark.slow),
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


@pytest.mark.parametrize("node", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_that_waits_for_another_machine(tmp_path: Path, node: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["data=iris", "callbacks=minimal", "logger=none", "trainer=ddp", "trainer.accelerator=cpu"]
    words += ["trainer.devices=1", "+trainer.num_nodes=2", f"paths.logs={tmp_path / 'logs'}"]
    surroundings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(node)}
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
    assert (done.status, done.stderr) == (128 + signal.SIGTERM, f"train.py: {STOPPED}\n")
    if node == 0:
        (status,) = (tmp_path / "logs").rglob("status.json")
        assert json.loads(status.read_text()) | {"state": "stopped", "reason": STOPPED} == json.loads(
            status.read_text()
        )
