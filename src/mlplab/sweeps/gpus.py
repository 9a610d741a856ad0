"""Gives the jobs that run at the same time on a machine GPUs of their own; where there are more jobs, they share."""

import contextlib
import itertools
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlplab.errors import UserError
from mlplab.runs.files import lock_file

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable of the environment with the GPUs that a process may use: their numbers or UUIDs."""

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Devices of which Linux has one where there are GPUs: by NVIDIA's driver, Windows' subsystem or AMD's driver."""

_kept: dict[str, int] = {}
"""GPU → descriptor of its lock, of a process that has used it: CUDA cannot change to another GPU afterwards."""


def n_gpus_wanted(config: DictConfig) -> int:
    """Returns how many GPUs a job is to be given; 0 for one that needs none, or has chosen them itself."""
    devices: Any = OmegaConf.select(config, "trainer.devices", default=1)
    if OmegaConf.select(config, "trainer.accelerator", default="auto") not in ("auto", "gpu", "cuda"):
        return 0
    if devices == "auto":
        return 1
    # A list names GPUs, and -1 takes all.
    return max(0, int(devices)) if isinstance(devices, int) or str(devices).isdecimal() else 0


def visible_gpus(visible: str | None) -> list[str]:
    """Lists the GPUs that a process may use.

    Args:
        visible: value of CUDA_VISIBLE_DEVICES; None where it is not set, and all of the machine may be used.
    """
    if visible is None:
        if sys.platform == "linux" and not any(map(os.path.exists, DRIVERS)):
            return []
        import torch  # only here, as it takes a second

        return [str(number) for number in range(torch.cuda.device_count())]
    # CUDA ignores what follows a number that is not valid, such as -1.
    names = itertools.takewhile(lambda name: bool(name) and not name.startswith("-"), visible.split(","))
    return list(dict.fromkeys(name.strip() for name in names))


@contextmanager
def own_gpus(n_wanted: int, visible: str | None) -> Iterator[None]:
    """Lets this process see so many GPUs, those with the fewest jobs of this user, until the job has ended.

    Args:
        n_wanted: number of GPUs. Where there are fewer, the process sees all, and Lightning refuses the job.
        visible: value of CUDA_VISIBLE_DEVICES with all that may be given.
    """
    gpus = visible_gpus(visible) if n_wanted else []
    if not 0 < n_wanted <= len(gpus):
        yield
        return
    global _kept
    before, taken = os.environ.get(VISIBLE), _kept
    if len(taken) != n_wanted:
        taken = _take(gpus, n_wanted)
    # In the order of the list, which the user may have chosen.
    os.environ[VISIBLE] = ",".join(gpu for gpu in gpus if gpu in taken) or ",".join(taken)
    try:
        yield
    finally:
        if _uses_cuda() and not _kept:
            _kept = taken
        elif taken is not _kept:
            for descriptor in taken.values():
                os.close(descriptor)  # which unlocks it
            os.environ.pop(VISIBLE)
            if before is not None:
                os.environ[VISIBLE] = before


def _take(gpus: list[str], n_wanted: int) -> dict[str, int]:
    """Locks GPUs for this process, each in the first of its places that is free; returns GPU → descriptor.

    A GPU has a place for each job that uses it. The first places of all GPUs are taken before any second one. The
    system frees a lock when the process ends in any way.
    """
    folder = _folder()
    taken: dict[str, int] = {}
    for place in itertools.count():
        for gpu in gpus:
            if gpu in taken:
                continue
            name = f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}.{place}"
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            if lock_file(descriptor) is False:
                os.close(descriptor)
                continue
            taken[gpu] = descriptor
            if len(taken) == n_wanted:
                return taken
    raise AssertionError("places have no end")


def _folder() -> Path:
    """Returns the folder of the locks: local to the machine, as GPUs are, and of this user alone.

    Raises:
        UserError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"mlplab-gpus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise UserError("the folder of GPU locks must be your own", f"{folder} is not", "TMPDIR=… before the command")
    return folder


def _uses_cuda() -> bool:
    torch: Any = sys.modules.get("torch")  # a job with a process of its own needs none in this one
    return torch is not None and bool(torch.cuda.is_initialized())
