"""Describes code, versions, data and hardware of a run, for comparisons."""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mlplab.runs.commit import describe_commit

PACKAGES = (
    "mlplab",
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "numpy",
    "scikit-learn",
    "polars",
)
"""Packages that affect results."""

CODE = ("train.py", "src", "conf")
"""Files and folders of the project that affect a run."""

NOT_CODE = ("__pycache__", ".egg-info")
"""Endings of generated folders, which are not code."""

LARGEST = 1_000_000
"""Maximum of bytes to hash by content; larger files are hashed by size and time."""


def describe_environment(root: Path) -> dict[str, Any]:
    """Describes command, code, versions and hardware of this process.

    Args:
        root: the project folder, whose git commit is recorded.
    """
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        # Relative paths in the command start there.
        "working_directory": os.getcwd(),
        "git": describe_commit(root),
        "code": code_digest(root),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "hardware": {
            "host": socket.gethostname(),
            # Not platform.platform(), which runs `uname` from the PATH.
            "platform": "-".join((platform.system(), platform.release(), platform.machine())),
            "processor": _processor(),
            "cores": os.cpu_count(),
            # A sweep's job has its own command.
            "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        },
        # Several threads add sums in another order, which changes the last bits.
        "threads": torch.get_num_threads(),
        "waiting_threads": os.environ.get("OMP_WAIT_POLICY", "as set by GOMP_SPINCOUNT or KMP_BLOCKTIME").lower(),
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists differences between two environments that can change the last bits of a result, one per line.

    Both are results of `describe_environment`; `then` may lack entries.
    """
    compared = {
        "machine": ("hardware", "host"),
        "processor": ("hardware", "processor"),
        "GPUs": ("hardware", "gpus"),
        "threads": ("threads",),
        "commit": ("git", "commit"),
        "changed files since the commit": ("git", "dirty"),
        # Manifests of earlier releases lack some packages.
        **{name: ("versions", name) for name in now["versions"] if name in (then.get("versions") or now["versions"])},
    }
    if then.get("code") and _at(then, ("git",)) == _at(now, ("git",)):  # otherwise listed already
        compared["code that is not committed"] = ("code",)
    lines = []
    # A stack multiplies matrices of several networks at once, and may add sums in another order.
    if bool(then.get("stacked")) != bool(now.get("stacked")):
        lines.append("in a stack then, alone now" if then.get("stacked") else "alone then, in a stack now")
    for name, keys in compared.items():
        before, after = _at(then, keys), _at(now, keys)
        if before != after:
            lines.append(f"{name}: {_shown(before)} then, {_shown(after)} now")
    return lines


def _at(content: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def code_digest(root: Path) -> str:
    """Returns a digest of all code that affects a run, committed or not.

    It reads the files itself, as git would run the repository's filters. The result is cached, as a process runs the
    code that it has imported.
    """
    digest, beginning = hashlib.sha256(), len(str(root))
    # Sorted, as file systems list files in any order.
    for path in sorted(_files_of_code(str(root))):
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                continue
            large = status.st_size > LARGEST
            # A large file, such as data within src/, would delay the start of each run.
            content = repr((status.st_size, status.st_mtime_ns)).encode() if large else _content(path)
            # With name and length in front, other files cannot give the same bytes.
            digest.update(repr((path[beginning:], len(content))).encode() + content)
    # 64 bits are enough, as nobody forges a change on purpose.
    return digest.hexdigest()[:16]


def _files_of_code(root: str) -> Iterator[str]:
    for name in CODE:
        yield os.path.join(root, name)
        for folder, folders, files in os.walk(os.path.join(root, name)):
            # In place, as os.walk goes on with the folders that are left in its list.
            folders[:] = [one for one in folders if not one.endswith(NOT_CODE)]
            yield from (f"{folder}/{file}" for file in files)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(LARGEST)


@functools.cache
def _processor() -> str:
    """Returns the processor's model name from Linux, elsewhere from `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
