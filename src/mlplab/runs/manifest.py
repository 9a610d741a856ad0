"""What a run was made of: enough to say later whether another is the same."""

import functools
import importlib.metadata
import json
import os
import platform
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mlplab.runs.commit import describe_commit
from mlplab.runs.files import read_ordinary

PACKAGES = (
    "mlplab",
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "numpy",
    "scikit-learn",
)


def describe_environment(root: Path) -> dict[str, Any]:
    """Command, code, versions and hardware of this process.

    Args:
        root: the project, whose git commit counts as the code's version.
    """
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "working_directory": os.getcwd(),
        "git": describe_commit(root),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "hardware": {
            "host": socket.gethostname(),
            # Not platform.platform(), which runs `uname` of the PATH.
            "platform": "-".join((platform.system(), platform.release(), platform.machine())),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        },
        "threads": torch.get_num_threads(),
        "waiting_threads": os.environ.get("OMP_WAIT_POLICY", "as set by GOMP_SPINCOUNT or KMP_BLOCKTIME").lower(),
    }


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a run, as data; empty where there is none that can be read."""
    try:
        manifest = json.loads(read_ordinary(directory / "manifest.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(manifest, dict) or not isinstance(manifest.get("resumed", []), list):
        return {}
    return manifest


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of two environments can make the last bits of a result differ, a line each.

    Both are as `describe_environment` gives them; of `then` anything may be missing.
    """
    compared = {
        "machine": ("hardware", "host"),
        "processor": ("hardware", "processor"),
        "GPUs": ("hardware", "gpus"),
        "threads": ("threads",),
        "commit": ("git", "commit"),
        "changed files since the commit": ("git", "dirty"),
        **{name: ("versions", name) for name in now["versions"]},
    }
    lines = []
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
def _processor() -> str:
    """The processor's model, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
