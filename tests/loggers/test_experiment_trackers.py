"""W&B offline and MLflow in a local file, where they are installed."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlplab.errors import RunStopped
from mlplab.loggers.experiment_trackers import ResumableMLFlowLogger, ResumableWandbLogger, closing_trackers

pytestmark = pytest.mark.filterwarnings("ignore")  # of these packages


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The directory of a job of a sweep."""
    directory = tmp_path / "sweeps" / "study" / "0_seed-0"
    directory.mkdir(parents=True)
    (directory.parent / "sweep.json").write_text("{}")
    return directory


@pytest.fixture
def mlflow_at(tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    levels = {name: logging.getLogger(name).level for name in ("alembic", "mlflow")}

    def make(directory: Path, **options: Any) -> ResumableMLFlowLogger:
        uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
        return ResumableMLFlowLogger(str(directory), experiment_name="lab", tracking_uri=uri, **options)

    yield make
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_mlflow_has_a_parent_for_a_sweep_and_one_run_for_a_run_that_resumes(mlflow_at: Any, job: Path) -> None:
    other = job.with_name("1_seed-1")
    other.mkdir()
    first, second = mlflow_at(job, tags=["a", "b"], notes="text"), mlflow_at(other)
    first.log_metrics({"val/loss": 0.5}, step=1)
    with pytest.raises(RunStopped), closing_trackers([first]):
        raise RunStopped("stopped", 130)
    second.log_metrics({"val/loss": 0.4}, step=1)
    client = first.experiment
    runs = [client.get_run(logger.run_id) for logger in (first, second)]
    assert [run.info.run_name for run in runs] == ["0_seed-0", "1_seed-1"]
    assert runs[0].info.status == "KILLED"
    assert (runs[0].data.tags["tags"], runs[0].data.tags["mlflow.note.content"]) == ("a, b", "text")
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
    assert client.get_run(parent).info.run_name == "study"

    again = mlflow_at(job)
    with closing_trackers([again]):
        again.log_metrics({"val/loss": 0.3}, step=2)
        assert client.get_run(first.run_id).info.status == "RUNNING"
    assert again.run_id == first.run_id
    assert [point.value for point in client.get_metric_history(first.run_id, "val/loss")] == [0.5, 0.3]
    assert client.get_run(first.run_id).info.status == "FINISHED"


def test_a_run_of_its_own_has_no_parent(mlflow_at: Any, tmp_path: Path) -> None:
    logger = mlflow_at(tmp_path, run_name="base")
    run = logger.experiment.get_run(logger.run_id)
    assert run.info.run_name == "base"
    assert "mlflow.parentRunId" not in run.data.tags


def test_wandb_groups_a_sweep_and_keeps_the_id_of_a_run_that_resumes(job: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")

    def logged() -> tuple[str, ...]:
        logger = ResumableWandbLogger(
            str(job), save_dir=str(tmp_path), offline=True, project="lab", tags=["a"], notes="text"
        )
        with closing_trackers([logger]):
            run = logger.experiment
            logger.log_metrics({"val/loss": 0.5}, step=1)
            return run.id, run.name, run.group, run.job_type, *run.tags, run.notes

    first, again = logged(), logged()
    assert first[1:] == ("0_seed-0", "study", "job", "a", "text")
    assert again == first
    # None of its links lies in the directory of the run, which may hold ordinary files only.
    assert [path.name for path in job.iterdir()] == ["wandb_run_id"]
