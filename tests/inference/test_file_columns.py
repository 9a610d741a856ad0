import polars as pl
import pytest

from mlplab.data.table.column_inference import Column, Hints, infer_column, read_strings
from mlplab.inference.file_columns import columns_of_file


def read(training: list[str], file: list[str]) -> tuple[list[float], list[str]]:
    columns: list[Column] = [infer_column(pl.Series("x", training), Hints())]
    found, notes = columns_of_file(columns, pl.DataFrame({"x": file}))
    return read_strings(pl.Series("x", file), found["x"]).to_list(), notes


@pytest.mark.parametrize(
    ("training", "file", "numbers", "told"),
    [
        (["12%", "50%"], ["0.12", "0.5"], [0.12, 0.5], "x (0.12 is taken for 0.12 %)"),
        (["12,5 %", "50 %"], ["0.125", "0.5"], [0.125, 0.5], "x (0.125 is taken for 0.125 %)"),
        (["22:58", "1:03:20"], ["1378", "3800.5"], [1378, 3800.5], "x (1378 is taken for 1378 seconds)"),
        (["12%", "50%"], ["13%", "20 %"], [13, 20], ""),
        (["€1.5M", "€300K"], ["€2M", "€4K"], [2e6, 4e3], ""),
    ],
)
def test_numbers_that_lack_their_unit_are_told(
    training: list[str], file: list[str], numbers: list[float], told: str
) -> None:
    found, notes = read(training, file)
    assert found == pytest.approx(numbers)
    without = [note for note in notes if "without the unit" in note]
    assert len(without) == bool(told)
    assert told in "".join(without)
