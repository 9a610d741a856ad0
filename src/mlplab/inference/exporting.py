"""The predictor as a file for other programs, checked after writing."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlplab.data.table.preprocessing import TablePreprocessing
from mlplab.errors import Refusal
from mlplab.inference.predicting import require_writable, write_once
from mlplab.inference.rows import RowReader, rows_of_training
from mlplab.inference.trained import TrainedRun
from mlplab.runs.checkpoint import FORMAT, Predictor, predictor_of
from mlplab.runs.files import write_json

CHECKED_ROWS = 256

TOLERANCE = 1e-4
"""Largest difference to the model, in probability or in standard deviations of the target, that passes the check."""

Run = Callable[[tuple[Tensor, ...]], Tensor]


@dataclass(frozen=True)
class Export:
    """What was written, and how it compares."""

    path: Path
    card: Path
    n_rows: int
    largest_difference: float
    what: str


def export(run: TrainedRun, file_format: str, out: Path | None, *, rows_of: Path | None, overwrite: bool) -> Export:
    """Writes the predictor in one of `FORMATS`, reads it again and runs both on the same rows.

    Args:
        run: to export.
        file_format: `onnx`, `torch_export` or `safetensors`.
        out: the file; None for exports/model.… within the run's directory.
        rows_of: a file with rows to check with; None for the run's test part.
        overwrite: whether a file that is there is replaced.

    Raises:
        Refusal: it cannot be written, the rows to check with cannot be read, or the check fails; then no file is
            left.
    """
    ending, write, read = FORMATS[file_format]
    if out is None:
        out = run.directory / "exports" / f"model{ending}"
        with contextlib.suppress(OSError):
            out.parent.mkdir(exist_ok=True)
    card = out.with_suffix(".json")
    require_writable(out, overwrite, [ending])
    if card.exists() and not overwrite:
        raise Refusal("the card must be a new file", f"{card} is there already", "another name, or overwrite=true")
    rows = _some_rows(run, rows_of)
    if file_format == "onnx":
        require_onnx()
    expected = _outputs(run.predictor, rows)
    found: Tensor | None = None

    def write_and_check(temporary: Path) -> None:
        nonlocal found
        with _quietly():
            write(run, rows, temporary)
            found = read(run, temporary)(rows)
        _require_equal(found, expected, run, file_format)

    write_once(out, write_and_check, overwrite)
    assert found is not None
    difference = _difference(found, expected, run)
    description = describe(run, file_format)
    description["checked"] = {"rows": len(expected), "largest_difference": difference}
    write_json(card, description)
    what = "probabilities" if run.task.kind == "classification" else "values, in standard deviations of the target,"
    return Export(out, card, len(expected), difference, what)


def describe(run: TrainedRun, file_format: str) -> dict[str, Any]:
    """The card: what the model takes and gives, in plain values."""
    task = run.task
    if task.kind == "classification":
        output = {"name": "probabilities", "shape": ["rows", task.n_classes], "classes": list(task.class_names)}
    else:
        output = {"name": "values", "shape": ["rows", 1], "unit": task.unit}
    return {
        "format": file_format,
        "run": run.directory.name,
        "task": task.kind,
        "target": task.target_name,
        "inputs": describe_inputs(run),
        "outputs": [{**output, "dtype": "float32"}],
        "network": dict(run.card["model"]),
    }


def describe_inputs(run: TrainedRun) -> list[dict[str, Any]]:
    """Each input tensor with its columns, in the order of the model's arguments."""
    preprocessing = run.predictor.preprocessing
    if not isinstance(preprocessing, TablePreprocessing):
        pixels = preprocessing.name == "pixels"
        return [
            {
                "name": "features",
                "dtype": "uint8" if pixels else "float64",
                "shape": ["rows", run.task.n_features],
                "columns": list(run.task.feature_names),
            }
        ]
    inputs = preprocessing.inputs
    return [
        {
            "name": "numeric",
            "dtype": "float64",
            "shape": ["rows", len(inputs.numeric)],
            "columns": [
                {"column": one.column.name, **({"part": one.part} if one.part else {})} for one in inputs.numeric
            ],
            "missing": "NaN",
        },
        {
            "name": "categorical",
            "dtype": "int64",
            "shape": ["rows", len(inputs.categorical)],
            "columns": [
                {
                    "column": one.name,
                    "levels": {level: number for number, level in enumerate(one.levels, 1)},
                    "missing": one.n_levels if one.has_missing else 0,
                    "unknown": 0,
                }
                for one in inputs.categorical
            ],
        },
    ]


