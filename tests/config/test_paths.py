from pathlib import Path

import pytest

from mlplab.config.paths import find_run, require_data_file, require_file
from mlplab.errors import UserError


def refusal_of(path: Path) -> UserError:
    with pytest.raises(UserError) as refusal:
        require_file(path, "data.path")
    return refusal.value


def test_a_file_with_something_in_it_passes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    require_file(tmp_path / "a.csv", "data.path")


def test_a_link_to_a_file_passes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    require_file(tmp_path / "link.csv", "data.path")


def test_a_file_that_is_not_there_is_refused_with_the_nearest_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("x")
    (tmp_path / "new.csv").write_text("x")
    (tmp_path / "houes.csv").mkdir()  # a folder is no file to propose
    assert refusal_of(tmp_path / "nwe.csv").hint == f"data.path={tmp_path / 'new.csv'}"
    refusal = refusal_of(tmp_path / "huoses.csv")
    assert refusal.actual == f"there is no {tmp_path / 'huoses.csv'}"
    assert refusal.hint == f"data.path={tmp_path / 'houses.csv'}"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("nothing/like/it.csv", "the path of another file"),
        ("zzz", "another file of that folder: houses.csv"),
        ("heroes.csv", "another file of that folder: houses.csv"),  # similar, but not nearly the same
    ],
)
def test_where_no_name_is_near_those_of_the_folder_are_told(tmp_path: Path, path: str, hint: str) -> None:
    (tmp_path / "houses.csv").write_text("x")
    assert refusal_of(tmp_path / path).hint == hint


@pytest.mark.parametrize("key", ["data.path", "run"])
def test_a_path_that_is_too_long_is_refused_as_any_other(tmp_path: Path, key: str) -> None:
    path = tmp_path / ("a" * 300)
    with pytest.raises(UserError, match=f"{key} must be") as refusal:
        require_data_file(path, key) if key == "data.path" else find_run(path)
    assert refusal.value.hint in ("a shorter path", "run=logs/runs/NAME")


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "gone.csv")
    assert "there is no" in refusal_of(tmp_path / "a.csv").actual


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path).actual == f"{tmp_path} is a folder"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert refusal_of(tmp_path / "a.csv").actual == f"{tmp_path / 'a.csv'} is empty"


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    assert "there is no" in refusal_of(tmp_path / "a.csv" / "b.csv").actual


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("x")

    def refuse(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    refusal = refusal_of(tmp_path / "a.csv")
    assert refusal.requirement == "data.path must be readable"
    assert refusal.actual.endswith("Permission denied")


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / ("a" * 300)).actual.endswith("File name too long")
