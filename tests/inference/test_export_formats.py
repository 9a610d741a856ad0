import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from inference.small_runs import houses, predict_file, save_run, table_options, train_run, write_houses, write_images
from safetensors.torch import load_file, save_file
from slow_cases import slow

from mlplab.config.commands import install
from mlplab.errors import UserError
from mlplab.inference.export_formats import load_safetensors, require_onnx
from mlplab.inference.exporting import export
from mlplab.inference.trained import TrainedRun, load_run
from mlplab.models.activations import ACTIVATIONS

BUNDLED = "mlplab.data.bundled.bundled"
SIZES = (1, 2, 1000)

Arrays = list[npt.NDArray[Any]]
Loaded = Callable[[Arrays], npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    write_houses(folder / "houses.csv", 120)
    for n_rows in SIZES:
        new = houses(n_rows, seed=1)
        # Unknown levels, and values missing where training missed none.
        odd = {
            name: [cell if n % 7 else other for n, cell in enumerate(new[name])]
            for name, other in (("colour", "pink"), ("town", "Atlantis"), ("length", "NA"))
        }
        odd["flag"] = ["" if n % 9 == 0 else cell for n, cell in enumerate(new["flag"])]
        new.with_columns(**{name: pl.Series(cells) for name, cells in odd.items()}).write_csv(folder / f"{n_rows}.csv")
    return folder


def load_onnx(path: Path) -> Loaded:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]  # type: ignore[no-any-return]


def load_torch_export(path: Path) -> Loaded:
    module = torch.export.load(str(path)).module()
    return lambda arrays: module(*map(torch.from_numpy, arrays)).detach().numpy()  # type: ignore[no-any-return]


def load_tensors(path: Path) -> Loaded:
    predictor = load_safetensors(path)
    return lambda arrays: predictor(*map(torch.from_numpy, arrays)).detach().numpy()


LOADERS = {
    "onnx": (".onnx", load_onnx),
    "torch_export": (".pt2", load_torch_export),
    "safetensors": (".safetensors", load_tensors),
}


def exported(
    run: TrainedRun, file_format: str, out: Path, rows_of: Path | None = None
) -> tuple[Loaded, dict[str, Any]]:
    made = export(run, file_format, out, rows_of=rows_of, overwrite=False)
    return LOADERS[file_format][1](out), json.loads(made.card.read_text())


def as_the_card_says(card: dict[str, Any], path: Path) -> Arrays:
    """The cells of a file as arrays, by a stranger who has nothing but the card."""
    frame = pl.read_csv(path, infer_schema=False)
    missing = {"", "NA", None}
    words = {"yes": "true", "no": "false"}
    parts = {
        "": float,
        **{name: lambda cell, name=name: getattr(_moment(cell), name) for name in ("year", "month", "day", "hour")},
        "weekday": lambda cell: _moment(cell).isoweekday(),
    }
    arrays = []
    for one in card["inputs"]:
        columns = []
        for column in one["columns"]:
            name = column if isinstance(column, str) else column["column"]
            cells = frame[name].to_list()
            if one["name"] == "categorical":
                levels, absent = column["levels"], column["missing"]
                columns.append(
                    [
                        absent if cell in missing else levels.get(words.get(cell, cell), column["unknown"])
                        for cell in cells
                    ]
                )
            else:
                read = parts["" if isinstance(column, str) else column.get("part", "")]
                columns.append([np.nan if cell in missing else read(cell) for cell in cells])
        array = np.array(columns, dtype=one["dtype"]).reshape(len(columns), len(frame)).T
        assert array.shape[1] == one["shape"][1]
        arrays.append(np.ascontiguousarray(array))
    return arrays


def _moment(cell: str) -> datetime:
    return datetime.strptime(cell, "%Y-%m-%d %H:%M")


def predicted(run: TrainedRun, path: Path, out: Path) -> npt.NDArray[np.float64]:
    is_classes = run.task.kind == "classification"
    predict_file(run, path, out, id_column=None, probabilities=is_classes, overwrite=True)
    frame = pl.read_csv(out, infer_schema_length=None)
    return frame[:, 1:].to_numpy() if is_classes else frame.to_numpy()