def require_onnx() -> None:
    """Refuses where the packages of the extra are not installed."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise Refusal(
            "format=onnx must have its packages installed",
            str(error),
            'pip install -c constraints.txt -e ".[onnx]"',
        ) from None


def _some_rows(run: TrainedRun, path: Path | None) -> tuple[Tensor, ...]:
    if path is not None:
        block = next(iter(RowReader(run).blocks(path)))
        return tuple(tensor[:CHECKED_ROWS] for tensor in block.inputs)
    try:
        inputs, _ = next(rows_of_training(run, "test"))
    except Refusal as refusal:
        raise Refusal(
            f"an export must be checked on real rows: {refusal.must}", refusal.given, "data.path=rows.csv"
        ) from None
    return tuple(tensor[:CHECKED_ROWS] for tensor in inputs)


def _outputs(module: Callable[..., Tensor], rows: tuple[Tensor, ...]) -> Tensor:
    with torch.inference_mode():
        return module(*rows)


def _difference(found: Tensor, expected: Tensor, run: TrainedRun) -> float:
    scale = run.task.target_std if run.task.kind == "regression" else 1.0
    return float((found - expected).abs().max()) / scale


def _require_equal(found: Tensor, expected: Tensor, run: TrainedRun, file_format: str) -> None:
    if found.shape != expected.shape or not _difference(found, expected, run) <= TOLERANCE:
        given = f"{tuple(found.shape)} for {tuple(expected.shape)}"
        if found.shape == expected.shape:
            given = f"they differ by up to {_difference(found, expected, run):.2g}"
        raise Refusal(f"outputs of the {file_format} file must equal the model's", given, "another format")


@contextlib.contextmanager
def _quietly() -> Any:
    """Without what the exporters say about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _exported(run: TrainedRun, rows: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    any_number = torch.export.Dim("rows")
    shapes = tuple({0: any_number} for _ in rows)
    # One row, or none, would be taken for a constant.
    example = tuple(torch.cat([tensor, tensor])[: max(2, len(tensor))] for tensor in rows)
    return torch.export.export(run.predictor, example, dynamic_shapes=(shapes,))


def _write_torch_export(run: TrainedRun, rows: tuple[Tensor, ...], path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(_exported(run, rows), file)  # type: ignore[arg-type]


def _read_torch_export(run: TrainedRun, path: Path) -> Run:
    with path.open("rb") as file:
        module = torch.export.load(io.BytesIO(file.read())).module()
    return lambda rows: _outputs(module, rows)


def _write_onnx(run: TrainedRun, rows: tuple[Tensor, ...], path: Path) -> None:
    names = [one["name"] for one in describe_inputs(run)]
    outputs = ["probabilities" if run.task.kind == "classification" else "values"]
    program = torch.onnx.export(
        _exported(run, rows), rows, dynamo=True, input_names=names, output_names=outputs, verbose=False
    )
    assert program is not None
    program.save(str(path))


def _read_onnx(run: TrainedRun, path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    by_name = {one["name"]: index for index, one in enumerate(describe_inputs(run))}
    return lambda rows: torch.from_numpy(session.run(None, {name: rows[by_name[name]].numpy() for name in names})[0])


def _write_safetensors(run: TrainedRun, rows: tuple[Tensor, ...], path: Path) -> None:
    from safetensors.torch import save_file

    tensors, plain = _flattened({name: value for name, value in run.card.items() if name != "data"})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"card": json.dumps(plain)})


def _read_safetensors(run: TrainedRun, path: Path) -> Run:
    predictor = load_safetensors(path)
    return lambda rows: _outputs(predictor, rows)


def load_safetensors(path: Path) -> Predictor:
    """The predictor that `export` wrote as safetensors: tensors, and a card of plain values.

    Raises:
        Refusal: the file is damaged, or holds another thing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})["card"])
            card = _unflattened(plain, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise Refusal("an exported model must be whole", f"{path}: {error!r}", "exporting it again") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise Refusal(f"an exported model must have a card of format {FORMAT}", f"{path}", "exporting it again")
    return predictor_of(path, card)


def _flattened(value: Any, name: str = "") -> tuple[dict[str, Tensor], Any]:
    """Tensors by their dotted place, and the rest with the name of a tensor where it stood."""
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
"""Name → ending, how it is written, how it is read again."""
