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
