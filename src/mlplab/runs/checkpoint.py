"""Writes checkpoints atomically, reads them as data only, and rebuilds networks from them."""

import inspect
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from mlplab.config.former_names import NAMES, use_present_names
from mlplab.data.own_data import NoPreprocessing
from mlplab.data.preprocessing import Preprocessing, ScalePixels, Standardize
from mlplab.errors import RunFailed, UserError, in_megabytes, printable
from mlplab.learner_parts import build_network, require_known_code
from mlplab.models import MODELS
from mlplab.models.ensemble import Ensemble
from mlplab.models.inputs import WithInputs, build_inputs
from mlplab.models.numeric_embeddings import EmbeddedInputs
from mlplab.objectives.objective import OWN, Objective, n_outputs, predictions
from mlplab.parts import require_part
from mlplab.processors import memory
from mlplab.runs.files import write_atomically
from mlplab.runs.full_disk import explain_full_disk
from mlplab.task import Task

FORMAT = 1
"""Version of the card. Other versions are refused."""

OWN_MODULE = "own module"
"""Name in a card for the user's own LightningModule."""

PLAIN = {bool, int, float, complex, str, bytes, type(None), torch.Size, torch.dtype, torch.device}
"""Types that a checkpoint may hold besides tensors and containers: PyTorch reads them with `weights_only=True`."""

CONF = Path(__file__).resolve().parents[3] / "conf" / "model"
"""The project's networks and the defaults of their options."""

MOST_SHARED = 4
"""Maximum size of the tensors as a multiple of the file size: shared weights are stored once."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes and reads checkpoints for Lightning, safe against crashes and malicious files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the file whole or not at all; keeps the former last.ckpt as previous.ckpt.

        Raises:
            RunFailed: the disk is full, or the content is not plain data.
        """
        path = Path(path)
        # First, as an unreadable checkpoint must not replace a readable one.
        require_plain(checkpoint)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The fallback if last.ckpt turns out to be damaged.
        keep = path.with_name("previous.ckpt") if path.name == "last.ckpt" else None
        with explain_full_disk(path, (OSError, RuntimeError)):  # PyTorch raises RuntimeError for a full disk
            write_atomically(path, lambda temporary: torch.save(checkpoint, temporary), keep=keep)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def _leaves(content: Any, place: str = "checkpoint") -> Iterator[tuple[str, Any]]:
    """Yields place and value of everything except containers, including keys of dicts."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _leaves(name, place)
            yield from _leaves(value, f"{place}[{name!r}]")
    elif isinstance(content, list | tuple | set):
        for value in content:
            yield from _leaves(value, place)
    else:
        yield place, content


def require_plain(content: Any) -> None:
    """Refuses content that could not be read back without running code.

    Raises:
        RunFailed: names the first such value.
    """
    for place, value in _leaves(content):
        # The exact type, as pickle stores a subclass by name.
        if type(value) not in PLAIN and not isinstance(value, Tensor):
            raise RunFailed(
                f"a checkpoint must hold plain data only, but {place} is {type(value).__name__}; try a "
                "state_dict() of tensors, numbers, strings, lists and dicts"
            )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads tensors, numbers, strings, lists and dicts; nothing in the file is executed.

    Raises:
        UserError: the file does not exist, is damaged, or holds anything else.
    """
    if not path.is_file():
        raise UserError("a checkpoint must exist", f"there is no file {path}", "ls logs/runs/*/checkpoints")
    try:
        _require_whole(path)
        # To the CPU, as this machine may lack the original device.
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}, and no dict")
        # Only now: a view takes no memory until it is used in a computation.
        _require_stored(content, path)
        if NAMES[0] in content:  # release 0.5.0's name
            content["card"] = content.pop(NAMES[0])
        use_present_names(content.get("card"))
    except Exception as error:  # a damaged file may raise anything
        raise UserError(
            "a checkpoint must be whole and hold plain data only", f"{path}: {_why_unread(error)}", "another checkpoint"
        ) from None
    return content


def _why_unread(error: Exception) -> str:
    """Returns PyTorch's error without its advice to use `weights_only=False`, which would execute the file."""
    if isinstance(error, UnpicklingError):
        code = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
        return f"it names the code {code.group(1)}" if code else "it holds more than plain data"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _require_whole(path: Path) -> None:
    """Verifies the file's checksums, which PyTorch writes but never checks: a flipped bit could change a weight.

    PyTorch writes uncompressed entries, so none can be larger than the file.

    Raises:
        ValueError: says what is wrong.
    """
    size = path.stat().st_size
    if size > memory():
        raise ValueError(f"it has {in_megabytes(size)}, but this machine has {in_megabytes(memory())} of memory")
    # PyTorch's format before 1.6 was a bare pickle, which has no checksums.
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no PyTorch checkpoint")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # A few compressed bytes can expand to any size.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which PyTorch's are not")
        # Overlapping entries can add up to many times the file size.
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("its entries claim more bytes than it has")
        # Reads each entry once, and compares its CRC-32.
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"it is damaged: {damaged}")


