"""The picture of accuracy against learning rate, from sweeps that are written and not trained."""

import json
from pathlib import Path
from typing import Any

import pytest
from report.making import job, write_sweep


@pytest.fixture
def draw(script: Any, monkeypatch: pytest.MonkeyPatch, root: Path) -> Any:
    monkeypatch.syspath_prepend(str(root / "scripts"))
    return lambda *words: script("learning_rates", *words)


def jobs(state: str = "finished") -> list[dict[str, Any]]:
    """Two rates of sgd with two seeds each; the last run is in that state."""
    values = [{"optimizer": "sgd", "optimizer.lr": lr, "seed": seed} for lr in (0.1, 1) for seed in (0, 1)]
    return [job(number, v, state=state if number == 3 else "finished") for number, v in enumerate(values)]


def test_what_diverged_counts_as_guessing(draw: Any, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "rates", jobs("infeasible"))
    result = json.loads((sweep / "3_job" / "result.json").read_text())
    (sweep / "3_job" / "result.json").write_text(json.dumps({**result, "validation": {}, "test": {}}))
    done = draw(str(sweep), f"out={tmp_path / 'picture.png'}")
    assert (done.status, done.errors) == (0, "")
    assert "1 of 4 runs diverged" in done.output
    assert "sgd       0.900 at 0.1, within 0.01 of it from 0.1 to 0.1" in done.output
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_a_sweep_that_has_jobs_to_do_is_refused(draw: Any, tmp_path: Path) -> None:
    done = draw(str(write_sweep(tmp_path / "rates", jobs("waiting"))), f"out={tmp_path / 'picture.png'}")
    assert done.status == 2
    assert "must be made of a finished sweep, but 3_job is waiting" in done.errors
