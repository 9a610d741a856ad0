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


_has_been_told = False


def is_repetition(number: int) -> bool:
    """Returns whether SLURM has sent a signal before, which this process is answering; Ctrl-C is never one.

    srun and SLURM itself may send each, and others follow. A second one must not keep a run from saving.
    """
    global _has_been_told
    if not job_number() or number == signal.SIGINT:
        return False
    has_been_told, _has_been_told = _has_been_told, True
    return has_been_told


def asks_to_requeue(number: int) -> bool:
    """Returns whether a signal means that this job of SLURM is to be queued again.

    SIGTERM means it where a job of higher priority takes the place. SLURM itself would not queue a job again that
    ends within the time of grace that it is given then. Of `scancel`, SIGTERM means the end.
    """
    if number in REQUEUES:
        return bool(job_number())
    if number != signal.SIGTERM or not job_number():
        return False
    about, _ = _scontrol("show", "job", job_number())
    return "PreemptTime=" in about and "PreemptTime=None" not in about and "JobState=RUNNING" in about


def requeue(number: int) -> str | None:
    """Queues this job of SLURM again, if the signal that has stopped it asks for that.

    Returns:
        What has come of it; None if there was nothing to do, or another process does it.
    """
    is_of_submitit = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"  # which queues the jobs of sweeps again
    if os.environ.get("SLURM_PROCID", "0") != "0" or is_of_submitit or not asks_to_requeue(number):
        return None
    _, why_not = _scontrol("requeue", job_number())
    if why_not:
        return f"job {job_number()} of SLURM could not be queued again ({why_not}); the same command by hand goes on"
    return f"job {job_number()} of SLURM is queued again, and goes on from here"


def _scontrol(*words: str) -> tuple[str, str]:
    """Returns the output of a command to SLURM, and why it has failed."""
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        return "", f"scontrol: {error.strerror}"
    return done.stdout, (done.stderr.strip() or f"status {done.returncode}") if done.returncode else ""
