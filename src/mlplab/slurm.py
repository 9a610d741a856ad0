"""The job of SLURM in which this process runs: its number, and how it is queued again. Imports nothing heavy."""

import os
import signal
import subprocess
from collections.abc import Sequence
from hashlib import sha256

# Windows has neither.
REQUEUES = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
"""Signals that come some time before a job is ended: SIGUSR1 by Lightning's convention, SIGUSR2 by that of submitit."""


def job_number() -> str:
    """Returns the number of the job of SLURM to which this process belongs; empty if there is none."""
    return os.environ.get("SLURM_JOB_ID", "")


def is_requeued() -> bool:
    """Returns whether this job of SLURM has run before, and was queued again."""
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return bool(job_number()) and count.isdecimal() and int(count) > 0


def name_of_command(words: Sequence[str]) -> str:
    """Returns the same short name for the same command within a job of SLURM; empty outside of one.

    A job may run several commands. Each must find its own run when the job is queued again.
    """
    number = "".join(filter(str.isalnum, job_number()))
    return f"slurm-{number}-{sha256(repr(list(words)).encode()).hexdigest()[:6]}" if number else ""


def is_repetition(number: int) -> bool:
    """Returns whether a further signal says nothing new: SLURM may send each twice, by srun and by itself."""
    return bool(job_number()) and number != signal.SIGINT


def requeue(number: int) -> str | None:
    """Queues this job of SLURM again, if the signal that has stopped it asks for that.

    Returns:
        What has come of it; None if there was nothing to do, or another process does it.
    """
    if number not in REQUEUES or not job_number() or os.environ.get("SLURM_PROCID", "0") != "0":
        return None
    try:
        done = subprocess.run(["scontrol", "requeue", job_number()], capture_output=True, text=True, check=False)
        why_not = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why_not = f"scontrol: {error.strerror}"
    if why_not:
        return f"job {job_number()} of SLURM could not be queued again ({why_not}); the same command by hand goes on"
    return f"job {job_number()} of SLURM is queued again, and goes on from here"
