"""One run from its configuration to its result, from top to bottom."""

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from mlplab.building import (
    build_callbacks,
    build_data,
    build_learner,
    build_loggers,
    build_trainer,
)
from mlplab.callbacks import ConfiguredPatience, History, Status
from mlplab.callbacks.compatibility import require_resumable
from mlplab.config.checks import check
from mlplab.config.trainer_flags import TRAINER_FLAGS
from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import Diverged
from mlplab.finders import find_values, set_found
from mlplab.loggers.experiment_trackers import closing_trackers
from mlplab.own_module_building import build_module, for_own_module
from mlplab.result import evaluate_best, mark_finished, sweep_objective, test_best, validation_of_best
from mlplab.runs.directory import RunDirectory
from mlplab.runs.initial_weights import load_weights
from mlplab.runs.interruption import Interruption, stop_on_signal
from mlplab.runs.memory import explain_out_of_memory
from mlplab.runs.processes import is_first
from mlplab.runs.recording import recording_run
from mlplab.runs.resuming import Saved, bytes_needed, card_to_resume, newest_checkpoint, prepare_run_files
from mlplab.runs.run_reading import found_before
from mlplab.runs.summary import describe_after, describe_before, describe_profile, print_if_verbose
from mlplab.trainer_settings import flag_error, require_device, silence_lightning

log = logging.getLogger("mlplab")


def train(config: DictConfig, *, resume: bool = False) -> float:
    """Trains the configured network, and returns the best value of `monitor`.

    Mistakes of the configuration are refused before the run directory is claimed. Weights, metrics, logs and the final
    status are written to that directory.

    Args:
        config: as conf/ composes it.
        resume: continues the run in `paths.run` from its newest checkpoint.

    Raises:
        UserError: the configuration cannot be run.
        RunFailed: the run diverged (`Diverged`), or memory or disk space ran out.
        RunStopped: a signal stopped the run; its state is saved.
    """
    check(config, resume=resume)
    silence_lightning()
    require_device(config)
    directory = RunDirectory(Path(config.paths.run))
    # Values of Lightning's finders go into the configuration; a resumed run takes them from its manifest.
    found = found_before(directory.path) if resume else find_values(config, _built)
    set_found(config, found)
    data, learner = _built(config, partial(card_to_resume, directory.checkpoints) if resume else None)
    started = None
    if config.get("start_from") is not None and not (resume and card_to_resume(directory.checkpoints)):
        started = load_weights(Path(config.start_from), learner, all_of_them=not config.train)
    loggers = build_loggers(config)
    # These watch whatever conf/callbacks says: listings, sweeps and reports read their files.
    watching: list[Callback] = [Status(directory.update), History(directory.path)]
    callbacks = [*for_own_module(config, data, learner), *build_callbacks(config)]
    if resume:  # the patience of early stopping may have been raised since the checkpoint
        watching.append(ConfiguredPatience(callbacks))
    trainer = build_trainer(config, [*callbacks, *watching], loggers, data, learner)
    if resume:
        require_resumable(trainer.callbacks, learner)  # type: ignore[attr-defined]
    if not is_first(trainer):  # one of several processes
        _follow(config, trainer, learner, data, newest_checkpoint(directory.checkpoints) if resume else None)
        return math.nan

    # Asked of the disk before training: a full disk would otherwise end the run hours later.
    room = bytes_needed(learner)
    directory.reopen(room) if resume else directory.claim(room)
    stopping = stop_on_signal(end=partial(directory.end, "stopped"))
    with recording_run(directory), closing_trackers(loggers), stopping as interruption:
        saved = prepare_run_files(config, directory, data, learner, loggers, resume=resume, found=found)
        print_if_verbose(config, describe_before(data, learner, directory.path, resume=resume))
        if started is not None:
            log.info(started)
            print_if_verbose(config, started)
        directory.begin_phase("fit")
        divergence = _fit(trainer, learner, data, saved, interruption) if config.get("train", True) else None
        result = evaluate_best(config, directory, trainer, learner, data, loggers, divergence, interruption)
        profile = describe_profile(trainer.profiler, directory.path)  # type: ignore[attr-defined]
        if profile:
            print_if_verbose(config, profile)
        curves = [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]
        # Lightning's own logger does not tell whether it has any points.
        has_curves = any(getattr(logger, "has_points", True) or resume for logger in curves)
        print_if_verbose(config, describe_after(result, directory.path, has_curves=has_curves))
        # Last, as it raises if the run was stopped or diverged: by now everything is written and printed.
        mark_finished(directory, result, divergence, interruption)
    return sweep_objective(result)


def _built(
    config: DictConfig, trained: Callable[[], Mapping[str, Any] | None] | None = None
) -> tuple[DataModule | OwnData, pl.LightningModule]:
    """Builds the data and the learner, or the user's own modules in their place."""
    # Data before the network, as its widths and class weights follow from them.
    data = build_data(config, trained)
    data.setup()
    if not config.get("module"):
        return data, build_learner(config, data)
    # The user's own LightningModule brings its own steps, loss and optimizers.
    return data, build_module(config, data, build_learner)


def _fit(
    trainer: pl.Trainer,
    learner: pl.LightningModule,
    data: DataModule | OwnData,
    saved: Saved | None,
    interruption: Interruption,
) -> Diverged | None:
    """Trains; returns the error if the run diverged, else None."""
    try:
        with interruption.finishing_the_step(trainer), explain_out_of_memory(data):
            # All epochs. With engine=plain Lightning's loops call the learner's steps and the callbacks; the default
            # engine computes the same bits in less time.
            # weights_only: unpickling anything else could run code from a checkpoint that came from elsewhere.
            trainer.fit(learner, data.module, ckpt_path=saved.path if saved else None, weights_only=True)
    except MisconfigurationException as error:  # some flags clash with the data only once `fit` has begun
        raise flag_error("trainer must be given flags that fit the data", error, TRAINER_FLAGS) from error
    except Diverged as divergence:
        return divergence
    return None


def _follow(
    config: DictConfig,
    trainer: pl.Trainer,
    learner: pl.LightningModule,
    data: DataModule | OwnData,
    saved: Saved | None,
) -> None:
    """Trains and evaluates in all processes but the first; writes nothing."""
    with stop_on_signal(leads=False) as interruption:
        # Evaluation sums over all processes, so those that write nothing must take part in it.
        divergence = _fit(trainer, learner, data, saved, interruption) if config.get("train", True) else None
        if divergence is None and interruption.received is None:
            validation_of_best(trainer, learner, data)
            if config.get("test", True):
                test_best(trainer, learner, data)
