"""A search as a user runs it: interrupted, continued, pruned, and in processes side by side."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from launching import Done, run_program, start_program
from optuna.trial import TrialState

QUICK = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=2", "sweep.name=search"]
RATES = "optimizer.lr=tag(log,interval(1e-4,1e5))"
PRUNING = "mlplab.sweeps.search.trial_pruning.Pruning"
SEARCH = ["-m", "hydra/sweeper=optuna", "optimizer=sgd", RATES, *QUICK]

Train = Callable[..., Done]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def run(*words: str) -> Done:
        return run_program("train.py", [*words, f"paths.logs={tmp_path}"], tmp_path)

    return run


def study_of(sweep: Path, name: str = "search") -> optuna.Study:
    """As optuna-dashboard opens it: by the journal's path alone."""
    backend = optuna.storages.journal.JournalFileBackend(str(sweep / "optuna.log"))
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))


def jobs_of(sweep: Path) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads((sweep / "sweep.json").read_text())["jobs"]
    return jobs


def test_a_search_goes_on_past_what_diverges_and_counts_what_is_done(train: Train, tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "search"
    done = train(*SEARCH, "hydra.sweeper.trials=4", "hydra.sweeper.sampler=random", "hydra.sweeper.seed=1")
    assert done.status == 0, done.stderr
    assert "best    val/loss" in done.stdout
    first = study_of(sweep).trials
    states = [trial.state for trial in first]
    assert TrialState.FAIL in states
    assert TrialState.COMPLETE in states
    for trial, job in zip(first, jobs_of(sweep), strict=True):
        status = json.loads((sweep / job["directory"] / "status.json").read_text())
        assert (trial.state == TrialState.FAIL) == (status["state"] == "failed")
        assert job["values"]["optimizer.lr"] == trial.params["optimizer.lr"]
        if trial.state == TrialState.COMPLETE:
            result = json.loads((sweep / job["directory"] / "result.json").read_text())
            assert trial.value == result["objective"]

    written = {path: path.stat().st_mtime_ns for path in sweep.glob("*/result.json")}
    more = train(*SEARCH, "hydra.sweeper.trials=5", "hydra.sweeper.sampler=random", "hydra.sweeper.seed=1")
    assert more.status == 0, more.stderr
    assert "4 trials done" in more.stdout
    assert [trial.params for trial in study_of(sweep).trials[:4]] == [trial.params for trial in first]
    assert len(study_of(sweep).trials) == 5
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in written.items())

    before = (sweep / "sweep.json").read_bytes()
    other = train(*SEARCH, "hydra.sweeper.trials=5", "hydra.sweeper.sampler=tpe", "hydra.sweeper.seed=1")
    assert other.status == 2
    assert "search.sampler=tpe instead of random" in other.stderr
    assert (sweep / "sweep.json").read_bytes() == before


@pytest.mark.slow
def test_failed_trials_are_run_again_and_other_bounds_are_refused(train: Train, tmp_path: Path) -> None:
    sweep, words = tmp_path / "sweeps" / "search", ["hydra.sweeper.sampler=random", "hydra.sweeper.seed=1"]
    assert train(*SEARCH, "hydra.sweeper.trials=4", *words).status == 0
    failed = sum(trial.state == TrialState.FAIL for trial in study_of(sweep).trials)
    again = train(*SEARCH, "hydra.sweeper.trials=4", *words, "sweep.retry_failed=true")
    assert again.status == 0, again.stderr
    assert again.stdout.count("infeasible ") == failed > 0  # each once more, and in vain
    assert len(study_of(sweep).trials) == 4
    wider = [word.replace("1e5", "1e6") for word in SEARCH]
    other = train(*wider, "hydra.sweeper.trials=4", *words)
    assert other.status == 2
    assert "optimizer.lr.high" in other.stderr


def test_a_search_that_is_killed_goes_on_with_the_trial_in_hand(train: Train, tmp_path: Path) -> None:
    words = [*SEARCH, "optimizer.lr=tag(log,interval(1e-3,1))", "hydra.sweeper.trials=2", "trainer.max_epochs=10"]
    never = train(*[word.replace("sweep.name=search", "sweep.name=never") for word in words])
    assert never.status == 0, never.stderr
    sweep = tmp_path / "sweeps" / "search"
    process = start_program("train.py", [*words, f"paths.logs={tmp_path}"], tmp_path)
    while not list(sweep.glob("1_*/history.jsonl")):
        assert process.said() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.end()
    done = train(*words)
    assert done.status == 0, done.stderr
    trials, expected = study_of(sweep).trials, study_of(tmp_path / "sweeps" / "never", "never").trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert [(trial.params, trial.values) for trial in trials] == [(trial.params, trial.values) for trial in expected]


