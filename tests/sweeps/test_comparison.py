"""Arms that are tuned alike and judged on other seeds, and the best of a sweep once more."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import Done, run_program
from slow_cases import slow

QUICK = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=2", "sweep.name=fair"]
COMPARE = [
    "experiment=compare_optimizers", "hydra.sweeper.only=[sgd,adam]", "hydra.sweeper.trials=2",
    "hydra.sweeper.seeds=[100,101]", *QUICK,
]  # fmt: skip

Command = Callable[..., Done]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def train(logs: Path) -> Command:
    def run(*words: str, script: str = "train.py") -> Done:
        where = [] if script != "train.py" else [f"paths.logs={logs}"]
        return run_program(script, [*words, *where], logs)

    return run


@pytest.fixture(scope="module")
def compared(train: Command, logs: Path) -> Path:
    done = train(*COMPARE)
    assert done.status == 0, done.stderr
    return logs / "sweeps" / "fair"


def jobs_of(sweep: Path) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads((sweep / "sweep.json").read_text())["jobs"]
    return jobs


def of(jobs: list[dict[str, Any]], arm: str, stage: str) -> list[dict[str, Any]]:
    return [job for job in jobs if (job["arm"], job["stage"]) == (arm, stage)]


def objective(sweep: Path, job: dict[str, Any]) -> float:
    return float(json.loads((sweep / job["directory"] / "result.json").read_text())["objective"])


def test_each_arm_has_the_same_budget_and_the_best_is_judged_beside_the_defaults(compared: Path) -> None:
    jobs = jobs_of(compared)
    assert len(jobs) == 2 * (2 + 2 + 2)
    for arm in ("sgd", "adam"):
        search = of(jobs, arm, "search")
        assert [job["values"]["seed"] for job in search] == [0, 0]
        best = min(search, key=lambda job: objective(compared, job))
        reruns, defaults = of(jobs, arm, "rerun"), of(jobs, arm, "default")
        assert [job["values"] for job in reruns] == [{**best["values"], "seed": seed} for seed in (100, 101)]
        assert [job["values"] for job in defaults] == [{"optimizer": arm, "seed": seed} for seed in (100, 101)]
        for job in [*search, *reruns, *defaults]:
            config = (compared / job["directory"] / ".hydra" / "config.yaml").read_text()
            assert f"seed: {job['values']['seed']}\n" in config
            if "optimizer.lr" in job["values"]:
                assert f"lr: {job['values']['optimizer.lr']}\n" in config


def test_more_trials_and_another_arm_are_added_and_nothing_is_run_twice(train: Command, compared: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in compared.glob("*/result.json")}
    directories = [job["directory"] for job in jobs_of(compared)]
    more = [word.replace("[sgd,adam]", "[sgd,adam,muon]").replace("trials=2", "trials=3") for word in COMPARE]
    done = train(*more)
    assert done.status == 0, done.stderr
    jobs = jobs_of(compared)
    assert [job["directory"] for job in jobs[: len(directories)]] == directories
    assert {arm: len(of(jobs, arm, "search")) for arm in ("sgd", "adam", "muon")} == {"sgd": 3, "adam": 3, "muon": 3}
    assert len(of(jobs, "muon", "default")) == 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


@pytest.mark.slow
def test_an_arm_that_is_there_may_not_change(train: Command, compared: Path) -> None:
    before = (compared / "sweep.json").read_bytes()
    done = train(*COMPARE, "hydra.sweeper.arms.sgd={optimizer:sgd,optimizer.lr:'tag(log,interval(1e-3,1))'}")
    assert done.status == 2
    assert "arms.sgd.space.optimizer.lr.high=1.0 instead of 3.0" in done.stderr
    assert (compared / "sweep.json").read_bytes() == before


@pytest.mark.slow
def test_the_best_of_each_arm_is_run_on_the_same_new_seeds(train: Command, compared: Path) -> None:
    for _ in range(2):
        done = train(str(compared), "seeds=4", script="scripts/rerun_best.py")
        assert done.status == 0, done.stderr
    jobs = jobs_of(compared)
    assert "0 to do" in done.stdout
    for arm in ("sgd", "adam"):
        search = of(jobs, arm, "search")
        best = min(search, key=lambda job: objective(compared, job))["values"]["optimizer.lr"]
        seeds = [job["values"]["seed"] for job in of(jobs, arm, "rerun") if job["values"]["optimizer.lr"] == best]
        assert sorted(seeds) == [100, 101, 102, 103]


def test_the_best_of_a_grid_is_the_best_mean_over_its_seeds(train: Command, logs: Path) -> None:
    words = [word for word in QUICK if not word.startswith("sweep.name")]
    command = ["-m", "sweep.name=grid", "optimizer=sgd", "optimizer.lr=0.3,1e-4", "seed=3,4", *words]
    for more in ([], ["sweep.rerun=2"]):  # as scripts/rerun_best.py gives the command again
        done = train(*command, *more)
        assert done.status == 0, done.stderr
    reruns = [job for job in jobs_of(logs / "sweeps" / "grid") if job["stage"] == "rerun"]
    assert [(job["values"]["optimizer.lr"], job["values"]["seed"]) for job in reruns] == [(0.3, 5), (0.3, 6)]


@pytest.mark.slow
def test_the_best_is_the_mean_over_splits_and_is_run_on_others(train: Command, logs: Path) -> None:
    words = [word for word in QUICK if not word.startswith("sweep.name")]
    grid = train("-m", "sweep.name=splits", "optimizer.lr=0.001,0.01", "data.split_seed=0,1", *words)
    assert grid.status == 0, grid.stderr
    sweep = logs / "sweeps" / "splits"
    broken = next(sweep.glob("*lr-0.01_split_seed-1"))  # one seed of the better setting fails: it comes second
    done = train("sweeps/splits", "seeds=1", script="scripts/rerun_best.py")
    assert done.status == 0, done.stderr
    (rerun,) = (job["values"] for job in jobs_of(sweep) if job["stage"] == "rerun")
    assert rerun == {"optimizer.lr": 0.01, "data.split_seed": 2, "seed": 2}
    status = broken / "status.json"
    status.write_text(status.read_text().replace('"finished"', '"failed"'))
    train("sweeps/splits", "seeds=1", script="scripts/rerun_best.py")
    assert jobs_of(sweep)[-1]["values"]["optimizer.lr"] == 0.001


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("commands", None),
        ("commands", ["python train.py -m 'abc"]),
        *(
            pytest.param(name, value, marks=pytest.mark.slow)
            for name, value in (
                ("commands", []),
                ("commands", ["python"]),
                ("folder", 3),
                ("search", 3),
                ("commands", ["python train.py -m +callbacks.own._target_=os.system"]),
                ("commands", ["python train.py -m --config-dir=elsewhere seed=1"]),
            )
        ),
    ],
)
def test_a_damaged_file_is_told_in_one_line(
    train: Command, compared: Path, tmp_path: Path, name: str, value: object
) -> None:
    content = json.loads((compared / "sweep.json").read_text())
    content = {key: part for key, part in {**content, name: value}.items() if part is not None}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    done = train(str(tmp_path), script="scripts/rerun_best.py")
    assert (done.status, done.stderr.count("\n")) == (2, 1), done.stderr


@pytest.mark.slow
def test_ones_own_sweep_with_code_is_run_again_without_trust(train: Command, logs: Path) -> None:
    code = "+callbacks.mine={_target_: lightning.pytorch.callbacks.LearningRateMonitor}"
    done = train("-m", "sweep.name=own", "seed=0", code, "logger=csv", *QUICK[:2], *QUICK[3:-1])
    assert done.status == 0, done.stderr
    done = train("sweeps/own", "seeds=1", script="scripts/rerun_best.py")
    assert done.status == 0, done.stderr
    assert "sweep.json names will be executed: you have begun it here" in done.stdout


@pytest.mark.parametrize("has_control", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_code_of_a_received_sweep_is_executed(train: Command, logs: Path, has_control: bool) -> None:
    """Neither of its command nor of its jobs, whose overrides a rerun takes from sweep.json."""
    code = "+callbacks.mine={_target_: zipfile.ZipFile, file: touched, mode: w}"
    done = train("-m", "sweep.name=sent", "optimizer.lr=0.01,0.02", *QUICK[:-1])
    assert done.status == 0, done.stderr
    path = logs / "sweeps" / "sent" / "sweep.json"
    plain = json.loads(path.read_text())
    with_command = {**plain, "commands": [f"{plain['commands'][-1]} '{code}'"]}
    target = {"_target_": "zipfile.ZipFile", "file": "touched", "mode": "w"}
    values = {"optimizer.lr": 0.1, "callbacks.mine": target}
    best = {**plain["jobs"][0], "number": 2, "directory": "2", "values": values}
    best["overrides"] = ["optimizer.lr=0.1", code]
    shutil.copytree(path.parent / plain["jobs"][0]["directory"], path.parent / "2")
    result = json.loads((path.parent / "2" / "result.json").read_text())
    (path.parent / "2" / "result.json").write_text(json.dumps({**result, "validation": {"val/loss": 0.0}}))
    for content in (with_command, {**plain, "jobs": [*plain["jobs"], best]}):
        path.write_text(json.dumps(content))
        done = train("sweeps/sent", "seeds=1", script="scripts/rerun_best.py")
        assert (done.status, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"{code} in " in done.stderr
        assert "somebody else signed it; try trust=true" in done.stderr
        assert not list(logs.rglob("touched"))
    if has_control:
        train("sweeps/sent", "seeds=1", "trust=true", script="scripts/rerun_best.py")
        assert list(logs.rglob("touched"))


@pytest.mark.slow
def test_one_setting_of_a_comparison_can_be_run_alone(train: Command, compared: Path, logs: Path) -> None:
    (job, *_) = of(jobs_of(compared), "adam", "rerun")
    done = train("-m", *COMPARE[:1], *QUICK[:-1], *job["overrides"], "hydra/sweeper=grid", "sweep.name=again")
    assert done.status == 0, done.stderr
    (again,) = (logs / "sweeps" / "again").glob("*/result.json")
    assert json.loads(again.read_text())["objective"] == objective(compared, job)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such"], "sweep must be the directory of one"),
        (["sweeps/grid", "seeds=0"], "seeds must be a positive integer"),
        ([], "sweep must be given"),
    ],
)
def test_what_cannot_be_rerun_is_refused(train: Command, words: list[str], message: str) -> None:
    done = train(*words, script="scripts/rerun_best.py")
    assert done.status == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=0.1"], "optimizer.lr is given, and is part of the arm sgd"),
        *slow(
            (["hydra.sweeper.only=[sgdd]"], r"try 'hydra.sweeper.only=[sgd]'"),
            (["hydra.sweeper.seeds=[0,1]"], "must be judged on others"),
            (["hydra.sweeper.seeds=null"], "must have seeds to judge on"),
            (["hydra.sweeper.only=[]"], "must be a list of arms"),
            (["hydra.sweeper.trials=null"], "trials must be a positive integer"),
            (["seed=3"], "must have its seeds in"),
            (["sweep.target={metric:val/acuracy,value:0.9,mode:max}"], "try sweep.target.metric=val/accuracy"),
            (["sweep.target=3"], "sweep.target must be null, or a metric"),
            (["hydra.sweeper.arms=null"], "a comparison must have arms"),
            (["-m", "model.dropout=0,0.5"], "must have in its arms what it compares"),
        ),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_before_anything_is_run(
    train: Command, logs: Path, words: list[str], message: str
) -> None:
    done = train(*COMPARE, "sweep.name=refused", *words)
    assert done.status == 2
    assert message in done.stderr
    assert not (logs / "sweeps" / "refused").exists()
