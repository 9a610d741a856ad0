"""Training and using runs from Python: `compose`, `train` and `Run`, which `import mlplab` gives."""

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from hydra import compose as compose_with_hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from mlplab import training
from mlplab.cli.command_line import with_home, with_quotes
from mlplab.cli.composition_errors import explain_composition_error
from mlplab.config.checks import check
from mlplab.config.env_file import load_env_file
from mlplab.config.paths import find_run
from mlplab.config.resolvers import new_run_name, register_resolvers
from mlplab.data.table.table_preprocessing import TablePreprocessing
from mlplab.errors import UserError
from mlplab.inference.evaluating import evaluate
from mlplab.inference.predicting import predict_file
from mlplab.inference.trained import TrainedRun, load_run
from mlplab.objectives.objective import predictions
from mlplab.plots import result_figure
from mlplab.runs.run_reading import read_history, read_manifest, read_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Composes the configuration of a single run, as `python train.py OVERRIDES` does; nothing of Hydra stays behind.

    Args:
        overrides: as on the command line, such as `["data=wine", "optimizer.lr=0.01"]`.

    Returns:
        The checked configuration; values can be changed in it before `train`. Its `paths.run` is a new directory in
        logs/runs/ of the project, unless an override names one.

    Raises:
        UserError: a name is unknown or a value not allowed.
    """
    load_env_file()
    register_resolvers(ROOT)
    words = [with_quotes(with_home(word)) for word in overrides]
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose_with_hydra("config", overrides=words)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain_composition_error(error, words, ROOT / "conf") from None
    finally:
        GlobalHydra.instance().hydra = before
    if not any(word.startswith("paths.run=") for word in words):
        config.paths.run = str(Path(config.paths.logs) / "runs" / new_run_name())
    check(config)
    return config


def train(config: DictConfig) -> "Run":
    """Trains the configured network in this process, and returns the run.

    Raises:
        UserError: the configuration cannot be run.
        RunFailed: the run diverged, or memory or disk space ran out.
        RunStopped: it was interrupted; its state is saved, and `python train.py resume=DIRECTORY` goes on.
    """
    training.train(config)
    return Run.open(config.paths.run)


class Run:
    """A run in its directory: what it measured, and what it has learned.

    Attributes:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Opens the run in a directory, or that of a checkpoint. Nothing that it names is imported or executed.

        Raises:
            UserError: there is no run.
        """
        return cls(find_run(Path(path).expanduser())[0])

    def __repr__(self) -> str:
        values = {**self.result.get("validation", {}), **self.result.get("test", {})}
        return f"Run({str(self.directory)!r}{''.join(f', {name}={value:.4g}' for name, value in values.items())})"

    @property
    def result(self) -> dict[str, Any]:
        """Returns result.json: best validation and test metrics, best epoch, why it ended; empty before the end."""
        return read_result(self.directory)

    @property
    def manifest(self) -> dict[str, Any]:
        """Returns manifest.json: command, versions, hardware, seed and fingerprint of the data."""
        return read_manifest(self.directory)

    @property
    def history(self) -> pl.DataFrame:
        """Returns the metrics by epoch and step, a row for each validation; empty before the first."""
        rows = pl.DataFrame(read_history(self.directory), infer_schema_length=None)
        if rows.is_empty():
            return rows
        # Validation and training of an epoch are written one after the other.
        measured = pl.all().exclude("epoch", "step").drop_nulls().last()
        return rows.group_by("epoch", "step", maintain_order=True).agg(measured)

    @cached_property
    def _trained(self) -> TrainedRun:
        return load_run(self.directory)

    @property
    def model(self) -> nn.Module:
        """Returns the network of the best epoch, in evaluation mode; it takes preprocessed features."""
        return self._trained.predictor.model

    def predict(self, rows: Any, *, probabilities: bool = False) -> npt.NDArray[Any] | pl.DataFrame:
        """Predicts rows, in the form in which the run got its data.

        Args:
            rows: for data of arrays, (N, F) numbers as the data set has them; for a table, a polars or pandas frame
                with its columns, or the path of a file.
            probabilities: of each class, instead of the class.

        Returns:
            For arrays, class indices (N,), probabilities (N, C), or values (N,) in the target's unit. For a table, a
            frame with a column "prediction", as scripts/predict.py writes it.

        Raises:
            UserError: the rows have other columns.
        """
        run = self._trained
        if isinstance(run.predictor.preprocessing, TablePreprocessing):
            return self._predict_table(rows, probabilities)
        features = torch.as_tensor(np.asarray(rows))
        n_features = run.task.n_features
        if features.ndim != 2 or features.shape[1] != n_features:
            raise UserError(
                f"rows must be (N, {n_features}) numbers", f"they are {tuple(features.shape)}",
                f"rows.reshape(-1, {n_features})",
            )  # fmt: skip
        predicted = predictions(run.outputs((features,)), run.task)
        if run.task.kind == "classification" and not probabilities:
            predicted = predicted.argmax(1)
        elif run.task.kind == "regression":
            predicted = predicted.squeeze(1)
        return predicted.numpy()

    def _predict_table(self, rows: Any, probabilities: bool) -> pl.DataFrame:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.parquet"
            if isinstance(rows, str | Path):
                path = Path(rows)
            else:
                (rows if isinstance(rows, pl.DataFrame) else pl.from_pandas(rows)).write_parquet(path)
            out = Path(folder) / "predictions.parquet"
            predict_file(self._trained, path, out, probabilities=probabilities)
            return pl.read_parquet(out)

    def figure(self, name: str = "curves") -> "Figure":
        """Draws a figure with matplotlib, which a notebook shows.

        Args:
            name: `curves` of the losses by epoch; `result`, the confusion matrix, or predicted against true values, of
                the test part; or a metric of the history, such as `val/accuracy`.

        Raises:
            UserError: there is no such metric, or the data of the test part are gone.
        """
        if name == "result":
            found = evaluate(self._trained, None, "test")
            return result_figure(found.predicted, found.targets, self._trained.task, found.name)[1]
        from matplotlib.figure import Figure

        history = self.history
        names = [one for one in ("train/loss", "val/loss") if one in history] if name == "curves" else [name]
        if not names or not set(names) <= set(history.columns):
            known = [column for column in history.columns if "/" in column]
            raise UserError(f"name must be curves, result, or one of {', '.join(known)}", name, "curves")
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for one in names:
            axes.plot(history["epoch"], history[one], label=one)
        axes.set(xlabel="epoch", ylabel="loss" if name == "curves" else name)
        if len(names) > 1:
            axes.legend()
        return figure
