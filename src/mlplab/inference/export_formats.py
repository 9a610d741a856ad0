"""Writes and reads a predictor in each format."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlplab.config.commands import install
from mlplab.errors import UserError
from mlplab.inference.export_card import describe_inputs
from mlplab.inference.trained import TrainedRun, predict
from mlplab.runs.checkpoint import FORMAT, Predictor, predictor_of

Run = Callable[[tuple[Tensor, ...]], Tensor]


def require_onnx() -> None:
    """Refuses to export without the packages of the `onnx` extra."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            "format=onnx must have its packages installed",
            str(error),
            install("onnx"),
        ) from None


def _exported(run: TrainedRun, rows: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    any_number = torch.export.Dim("rows")
    shapes = tuple({0: any_number} for _ in rows)
    # The exporter would treat a batch size of 0 or 1 as a constant.
    example = tuple(torch.cat([tensor, tensor])[: max(2, len(tensor))] for tensor in rows)
    return torch.export.export(run.predictor, example, dynamic_shapes=(shapes,))


def _write_torch_export(run: TrainedRun, rows: tuple[Tensor, ...], path: Path) -> None:
    content = io.BytesIO()  # PyTorch raises its own error for a full disk
    torch.export.save(_exported(run, rows), content)
    path.write_bytes(content.getbuffer())


def _read_torch_export(run: TrainedRun, path: Path) -> Run:
    with path.open("rb") as file:
        module = torch.export.load(io.BytesIO(file.read())).module()
    return lambda rows: predict(module, rows)


def _write_onnx(run: TrainedRun, rows: tuple[Tensor, ...], path: Path) -> None:
    program = torch.onnx.export(
        _exported(run, rows),
        rows,
        dynamo=True,
        input_names=[one["name"] for one in describe_inputs(run)],
        output_names=["values" if run.task.kind == "regression" else "probabilities"],
        dynamic_shapes=tuple({0: "rows"} for _ in rows),  # only names the dynamic dimensions
        verbose=False,
    )
    assert program is not None
    program.save(str(path))


def _read_onnx(run: TrainedRun, path: Path) -> Run:
    import onnxruntime

    # Builds of onnxruntime with several providers require one to be named; the model is on the CPU too.
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    by_name = {one["name"]: index for index, one in enumerate(describe_inputs(run))}
    return lambda rows: torch.from_numpy(session.run(None, {name: rows[by_name[name]].numpy() for name in names})[0])


def _write_safetensors(run: TrainedRun, rows: tuple[Tensor, ...], path: Path) -> None:
    from safetensors.torch import save

    # Without the source of the data, which names folders of this machine.
    tensors, plain = _flattened({name: value for name, value in run.card.items() if name != "data"})
    # Not by `save_file`, which raises its own error for a full disk.
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"card": json.dumps(plain)})
    path.write_bytes(content)


def _read_safetensors(run: TrainedRun, path: Path) -> Run:
    predictor = load_safetensors(path)
    return lambda rows: predict(predictor, rows)


def load_safetensors(path: Path) -> Predictor:
    """Loads the predictor that `export` wrote as safetensors: tensors, and a card of plain values.

    Raises:
        UserError: the file is damaged, or is not a predictor.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})["card"])
            card = _unflattened(plain, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise UserError("an exported model must be whole", f"{path}: {error!r}", "exporting it again") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(
            f"an exported model must have a card of format {FORMAT}", f"{path} has none", "exporting it again"
        )
    return predictor_of(path, card)


def _flattened(value: Any, name: str = "") -> tuple[dict[str, Tensor], Any]:
    """Moves the tensors out of a card, by dotted key, and leaves their names in their place."""
    if isinstance(value, Tensor):
        return {name: value}, {"tensor": name}
    if isinstance(value, Mapping):
        parts = {key: _flattened(part, f"{name}.{key}" if name else str(key)) for key, part in value.items()}
        tensors = {n: tensor for found, _ in parts.values() for n, tensor in found.items()}
        return tensors, {key: plain for key, (_, plain) in parts.items()}
    return {}, value


def _unflattened(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"tensor"} and isinstance(value["tensor"], str):
            return tensors[value["tensor"]]
        return {key: _unflattened(part, tensors) for key, part in value.items()}
    return value


FORMATS: dict[str, tuple[str, Callable[..., None], Callable[..., Run]]] = {
    "onnx": (".onnx", _write_onnx, _read_onnx),
    "torch_export": (".pt2", _write_torch_export, _read_torch_export),
    "safetensors": (".safetensors", _write_safetensors, _read_safetensors),
}
"""Name → ending, writer and reader."""
