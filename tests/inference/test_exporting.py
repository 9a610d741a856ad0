import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from inference.small_runs import change_card, files_of_at_most, houses, save_run, table_options, write_houses
from torch import Tensor

from mlplab.errors import UserError
from mlplab.inference import exporting
from mlplab.inference.export_formats import FORMATS, Run
from mlplab.inference.exporting import CHECKED_ROWS, TOLERANCE, Export, export
from mlplab.inference.trained import TrainedRun, load_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exporting")
    write_houses(folder / "houses.csv")
    houses(CHECKED_ROWS + 50, seed=1).write_csv(folder / "new.csv")
    save_run(folder / "classes", table_options(folder / "houses.csv"))
    save_run(folder / "values", table_options(folder / "houses.csv", "price"))
    return folder


@pytest.fixture
def run(folder: Path) -> TrainedRun:
    return load_run(folder / "classes")


def made(run: TrainedRun, out: Path | None, file_format: str = "safetensors", **options: Any) -> Export:
    return export(run, file_format, out, **{"rows_of": None, "overwrite": False, **options})


def refusal_of(run: TrainedRun, out: Path | None, file_format: str = "safetensors", **options: Any) -> UserError:
    folder = out.parent if out is not None else run.directory
    before = contents(folder)
    with pytest.raises(UserError) as refusal:
        made(run, out, file_format, **options)
    assert contents(folder) == before
    assert len(str(refusal.value).splitlines()) == 1
    return refusal.value


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_checked_on_the_test_part(run: TrainedRun, tmp_path: Path) -> None:
    one = made(run, tmp_path / "model.safetensors")
    assert (one.path, one.card) == (tmp_path / "model.safetensors", tmp_path / "model.safetensors.json")
    assert (one.n_rows, one.largest_difference) == (30, 0.0)
    assert json.loads(one.card.read_text())["checked"] == {"rows": 30, "largest_difference": 0.0}
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.safetensors.json"}


def test_it_is_checked_on_the_rows_of_a_file(run: TrainedRun, folder: Path, tmp_path: Path) -> None:
    assert made(run, tmp_path / "a.safetensors", rows_of=folder / "new.csv").n_rows == CHECKED_ROWS


def test_by_itself_it_is_put_into_the_runs_directory(folder: Path, tmp_path: Path) -> None:
    run = load_run(save_run(tmp_path / "run", table_options(folder / "houses.csv")))
    assert made(run, None).path == tmp_path / "run" / "exports" / "model.safetensors"


@pytest.mark.parametrize("file_format", ["safetensors", "torch_export"])
@pytest.mark.parametrize(
    ("name", "how"),
    [("classes", "one value"), ("classes", "not a number"), ("values", "other values"), ("values", "fewer rows")],
)
def test_a_check_that_fails_leaves_no_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str, name: str, how: str
) -> None:
    run = load_run(folder / name)
    ending, _, _ = FORMATS[file_format]
    step = 2 * TOLERANCE * (run.task.target_std if run.task.kind == "regression" else 1)

    def write(run: TrainedRun, rows: tuple[Tensor, ...], path: Path) -> None:
        path.write_text("a model")

    def read(run: TrainedRun, path: Path) -> Run:
        assert path.read_text() == "a model"

        def outputs(rows: tuple[Tensor, ...]) -> Tensor:
            right = run.predictor(*rows).detach()
            if how == "one value":
                right[-1, -1] += step
            elif how == "not a number":
                right[0, 0] = torch.nan
            return {"fewer rows": right[:-1], "other values": right + step}.get(how, right)

        return outputs

    monkeypatch.setitem(FORMATS, file_format, (ending, write, read))
    refusal = refusal_of(run, tmp_path / f"model{ending}", file_format)
    assert refusal.requirement == f"outputs of the {file_format} file must equal the model's"


def test_a_check_that_fails_leaves_the_old_file(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(run, tmp_path / "model.safetensors")
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    refusal_of(run, tmp_path / "model.safetensors", overwrite=True)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.json"])
def test_a_model_or_a_card_that_is_there_stays_unless_it_may_be_replaced(
    run: TrainedRun, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("precious")
    assert "overwrite=true" in refusal_of(run, tmp_path / "model.safetensors").hint
    made(run, tmp_path / "model.safetensors", overwrite=True)
    assert "precious" not in (tmp_path / "model.safetensors.json").read_text()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_a_card_that_cannot_be_written_leaves_no_model_without_one(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(exporting, "write_json", fail)
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        made(run, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_cards_place_is_refused(run: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.json").mkdir()
    refusal_of(run, tmp_path / "model.safetensors", overwrite=True)


@pytest.mark.parametrize(
    ("name", "file_format", "remedy"),
    [
        ("model.pt2", "onnx", "model.onnx"),
        ("model.onnx", "torch_export", "model.pt2"),
        ("folder", "onnx", "folder/model.onnx"),
        (".", "onnx", "model.onnx"),
        ("nowhere/model.onnx", "onnx", "mkdir -p nowhere"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file_format: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(UserError) as refusal:
        made(run, Path(name), file_format)
    assert refusal.value.hint.removeprefix("out=") == remedy


def test_without_its_packages_onnx_is_refused_before_any_row_is_read(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refusal = refusal_of(run, tmp_path / "model.onnx", "onnx", rows_of=tmp_path / "missing.csv")
    assert "pip install" in refusal.hint


@pytest.mark.parametrize("how", ["gone", "own"])
def test_without_rows_to_check_with_it_is_refused_and_with_a_file_of_rows_it_is_made(
    folder: Path, tmp_path: Path, how: str
) -> None:
    path = write_houses(tmp_path / "houses.csv")
    directory = save_run(tmp_path / "run", table_options(path))
    (tmp_path / "out").mkdir()
    if how == "gone":
        path.unlink()
    else:
        change_card(directory, ("data", "source"), "my.data.houses")
    run = load_run(directory)
    refusal = refusal_of(run, tmp_path / "out" / "model.safetensors")
    assert refusal.requirement.startswith("an export must be checked on real rows")
    assert refusal.hint == "data.path=rows.csv"
    assert made(run, tmp_path / "out" / "model.safetensors", rows_of=folder / "new.csv").n_rows == CHECKED_ROWS


@pytest.mark.slow
def test_nothing_that_the_exporters_say_is_printed(run: TrainedRun, tmp_path: Path, capfd: Any) -> None:
    made(run, tmp_path / "model.onnx", "onnx")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "file_format", ["safetensors", *(pytest.param(name, marks=pytest.mark.slow) for name in ("torch_export", "onnx"))]
)
def test_a_full_disk_is_said(run: TrainedRun, tmp_path: Path, file_format: str) -> None:
    with files_of_at_most(100):
        refusal = refusal_of(run, tmp_path / f"model{FORMATS[file_format][0]}", file_format)
    assert refusal.actual.endswith("File too large")
    assert list(tmp_path.iterdir()) == []
