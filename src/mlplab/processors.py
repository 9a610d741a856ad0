"""What the machine gives this process to compute with. Imports nothing heavy."""

import os
import sys


def memory() -> int:
    """Returns the bytes of the machine's memory; more than there can be where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def available_cores() -> int:
    """The cores that this process may use: those that the operating system gives it, or its share of them.

    A launcher of several jobs at once, or of a cluster, tells the share by OMP_NUM_THREADS.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(share)) if share.isdecimal() and int(share) > 0 else cores


def let_waiting_threads_sleep() -> None:
    """Makes OpenMP's threads sleep while they wait for one another; whoever has set a policy keeps it.

    By itself a thread spins at each barrier, up to milliseconds. On a machine with other work the one that it waits
    for may have no core: small steps take 20 times as long. To be called before PyTorch is imported, which is when
    OpenMP reads the policy.
    """
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
