"""Files are not flushed to the disk in tests, of which none is cut off by a loss of power.

A process that is killed leaves all that it has written to the system. A flush takes some milliseconds, and a run makes
several: with thousands of runs they would be a good part of the time of the tests.
"""

import os


def spare_the_disk() -> None:
    """Lets `os.fsync` return at once, in this process and in those that are forked from it."""
    os.fsync = lambda fd: None
