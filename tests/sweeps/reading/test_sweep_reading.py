import json
from pathlib import Path
from typing import Any

import pytest
from sweeps.making import COMPARISON, comparison, grid, job, write_sweep

from mlplab.errors import UserError
from mlplab.sweeps.reading.ranked_settings import settings_of
from mlplab.sweeps.reading.sweep_reading import read_sweep


def test_a_run_is_what_its_directory_tells(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(0, {"lr": 0.1}, 0.2, epochs=4, best_epoch=3, accuracy=[0.1, 0.2, 0.3, 0.2])])
    (run,) = read_sweep(tmp_path).runs
    assert (run.state, run.epochs, run.best_epoch) == ("finished", 4, 3)
    assert run.measured == {"val/loss": 0.2, "val/accuracy": 0.3, "parameters": 1000, "seconds": 2.0, "epochs": 4}
    assert run.test == {"test/loss": 0.25, "test/accuracy": 0.9}
    assert list(run.curves["val/loss"].epochs) == [1, 2, 3, 4]
    assert list(run.curves["val/loss"].steps) == [10, 20, 30, 40]
    assert run.curves["val/loss"].values[2] == 0.2
    assert "val/accuracy" not in run.curves  # nobody asks for it


def test_the_curve_of_a_target_is_read_too(tmp_path: Path) -> None:
    jobs = [job(0, {"lr": 0.1}, 0.2, accuracy=[0.1, 0.2, 0.3, 0.4, 0.5])]
    sweep = read_sweep(write_sweep(tmp_path, jobs, target={"metric": "val/accuracy", "value": 0.3, "mode": "max"}))
    assert sweep.target is not None
    curve = sweep.runs[0].curves["val/accuracy"]
    assert list(sweep.target.excess(curve.values) <= 0) == [False, False, True, True, True]


def test_objectives_of_a_search_count_before_the_monitor(tmp_path: Path) -> None:
    objectives = [{"metric": "val/accuracy", "mode": "max"}, {"metric": "parameters", "mode": "min"}]
    sweep = read_sweep(write_sweep(tmp_path, [], search={"objectives": objectives}))
    assert [(o.metric, o.mode, o.sign) for o in sweep.objectives] == [
        ("val/accuracy", "max", -1),
        ("parameters", "min", 1),
    ]


def test_states_are_told_apart(tmp_path: Path) -> None:
    states = ["finished", "pruned", "infeasible", "failed", "stopped", "cut off", "waiting"]
    write_sweep(tmp_path, [job(n, {"lr": n}, state=state) for n, state in enumerate(states)])
    found = [run.state for run in read_sweep(tmp_path).runs]
    assert found == ["diverged" if state == "infeasible" else state for state in states]


def test_a_comparison_has_the_spaces_of_its_arms(tmp_path: Path) -> None:
    sweep = read_sweep(write_sweep(tmp_path, comparison(), **COMPARISON))
    assert [space["optimizer.lr"]["log"] for space in sweep.spaces.values()] == [True, True]


@pytest.mark.parametrize(
    ("path", "given", "remedy"),
    [
        ("sweps/lr", "there is no", "NAME"),
        ("sweeps/l", "there is no", "sweeps/lr"),
        ("sweeps", "has no sweep.json", "sweeps/lr"),
        ("sweeps/lr/0_job", "is one job", "sweeps/lr"),
        ("sweeps/lr/sweep.json", "is a file", "sweeps/lr"),
        ("runs/one", "is one run", "logs/sweeps/NAME"),
    ],
)
def test_what_is_no_sweep_is_refused_with_what_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, given: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path / "sweeps" / "lr", [job(0, {"lr": 1})])
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "manifest.json").write_text("{}")
    with pytest.raises(UserError) as refused:
        read_sweep(Path(path))
    assert given in refused.value.actual
    assert remedy in refused.value.hint


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 99}', '{"format": 1}', '{"format": 1, "jobs": [{"a": 1}]}']
)
def test_a_damaged_sweep_file_is_refused(tmp_path: Path, content: str) -> None:
    write_sweep(tmp_path, [])
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json"):
        read_sweep(tmp_path)


