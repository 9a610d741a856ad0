"""What a run goes on from: the newest whole checkpoint, with the logs as they were then."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from inference.small_runs import train_run, write_houses

from mlplab.errors import UserError
from mlplab.runs.resuming import card_to_resume, newest_checkpoint
from mlplab.training import train


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a run: steps 8 and 4."""
    directory = tmp_path_factory.mktemp("resuming") / "run"
    train_run(directory, "data=wine", "callbacks.checkpoints.every_n_epochs=1")
    return directory / "checkpoints"


@pytest.fixture
def checkpoints(tmp_path: Path, written: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "checkpoints"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_the_newest_is_taken(checkpoints: Path) -> None:
    saved = newest_checkpoint(checkpoints)
    assert saved is not None
    assert (saved.path.name, saved.content["global_step"], saved.damaged) == ("last.ckpt", 8, ())


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_one_is_named_and_put_aside_and_the_one_before_used(checkpoints: Path, damage: Any) -> None:
    damage(checkpoints / "last.ckpt")
    saved = newest_checkpoint(checkpoints)
    assert saved is not None
    assert (saved.path.name, saved.content["global_step"]) == ("previous.ckpt", 4)
    (said,) = saved.damaged
    assert str(checkpoints / "last.ckpt") in said
    assert {path.name for path in checkpoints.iterdir()} == {"best.ckpt", "previous.ckpt", "last.ckpt.damaged"}


def test_where_it_was_killed_between_two_names_the_one_before_is_there(checkpoints: Path) -> None:
    (checkpoints / "last.ckpt").unlink()
    saved = newest_checkpoint(checkpoints)
    assert saved is not None
    assert saved.content["global_step"] == 4


def test_where_all_are_damaged_nothing_is_thrown_away(checkpoints: Path) -> None:
    for name in ("last", "previous"):
        cut(checkpoints / f"{name}.ckpt")
    with pytest.raises(UserError, match=r"intact checkpoint to resume, but .*last.ckpt.*previous.ckpt") as refused:
        newest_checkpoint(checkpoints)
    assert "rm " not in str(refused.value)  # best.ckpt is good
    assert {path.name for path in checkpoints.iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}


def test_where_none_was_written_there_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None


def test_a_finished_run_without_its_last_checkpoint_does_not_begin_anew(tmp_path: Path, make_config: Any) -> None:
    run = tmp_path / "run"
    train_run(run, "data=wine")
    (run / "checkpoints" / "last.ckpt").unlink()
    files = {path: path.read_bytes() for path in run.rglob("*") if path.name in ("status.json", "best.ckpt")}
    config = make_config("data=wine", "trainer.max_epochs=9", "callbacks=minimal", "logger=none", f"paths.run={run}")
    with pytest.raises(UserError, match=r"a finished run must have its last\.ckpt to go on"):
        train(config, resume=True)
    assert {path: path.read_bytes() for path in files} == files


def test_a_checkpoint_of_the_best_state_alone_is_not_gone_on_from(checkpoints: Path) -> None:
    shutil.copy(checkpoints / "best.ckpt", checkpoints / "last.ckpt")
    (checkpoints / "previous.ckpt").unlink()
    with pytest.raises(UserError, match="lacks the state to resume"):
        newest_checkpoint(checkpoints)


def test_other_data_under_the_same_name_are_refused(tmp_path: Path, make_config: Any) -> None:
    table = write_houses(tmp_path / "houses.csv")
    words = ["data=table", f"data.path={table}", "data.target=price", "data.drop=[row,kind,binary]"]
    train_run(tmp_path / "run", *words)
    write_houses(table, seed=1)
    config = make_config(
        *words, "trainer.max_epochs=3", "callbacks=minimal", "logger=none", f"paths.run={tmp_path}/run"
    )
    before = (tmp_path / "run" / "status.json").read_bytes()
    with pytest.raises(UserError, match=r"must resume with the data that it began with, but .* has changed"):
        train(config, resume=True)
    assert (tmp_path / "run" / "status.json").read_bytes() == before


def test_a_file_that_was_only_touched_is_the_same(tmp_path: Path, make_config: Any) -> None:
    table = write_houses(tmp_path / "houses.csv")
    words = ["data=table", f"data.path={table}", "data.target=price", "data.drop=[row,kind,binary]"]
    train_run(tmp_path / "run", *words)
    os.utime(table, (1, 1))
    more = ["trainer.max_epochs=3", "callbacks=minimal", "logger=none", f"paths.run={tmp_path}/run"]
    train(make_config(*words, *more), resume=True)


def test_the_card_of_the_newest_that_can_be_read_is_read_and_nothing_is_renamed(checkpoints: Path) -> None:
    cut(checkpoints / "last.ckpt")
    card = card_to_resume(checkpoints)
    assert card is not None
    assert card["task"]["target_name"] == "cultivar"
    assert {path.name for path in checkpoints.iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert card_to_resume(checkpoints / "none") is None


def test_a_table_that_is_resumed_is_taken_for_what_it_was(tmp_path: Path, make_config: Any) -> None:
    table, directory = tmp_path / "codes.csv", tmp_path / "run"
    table.write_text("zip,y\n" + "".join(f"0{n % 9},{n % 9 * 1.5 + n / 100}\n" for n in range(60)))
    words = ["data=table", f"data.path={table}", "data.target=y"]
    train_run(directory, *words, "data.numeric=[zip]")
    then = card_to_resume(directory / "checkpoints")
    # Without data.numeric the codes are categories, as those of a run of an earlier release would be.
    more = ["trainer.max_epochs=3", "callbacks=minimal", "logger=none", f"paths.run={directory}"]
    train(make_config(*words, *more), resume=True)
    now = card_to_resume(directory / "checkpoints")
    assert then is not None
    assert now is not None
    assert now["preprocessing"]["inputs"] == then["preprocessing"]["inputs"]
    assert [one["column"]["name"] for one in now["preprocessing"]["inputs"]["numeric"]] == ["zip"]
