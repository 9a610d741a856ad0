"""Repeats a run, and compares the two runs to the last bit."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util
from torch import Tensor

from mlplab.cli.resume import set_hydra_config
from mlplab.cli.script import Result
from mlplab.config.paths import shortest
from mlplab.config.resolvers import new_run_name
from mlplab.errors import RunFailed, UserError, described
from mlplab.runs.checkpoint import read_checkpoint
from mlplab.runs.manifest import differences
from mlplab.runs.run_reading import read_manifest, read_result

COMPARED = ("state_dict", "optimizer_states", "lr_schedulers")
"""Parts of last.ckpt to compare; for best.ckpt only the first."""


def reproduce(directory: Path, config: DictConfig, again: Path | None = None) -> Result:
    """Repeats a finished run in another directory, and compares the results; status 0 if they are identical.

    Args:
        directory: of the run.
        config: of the run.
        again: directory of the second run; None makes one beside the first.

    Raises:
        UserError: a checkpoint is missing, or the configuration can no longer be run.
        RunFailed: the second run failed.
    """
    from mlplab.training import train  # here, as it imports modules of this folder

    expected = _results(directory)  # first, so that a missing file is noticed before minutes of training
    again = (again or directory.with_name(f"{directory.name}_again_{new_run_name()}")).absolute()
    set_hydra_config(again, choices_of=directory)
    OmegaConf.update(config, "paths.run", str(again), force_add=True)
    try:
        train(config)
    except (UserError, RunFailed):
        raise
    except Exception as error:  # from user code
        where = f"its traceback is in {shortest(again / 'train.log')}"
        raise RunFailed(f"the second run failed: {described(error)}; {where}") from error
    n_values = sum(value.numel() if isinstance(value, Tensor) else 1 for value in expected.values())
    differing, changed = list(_differing(expected, _results(again))), list(_changed(directory, again))
    same = f"same    to the last bit, in {n_values:,} numbers of checkpoints, metrics and curves"
    lines = [f"again   {shortest(again)}", *([f"differs {line}" for line in differing] or [same])]
    lines += [f"changed {line}" for line in changed or ["nothing that the manifest records"]]
    content = {
        "again": str(again),
        "is_identical": not differing,
        "n_values": n_values,
        "differing": differing,
        "changed": changed,
    }
    return Result("\n".join(lines), content, 1 if differing else 0)


def curves(tensorboard: Path) -> dict[str, list[tuple[int, float]]]:
    """Reads the scalars from the event files in a folder: tag → (step, value) of each point, by step."""
    points: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(tensorboard.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tensor_util.make_ndarray(value.tensor))
                    points.setdefault(value.tag, []).append((event.step, number))
    return {tag: sorted(found) for tag, found in points.items()}  # a resumed run has several files


def _results(directory: Path) -> dict[str, Any]:
    """Collects all numbers of a run, from checkpoints, result.json and curves: readable name → value."""
    results: dict[str, Any] = {}
    for name, parts in (("last", COMPARED), ("best", COMPARED[:1])):
        path = directory / "checkpoints" / f"{name}.ckpt"
        if not path.exists() and name == "best":  # nothing was monitored
            continue
        checkpoint = read_checkpoint(path)
        results |= _flat({part: checkpoint.get(part) for part in parts}, f"{name}.ckpt ")
    results |= _flat(read_result(directory), "result.json ")
    return results | _flat(curves(directory / "tensorboard"), "curve ")


def _flat(node: Any, name: str) -> dict[str, Any]:
    if isinstance(node, Mapping):
        return {k: v for key, value in node.items() for k, v in _flat(value, f"{name}{key}.").items()}
    if isinstance(node, list | tuple):
        return {k: v for i, value in enumerate(node) for k, v in _flat(value, f"{name}{i}.").items()}
    return {name.removesuffix("."): node}


def _differing(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each file, metric or curve that is not identical."""
    lines_of: dict[str, list[str]] = {}
    for name in dict.fromkeys([*expected, *found]):
        if name not in expected or name not in found:
            how = "only then" if name in expected else "only now"
        elif isinstance(expected[name], Tensor) and isinstance(found[name], Tensor):
            how = _difference(expected[name], found[name])
        else:
            how = "" if expected[name] == found[name] else f"{expected[name]} then, {found[name]} now"
        if how:
            kind = name if name.startswith("result.json") else name.split(".")[0]  # one line per file or curve
            lines_of.setdefault(kind, []).append(f"{name}: {how}")
    for lines in lines_of.values():
        yield lines[0] + (f", and {len(lines) - 1} more like it" if len(lines) > 1 else "")


def _difference(one: Tensor, other: Tensor) -> str:
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{tuple(one.shape)} of {one.dtype} then, {tuple(other.shape)} of {other.dtype} now"
    if torch.equal(one, other) or torch.equal(one.nan_to_num(), other.nan_to_num()):  # NaN differs from itself
        return ""
    return f"by up to {(one.double() - other.double()).abs().max().item():.2g}"


def _changed(directory: Path, again: Path) -> Iterator[str]:
    then, now = read_manifest(directory), read_manifest(again)
    if not then:
        yield "the first run has no manifest.json"
        return
    prints = [manifest.get("data", {}).get("fingerprint") for manifest in (then, now)]
    if prints[0] != prints[1]:
        yield f"data fingerprint: {prints[0]} then, {prints[1]} now"
    yield from differences(then, now)
