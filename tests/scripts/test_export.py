import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from inference.small_runs import change_card, predict_file, save_run, table_options, write_houses

from mlplab.config.commands import install
from mlplab.inference.trained import load_run
from mlplab.parts import is_there

Script = Callable[..., SimpleNamespace]
Mistake = Callable[..., str]
Process = Callable[..., subprocess.Popen[str]]


@pytest.mark.slow
def test_it_exports_in_a_process_of_its_own_what_another_program_can_run(tmp_path: Path, process: Process) -> None:
    import onnxruntime

    save_run(tmp_path / "run", {"name": "iris"}, source="mlplab.data.bundled.bundled")
    done = process("export", "run=run", "format=onnx", folder=tmp_path)
    output, errors = done.communicate(timeout=120)
    assert (done.returncode, errors) == (0, "")
    wrote, checked = output.splitlines()
    assert wrote == "wrote   run/exports/model.onnx and its card run/exports/model.onnx.json"
    assert checked.startswith("checked on 22 rows: probabilities differ from the model's by at most ")
    card = json.loads((tmp_path / "run" / "exports" / "model.onnx.json").read_text())
    session = onnxruntime.InferenceSession(str(tmp_path / "run" / "exports" / "model.onnx"))
    features = np.random.default_rng(0).uniform(0, 8, (50, 4))
    pl.DataFrame(features, schema=card["inputs"][0]["columns"]).write_csv(tmp_path / "new.csv")
    run = load_run(tmp_path / "run")
    predict_file(run, tmp_path / "new.csv", tmp_path / "out.csv", id_column=None, probabilities=True, overwrite=False)
    expected = pl.read_csv(tmp_path / "out.csv")
    assert [f"probability_{name}" for name in card["outputs"][0]["classes"]] == expected.columns[1:]
    (found,) = session.run(["probabilities"], {"features": features})
    np.testing.assert_allclose(found, expected[:, 1:].to_numpy(), atol=2e-6)


def test_rows_to_check_with_can_be_given(runs: Path, tmp_path: Path, script: Script) -> None:
    words = (f"run={runs / 'values'}", "format=safetensors", f"out={tmp_path / 'a.safetensors'}")
    done = script("export", *words, f"data.path={runs / 'new.csv'}")
    assert done.status == 0
    assert "checked on 30 rows: values, in standard deviations of the target," in done.output


def test_help_is_shown(script: Script) -> None:
    done = script("export", "--help")
    assert done.status == 0
    for word in ("run=", "format=", "out=", "overwrite=", "onnx", "torch_export", "safetensors"):
        assert word in done.output
    assert ("data." in done.output) is is_there("tables")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run={runs}/clases", "format=onnx"], ["run={runs}/classes"]),
        (["run={runs}/untrained", "format=onnx"], ["has no checkpoints/best.ckpt"]),
        (["run={runs}/damaged", "format=onnx"], ["a checkpoint must be"]),
        (["run={runs}/classes"], ["format must be given", "format=onnx"]),
        (["run={runs}/classes", "format=onx"], ["one of onnx, torch_export, safetensors", "try format=onnx"]),
        (["run={runs}/classes", "format=tensors"], ["try format=safetensors"]),
        (["run={runs}/classes", "format=onnx", "format=onnx"], ["format must be given once"]),
        (["run={runs}/classes", "format=onnx", "path=a"], ["try data.path=a"]),
        (["run={runs}/classes", "format=onnx", "overwrite=1"], ["overwrite must be true or false"]),
        (["run={runs}/classes", "format=onnx", "out=a.pt2"], ["out must end in .onnx", "out=a.onnx"]),
        (["run={runs}/classes", "format=onnx", "out=nowhere/a.onnx"], ["mkdir -p nowhere"]),
        (["run={runs}/classes", "format=onnx", "out=."], ["is a folder", "out=model.onnx"]),
        (["run={runs}/classes", "format=onnx", "out=there.onnx"], ["there.onnx is there already"]),
        (["run={runs}/classes", "format=onnx", "out=a.onnx", "data.path={runs}/nwe.csv"], ["{runs}/new.csv"]),
        (["run={runs}/classes", "format=onnx", "out=a.onnx", "data.path={runs}/empty.csv"], ["is empty"]),
        (["run={runs}/classes", "format=onnx", "out=a.onnx", "data.path={runs}/header.csv"], ["must hold rows"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake, words: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("precious")
    words = [word.format(runs=runs) for word in words]
    line = mistake("export", *words)
    assert [part for part in parts if part.format(runs=runs) not in line] == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there.onnx": "precious"}


def test_missing_packages_are_refused_with_the_command(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    line = mistake("export", f"run={runs / 'classes'}", "format=onnx", f"out={tmp_path / 'a.onnx'}")
    assert install("onnx") in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("how", "part"),
    [("gone", "data.path=rows.csv"), ("os.system", "data.path=rows.csv"), ("own network", "network of another class")],
)
def test_what_a_checkpoint_alone_cannot_give_is_refused(tmp_path: Path, mistake: Mistake, how: str, part: str) -> None:
    path = write_houses(tmp_path / "houses.csv")
    run = save_run(tmp_path / "run", table_options(path))
    if how == "gone":
        path.unlink()
    elif how == "own network":
        change_card(run, ("model", "name"), "own")
    else:
        change_card(run, ("data", "source"), how)
    line = mistake("export", f"run={run}", "format=safetensors")
    assert part in line
    assert not any(run.glob("exports/*"))