def assert_the_file_predicts_as_the_run(
    run: TrainedRun, file_format: str, folder: Path, tmp_path: Path, sizes: tuple[int, ...] = SIZES
) -> None:
    loaded, card = exported(run, file_format, tmp_path / f"model{LOADERS[file_format][0]}")
    for n_rows in sizes:
        path = folder / f"{n_rows}.csv"
        found = loaded(as_the_card_says(card, path))
        expected = predicted(run, path, tmp_path / "out.csv")
        assert found.dtype == card["outputs"][0]["dtype"] == "float32"
        assert found.shape == expected.shape == (n_rows, card["outputs"][0]["shape"][1])
        scale = run.task.target_std if run.task.kind == "regression" else 1.0
        np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6, rtol=2e-6)
        if n_rows > 1:
            assert np.ptp(expected, axis=0).min() > 0.01 * scale  # the rows do differ


@pytest.mark.parametrize("file_format", [pytest.param("onnx", marks=pytest.mark.slow), "torch_export", "safetensors"])
@pytest.mark.parametrize(
    ("target", "scaling", "options"),
    [
        ("kind", "standardize", {"normalization": "batch", "dropout": 0.3, "activation": "gelu"}),
        pytest.param("price", "quantile_normal", {"normalization": "layer", "residual": True}, marks=pytest.mark.slow),
    ],
)
def test_a_table_is_predicted_as_by_the_run(
    folder: Path, tmp_path: Path, file_format: str, target: str, scaling: str, options: dict[str, Any]
) -> None:
    data = table_options(folder / "houses.csv", target, numeric_scaling=scaling)
    run = load_run(save_run(tmp_path / "run", data, **options))
    assert_the_file_predicts_as_the_run(run, file_format, folder, tmp_path)
    if file_format == "onnx":
        assert_the_onnx_file_names_its_tensors_and_its_rows_as_the_card_does(tmp_path)


@pytest.mark.parametrize("file_format", ["safetensors", *slow("onnx", "torch_export")])
@pytest.mark.parametrize("embedding", ["piecewise", *slow("periodic")])
def test_an_ensemble_behind_numeric_embeddings_is_exported(
    folder: Path, tmp_path: Path, file_format: str, embedding: str
) -> None:
    words = ["data=table", f"data.path={folder / 'houses.csv'}", "data.target=kind", "data.drop=[row,binary,price]"]
    ensemble = ["model=tabm", "model.k=3", "model.hidden_dims=[8]", f"model.numeric_embedding={embedding}"]
    train_run(tmp_path / "run", *words, *ensemble, "optimizer.lr=0.05", "data.batch_size=8")
    assert_the_file_predicts_as_the_run(load_run(tmp_path / "run"), file_format, folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_exported_to_onnx(tmp_path: Path, activation: str) -> None:
    options = {"activation": activation, "hidden_dims": [8]}
    run = load_run(save_run(tmp_path / "run", {"name": "iris"}, source=BUNDLED, **options))
    loaded, _ = exported(run, "onnx", tmp_path / "model.onnx")
    features = np.random.default_rng(0).uniform(-20, 30, (50, 4))  # far out, where functions saturate
    expected = run.predictor(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(loaded([features]), expected, atol=2e-6)


@pytest.mark.slow
def test_one_logit_is_exported_as_two_probabilities(folder: Path, tmp_path: Path) -> None:
    options = table_options(folder / "houses.csv", "binary")
    run = load_run(save_run(tmp_path / "run", options, loss="binary_cross_entropy"))
    assert_the_file_predicts_as_the_run(run, "onnx", folder, tmp_path, (2,))


@pytest.mark.slow
@pytest.mark.parametrize("columns", [["length", "gap"], pytest.param(["colour", "town"], marks=pytest.mark.slow)])
def test_a_table_of_one_kind_of_columns_is_exported(folder: Path, tmp_path: Path, columns: list[str]) -> None:
    pl.read_csv(folder / "houses.csv", infer_schema=False).select(*columns, "binary").write_csv(tmp_path / "few.csv")
    run = load_run(save_run(tmp_path / "run", {"path": str(tmp_path / "few.csv"), "target": "binary"}))
    assert_the_file_predicts_as_the_run(run, "onnx", folder, tmp_path, (1, 1000))


@pytest.mark.parametrize(
    "file_format", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("onnx", "torch_export")), "safetensors"]
)
def test_images_are_exported_as_bytes(tmp_path: Path, file_format: str) -> None:
    options = {"directory": str(write_images(tmp_path / "idx"))}
    run = load_run(save_run(tmp_path / "run", options, source="mlplab.data.idx.idx_images"))
    loaded, card = exported(run, file_format, tmp_path / f"model{LOADERS[file_format][0]}")
    for n_rows in (1, 1000):
        values = np.random.default_rng(n_rows).integers(0, 256, (n_rows, 20), dtype=np.uint8)
        pl.DataFrame(values, schema=list(run.task.feature_names)).write_csv(tmp_path / "new.csv")
        expected = predicted(run, tmp_path / "new.csv", tmp_path / "out.csv")
        np.testing.assert_allclose(loaded(as_the_card_says(card, tmp_path / "new.csv")), expected, atol=2e-6)


