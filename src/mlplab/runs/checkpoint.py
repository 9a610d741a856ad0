"""Checkpoints: written whole or not at all, read as data alone, and enough to rebuild what they hold."""

import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from mlplab.data.preprocessing import Preprocessing, ScalePixels, Standardize
from mlplab.errors import DiskFull, Refusal, RunFailed, is_disk_full
from mlplab.models import MODELS
from mlplab.models.inputs import WithInputs, build_inputs
from mlplab.objectives.objective import Objective, predictions
from mlplab.processors import memory
from mlplab.runs.directory import in_megabytes
from mlplab.runs.files import write_atomically
from mlplab.task import Task

FORMAT = 1
"""Of the card. A reader refuses what it does not know."""


PLAIN = {bool, int, float, complex, str, bytes, type(None), torch.Size, torch.dtype, torch.device}
"""What a checkpoint may hold besides tensors and containers: what PyTorch reads with `weights_only=True`."""


FULL = 1_000_000
"""Bytes free below which PyTorch's own words for a failed writing are left out."""

MOST_SHARED = 4
"""Times the size of a file that its tensors may take: layers can share weights, which are stored once."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to write and read checkpoints, made safe against crashes and against what is read."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the file whole or not at all; of last.ckpt, the one before stays as previous.ckpt.

        Raises:
            RunFailed: the disk is full, or something in it could not be read back as data.
        """
        path = Path(path)
        _require_plain(checkpoint)
        path.parent.mkdir(parents=True, exist_ok=True)
        keep = path.with_name("previous.ckpt") if path.name == "last.ckpt" else None
        with explain_full_disk(path, (OSError, RuntimeError)):  # PyTorch tells of it by the latter
            write_atomically(path, lambda temporary: torch.save(checkpoint, temporary), keep=keep)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(Path(path))


