import json
import math
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlplab.runs import files
from mlplab.runs.files import (
    flush,
    flushed_together,
    once_flushed,
    remove_temporary_files,
    write_atomically,
    write_bytes,
    write_json,
)


class Interrupted(BaseException):
    """As Ctrl-C is: no Exception."""


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_a_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert contents(tmp_path) == {"a.txt": "new"}


def test_the_old_file_is_whole_as_long_as_the_writer_is_at_work(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write(path: Path) -> None:
        path.write_text("new")
        # On the same file system, or the last step would be a copy that can end halfway.
        assert path.parent == target.parent
        assert path != target
        assert target.read_text() == "old"

    write_atomically(target, write)
    assert target.read_text() == "new"


def test_the_content_is_on_the_disk_before_it_takes_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    flushed = []

    def fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        flushed.append((kind, target.read_text()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_atomically(target, lambda path: path.write_text("new"))
    assert flushed == [("file", "old"), ("directory", "new")]


def test_without_replacing_a_new_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", lambda path: path.write_text("new"), replace=False)
    assert contents(tmp_path) == {"a.txt": "new"}
    assert (tmp_path / "a.txt").stat().st_nlink == 1


def test_without_replacing_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a.txt", lambda path: path.write_text("new"), replace=False)
    assert contents(tmp_path) == {"a.txt": "old"}


def test_without_replacing_a_file_that_comes_while_the_writer_is_at_work_stays(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("new")
        (tmp_path / "a.txt").write_text("of somebody else")

    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a.txt", write, replace=False)
    assert contents(tmp_path) == {"a.txt": "of somebody else"}


def test_without_replacing_not_even_a_link_to_nowhere_is_followed_or_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a.txt", lambda path: path.write_text("new"), replace=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").is_symlink()


def test_without_replacing_one_of_many_writers_wins_and_its_file_is_whole(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def write(number: int) -> bool:
        def fill(path: Path) -> None:
            path.write_text(str(number) * 1000)
            barrier.wait(timeout=30)

        try:
            write_atomically(tmp_path / "a.txt", fill, replace=False)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert contents(tmp_path) == {"a.txt": str(won.index(True)) * 1000}


# --- together ----------------------------------------------------------------------------------------------


def note_flushes(monkeypatch: pytest.MonkeyPatch, seen: Path) -> list[tuple[str, bool]]:
    """What is flushed: of a file or a directory, and whether `seen` is there by then."""
    flushed: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        flushed.append((kind, seen.exists()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    return flushed


def test_together_all_are_on_the_disk_before_the_first_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "log").write_text("lines")
    flushed = note_flushes(monkeypatch, tmp_path / "a")
    with flushed_together():
        write_atomically(tmp_path / "a", lambda path: path.write_text("1"))
        write_atomically(tmp_path / "folder" / "b", lambda path: path.write_text("2"))
        flush(tmp_path / "log")
        assert flushed == []
        assert not (tmp_path / "a").exists()
    assert flushed == [("file", False)] * 3 + [("directory", True)] * 2
    assert (tmp_path / "a").read_text() + (tmp_path / "folder" / "b").read_text() == "12"
    assert not list(tmp_path.rglob(".*"))


def test_together_they_take_their_names_in_order_and_the_last_of_a_name_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with flushed_together(), flushed_together():
        for text in ("1", "2"):
            write_atomically(tmp_path / "a", lambda path, text=text: path.write_text(text), keep=tmp_path / "before")
    assert contents(tmp_path) == {"a": "2", "before": "1"}


def test_together_what_was_written_is_kept_where_something_is_raised(tmp_path: Path) -> None:
    done = []

    def write_and_raise() -> None:
        with flushed_together():
            write_atomically(tmp_path / "a", lambda path: path.write_text("whole"))
            once_flushed(lambda: done.append((tmp_path / "a").read_text()))
            raise Interrupted

    with pytest.raises(Interrupted):
        write_and_raise()
    assert contents(tmp_path) == {"a": "whole"}
    assert done == ["whole"]


def test_together_a_disk_that_fails_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    done: list[int] = []

    def fsync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    def write() -> None:
        with flushed_together():
            once_flushed(lambda: done.append(1))
            write_atomically(tmp_path / "a", lambda path: path.write_text("new"))
            write_atomically(tmp_path / "b", lambda path: path.write_text("new"))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        write()
    assert contents(tmp_path) == {"a": "old"}
    assert done == []
    monkeypatch.undo()
    write_atomically(tmp_path / "a", lambda path: path.write_text("new"))
    assert contents(tmp_path) == {"a": "new"}


# --- JSON --------------------------------------------------------------------------------------------------


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    content: dict[str, Any] = {"text": "ŷ − ½", "numbers": [1, 2.5, True, None], "inner": {"a": {}, "b": []}}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "ŷ − ½" in text
    assert text.endswith("}\n")


def test_numbers_that_are_not_finite_become_null_at_any_depth(tmp_path: Path) -> None:
    content = {
        "nan": math.nan,
        "deep": [{"inf": math.inf}, (-math.inf, 1.0)],
        "numpy": np.float64("nan"),
        "large": 1.7e308,
    }
    write_json(tmp_path / "a.json", content)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert read == {"nan": None, "deep": [{"inf": None}, [None, 1.0]], "numpy": None, "large": 1.7e308}


def test_what_json_cannot_hold_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_an_interruption_at_once_after_the_temporary_file_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def interrupted(descriptor: int) -> None:
        close(descriptor)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("new"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_flushed_and_has_no_name_yet_is_flushed_under_its_temporary_one(tmp_path: Path) -> None:
    with flushed_together():
        write_json(tmp_path / "result.json", {"a": 1})
        flush(tmp_path / "result.json")
        assert not (tmp_path / "result.json").exists()
    assert json.loads((tmp_path / "result.json").read_text()) == {"a": 1}


def test_what_a_killed_process_has_left_is_taken_away_and_what_another_writes_stays(tmp_path: Path) -> None:
    left, of_another, not_ours = (
        ".a.txt.0123456789abcdef.tmp", ".b.txt.0123456789abcdef.tmp", ".a.txt.0123.tmp",
    )  # fmt: skip
    for name in (left, of_another, not_ours):
        (tmp_path / name).touch()

    def write(path: Path) -> None:
        remove_temporary_files(tmp_path, "a.txt")  # by another process, say: the lock is of the open file
        path.write_text("new")

    write_atomically(tmp_path / "a.txt", write)
    assert contents(tmp_path) == {"a.txt": "new", of_another: "", not_ours: ""}
    remove_temporary_files(tmp_path)
    assert contents(tmp_path) == {"a.txt": "new", not_ours: ""}


def test_without_locks_a_young_temporary_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    path = tmp_path / ".a.txt.0123456789abcdef.tmp"
    path.touch()
    remove_temporary_files(tmp_path)  # another process may be writing it
    assert path.exists()
    os.utime(path, (0, 0))
    remove_temporary_files(tmp_path)
    assert not path.exists()


def test_the_old_file_is_kept_once_more_after_a_kill_between_its_two_names(tmp_path: Path) -> None:
    (tmp_path / "last").write_text("1")
    os.link(tmp_path / "last", tmp_path / "previous")  # and then it was killed, before the new file took its place
    write_atomically(tmp_path / "last", lambda path: path.write_text("2"), keep=tmp_path / "previous")
    assert contents(tmp_path) == {"last": "2", "previous": "1"}


def test_half_of_a_surrogate_pair_is_json_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"reason": "no such file: \udcff"})
    assert json.loads((tmp_path / "a.json").read_text())["reason"] == "no such file: \udcff"


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_folder_that_is_lost_while_files_wait_for_their_flush_costs_the_others_nothing(
    tmp_path: Path, is_replaced: bool
) -> None:
    (lost, kept) = (tmp_path / "lost", tmp_path / "kept")
    with flushed_together():
        for folder in (lost, kept):
            folder.mkdir()
            write_bytes(folder / "file", b"x")
        lost.rename(tmp_path / "moved")
        if is_replaced:
            lost.touch()
    assert (kept / "file").read_bytes() == b"x"
    with pytest.raises(OSError, match="lost"):
        write_bytes(lost / "file", b"x")
