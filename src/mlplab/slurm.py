"""The SLURM job of this process: its number, and how it is requeued. Imports nothing heavy."""

import os
import signal
import subprocess
from collections.abc import Sequence
from hashlib import sha256

# Windows has neither.
REQUEUES = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
"""Signals of a job's approaching time limit: SIGUSR1 by Lightning's convention, SIGUSR2 by submitit's."""


def job_number() -> str:
    """Returns the number of this process's SLURM job; empty outside of SLURM."""
    return os.environ.get("SLURM_JOB_ID", "")


def is_requeued() -> bool:
    """Returns whether this SLURM job has run before and was requeued."""
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return bool(job_number()) and count.isdecimal() and int(count) > 0


def name_of_command(words: Sequence[str]) -> str:
    """Returns a short name for this command, the same whenever its SLURM job is requeued; empty outside of SLURM.

    A job may run several commands. Each must find its own run when the job is requeued.
    """
    number = "".join(filter(str.isalnum, job_number()))
    return f"slurm-{number}-{sha256(repr(list(words)).encode()).hexdigest()[:6]}" if number else ""


_has_been_told = False


def is_repetition(number: int) -> bool:
    """Returns whether a signal of SLURM repeats one that this process is already handling; Ctrl-C never does.

    srun and SLURM may each send one, and others may follow. A second one must not keep a run from saving.
    """
    global _has_been_told
    if not job_number() or number == signal.SIGINT:
        return False
    has_been_told, _has_been_told = _has_been_told, True
    return has_been_told


def asks_to_requeue(number: int) -> bool:
    """Returns whether a signal means that this SLURM job is to be requeued.

    SIGTERM means it when a job of higher priority preempts this one: SLURM does not requeue a job that ends within its
    grace time. From `scancel`, SIGTERM means the end.
    """
    if number in REQUEUES:
        return bool(job_number())
    if number != signal.SIGTERM or not job_number():
        return False
    about, _ = _scontrol("show", "job", job_number())
    return "PreemptTime=" in about and "PreemptTime=None" not in about and "JobState=RUNNING" in about


def requeue(number: int) -> str | None:
    """Requeues this SLURM job if the signal that stopped it asks for that.

    Returns:
        The outcome; None if there was nothing to do, or another process does it.
    """
    is_of_submitit = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"  # which requeues the jobs of sweeps
    if os.environ.get("SLURM_PROCID", "0") != "0" or is_of_submitit or not asks_to_requeue(number):
        return None
    _, why_not = _scontrol("requeue", job_number())
    if why_not:
        return f"job {job_number()} of SLURM could not be queued again ({why_not}); the same command by hand goes on"
    return f"job {job_number()} of SLURM is queued again, and goes on from here"


def _scontrol(*words: str) -> tuple[str, str]:
    """Returns the output of an scontrol command, and why it failed."""
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        return "", f"scontrol: {error.strerror}"
    return done.stdout, (done.stderr.strip() or f"status {done.returncode}") if done.returncode else ""
