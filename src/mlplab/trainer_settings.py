"""Settings of PyTorch and Lightning that a run needs beside its Trainer: device, threads, silenced messages."""

import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig
from torch import nn

from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import UserError
from mlplab.processors import available_cores

ONE_THREAD_BELOW = 25_000_000
"""Multiplications per step (batch rows × weights) below which one thread is as fast as two, or faster.

Two threads wait for one another some twenty times a step. docs/performance.md has the measurements.
"""


def require_device(config: DictConfig) -> None:
    """Refuses a GPU that is not available, before any data is read.

    Raises:
        UserError: PyTorch finds no GPU, or float16 is asked for without one.
    """
    accelerator, precision = config.trainer.accelerator, str(config.trainer.precision)
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.accelerator=mps must find Apple's GPU", "PyTorch sees none", "trainer=cpu")
    # Apple's GPU, which PyTorch calls mps, counts as a GPU for Lightning's accelerator=gpu.
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise UserError(f"trainer.accelerator={accelerator} must find a GPU", "PyTorch sees none", "trainer=cpu")
    if config.trainer.get("sync_batchnorm") and not is_on_gpu(config):
        # PyTorch's SyncBatchNorm has no code for the CPU, and says so at the first step.
        raise UserError(
            "trainer.sync_batchnorm must run on GPUs", "the run is on the CPU", "model.normalization=layer without it"
        )
    if precision.startswith("16-") and (accelerator == "cpu" or not torch.cuda.is_available()):
        raise UserError(
            "float16 precision must run on a GPU",
            f"trainer.precision={precision}",
            "trainer.precision=bf16-mixed",
        )


def is_on_gpu(config: DictConfig) -> bool:
    """Returns whether a run trains on a GPU."""
    if config.trainer.accelerator == "auto":
        return bool(torch.cuda.is_available() or torch.backends.mps.is_available())
    return bool(config.trainer.accelerator != "cpu")


def use_threads(config: DictConfig, data: DataModule | OwnData, network: nn.Module, copies: int = 1) -> None:
    """Sets PyTorch's number of threads from `trainer.threads`, for `copies` such networks trained at once."""
    threads = config.trainer.threads
    if threads == "auto":  # one for a network so small that threads would mostly wait for each other
        weights = sum(parameter.numel() for parameter in network.parameters())
        # A batch of the user's own data may have any form.
        is_small = isinstance(data, DataModule) and copies * len(first_batch(data)) * weights < ONE_THREAD_BELOW
        threads = 1 if is_small else available_cores()
    torch.set_num_threads(threads)


def set_threads_per_process(config: DictConfig, trainer: pl.Trainer) -> None:
    """Sets the threads of each of several processes by `trainer.threads`; auto divides the cores of a machine.

    Sets OMP_NUM_THREADS, as Lightning would otherwise set the threads of the processes that it starts.
    """
    if trainer.strategy.launcher is None or "OMP_NUM_THREADS" in os.environ:
        return
    if config.trainer.threads == "auto":
        share = max(1, available_cores() // trainer.num_devices)
        torch.set_num_threads(min(share, torch.get_num_threads()))
    # The other processes inherit it.
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())


def first_batch(data: DataModule | OwnData) -> torch.Tensor:
    """Returns the features of one batch of training rows."""
    features = data.part("train")[0]
    return features if data.batch_size == "full" else features[: data.batch_size]


def flag_error(requirement: str, error: Exception, flags: Iterable[str]) -> UserError:
    """Makes the error for trainer flags that Lightning rejects; suggests another value for the flag that it names."""
    reason = " ".join(str(error).split())
    # Lightning's messages often name several flags; the first one is usually the one at fault.
    named = min((flag for flag in flags if flag in reason), key=reason.index, default=None)
    return UserError(requirement, reason, f"another trainer.{named}, or leaving it out" if named else "trainer=auto")


SILENCED = (
    # Lightning 2.6 uses an API that PyTorch 2.13 deprecates.
    ".*isinstance.treespec, LeafSpec.*",
    # Our batches come from memory, in an order drawn from the seed; advice on data loaders does not apply.
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    # The user's own modules may skip the validation; the run says so.
    ".*have no `validation_step`.*",
    ".*have no `val_dataloader`.*",
    # Lightning warns of GradientAccumulationScheduler with an overridden `optimizer_step`; the learner's supports it.
    ".*overriding `LightningModule.optimizer_.*",
    # trainer.strategy=ddp with a single process has nothing to synchronise.
    ".*It is recommended to use `self.log.*sync_dist=True.*",
    # Observing callbacks (figures, histograms, …) may be dropped when a run resumes.
    ".*Be aware that when using `ckpt_path`.*",
    "GPU available but not used.*",
    # On the login node of a cluster and in a job of one task there is nothing for `srun` to start.
    *(["The `srun` command is available.*"] if os.environ.get("SLURM_NTASKS", "1") == "1" else []),
)
"""Warnings of Lightning that do not apply here, as regular expressions."""


def silence_lightning() -> None:
    """Silences messages of Lightning that do not apply here: found hardware, and advice on data loaders."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # It has its own handler; with Hydra's, each message would be shown twice.
    logging.getLogger("lightning").propagate = False
    # Callbacks speak only where they are asked to: by verbose=true, or for a summary of the model.
    logging.getLogger("lightning.pytorch.callbacks").setLevel(logging.INFO)
    told = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    told.setLevel(logging.INFO)
    told.addFilter(_is_of_a_callback)
    for message in SILENCED:
        warnings.filterwarnings("ignore", message=message)


def _is_of_a_callback(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or Path(record.pathname).parent.name == "callbacks"
