"""Explains write errors of checkpoints, such as a full disk."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlplab.config.paths import shortest
from mlplab.errors import DiskFull, RunFailed, in_megabytes, is_disk_full
from mlplab.runs.files import FULL


@contextmanager
def explain_full_disk(path: Path, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """Explains errors while a checkpoint is written, with the free space and how to resume.

    Args:
        path: of the checkpoint.
        kinds: classes of errors that a failed write raises.

    Raises:
        DiskFull: the disk is full.
        RunFailed: the write failed for another reason.
    """
    try:
        yield
    except kinds as error:
        free = shutil.disk_usage(path.parent).free
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
        if free < FULL:
            reason = "the disk is full"
        kind = DiskFull if free < FULL or is_disk_full(error) else RunFailed
        raise kind(
            f"a checkpoint must fit on the disk, but {path} could not be written ({reason}), with "
            f"{in_megabytes(free)} free; the one before it is unchanged; try freeing some space, then "
            f"resume={shortest(path.parent.parent)}"
        ) from error
