"""Trains and uses runs from Python: `compose`, `train` and `Run`, the names that `import mlplab` gives."""

import copy
import functools
import random
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from torch import Tensor, nn

from mlplab import training
from mlplab.cli.command_line import with_home, with_quotes
from mlplab.cli.composition_errors import explain_composition_error
from mlplab.config.checks import check
from mlplab.config.commands import command
from mlplab.config.env_file import load_env_file
from mlplab.config.paths import find_run
from mlplab.config.resolvers import TIME, new_run_name, register_resolvers
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError, rounded
from mlplab.inference.evaluating import evaluate
from mlplab.inference.trained import TrainedRun, load_run
from mlplab.objectives.objective import predictions
from mlplab.plots import as_png, result_figure
from mlplab.runs.layout import STATUS
from mlplab.runs.run_reading import read_history, read_manifest, read_result
from mlplab.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]

ONE_AT_A_TIME = threading.RLock()
"""Lock for composing, training and loading: Hydra and PyTorch's random generators are global to the process."""


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
    config = compose_unchecked(overrides)
    check(config)
    return config


def compose_unchecked(overrides: Sequence[str]) -> DictConfig:
    """Composes the configuration of a single run, whose values may still have to be completed.

    Raises:
        UserError: a text is not an override, or names an unknown choice.
    """
    load_env_file()
    require_list(overrides)
    register_resolvers(ROOT)
    words = [with_quotes(with_home(word)) for word in overrides]
    # Composing takes as long as training a small network, so it is cached by overrides and files.
    files = tuple((path, path.stat().st_mtime_ns) for path in sorted((ROOT / "conf").rglob("*.yaml")))
    with ONE_AT_A_TIME:
        config = copy.deepcopy(_composed(tuple(words), files))
    if config.resume is not None:
        raise UserError(
            "a run must be resumed by train.py", f"resume={config.resume}", f"{command('train.py', 'resume=…')}"
        )
    if not any(word.startswith("paths.run=") for word in words):
        config.paths.run = str(Path(config.paths.logs) / "runs" / new_run_name(name=config.name))
    return config


def require_list(overrides: Sequence[str]) -> None:
    """Refuses a single text, as each of its letters would be taken for an override.

    Raises:
        UserError: suggests the list that holds it.
    """
    if isinstance(overrides, str):
        raise UserError("overrides must be a list of words", overrides, f"[{overrides!r}]")


