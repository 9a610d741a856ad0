"""What a trial is told to have come to."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlplab.sweeps.objectives import Bound, Objective
from mlplab.sweeps.search.outcomes import Outcome, read_outcome

LOSS = [Objective("val/loss", "min")]


def job(directory: Path, state: str = "finished", **also: Any) -> Path:
    directory.mkdir()
    result = {"monitor": "val/loss", "objective": also.pop("objective", 0.5), "epochs": 3}
    result["validation"] = {"val/loss": result["objective"], "val/accuracy": 0.9}
    (directory / "status.json").write_text(json.dumps({"state": state, "seconds": {"fit": 2.5}, **also}))
    (directory / "result.json").write_text(json.dumps(result))
    (directory / "manifest.json").write_text(json.dumps({"parameters": 71}))
    return directory


def test_seeds_are_averaged(tmp_path: Path) -> None:
    jobs = [job(tmp_path / "a", objective=0.25), job(tmp_path / "b", objective=0.75)]
    assert read_outcome(jobs, LOSS) == Outcome("finished", (0.5,))


def test_several_objectives_are_read_from_where_they_stand(tmp_path: Path) -> None:
    names = ("val/loss", "val/accuracy", "parameters", "seconds", "epochs")
    found = read_outcome([job(tmp_path / "a")], [Objective(name, "min") for name in names])
    assert found == Outcome("finished", (0.5, 0.9, 71.0, 2.5, 3.0))


def test_a_bound_is_kept_by_the_mean_over_seeds(tmp_path: Path) -> None:
    jobs = [job(tmp_path / "a", objective=0.25), job(tmp_path / "b", objective=0.75)]
    bounds = [
        Bound("val/loss", "min", 0.25),
        Bound("val/accuracy", "max", 0.9),
        Bound("epochs", "min", 9),
    ]
    found = read_outcome(jobs, LOSS, bounds)
    assert found == Outcome("finished", (0.5,), excess={"val/loss": 0.25, "val/accuracy": 0.0, "epochs": -6.0})
    assert [str(bound) for bound in bounds] == ["val/loss ≤ 0.25", "val/accuracy ≥ 0.9", "epochs ≤ 9"]
    pruned = read_outcome([job(tmp_path / "c", pruned=True)], LOSS, [Bound("parameters", "min", 70)])
    assert pruned == Outcome("pruned", excess={"parameters": 1.0})
    lacking = read_outcome(jobs, LOSS, [Bound("val/f1", "max", 0.5)])
    assert lacking == Outcome("infeasible", reason="val/f1 is nan")


@pytest.mark.parametrize(
    ("state", "also", "expected"),
    [
        ("failed", {"reason": "diverged", "infeasible": True}, Outcome("infeasible", reason="diverged")),
        ("failed", {"reason": "planted"}, Outcome("failed", reason="planted")),
        ("finished", {"pruned": True}, Outcome("pruned")),
        ("finished", {"objective": None}, Outcome("infeasible", reason="val/loss is nan")),
        ("stopped", {}, None),
    ],
)
def test_one_job_that_did_not_finish_decides(
    tmp_path: Path, state: str, also: dict[str, Any], expected: Outcome | None
) -> None:
    assert read_outcome([job(tmp_path / "a"), job(tmp_path / "b", state, **also)], LOSS) == expected


def test_a_metric_that_the_run_lacks_is_no_number(tmp_path: Path) -> None:
    found = read_outcome([job(tmp_path / "a")], [Objective("val/f1", "max")])
    assert found == Outcome("infeasible", reason="val/f1 is nan")
