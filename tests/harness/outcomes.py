"""What commands leave behind, in a form that can be compared: all but times and names of processes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from comparing import difference
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

OF_TIME = {"logs", "seconds", "time_elapsed"}
"""Entries of checkpoints that tell when and where, not what."""

ROUNDING = 1e-9

STACKED = ["hydra/launcher=stacked", "trainer.precision=64-true"]
"""Words of cases with stacks. A member that goes on in a smaller stack is summed in another order."""


def ended_otherwise(words: Sequence[str], straight: Path, folder: Path) -> list[str]:
    """Returns the places in which a folder differs from that of the same command, which nothing disturbed."""
    expected, found = outcome(straight), outcome(folder)
    if STACKED[0] not in words:
        return differences(expected, found)
    states = [
        {name: content for name, content in one.items() if name.endswith(("sweep.json", "status.json"))}
        for one in (expected, found)
    ]
    if wrong := differences(*states):
        return wrong
    runs = sorted(path.parent.relative_to(straight) for path in straight.rglob("result.json"))
    of_runs = ((run, difference(straight / run, folder / run, ROUNDING)) for run in runs)
    return [f"{run}: {where}" for run, where in of_runs if where]


def outcome(folder: Path) -> dict[str, Any]:
    """What the runs and sweeps in a folder have come to: name of a file → its content."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name in ("last.ckpt", "best.ckpt"):
            found[name] = plain(torch.load(path, weights_only=True))
        elif path.name == "history.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        elif path.name == "result.json":
            found[name] = json.loads(path.read_text())
        elif path.name == "sweep.json":
            found[name] = json.loads(path.read_text())["jobs"]
        elif path.name == "status.json":
            found[name] = json.loads(path.read_text())["state"]
        elif path.name == "tensorboard" and path.is_dir():
            found[name] = events(path)
        elif path.suffix in (".csv", ".tsv", ".parquet", ".png", ".safetensors"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_file() and path.parent == folder:
            found[name] = "there"
    return found


def events(directory: Path) -> dict[str, list[tuple[int, str]]]:
    """Step and value of each point of TensorBoard's curves, by their names."""
    points: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if not value.tag.startswith("config/"):
                    value.metadata.Clear()
                    content = hashlib.sha256(value.SerializeToString(deterministic=True)).hexdigest()
                    points.setdefault(value.tag, []).append((event.step, content))
    return {tag: sorted(found) for tag, found in points.items()}


def plain(content: Any) -> Any:
    """A checkpoint with its tensors to the last bit."""
    if isinstance(content, torch.Tensor):
        bits = content.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if content.numel() else b""
        return str(content.dtype), tuple(content.shape), bits
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items() if key not in OF_TIME}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return repr(content)


def differences(expected: Any, found: Any, place: str = "") -> list[str]:
    """The places in which two outcomes differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        names = dict.fromkeys([*expected, *found])
        return [
            line
            for name in names
            for line in differences(expected.get(name, "nothing"), found.get(name, "nothing"), f"{place}[{name}]")
        ]
    if expected == found:
        return []
    return [f"{place}: {_bits(expected, found) or f'{expected!r:.160} / {found!r:.160}'}"]


def _bits(expected: Any, found: Any) -> str:
    if not (isinstance(expected, tuple) and isinstance(found, tuple) and expected[:-1] == found[:-1]):
        return ""
    if not (isinstance(expected[-1], bytes) and isinstance(found[-1], bytes)):
        return ""
    n = sum((a ^ b).bit_count() for a, b in zip(expected[-1], found[-1], strict=True))
    return f"{n} bits of {8 * len(found[-1])} differ"
