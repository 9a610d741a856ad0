"""Two processes share every batch and follow the path of one."""

import json
from pathlib import Path

import pytest
import torch
from launching import run_program


def weights_of(logs: Path, *words: str) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    done = run_program("train.py", [*words, f"paths.logs={logs}"], logs)
    assert done.status == 0, done.stderr
    (directory,) = (logs / "runs").iterdir()
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
def test_two_processes_follow_the_path_of_one(tmp_path: Path, data: list[str]) -> None:
    words = [*data, "model.dropout=0", "trainer.max_epochs=3", "trainer.precision=64-true", "callbacks=minimal"]
    words += ["logger=none", "regularization.l2=0.01", "trainer.accelerator=cpu"]
    one, one_scores = weights_of(tmp_path / "one", *words)
    two, two_scores = weights_of(tmp_path / "two", "trainer=ddp", *words)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-12)
    assert two_scores == pytest.approx(one_scores, rel=1e-5)