def _require_stored(content: Mapping[Any, Any], path: Path) -> None:
    """Refuses tensors far larger than the file, such as a view that repeats one number a trillion times.

    Raises:
        ValueError: says how large they are.
    """
    stored = path.stat().st_size
    size = sum(value.numel() * value.element_size() for _, value in _leaves(content) if isinstance(value, Tensor))
    if size > MOST_SHARED * stored:
        raise ValueError(f"its tensors claim {in_megabytes(size)}, but the file has {in_megabytes(stored)}")


def model_card(
    model: nn.Module,
    model_config: Mapping[str, Any],
    *,
    task: Task,
    preprocessing: Preprocessing | NoPreprocessing,
    objective: Objective,
    data: Mapping[str, Any],
    loss_config: Mapping[str, Any] = {},
    metrics: Mapping[str, Any] = {},
    precision: str = "32-true",
) -> dict[str, Any]:
    """Collects the plain values that complete a checkpoint's weights.

    A network of `MODELS` is stored by name and architecture, any other by its configuration. That is followed only if
    the reader's own conf/ names the same code. The same holds for losses.

    Args:
        model: with its input layer, if it has one.
        model_config: of conf/model.
        task: of the learner.
        preprocessing: fitted.
        objective: the loss.
        loss_config: of conf/loss.
        metrics: of conf/metrics.
        data: source and reading of the rows, as plain values.
        precision: of the training, by Lightning's name.
    """
    network, inputs = (model.network, model.inputs) if isinstance(model, WithInputs) else (model, None)
    names = {kind: name for name, kind in MODELS.items()}
    # The exact class, as a subclass may compute other outputs.
    name = names.get(type(network))  # type: ignore[arg-type]
    architecture = getattr(network, "architecture", None)
    # The user's own activation is an object, which only the configuration describes.
    if any(type(value) not in PLAIN for _, value in _leaves(architecture)):
        name = None
    return {
        "format": FORMAT,
        "model": {
            "name": name or OWN,
            "architecture": architecture if name else dict(model_config),
            # The bins are stored with the weights.
            **({"numeric_embedding": inputs.options} if isinstance(inputs, EmbeddedInputs) else {}),
        },
        "task": task.as_dict(),
        "preprocessing": preprocessing.as_dict(),
        "loss": {
            "name": objective.name,
            "options": dict(loss_config if objective.name == OWN else objective.options),
            "class_weights": objective.class_weights,
        },
        "metrics": dict(metrics),
        "data": dict(data),
        "precision": precision,
    }


