"""Runs a job that needs several processes as a command of its own, whose process may start the others."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mlplab.errors import ProcessKilled, RunFailed, RunStopped
from mlplab.runs.earlier_launch import HOW, objective_of_finished
from mlplab.runs.run_reading import read_state
from mlplab.runs.signals import name_of

OF_THE_SWEEP = ("hydra/sweeper", "hydra/launcher", "hydra.sweeper.", "hydra.launcher.", "hydra.sweep.", "hydra.mode")
"""Beginnings of names that the command of a job does not get."""

PATIENCE = 5.0
"""Seconds that a command may take to save and end before it is killed."""


def needs_own_process(config: DictConfig) -> bool:
    """Returns whether a run may start further processes, which Lightning does by the command line of the first."""
    trainer: Any = config.trainer
    # auto is all the GPUs that the process sees.
    one = (1, "1", "auto") if trainer.get("accelerator") == "cpu" else (1, "1")
    return trainer.get("devices", 1) not in one or "ddp" in str(trainer.get("strategy", "auto"))


def n_processes(config: DictConfig) -> int:
    """Returns the number of processes of a job, where its configuration says so; otherwise 1."""
    devices = config.trainer.get("devices", 1)
    return max(1, int(devices)) if isinstance(devices, int) or str(devices).isdecimal() else 1


def train_in_own_process(config: DictConfig, *, resume: bool = False) -> float:
    """Trains the job of this configuration by `python train.py …`, in the job's directory; returns its objective.

    Its processes form a group of their own, so that all of them can be ended.

    Raises:
        RunFailed: the job failed; the message is its own.
        RunStopped: the job was stopped by a signal.
        ProcessKilled: the job was killed; a launcher runs it once more.
    """
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    command = [sys.executable, str(Path(hydra.runtime.cwd, sys.argv[0])), *_words(hydra, directory)]
    surroundings = {
        **os.environ, HOW: "resume" if resume else "begin",
        # Within a job of SLURM that has one task, Lightning starts the other processes only if it is interactive.
        **({"SLURM_JOB_NAME": "interactive"} if "SLURM_JOB_ID" in os.environ else {}),
    }  # fmt: skip
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env=surroundings, cwd=hydra.runtime.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=errors, process_group=0,
        )  # fmt: skip
        try:
            status = process.wait()
        finally:  # a signal may have raised an error here
            _end(process)
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    state = read_state(directory)
    objective = objective_of_finished(directory)
    if status == 0 and objective is not None:
        return objective
    if status > 128 and not state.has_ended:
        raise RunStopped(state.reason or f"stopped by {name_of(status - 128)}", status)
    if status < 0 and not state.has_ended:
        raise ProcessKilled(f"{directory.name} was ended by signal {-status}")
    # A job that was refused has no state, and has said why in its last line.
    last = said.splitlines()[-1].partition(": ")[2] if said else ""
    raise RunFailed(state.reason if state.has_ended else last or f"its process ended with exit status {status}")


def _words(hydra: Any, directory: Path) -> list[str]:
    """Returns the command line of a job: its overrides, and Hydra's own apart from those of the sweep."""
    overrides: Any = OmegaConf.to_container(hydra.overrides, resolve=False)  # `${…}` stays as it was typed
    kept = [word for word in overrides["hydra"] if not word.lstrip("+~").startswith((*OF_THE_SWEEP, "hydra.run.dir"))]
    path = str(directory).replace("\\", "\\\\").replace("'", "\\'")
    return [*kept, *overrides["task"], "hydra.mode=RUN", f"hydra.run.dir='{path}'"]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the processes of a job: the first saves what it has reached, the others end with it or are killed."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError):  # none is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
