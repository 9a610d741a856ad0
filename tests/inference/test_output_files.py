from pathlib import Path

import pytest

from mlplab.errors import UserError
from mlplab.inference.output_files import require_writable, write_once


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("out.txt", "out.csv"),
        ("out", "out.csv"),
        ("folder/out.xlsx", "folder/out.csv"),
        ("folder", "folder/predictions.csv"),
        (".", "predictions.csv"),
        ("nowhere/out.csv", "mkdir -p nowhere"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(UserError) as refusal:
        require_writable(Path(name), False, [".csv", ".tsv"])
    assert refusal.value.hint.removeprefix("out=") == remedy


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError) as refusal:
        write_once(tmp_path / "out.csv", fill, False)
    assert refusal.value.requirement == "out must fit on the disk"
    assert refusal.value.actual == f"{tmp_path / 'out.csv'}: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupted_command_has_left_of_the_file_is_taken_away(tmp_path: Path) -> None:
    for name in ("out.csv", "other.csv"):
        (tmp_path / f".{name}.0123456789abcdef.tmp").touch()
    write_once(tmp_path / "out.csv", lambda path: path.write_text("whole"), False)
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", ".other.csv.0123456789abcdef.tmp"}