def assert_the_onnx_file_names_its_tensors_and_its_rows_as_the_card_does(folder: Path) -> None:
    import onnxruntime

    card = json.loads((folder / "model.onnx.json").read_text())
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    types = {"tensor(double)": "float64", "tensor(int64)": "int64", "tensor(float)": "float32"}
    for ours, theirs in ((card["inputs"], session.get_inputs()), (card["outputs"], session.get_outputs())):
        assert [(one["name"], one["dtype"], one["shape"]) for one in ours] == [
            (one.name, types[one.type], one.shape) for one in theirs
        ]


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["torch_export", "onnx"])
def test_a_single_row_to_check_with_does_not_fix_the_number_of_rows(
    folder: Path, tmp_path: Path, file_format: str
) -> None:
    run = load_run(save_run(tmp_path / "run", table_options(folder / "houses.csv")))
    out = tmp_path / f"model{LOADERS[file_format][0]}"
    loaded, card = exported(run, file_format, out, folder / "1.csv")
    assert len(loaded(as_the_card_says(card, folder / "1000.csv"))) == 1000


@pytest.mark.parametrize("package", ["onnxruntime", *slow("onnxscript")])
def test_missing_packages_are_refused_with_the_command(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    require_onnx()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as refusal:
        require_onnx()
    assert refusal.value.hint == install("onnx")
    assert package in refusal.value.actual


# Tensors and a card.


@pytest.fixture(scope="module")
def exported_run(folder: Path) -> Path:
    """A run with its model exported beside it; tests that change the file take a copy."""
    run = load_run(save_run(folder / "run", table_options(folder / "houses.csv")))
    exported(run, "safetensors", folder / "model.safetensors")
    return folder


@pytest.fixture
def tensors(exported_run: Path, tmp_path: Path) -> Path:
    for path in exported_run.glob("model.safetensors*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "model.safetensors"


def test_the_predictor_comes_back_with_its_task_and_in_evaluation_mode(tensors: Path, exported_run: Path) -> None:
    predictor, expected = load_safetensors(tensors), load_run(exported_run / "run").predictor
    assert predictor.task == expected.task
    assert not any(module.training for module in predictor.modules())
    state, expected_state = predictor.state_dict(), expected.state_dict()
    assert state.keys() == expected_state.keys()
    assert all(torch.equal(state[name], expected_state[name]) for name in state)


def test_where_the_training_data_lie_is_not_given_away(tensors: Path, folder: Path) -> None:
    assert str(folder).encode() not in tensors.read_bytes()


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "text", "no card"])
def test_a_damaged_file_is_refused(tensors: Path, how: str) -> None:
    content = tensors.read_bytes()
    if how == "missing":
        tensors.unlink()
    elif how == "no card":
        save_file(load_file(tensors), tensors)
    else:
        tensors.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"hello" * 100}[how])
    with pytest.raises(UserError) as refusal:
        load_safetensors(tensors)
    assert str(tensors) in refusal.value.actual


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), 99),
        (("model", "name"), "os.system"),
        (("model", "architecture"), {"_target_": "os.system", "command": "true"}),
        (("preprocessing", "name"), "os.system"),
        (("preprocessing", "mean"), {"tensor": "nowhere"}),
        (("weights",), {"_target_": "os.system"}),
        ((), []),
        ((), "[" * 100_000),
    ],
)
def test_a_card_that_does_not_fit_is_refused_and_nothing_in_it_is_followed(
    tensors: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[str, ...], value: Any
) -> None:
    called: list[object] = []
    monkeypatch.setattr(os, "system", called.append)
    from safetensors import safe_open

    with safe_open(tensors, framework="pt") as file:
        card = json.loads(file.metadata()["card"])
    part = card
    for key in place[:-1]:
        part = part[key]
    if place:
        part[place[-1]] = value
    text = value if isinstance(value, str) and not place else json.dumps(card if place else value)
    save_file(load_file(tensors), tensors, {"card": text})
    with pytest.raises(UserError):
        load_safetensors(tensors)
    assert called == []