class Predictor(nn.Module):
    """Combines a trained network with its preprocessing: raw values -> probabilities (B, C), or values (B, 1).

    Raw values are features (B, F); for a table, numbers (B, P) with NaN for missing, and category codes (B, Q).
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing, task: Task) -> None:
        super().__init__()
        self.model, self.preprocessing, self.task = model, preprocessing, task

    def forward(self, *inputs: Tensor) -> Tensor:
        return predictions(self.model(self.preprocessing(*inputs)), self.task)


def load_predictor(path: Path, model: nn.Module | None = None) -> Predictor:
    """Rebuilds the trained network and its preprocessing from a checkpoint, in evaluation mode.

    Args:
        path: of best.ckpt or last.ckpt.
        model: an untrained network of the same architecture; only needed if neither `MODELS` nor conf/ has it.

    Raises:
        UserError: the file is no checkpoint of this project, its parts do not match, or `model` must be given.
    """
    return predictor_of(path, read_card(path), model)


def read_card(path: Path) -> dict[str, Any]:
    """Reads a checkpoint's card, with the network's weights under "weights", by the network's own names.

    Raises:
        UserError: the file is no checkpoint of this project.
    """
    checkpoint = read_checkpoint(path)
    card, state = checkpoint.get("card"), checkpoint.get("state_dict")
    # Lightning's own checkpoints, and those of other projects, have no card.
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(
            f"a checkpoint must have a card of format {FORMAT}", f"{path} has none", "a checkpoint of this project"
        )
    named = state.items() if isinstance(state, Mapping) else ()

    def part(prefix: str) -> dict[str, Any]:  # the learner's
        return {name.removeprefix(prefix): value for name, value in named if str(name).startswith(prefix)}

    return {**card, "weights": part("model."), "loss_weights": part("objective.")}


def predictor_of(path: Path, card: Mapping[str, Any], model: nn.Module | None = None) -> Predictor:
    """Builds the predictor that a card describes; `path` is for messages.

    Raises:
        UserError: the parts do not match, or `model` must be given.
    """
    with explain_bad_card(path, "network"):
        described = card["model"]
        if described["name"] == OWN_MODULE or card["preprocessing"]["name"] == "own":
            code = described["architecture"]["_target_"] if described["name"] == OWN_MODULE else card["data"]["source"]
            raise UserError(
                "a checkpoint that is applied to rows must be that of the project's own learner and data",
                f"{path} is that of {printable(code)}",
                f"the options of that run with train=false start_from={path}, which tests it by its own code",
            )
        parts = described["architecture"]["members"] if described["name"] == "ensemble" else [described]
        # The user's own embedding is described by its configuration; earlier releases stored none.
        known = [part["name"] in MODELS or "_target_" in part["architecture"] for part in parts]
        if model is None and not all(known):
            raise UserError(
                f"a network that is rebuilt by name must be one of {', '.join(MODELS)}",
                f"{path} holds a network of another class",
                "load_predictor(path, model=…) with the network built by its own code",
            )
        preprocessing = _preprocessing_of(card["preprocessing"])
        task = Task.from_dict(card["task"])
        encoding = preprocessing.input_encoding()

        def network_of(part: Mapping[str, Any], widths: list[int]) -> nn.Module:
            if model is not None:
                return model
            if part["name"] in MODELS:
                kind = MODELS[part["name"]]
                return kind(**with_new_options(kind, part["architecture"]))
            config = require_known_code("model", part["architecture"], path)
            n_out = n_outputs(card["loss"]["name"], task)
            return build_network(config, widths=widths, out_features=n_out, task=task)  # type: ignore[no-any-return]

        def build_part(part: Mapping[str, Any]) -> nn.Module:
            inputs: Any = None if encoding is None else build_inputs(encoding, task.n_features)
            if "numeric_embedding" in part:
                inputs = EmbeddedInputs(inputs, n_features=task.n_features, **part["numeric_embedding"])
            network = network_of(part, [1] * task.n_features if inputs is None else inputs.column_widths)
            if inputs is None or isinstance(network, WithInputs):
                return network
            return WithInputs(inputs, network)

        def build() -> nn.Module:
            # Each member of an ensemble has its own input layer, as it may hold learned embeddings.
            is_ensemble = model is None and described["name"] == "ensemble"
            return Ensemble([build_part(part) for part in parts], task.kind) if is_ensemble else build_part(described)

        if model is None:
            # Before memory for the weights is allocated.
            _require_shapes(build, card, parts)
        network = build()
        network.load_state_dict(card["weights"])
        predictor = Predictor(network, preprocessing, task)
    # Dropout is off, and batch normalisation uses its running statistics.
    return predictor.eval()


def with_new_options(kind: type[nn.Module], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stored architecture with the options that the class has gained since, as conf/model has them."""
    architecture = dict(stored)
    parameters = inspect.signature(kind).parameters
    # Options with a default in Python keep it.
    new = {name for name, it in parameters.items() if it.default is it.empty} - architecture.keys()
    for path in sorted(CONF.glob("*.yaml")) if new else ():
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
        if options.get("_target_") == f"mlplab.models.{kind.__name__}":
            architecture |= {name: options[name] for name in new & options.keys()}
            break
    return architecture


@contextmanager
def explain_bad_card(checkpoint: Path, what: str = "run") -> Iterator[None]:
    """Turns errors from an incomplete or wrong card into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # somebody else's card may raise anything
        raise UserError(
            f"a checkpoint's card must describe its {what}", f"{checkpoint}: {error!r}", "another checkpoint"
        ) from None


def _require_shapes(
    build: Callable[[], nn.Module], card: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> None:
    """Compares the shapes of weights with those of a network on the meta device.

    A card can describe a network that does not fit into memory. On the meta device it takes none.
    """
    shapes = {name: weight.shape for name, weight in card["weights"].items()}
    # Millions of layers would take long to build, even on the meta device.
    if sum(1 + len(part["architecture"].get("hidden_dims", ())) for part in parts) > len(shapes):
        raise ValueError("its architecture has more layers than weights")
    with torch.device("meta"):
        expected = {name: weight.shape for name, weight in build().state_dict().items()}
    if expected != shapes:
        name = next(name for name in [*expected, *shapes] if expected.get(name) != shapes.get(name))
        wanted, found = (tuple(of[name]) if name in of else "missing" for of in (expected, shapes))
        raise ValueError(f"{name} must have shape {wanted}, and has {found}")


def _preprocessing_of(plain: dict[str, Any]) -> Preprocessing:
    """Builds the preprocessing by its name. A name outside this table is never imported."""
    if plain["name"] == "table":
        require_part("tables", "a run that was trained on a table", "another run")
        from mlplab.data.table.table_preprocessing import TablePreprocessing  # imports polars, which only tables need

        preprocessing: Preprocessing = TablePreprocessing.from_dict(plain)
        return preprocessing
    kinds: dict[str, type[Preprocessing]] = {"standardize": Standardize, "pixels": ScalePixels}
    return kinds[plain["name"]].from_dict(plain)