@pytest.mark.slow
def test_a_search_ends_when_everything_has_been_tried(train: Train, tmp_path: Path) -> None:
    done = train("-m", "hydra/sweeper=optuna", "optimizer.lr=0.1,0.01", *QUICK, "hydra.sweeper.trials=50")
    assert done.status == 0, done.stderr
    assert "all of the 2 points" in done.stdout
    assert len(jobs_of(tmp_path / "sweeps" / "search")) == 2


@pytest.mark.parametrize("pruner", ["median", pytest.param("halving", marks=pytest.mark.slow)])
def test_hopeless_trials_end_early(train: Train, tmp_path: Path, pruner: str) -> None:
    options = {"median": "{n_startup_trials:1}", "halving": "{min_resource:2,reduction_factor:2}"}[pruner]
    done = train(
        *SEARCH, "optimizer.lr=tag(log,interval(1e-7,1e-1))", "trainer.max_epochs=8", "hydra.sweeper.trials=6",
        f"hydra.sweeper.pruner={pruner}", f"hydra.sweeper.pruner_options={options}", "hydra.sweeper.sampler=random",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    sweep = tmp_path / "sweeps" / "search"
    trials = study_of(sweep).trials
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        job = jobs_of(sweep)[trial.number]
        status = json.loads((sweep / job["directory"] / "status.json").read_text())
        assert (status["state"], status["pruned"]) == ("finished", True)
        assert status["epoch"] < 8
        lines = [json.loads(line) for line in (sweep / job["directory"] / "history.jsonl").read_text().splitlines()]
        validations = [line["val/loss"] for line in lines if "val/loss" in line]
        assert trial.intermediate_values == dict(enumerate(validations, start=1))


def test_trials_are_averaged_over_seeds_and_pruned_on_each(train: Train, tmp_path: Path) -> None:
    words = [
        *SEARCH, "optimizer.lr=tag(log,interval(1e-7,1e-1))", "trainer.max_epochs=4", "hydra.sweeper.seeds=2",
        "hydra.sweeper.pruner=median", "hydra.sweeper.pruner_options={n_startup_trials:1}",
        "hydra.sweeper.sampler=random", "seed=5",
    ]  # fmt: skip
    assert train(*words, "hydra.sweeper.trials=2").status == 0
    sweep = tmp_path / "sweeps" / "search"
    written = (sweep / "sweep.json").read_text()
    assert PRUNING in written
    (sweep / "sweep.json").write_text(written.replace(PRUNING, "mlplab.callbacks.Pruning"))  # as 0.5.0 named it
    done = train(*words, "hydra.sweeper.trials=4")
    assert done.status == 0, done.stderr
    assert "[ 8/8] " not in done.stdout
    assert "[8/8] " in done.stdout
    assert [job["values"]["seed"] for job in jobs_of(sweep)] == [5, 6] * 4
    trials = study_of(sweep).trials
    of_seeds = [study_of(sweep, f"search, seed {seed}").trials for seed in (5, 6)]
    assert TrialState.PRUNED in [trial.state for trial in trials]
    for trial, *runs in zip(trials, *of_seeds, strict=True):
        assert all(run.params == trial.params for run in runs)
        common = set(runs[0].intermediate_values) & set(runs[1].intermediate_values)
        means = {v: (runs[0].intermediate_values[v] + runs[1].intermediate_values[v]) / 2 for v in common}
        assert trial.intermediate_values == pytest.approx(means)
        if trial.state == TrialState.COMPLETE:
            assert trial.value == pytest.approx((runs[0].value + runs[1].value) / 2)


@pytest.mark.slow
def test_trials_are_asked_for_in_batches_for_processes_side_by_side(train: Train, tmp_path: Path) -> None:
    done = train(
        *SEARCH, "optimizer.lr=tag(log,interval(1e-3,1))", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
        "hydra.sweeper.trials=3", "hydra.sweeper.pruner=median",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    sweep = tmp_path / "sweeps" / "search"
    trials = study_of(sweep).trials
    assert [trial.user_attrs["batch"] for trial in trials] == [0, 0, 1]
    assert all(trial.state.is_finished() and trial.intermediate_values for trial in trials)
    processes = {json.loads(path.read_text())["process"] for path in sweep.glob("*/status.json")}
    assert os.getpid() not in processes
