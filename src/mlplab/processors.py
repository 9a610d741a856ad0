"""Memory, cores and threads of this process. Imports nothing heavy."""

import os
import sys


def memory() -> int:
    """Returns the bytes of the machine's memory; `sys.maxsize` if the system does not say."""
    try:
        # Windows has no `os.sysconf`.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def usable_cores() -> int:
    """Returns the number of cores that the system lets this process use."""
    # Containers and taskset give a process fewer cores than the machine has; macOS has no such call.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_cores() -> int:
    """Returns the number of cores that this process may use.

    Launchers of several jobs limit it by OMP_NUM_THREADS, SLURM also by the requested cores.
    """
    shares = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")]
    return min([usable_cores(), *(int(share) for share in shares if share.isdecimal() and int(share) > 0)])


def let_waiting_threads_sleep() -> None:
    """Makes OpenMP's threads sleep while they wait for one another, unless the user has set a policy.

    By default a thread spins at each barrier, for up to milliseconds. On a busy machine the thread it waits for may
    have no core: small steps then take 20 times as long. Call it before PyTorch is imported, as OpenMP reads the
    policy then.
    """
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
