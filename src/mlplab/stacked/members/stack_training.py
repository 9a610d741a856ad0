"""Trains the members of a stack, and ends the run of each."""

import contextlib
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import OmegaConf

from mlplab.building import (
    build_callbacks,
    build_data,
    build_learner,
    build_loggers,
    build_trainer,
)
from mlplab.callbacks import Figures, History, Status
from mlplab.config.checks import check
from mlplab.data.module import DataModule
from mlplab.engine.resumable_loops import TrainingStopped
from mlplab.errors import Diverged, RunStopped, is_disk_full
from mlplab.result import evaluate_best, mark_finished, sweep_objective
from mlplab.runs.directory import RunDirectory
from mlplab.runs.earlier_launch import begun_before
from mlplab.runs.interruption import Interruption, stop_on_signal
from mlplab.runs.memory import explain_out_of_memory
from mlplab.runs.recording import ending, ending_only_by_error, logged, train_log
from mlplab.runs.resuming import bytes_needed, prepare_run_files
from mlplab.stacked.members.member import Member
from mlplab.stacked.members.stack_callbacks import StackCallbacks, StackIsEmpty
from mlplab.stacked.members.stacked_data import StackedData
from mlplab.stacked.members.stacked_learner import StackedLearner
from mlplab.stacked.stacked_job import Job
from mlplab.trainer_settings import silence_lightning


class DataCache:
    """Caches data sets, so that members share them."""

    def __init__(self) -> None:
        self._cached: dict[str, DataModule] = {}

    def of(self, job: Job) -> DataModule:
        """Returns the data of a job, read and split.

        Raises:
            UserError: the data cannot be read or split.
        """
        config = job.config
        # Jobs with equal options share data, whatever their seeds.
        key = json.dumps(OmegaConf.to_container(config.data, resolve=True), default=str, sort_keys=True)
        if key not in self._cached:
            data = build_data(config)
            assert isinstance(data, DataModule)  # `why_alone` has excluded others
            data.setup()
            self._cached[key] = data
        data = copy.copy(self._cached[key])  # shares the tensors, but orders rows by the member's seed
        data.seed = int(config.seed)
        return data


def build_member(job: Job, cache: DataCache) -> Member:
    """Builds the parts of a job's run, without writing anything.

    Raises:
        UserError: the job cannot be run.
    """
    with job.in_hand():
        config = job.config
        check(config)
        data = cache.of(job)
        learner = build_learner(config, data)
        # Now, as the stack copies the weights; Lightning would convert them later.
        if str(config.trainer.precision).startswith("64"):
            learner.double()
        directory = RunDirectory(Path(config.paths.run))
        directory.is_stacked = True
        # Drawing a figure takes longer than training a member; scripts/evaluate.py draws it later.
        asked = [callback for callback in build_callbacks(config) if type(callback) is not Figures]
        callbacks = [*asked, Status(directory.update), History(directory.path)]
        return Member(job, data, learner, callbacks, build_loggers(config), directory)


def claim(member: Member) -> None:
    """Claims the member's directory, and finds the checkpoint that it resumes from, if any.

    Raises:
        UserError: the directory holds something else, or another process uses it.
    """
    directory, job = member.directory, member.job
    # The lock is a file in the directory.
    directory.path.mkdir(parents=True, exist_ok=True)
    resume = begun_before(directory.path, job.config)
    room = bytes_needed(member.learner)
    directory.reopen(room) if resume else directory.claim(room)
    with ending_only_by_error(directory):
        handler = train_log(directory.path)
    with logged(handler), ending_only_by_error(directory), job.in_hand():
        member.saved = prepare_run_files(
            job.config, directory, member.data, member.learner, member.loggers, resume=resume
        )
        directory.begin_phase("fit")


def train_stack(members: Sequence[Member]) -> None:
    """Trains members of one shape and step, each to its own end. Their directories must be claimed.

    Raises:
        RunStopped: a signal has stopped the run; its state is saved.
        DiskFull: the disk was too full for some members, which have stopped; the others have finished.
    """
    silence_lightning()
    first = members[0]
    full: list[BaseException] = []
    with stop_on_signal() as interruption:
        left: list[Member] = list(members)

        def end(member: Member, error: BaseException | None) -> None:
            left.remove(member)
            met = _end(member, error, interruption)
            if met is not None and is_disk_full(met):
                full.append(met)

        try:
            data = StackedData([member.data for member in members])
            learner = StackedLearner(members)
            trainer = _trainer(first, learner, StackCallbacks(learner, data, end))
            # All members are at the same step, so the first one's loops apply to all.
            if first.saved is not None:
                trainer.fit_loop.load_state_dict(dict(first.saved.content["loops"]["fit_loop"]))
            with interruption.finishing_the_step(trainer), explain_out_of_memory(first.data):
                trainer.fit(learner, data)
        except StackIsEmpty:
            pass
        except BaseException as error:
            # A copy, as `end` removes members from the list.
            unfinished = list(left)
            for member in unfinished:
                # A member that fails to end must not affect the others.
                with contextlib.suppress(Exception):
                    end(member, error)
            if not unfinished or isinstance(error, RunStopped | KeyboardInterrupt):
                raise
        for member in list(left):  # a signal has stopped the stack
            member.trainer.leave()
            member.call("on_exception", TrainingStopped())
            end(member, None)
        if interruption.received:
            raise RunStopped(f"stopped by {interruption.name}; all that was reached is saved", interruption.status)
    if full:
        raise full[0]


def _trainer(first: Member, learner: StackedLearner, callbacks: StackCallbacks) -> pl.Trainer:
    config = first.job.config.copy()
    # The stack clips each member separately, and shows no progress bar.
    for flag, value in (("gradient_clip_val", None), ("enable_progress_bar", False)):
        OmegaConf.update(config, f"trainer.{flag}", value, force_add=True)
    with first.job.in_hand():
        # No loggers: each member has its own.
        return build_trainer(config, [callbacks], [], first.data, learner)


def _end(member: Member, error: BaseException | None, interruption: Interruption) -> BaseException | None:
    """Evaluates a member and ends its run; returns the error that ended it, if any."""
    divergence = error if isinstance(error, Diverged) else None
    met: BaseException | None = None
    try:
        with logged(train_log(member.directory.path)), member.job.in_hand(), ending(member.directory):
            # Raised here, so that it is recorded in the member's directory.
            if error is not None and divergence is None:
                raise error
            trainer: Any = member.trainer
            result = evaluate_best(
                member.job.config, member.directory, trainer, member.learner, member.data, member.loggers, divergence,
                interruption,
            )  # fmt: skip
            member.job.objective = sweep_objective(result)
            mark_finished(member.directory, result, divergence, interruption)
        for logger in member.loggers:
            logger.finalize("success")
    except (Exception, RunStopped) as ended:  # recorded in its directory; the other members continue
        met = ended
    member.job.forget()
    return met
