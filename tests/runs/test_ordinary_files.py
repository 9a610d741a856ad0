"""Links, pipes, devices and huge files in a received directory: refused, and neither followed nor waited for."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from parts import skip_without

from mlplab.errors import UserError
from mlplab.inference.trained import TrainedRun
from mlplab.parts import is_there
from mlplab.runs import files
from mlplab.runs.directory import RunDirectory
from mlplab.runs.earlier_launch import begun_before
from mlplab.runs.files import read_json, read_ordinary, require_ordinary
from mlplab.runs.run_reading import read_history, read_manifest, read_state, read_status
from mlplab.runs.untrusted_config import read_config, require_run

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
SECRET = '{"state": "finished", "format": 1, "secret": "of the user"}\n'


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's, with a file."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "file").write_text(SECRET)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of a run that was received."""
    directory = tmp_path / "logs" / "runs" / "sent"
    for name in (".hydra", "checkpoints", "figures", "csv", "tensorboard"):
        (directory / name).mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text("seed: 0\n")
    (directory / "status.json").write_text('{"state": "running"}')
    return directory


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def link_to_a_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "none")


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def link_to_a_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = [link, link_to_a_folder, link_to_nothing, pipe, link_to_a_device]
NAMES = ["status.json", ".lock", "train.log", "history.jsonl", "figures", "checkpoints", "checkpoints/last.ckpt",
         "csv/metrics.csv", "tensorboard/events.out.tfevents.1", ".hydra", ".hydra/config.yaml"]  # fmt: skip


@pytest.mark.parametrize("plant", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_run_would_write_to_is_looked_at_first(
    run: Path, outside: Path, name: str, plant: Callable[[Path, Path], None]
) -> None:
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    plant(path, outside)
    for begin in (lambda: require_ordinary(run), RunDirectory(run).reopen, lambda: require_run(run, "resume")):
        with pytest.raises(UserError) as refusal:
            begin()
        assert str(path) in refusal.value.actual or name.startswith(".hydra")
    assert (outside / "file").read_text() == SECRET
    assert os.listdir(outside) == ["file"]


@pytest.mark.parametrize("plant", KINDS)
def test_so_is_a_lock_or_a_log_that_waits_for_a_new_run(
    tmp_path: Path, outside: Path, plant: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "new").mkdir()
    plant(tmp_path / "new" / ".lock", outside)
    with pytest.raises(UserError, match="only ordinary files and folders"):
        RunDirectory(tmp_path / "new").claim()
    assert (outside / "file").read_text() == SECRET


def test_a_link_within_the_run_is_its_own(run: Path) -> None:
    (run / "latest").symlink_to("checkpoints")
    (run / "loop").symlink_to("loop")
    require_ordinary(run)
    require_ordinary(run / "none")


def test_a_name_is_told_without_its_control_characters(run: Path) -> None:
    (run / "a\x1b[2J\n").symlink_to("/")
    with pytest.raises(UserError) as refusal:
        require_ordinary(run)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("plant", KINDS)
def test_nothing_is_read_through_a_link_or_from_a_pipe(
    tmp_path: Path, outside: Path, plant: Callable[[Path, Path], None]
) -> None:
    folder = tmp_path / "job"
    (folder / ".hydra").mkdir(parents=True)
    for name in ("status.json", "result.json", "manifest.json", "history.jsonl", "sweep.json", ".hydra/config.yaml"):
        plant(folder / name, outside)
    assert read_state(folder).name == "waiting"
    assert read_json(folder / "result.json") == read_manifest(folder) == {}
    assert read_history(folder) == []
    for read in (read_status, lambda path: read_config(path, path, trust=True)):
        with pytest.raises(UserError, match=r"it is (a link|no ordinary file)"):
            read(folder)
    if plant is not link_to_nothing and is_there("sweeps"):
        from mlplab.sweeps.ledger import read_ledger

        with pytest.raises(UserError, match=r"it is (a link|no ordinary file)"):
            read_ledger(folder)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    with path.open("wb") as file:
        file.truncate(files.LARGEST + 1)
    with pytest.raises(OSError, match="it has more than 64,000,000 bytes"):
        read_ordinary(path)
    with pytest.raises(UserError, match="it has more than"):
        read_status(tmp_path)


@pytest.mark.parametrize("name", ["figures", "0_job", "optuna.log", ".lock", ".stopping"])
@pytest.mark.parametrize("plant", [link, link_to_a_folder, pipe])
def test_a_sweep_is_looked_at_before_its_report_is_written(
    tmp_path: Path, outside: Path, name: str, plant: Callable[[Path, Path], None]
) -> None:
    skip_without("sweeps")
    from mlplab.sweeps.reading.sweep_reading import read_sweep

    making = pytest.importorskip("sweeps.making")
    sweep = making.write_sweep(tmp_path / "sweep", making.grid(1), space=making.GRID_SPACE)
    shutil.rmtree(sweep / name, ignore_errors=True)
    plant(sweep / name, outside)
    with pytest.raises(UserError, match="only ordinary files and folders"):
        read_sweep(sweep)


@pytest.mark.parametrize(
    "name", ["../x", "-rf", "a\x1b[2J", "a\nb", "<b>", "${oc.env:HOME}", "a,b", "a b", "", ".", "é"]
)
def test_the_name_of_a_job_is_a_plain_one(tmp_path: Path, name: str) -> None:
    skip_without("sweeps")
    from mlplab.sweeps.ledger import read_ledger

    content = {
        "format": 1, "constants": [], "configs": {},
        "jobs": [{"number": 0, "directory": name, "values": {}, "overrides": []}],
    }  # fmt: skip
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"sweep\.json must be readable") as refusal:
        read_ledger(tmp_path).require_sound()  # type: ignore[union-attr]
    assert str(refusal.value).isprintable()


def test_what_is_cleared_away_of_a_job_is_its_own(run: Path, outside: Path) -> None:
    (outside / "config.yaml").write_text("a: 1\n")
    shutil.rmtree(run / ".hydra")
    (run / ".hydra").symlink_to(outside)  # and no manifest.json: it did not come so far
    with pytest.raises(UserError, match="only ordinary files and folders"):
        begun_before(run, OmegaConf.create())
    assert (outside / "config.yaml").exists()


def test_a_pipe_in_the_place_of_a_lock_is_no_lock(run: Path) -> None:
    os.mkfifo(run / ".lock")
    assert read_state(run).name == "cut off"


def test_what_is_made_of_a_run_stays_in_it(tmp_path: Path, outside: Path) -> None:
    run = TrainedRun(tmp_path / "logs", tmp_path / "best.ckpt", {}, None)  # type: ignore[arg-type]
    assert run.own_folder("exports") == tmp_path / "logs" / "exports"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "exports").symlink_to(outside)
    with pytest.raises(UserError, match="only ordinary files and folders"):
        run.own_folder("exports")


def test_a_temporary_file_that_vanishes_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "last.ckpt").touch()
    listed = [tmp_path / ".last.ckpt.0.tmp", tmp_path / "last.ckpt"]
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(listed))
    require_ordinary(tmp_path)