@functools.lru_cache(maxsize=32)
def _composed(words: tuple[str, ...], files: tuple[tuple[Path, int], ...]) -> DictConfig:
    """Composes by Hydra, and restores its global state. `files`, those of conf/, are part of the cache key."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose_with_hydra("config", overrides=list(words))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain_composition_error(error, words, ROOT / "conf") from None
    finally:
        GlobalHydra.instance().hydra = before


@contextmanager
def _leaving_the_process_as_it_was() -> Iterator[None]:
    """Restores the random generators and the settings of PyTorch that a run changes."""
    threads, is_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # which code of one's own draws from
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


def train(config: DictConfig) -> "Run":
    """Trains the configured network in this process, and returns the run. Threads train one after the other.

    Raises:
        UserError: the configuration cannot be run.
        RunFailed: the run diverged, or memory or disk space ran out.
        RunStopped: it was interrupted; its state is saved, and `python train.py resume=DIRECTORY` goes on.
    """
    if not isinstance(config, DictConfig):
        raise UserError("train must be given what compose returns", f"{config!r}", f"mlplab.compose({config!r})")
    if (Path(config.paths.run) / STATUS).exists() and re.match(TIME, Path(config.paths.run).name):
        # A cell that runs again trains a new run; the former run stays as it is.
        config = copy.deepcopy(config)
        config.paths.run = str(Path(config.paths.run).with_name(new_run_name(name=config.name)))
    with ONE_AT_A_TIME, _leaving_the_process_as_it_was():
        training.train(config)
    return Run.open(config.paths.run)


class Run:
    """A run in its directory: its measurements and its trained network.

    Attributes:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._held: dict[str, Any] = {}

    def hold(self) -> "Run":
        """Reads the whole run into memory, so that it works without its directory; returns the run."""
        self._trained  # noqa: B018  # the property keeps what it reads
        self._held = {"result": self.result, "manifest": self.manifest, "history": read_history(self.directory)}
        return self

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Opens a run by its directory or a checkpoint. No code that it names is imported or executed.

        Raises:
            UserError: there is no run there.
        """
        return cls(find_run(Path(path).expanduser(), "path")[0])

    def __repr__(self) -> str:
        values = {**self.result.get("validation", {}), **self.result.get("test", {})}
        return f"Run({str(self.directory)!r}{''.join(f', {name}={rounded(value)}' for name, value in values.items())})"

    @property
    def result(self) -> dict[str, Any]:
        """Returns result.json: best validation and test metrics, best epoch, why the run ended; empty before that."""
        return self._held["result"] if self._held else read_result(self.directory)

    @property
    def manifest(self) -> dict[str, Any]:
        """Returns manifest.json: command, versions, hardware, seed and fingerprint of the data."""
        return self._held["manifest"] if self._held else read_manifest(self.directory)

    @property
    def history(self) -> pl.DataFrame:
        """Returns the metrics by epoch and step, one row for each validation; empty before the first."""
        lines = self._held["history"] if self._held else read_history(self.directory)
        rows = pl.DataFrame(lines, infer_schema_length=None)
        if rows.is_empty():
            return rows
        # Validation and training of an epoch are written one after the other.
        measured = pl.all().exclude("epoch", "step").drop_nulls().last()
        return rows.group_by("epoch", "step", maintain_order=True).agg(measured)

    @cached_property
    def _trained(self) -> TrainedRun:
        # A network draws weights before it is given its own, from the generator that a training in another thread uses.
        with ONE_AT_A_TIME, torch.random.fork_rng([]):
            return load_run(self.directory)

    @property
    def task(self) -> Task:
        """Returns what was learned: the kind of task, its classes, the unit of the target."""
        return self._trained.task

    @property
    def model(self) -> nn.Module:
        """Returns the network of the best epoch, in evaluation mode; it takes preprocessed features."""
        return self._trained.predictor.model

    def predict(
        self, rows: Any, *, probabilities: bool = False, accept_unknown: bool = False
    ) -> npt.NDArray[Any] | pl.DataFrame:
        """Predicts rows in the form of the run's own data.

        Args:
            rows: for data of arrays, (N, F) numbers as the data set has them; for a table, a polars or pandas frame
                with its columns, or the path of a file.
            probabilities: of each class, instead of the class.
            accept_unknown: for a table, also accepts rows nearly all of which have a category unknown to training.

        Returns:
            For arrays, class indices (N,), probabilities (N, C), or values (N,) in the target's unit; for several
            targets (N, T) values, labels, or probabilities of the labels. For a table, a frame with a column
            "prediction", as scripts/predict.py writes it.

        Raises:
            UserError: the rows have other columns.
        """
        run = self._trained
        if run.card["preprocessing"]["name"] == "table":
            return self._predict_table(rows, probabilities, accept_unknown)
        features = _features(rows, run.task.n_features)
        predicted = predictions(run.outputs_of_each(features), run.task)
        if run.task.kind == "classification" and not probabilities:
            predicted = predicted.argmax(1)
        elif run.task.kind == "multilabel" and not probabilities:
            predicted = (predicted > 0.5).to(torch.int64)
        elif run.task.kind == "regression" and not run.task.target_names:
            predicted = predicted.squeeze(1)
        return predicted.numpy()

    def _predict_table(self, rows: Any, probabilities: bool, accept_unknown: bool) -> pl.DataFrame:
        from mlplab.data.table.frames import as_polars
        from mlplab.inference.predicting import predict_file

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.parquet"
            if isinstance(rows, str | Path):
                path = Path(rows)
            else:
                as_polars(rows).write_parquet(path)
            out = Path(folder) / "predictions.parquet"
            predict_file(self._trained, path, out, probabilities=probabilities, accepts_unknown=accept_unknown)
            return pl.read_parquet(out)

    def figure(self, name: str = "curves", *, target: str | None = None) -> "Figure":
        """Draws a figure with matplotlib, which a notebook shows.

        Args:
            name: `curves` of the losses by epoch; `result`, the confusion matrix, or predicted against true values, of
                the test part, or of the validation part of a run without a test; or a metric of the history, such as
                `val/accuracy`.
            target: the one of several targets to draw; the first by default.

        Raises:
            UserError: there is no such metric or target, or the data of the part are gone.
        """
        if name == "result":
            return self._result_figure(target)
        from matplotlib.figure import Figure

        history = self.history
        names = [one for one in ("train/loss", "val/loss") if one in history] if name == "curves" else [name]
        if not names or not set(names) <= set(history.columns):
            known = [column for column in history.columns if "/" in column]
            near = nearest_name(name, ["curves", "result", *known]) or "curves"
            raise UserError(f"name must be curves, result, or one of {', '.join(known)}", name, near)
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for one in names:
            axes.plot(history["epoch"], history[one], label=one)
        axes.set(xlabel="epoch", ylabel="loss" if name == "curves" else name)
        if len(names) > 1:
            axes.legend()
        return _shown(figure)

    def _result_figure(self, target: str | None) -> "Figure":
        if self._held and not self.directory.exists():
            raise UserError(
                "the data of a run must be there for a figure of its result", "this one had a temporary directory",
                "directory='logs' where the estimator is made",
            )  # fmt: skip
        found = evaluate(self._trained, None, "test" if self.result.get("test") else "val")
        predicted, targets, task = found.predicted, found.targets, self.task
        names = list(task.target_names) or [task.target_name]
        if target is not None and target not in names:
            raise UserError(
                f"target must be one of {', '.join(names)}", target, nearest_name(target, names) or names[0]
            )
        if task.target_names:
            place = 0 if target is None else names.index(target)
            predicted, targets, task = predicted[:, place], targets[:, place], task.of_each_target()[place]
            if task.kind == "classification":  # a label: the probabilities that it is false, and true
                predicted, targets = torch.stack([1 - predicted, predicted], dim=1), targets.long()
        return _shown(result_figure(predicted, targets, task, found.name)[1])


def _shown(figure: "Figure") -> "Figure":
    """Makes a notebook show a figure: by itself it shows only pyplot's."""
    figure._repr_png_ = functools.partial(as_png, figure)  # type: ignore[attr-defined]  # what IPython asks for
    return figure


def _features(rows: Any, n_features: int) -> Tensor:
    """Copies rows of numbers into a tensor (N, F).

    Raises:
        UserError: they are not rows of numbers, or one is not finite.
    """
    array = np.asarray(rows)
    are_numbers = np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_
    if not are_numbers or array.ndim != 2 or array.shape[1] != n_features:
        raise UserError(
            f"rows must be (N, {n_features}) numbers", f"they are {array.shape if are_numbers else array.dtype}",
            f"rows.reshape(-1, {n_features})" if are_numbers else "numbers, as in training",
        )  # fmt: skip
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise UserError("rows must be finite numbers", f"row {row} has NaN or infinity", "leaving it out")
    # A copy, as PyTorch takes neither other byte orders nor read-only memory.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
