"""Whether two runs ended alike: to the last bit, or but for rounding."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util
from torch import Tensor

SINGLE = 1e-6
"""By how much what is stored in 32 bits may differ, where numbers of 64 bits may differ at all."""


def difference(one: Path, other: Path, tolerance: float = 0.0) -> str:
    """The first thing in which two runs differ; empty where nothing does.

    Numbers may differ by `tolerance`, as a share of 1 and of their size.
    """
    for name in ("last", "best"):
        contents = [torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (one, other)]
        for content in contents:
            content.get("resume", {}).pop("logs", None)  # names of files
        found = _difference(*contents, f"{name}.ckpt", tolerance)
        if found:
            return found
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    points = [curves(run) for run in (one, other)]
    if tolerance:  # a histogram of numbers that are 0 but for rounding has no form
        points = [{tag: found for tag, found in p.items() if not isinstance(found[0][1], list)} for p in points]
    return (
        _difference(history(one), history(other), "history.jsonl", tolerance)
        or _difference(*results, "result.json", tolerance)
        or _difference(*points, "curves", tolerance and max(tolerance, SINGLE))
        or ("" if tolerance else _difference(table(one), table(other), "metrics.csv"))
    )


def history(run: Path) -> list[dict[str, Any]]:
    """The lines of history.jsonl, without the time that they took."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def table(run: Path) -> list[bytes]:
    """The lines of metrics.csv, to the last byte; none where no such file was asked for."""
    paths = list(run.glob("**/metrics.csv"))
    return paths[0].read_bytes().splitlines(keepends=True) if paths else []


def curves(run: Path) -> dict[str, list[tuple[int, Any]]]:
    """All that the event files of a run hold, as it stands there: tag → (step, value) of each point."""
    points: dict[str, list[tuple[int, Any]]] = {}
    for path in sorted((run / "tensorboard").glob("events.out.tfevents.*"), key=lambda path: path.name):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == "config/text_summary":
                    continue
                content = tensor_util.make_ndarray(value.tensor).tolist()
                points.setdefault(value.tag, []).append((event.step, content))
    return {tag: sorted(found, key=lambda point: point[0]) for tag, found in points.items()}


def doubled(run: Path) -> dict[str, list[int]]:
    """Steps that a curve of a run has more than once."""
    steps = {tag: [step for step, _ in points] for tag, points in curves(run).items()}
    return {tag: found for tag, found in steps.items() if len(found) != len(set(found))}


def _difference(one: Any, other: Any, place: str, tolerance: float = 0.0) -> str:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        if tolerance:
            if one.dtype == torch.float32:
                tolerance = max(tolerance, SINGLE)
            same = same and torch.allclose(one.double(), other.double(), tolerance, tolerance, equal_nan=True)
        else:
            same = same and torch.equal(_bits(one), _bits(other))
        return "" if same else f"{place}: {one} and {other}"
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if list(one) != list(other) and set(one) != set(other):
            return f"{place}: {sorted(map(str, set(one) ^ set(other)))} in one alone"
        return next(
            (found for key in one if (found := _difference(one[key], other[key], f"{place}[{key!r}]", tolerance))), ""
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{place}: {len(one)} and {len(other)} values: {one} and {other}"
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for i, (a, b) in pairs if (found := _difference(a, b, f"{place}[{i}]", tolerance))), "")
    if (
        tolerance
        and isinstance(one, float)
        and isinstance(other, float)
        and math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    ):
        return ""
    return "" if one == other or (one != one and other != other) else f"{place}: {one!r} and {other!r}"


def _bits(tensor: Tensor) -> Tensor:
    """NaN is equal to NaN, and 0 is not equal to −0."""
    kinds = {torch.float32: torch.int32, torch.float64: torch.int64}
    return tensor.contiguous().view(kinds[tensor.dtype]) if tensor.dtype in kinds else tensor
