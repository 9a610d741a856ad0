import contextlib
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from inference.small_runs import change_card, save_run, table_options, write_houses
from slow_cases import slow

from mlplab.errors import UserError
from mlplab.inference.trained import load_run
from mlplab.runs.checkpoint import explain_bad_card


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_run(tmp_path / "runs" / "first", table_options(write_houses(tmp_path / "houses.csv")))


def test_the_best_state_is_taken_and_the_last_where_there_is_no_best(run: Path) -> None:
    folder = run / "checkpoints"
    content = torch.load(folder / "best.ckpt", weights_only=True)
    content["state_dict"]["model.network.output.bias"] += 1
    torch.save(content, folder / "last.ckpt")
    best, last = load_run(run), load_run(folder / "last.ckpt")
    assert (best.checkpoint, last.checkpoint) == (folder / "best.ckpt", folder / "last.ckpt")
    difference = last.predictor.model.network.output.bias - best.predictor.model.network.output.bias  # type: ignore[union-attr,operator]
    torch.testing.assert_close(difference, torch.ones(3))
    (folder / "best.ckpt").unlink()
    assert load_run(run).checkpoint == folder / "last.ckpt"


def test_it_is_ready_to_predict(run: Path) -> None:
    trained = load_run(run)
    assert trained.directory == run
    assert trained.task.class_names == ("large, old", "medium", "small")
    assert not any(module.training for module in trained.predictor.modules())


def test_the_directory_of_a_checkpoint_is_its_runs_wherever_one_stands(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_run(run / "checkpoints" / "best.ckpt").directory == run
    monkeypatch.chdir(run / "checkpoints")
    assert load_run(Path("best.ckpt")).directory == run
    monkeypatch.chdir(run)
    assert load_run(Path(".")).checkpoint.resolve() == run / "checkpoints" / "best.ckpt"


def test_a_checkpoint_that_stands_alone_has_its_folder_for_a_directory(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "model.ckpt"
    alone.parent.mkdir()
    (run / "checkpoints" / "best.ckpt").rename(alone)
    assert load_run(alone).directory == alone.parent


def test_a_path_that_is_not_there_is_refused_with_the_nearest(run: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_run(run.parent / "frist")
    assert refusal.value.actual == f"there is no {run.parent / 'frist'}"
    assert refusal.value.hint == f"run={run}"


def test_a_path_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_run(tmp_path / "nowhere" / "run")
    assert refusal.value.hint == "run=logs/runs/NAME"


def test_a_directory_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"has no checkpoints/best\.ckpt"):
        load_run(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.999, *slow(0.0, 0.9)])
def test_a_checkpoint_that_was_cut_off_is_refused(run: Path, share: float) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="a checkpoint must be"):
        load_run(run)


def test_a_weight_whose_bits_have_flipped_is_found_out(run: Path) -> None:
    path = run / "checkpoints" / "best.ckpt"
    weight = torch.load(path, weights_only=True)["state_dict"]["model.network.output.weight"]
    content = bytearray(path.read_bytes())
    place = content.find(weight.numpy().tobytes())
    content[place + 2] ^= 0x10
    path.write_bytes(content)
    # PyTorch itself sees nothing: it reads another weight.
    other = torch.load(path, weights_only=True)["state_dict"]["model.network.output.weight"]
    assert not torch.equal(other, weight)
    with pytest.raises(UserError, match="is damaged"):
        load_run(run)


@pytest.mark.parametrize("content", [b"", b"text", b"a,b\n1,2\n"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        load_run(path)
    assert str(path) in refusal.value.actual
    assert len(str(refusal.value).splitlines()) == 1


def test_a_zip_file_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(UserError, match="whole and hold plain data"):
        load_run(tmp_path / "a.ckpt")


def test_a_network_that_conf_does_not_name_is_refused_with_the_way_to_load_it(run: Path) -> None:
    change_card(run, ("model",), {"name": "own", "architecture": {"_target_": "my.Network"}})
    with pytest.raises(UserError) as refusal:
        load_run(run)
    assert "names my.Network" in refusal.value.actual
    assert "a file conf/model/NAME.yaml with the line _target_: my.Network" in refusal.value.hint


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("model", "name"), "os.system"),
        (("model", "architecture"), {"_target_": "os.system", "command": "touch {}"}),
        (("preprocessing", "inputs", "_target_"), "os.system"),
        (("data", "_target_"), "os.system"),
        *slow(
            (("model", "architecture", "_target_"), "os.system"),
            (("preprocessing", "name"), "os.system"),
            (("preprocessing", "_target_"), "os.system"),
            (("task", "_target_"), "os.system"),
            (("task",), {"_target_": "os.system", "command": "touch {}"}),
            (("loss", "_target_"), "os.system"),
        ),
    ],
)
def test_no_dotted_name_in_a_card_is_followed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[str, ...], value: Any
) -> None:
    called = []
    monkeypatch.setattr(os, "system", called.append)
    change_card(run, place, value)
    with contextlib.suppress(UserError):
        load_run(run)
    assert called == []


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("a"), AttributeError("a"), ValueError("a")])
def test_what_a_card_lacks_is_said_with_the_checkpoint(error: Exception) -> None:
    with pytest.raises(UserError) as refusal, explain_bad_card(Path("a/best.ckpt")):
        raise error
    assert refusal.value.actual == f"a/best.ckpt: {error!r}"


def test_a_refusal_while_a_card_is_followed_stays_itself() -> None:
    with pytest.raises(UserError, match="must be this"), explain_bad_card(Path("a")):
        raise UserError("must be this", "that", "this")
