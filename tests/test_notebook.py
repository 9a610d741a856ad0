"""Runs from Python, as a notebook has them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hydra.core.global_hydra import GlobalHydra
from inference.small_runs import houses
from parts import needs
from sklearn.datasets import load_wine
from slow_cases import slow

import mlplab
from mlplab.errors import UserError

QUICK = ["trainer=cpu", "trainer.max_epochs=2", "callbacks=minimal", "logger=none"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mlplab.Run:
    logs = tmp_path_factory.mktemp("logs")
    return mlplab.train(mlplab.compose(["data=wine", *QUICK, f"paths.logs={logs}"]))


def test_a_run_has_its_result_history_model_and_manifest(run: mlplab.Run) -> None:
    assert run.result["epochs"] == 2
    assert run.history["epoch"].to_list() == [1, 2]
    assert run.history["val/loss"].null_count() == 0
    assert run.manifest["seed"] == 0
    assert not run.model.training
    assert f"test/accuracy={run.result['test']['test/accuracy']:.4g}" in repr(run)
    assert mlplab.Run.open(str(run.directory)).result == run.result


def test_arrays_are_predicted_as_the_data_set_has_them(run: mlplab.Run) -> None:
    features = load_wine().data
    classes, probabilities = run.predict(features), run.predict(features, probabilities=True)
    assert isinstance(probabilities, np.ndarray)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(178))
    assert np.array_equal(classes, probabilities.argmax(axis=1))
    with pytest.raises(UserError, match=r"rows must be \(N, 13\) numbers"):
        run.predict(features[:, :3])


@needs("tables")
def test_a_table_is_predicted_from_a_frame_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    houses(100).write_csv(path)
    words = ["data=table", f"data.path={path}", "data.target=price", "data.drop=[row,kind,binary]"]
    trained = mlplab.train(mlplab.compose([*words, *QUICK, f"paths.logs={tmp_path}"]))
    frame = trained.predict(pl.read_csv(path))
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["prediction"]
    assert frame.equals(trained.predict(path))  # type: ignore[arg-type]


def test_figures_are_drawn_by_name(run: mlplab.Run) -> None:
    assert [line.get_label() for line in run.figure().axes[0].lines] == ["train/loss", "val/loss"]
    assert run.figure("val/accuracy").axes[0].get_ylabel() == "val/accuracy"
    assert "right" in run.figure("result").axes[0].get_title()
    with pytest.raises(UserError, match="name must be curves, result, or one of val/loss"):
        run.figure("val/accurracy")


def test_two_runs_of_one_process_are_apart_and_leave_nothing_of_hydra(run: mlplab.Run, tmp_path: Path) -> None:
    words = ["data=wine", *QUICK, f"paths.logs={tmp_path}"]
    first, second = (mlplab.compose(words) for _ in range(2))
    assert first.paths.run != second.paths.run
    assert not GlobalHydra.instance().is_initialized()
    again = mlplab.train(first)
    assert again.directory != run.directory
    for column in ("val/loss", "val/accuracy"):
        assert again.history[column].equals(run.history[column])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizr=adam"], "try optimizer=adam"),
        (["seed=0,1"], "a single run must be given one value"),
        (["resume=latest"], "a run must be resumed by train.py"),
        *slow(
            (["optimizer.lr=-1"], "optimizer.lr must be a positive number"),
            (["oops"], "does not parse"),
            ("data=wine", "overrides must be a list of words"),
        ),
    ],
)
def test_mistakes_are_refused_as_on_the_command_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mlplab.compose(words)


@pytest.mark.slow
def test_a_configuration_that_is_trained_again_gets_a_directory_of_its_own(run: mlplab.Run, tmp_path: Path) -> None:
    config = mlplab.compose(["data=wine", *QUICK, f"paths.logs={tmp_path}"])
    first, second = mlplab.train(config), mlplab.train(config)
    assert first.directory != second.directory
    assert first.history["val/loss"].equals(second.history["val/loss"])
    with pytest.raises(UserError, match="must be given what compose returns"):
        mlplab.train(["data=wine"])  # type: ignore[arg-type]
    named = mlplab.compose(["data=wine", *QUICK, f"paths.run={tmp_path / 'mine'}"])
    mlplab.train(named)
    with pytest.raises(UserError, match="must have a directory of its own"):
        mlplab.train(named)


def test_an_edited_file_of_conf_is_seen(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(root / "conf", tmp_path / "conf")
    monkeypatch.setattr("mlplab.notebook.ROOT", tmp_path)
    assert mlplab.compose(["data=wine"]).optimizer.lr == 0.001
    file = tmp_path / "conf" / "optimizer" / "adam.yaml"
    file.write_text(file.read_text().replace("0.001", "0.002"))
    assert mlplab.compose(["data=wine"]).optimizer.lr == 0.002


def test_a_notebook_shows_figures_and_a_line_for_a_mistake(run: mlplab.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("curves", "result"):
        assert run.figure(name)._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    with pytest.raises(UserError) as mistake:
        mlplab.compose(["optimizr=adam"])
    assert mistake.value._render_traceback_() == [f"UserError: {mistake.value}"]
    assert "\n" not in str(mistake.value)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert "Traceback" in mistake.value._render_traceback_()[0]
    assert {"compose", "train", "Run", "MLPClassifier"} <= {*dir(mlplab)}


@pytest.mark.slow
@needs("tables")
def test_a_frame_of_pandas_needs_no_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    houses(100).write_csv(path)
    words = ["data=table", f"data.path={path}", "data.target=price", *QUICK, f"paths.logs={tmp_path}"]
    trained = mlplab.train(mlplab.compose(words))
    frame = pl.read_csv(path)
    assert trained.predict(pd.DataFrame(frame.to_dict(as_series=False))).equals(trained.predict(frame))  # type: ignore[union-attr, arg-type]
    with pytest.raises(UserError, match="must be a frame of polars or pandas"):
        trained.predict(np.zeros((2, 3)))


def test_the_notebook_of_the_docs_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compose = mlplab.compose
    monkeypatch.setattr(
        mlplab, "compose", lambda words: compose([*words, *QUICK, f"paths.logs={tmp_path}"]), raising=False
    )
    names: dict[str, Any] = {}
    for cell in json.loads((root / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]).replace("max_epochs=20", "max_epochs=1").replace("cv=3", "cv=2"), names)
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 3


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, mlplab; sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