@pytest.mark.parametrize("name", ["status.json", "manifest.json", "result.json", "history.jsonl"])
@pytest.mark.parametrize("content", [b"", b"null", b"\xff\xfe", b"[" * 5000, b'{"epochs": "x", "test": 1}'])
def test_a_damaged_file_of_a_job_is_counted_and_stops_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    write_sweep(tmp_path, grid(seeds=1))
    (tmp_path / "4_job" / name).write_bytes(content)
    sweep = read_sweep(tmp_path)
    assert len(sweep.runs) == 8
    assert settings_of(sweep)[0].validation.mean is not None


def test_entries_that_are_none_are_counted(tmp_path: Path) -> None:
    sound = job(0, {"lr": 1}, 0.5)
    wrong: list[dict[str, Any]] = [{"arm": 3}, {"stage": "other"}, {"directory": "a\0b"}, {"directory": "\ud800"}]
    jobs = [sound]
    for n, change in enumerate(wrong, start=1):
        jobs.append(
            {**sound, "state": "waiting", "entry": {**sound["entry"], "number": n, "directory": f"{n}", **change}}
        )
    write_sweep(tmp_path, jobs)
    sweep = read_sweep(tmp_path)
    assert [run.entry.number for run in sweep.runs] == [0]
    assert sweep.n_unreadable == 4


def test_a_result_with_numbers_beyond_all_bounds_has_no_value(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(0, {"lr": 1})])
    result = {
        "objective": 10**400,
        "monitor": "val/loss",
        "validation": {"val/loss": True, "val/f1": 10**400},
        "epochs": 3,
    }
    (tmp_path / "0_job" / "result.json").write_text(json.dumps(result))
    assert set(read_sweep(tmp_path).runs[0].measured) == {"parameters", "seconds", "epochs"}


def seeds(directory: Path, jobs: list[dict], **asked: Any) -> list[Any]:
    return [run.entry.values.get("seed") for run in read_sweep(write_sweep(directory, jobs, **asked)).runs]


def mixed() -> list[dict]:
    """A job without a seed beside two that have one."""
    return [job(0, {"lr": 1}, 0.1), job(1, {"lr": 1, "seed": 3}, 0.1), job(2, {"lr": 1, "seed": 4}, 0.3)]


def write_config(job: Path, content: str) -> None:
    (job / ".hydra").mkdir()
    (job / ".hydra" / "config.yaml").write_text(content)


@pytest.mark.parametrize(("content", "seed"), [("seed: 3\n", 3), ("seed: [", None), ("- 1", None), ("\0", None)])
def test_a_seed_is_read_from_the_job(tmp_path: Path, content: str, seed: int | None) -> None:
    write_sweep(tmp_path, mixed())
    write_config(tmp_path / "0_job", content)
    assert [run.entry.values.get("seed") for run in read_sweep(tmp_path).runs] == [seed, 3, 4]


def test_the_seed_of_a_split_is_found_in_its_group(tmp_path: Path) -> None:
    write_sweep(tmp_path, [job(0, {"lr": 1}), job(1, {"lr": 1, "data.split_seed": 7})])
    write_config(tmp_path / "0_job", "data: {split_seed: 7}")
    assert [dict(run.entry.values) for run in read_sweep(tmp_path).runs] == [{"lr": 1, "data.split_seed": 7}] * 2


def test_one_seed_is_not_counted_as_two(tmp_path: Path) -> None:
    write_sweep(tmp_path, mixed())
    write_config(tmp_path / "0_job", "seed: 3")
    (setting,) = settings_of(read_sweep(tmp_path))
    assert setting.validation.values == (0.1, 0.3)


def test_without_a_configuration_no_seed_is_told(tmp_path: Path) -> None:
    assert seeds(tmp_path, mixed()) == [None, 3, 4]


def test_what_no_job_of_the_stage_was_given_is_not_looked_for(tmp_path: Path) -> None:
    jobs = [job(0, {"lr": 1}), job(1, {"lr": 1, "seed": 9}, stage="rerun")]
    assert seeds(tmp_path, jobs, constants=["seed=3"]) == [None, 9]
    assert json.loads((tmp_path / "sweep.json").read_text())["jobs"][0]["values"] == {"lr": 1}