@contextmanager
def explain_full_disk(path: Path, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """While a checkpoint is written.

    Args:
        path: of the checkpoint.
        kinds: of errors that tell of it.

    Raises:
        DiskFull: it has no room.
        RunFailed: it could not be written for another reason.
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
            f"a checkpoint must find room on the disk, however: {path} could not be written ({reason}), with "
            f"{in_megabytes(free)} free; the one before it is as it was; try: freeing some, then "
            f"resume={path.parent.parent}"
        ) from error


def _require_plain(content: Any, place: str = "checkpoint") -> None:
    """Refuses what could be written, and then not be read without running code.

    Raises:
        RunFailed: with the place of it.
    """
    if isinstance(content, Mapping):
        for name, value in content.items():
            _require_plain(name, place)
            _require_plain(value, f"{place}[{name!r}]")
    elif isinstance(content, list | tuple | set):
        for value in content:
            _require_plain(value, place)
    elif type(content) not in PLAIN and not isinstance(content, Tensor):
        raise RunFailed(
            f"a checkpoint must hold plain data only, however: {place} is {type(content).__name__}; try: a "
            "state_dict() of tensors, numbers, strings, lists and dicts"
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads tensors, numbers, strings, lists and dicts; nothing in the file is executed.

    Raises:
        Refusal: there is no such file, it is damaged, or it holds anything else.
    """
    if not path.is_file():
        raise Refusal("a checkpoint must exist", f"there is no file {path}", "ls logs/runs/*/checkpoints")
    _require_whole(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise Refusal(
            "a checkpoint must be whole and hold plain data only", f"{path}: {_why_unread(error)}", "another checkpoint"
        ) from None
    if not isinstance(content, dict):
        raise Refusal("a checkpoint must hold a dict", f"{path} holds {type(content).__name__}", "another checkpoint")
    _require_stored(content, path)
    return content


def _why_unread(error: Exception) -> str:
    """Returns what PyTorch met in a file, without its advice to use `weights_only=False`, which executes the file."""
    if isinstance(error, UnpicklingError):
        code = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
        return f"it names the code {code.group(1)}" if code else "it holds more than plain data"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _require_whole(checkpoint: Path) -> None:
    """Compares the checksums in the file, which PyTorch writes and does not read: a flipped bit is another weight.

    PyTorch stores what it writes as it is, so nothing in the file can be larger than the file.
    """
    size = checkpoint.stat().st_size
    if size > memory():
        raise _not_whole(
            checkpoint, f"it has {in_megabytes(size)}, and this machine {in_megabytes(memory())} of memory"
        )
    if not zipfile.is_zipfile(checkpoint):
        raise _not_whole(checkpoint, "it is no archive of PyTorch")
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise _not_whole(checkpoint, "it is compressed, as PyTorch writes none")
            if sum(entry.file_size for entry in entries) > size:
                raise _not_whole(checkpoint, "it claims to hold more than it does")
            damaged = archive.testzip()
    except Refusal:
        raise
    except Exception as error:  # whatever a damaged archive can cause
        damaged = " ".join(str(error).split()) or type(error).__name__
    if damaged is not None:
        raise Refusal("a checkpoint must be as it was written", f"{checkpoint} is damaged: {damaged}", "another one")


def _not_whole(checkpoint: Path, reason: str) -> Refusal:
    return Refusal(
        "a checkpoint must be whole and hold plain data only", f"{checkpoint}: {reason}", "another checkpoint"
    )


def _require_stored(content: Mapping[Any, Any], path: Path) -> None:
    """Refuses tensors that would take more memory than the file: views of one number, a million times a million."""
    size = 0
    waiting: list[Any] = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            size += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
    if size > MOST_SHARED * path.stat().st_size:
        raise _not_whole(
            path, f"its tensors claim {in_megabytes(size)} of a file of {in_megabytes(path.stat().st_size)}"
        )


def model_card(
    model: nn.Module,
    model_config: Mapping[str, Any],
    *,
    task: Task,
    preprocessing: Preprocessing,
    objective: Objective,
    data: Mapping[str, Any],
    precision: str = "32-true",
) -> dict[str, Any]:
    """Plain values that, with the weights, make a checkpoint complete.

    A network of `MODELS` is named with its architecture. Any other is named by its configuration, which says
    what it was but is never followed on reading: whoever made it has the code to build it.

    Args:
        model: with its input layer, where it has one.
        model_config: of conf/model.
        task: what is learned.
        preprocessing: as fitted.
        objective: the loss.
        data: where the rows came from, as plain values.
        precision: that it was trained in, as Lightning calls it.
    """
    network = model.network if isinstance(model, WithInputs) else model
    names = {kind: name for name, kind in MODELS.items()}
    name = names.get(type(network))  # type: ignore[arg-type]
    return {
        "format": FORMAT,
        "model": {
            "name": name or "own",
            "architecture": getattr(network, "architecture", None) if name else dict(model_config),
        },
        "task": task.as_dict(),
        "preprocessing": preprocessing.as_dict(),
        "loss": {
            "name": objective.function.__name__,
            "options": dict(objective.options),
            "class_weights": objective.class_weights,
        },
        "data": dict(data),
        "precision": precision,
    }


class Predictor(nn.Module):
    """A trained network with its preprocessing: raw values -> probabilities (B, C), or values (B, 1).

    The raw values are those that the preprocessing takes: features (B, F), or for a table numbers (B, P) with NaN
    for missing and levels (B, Q).
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing, task: Task) -> None:
        super().__init__()
        self.model, self.preprocessing, self.task = model, preprocessing, task

    def forward(self, *inputs: Tensor) -> Tensor:
        return predictions(self.model(self.preprocessing(*inputs)), self.task)


def load_predictor(path: Path, model: nn.Module | None = None) -> Predictor:
    """Rebuilds what a checkpoint holds, from the file alone, in evaluation mode.

    Args:
        path: of best.ckpt or last.ckpt.
        model: an untrained network of the same form; needed only where it is not one of `MODELS`.

    Raises:
        Refusal: the file is no checkpoint of this project, its parts do not fit each other, or it names a network
            that must be given.
    """
    return predictor_of(path, read_card(path), model)


def read_card(path: Path) -> dict[str, Any]:
    """The card of a checkpoint, with the network's weights under "weights".

    Raises:
        Refusal: the file is no checkpoint of this project.
    """
    checkpoint = read_checkpoint(path)
    card = checkpoint.get("mlplab")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise Refusal(
            f"a checkpoint must have a card of format {FORMAT}",
            f"{path} has none",
            "a checkpoint of this project",
        )
    return {**card, "weights": _weights(checkpoint.get("state_dict"))}


def predictor_of(path: Path, card: Mapping[str, Any], model: nn.Module | None = None) -> Predictor:
    """The predictor that a card describes; `path` is for messages.

    Raises:
        Refusal: the parts do not fit each other, or the card names a network that must be given.
    """
    with explain_bad_card(path, "network"):
        if model is None:
            name = card["model"]["name"]
            if name not in MODELS:
                raise Refusal(
                    f"a network that is rebuilt by name must be one of {', '.join(MODELS)}",
                    f"{path} holds a network of one's own",
                    "load_predictor(path, model=…) with the network built by its own code",
                )
        preprocessing = _preprocessing_of(card["preprocessing"])
        task = Task.from_dict(card["task"])
        encoding = preprocessing.input_encoding()

        def whole() -> nn.Module:
            network = MODELS[name](**card["model"]["architecture"]) if model is None else model
            if encoding is None or isinstance(network, WithInputs):
                return network
            return WithInputs(build_inputs(encoding, task.n_features), network)

        if model is None:
            _require_shapes(whole, card)
        network = whole()
        network.load_state_dict(card["weights"])
        predictor = Predictor(network, preprocessing, task)
    return predictor.eval()


@contextmanager
def explain_bad_card(checkpoint: Path, what: str = "run") -> Iterator[None]:
    """Within it, a card that lacks something, or holds another thing in its place, is told as a refusal."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:  # whatever a card that somebody else has made can cause
        raise Refusal(
            f"a checkpoint's card must describe its {what}", f"{checkpoint}: {error!r}", "another checkpoint"
        ) from None


def _require_shapes(build: Callable[[], nn.Module], card: Mapping[str, Any]) -> None:
    """Builds the network without memory first: a few numbers of a card can ask for more than there is."""
    shapes = {name: weight.shape for name, weight in card["weights"].items()}
    if len(card["model"]["architecture"].get("hidden_dims", ())) > len(shapes):
        raise ValueError("its architecture has more layers than there are weights")
    with torch.device("meta"):
        expected = {name: weight.shape for name, weight in build().state_dict().items()}
    if expected != shapes:
        name = next(name for name in [*expected, *shapes] if expected.get(name) != shapes.get(name))
        raise ValueError(f"{name} must be {_shape(expected.get(name))}, and is {_shape(shapes.get(name))}")


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else str(tuple(shape))


def _preprocessing_of(plain: dict[str, Any]) -> Preprocessing:
    """The preprocessing by its name; one outside this table is never imported."""
    if plain["name"] == "table":
        from mlplab.data.table.preprocessing import TablePreprocessing  # brings polars, which only tables need

        return TablePreprocessing.from_dict(plain)
    kinds: dict[str, type[Preprocessing]] = {"standardize": Standardize, "pixels": ScalePixels}
    return kinds[plain["name"]].from_dict(plain)


def _weights(state: Any) -> dict[str, Tensor]:
    """Those of the network, under the names that it gives them itself."""
    prefix = "model."
    if not isinstance(state, Mapping):
        return {}
    return {name.removeprefix(prefix): value for name, value in state.items() if str(name).startswith(prefix)}
