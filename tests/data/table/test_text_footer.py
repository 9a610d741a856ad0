from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlplab.data.table.row_count import count_rows
from mlplab.data.table.text_footer import without_tail
from mlplab.data.table.text_layout import Dialect, TextFile

Write = Callable[..., Path]

COMMAS = Dialect()

ROWS = "".join(f"{number},{number}.5,x\n" for number in range(20))


def test_an_even_file_with_a_total_or_a_second_header_is_left_to_a_closer_look(write: Write) -> None:
    of_file: Any = {"names": ("a", "b", "c"), "header_line": "a,b,c", "numeric": (True, True, False)}
    for text, n_rows in ((ROWS, 20), (f"{ROWS}Total,345,\n", None), (f"{ROWS}a,b,c\n{ROWS}", None)):
        assert count_rows(without_tail(TextFile(write(text), COMMAS, **of_file))) == n_rows


@pytest.mark.parametrize(
    ("below", "n_lines"),
    [
        ("\n\n", 0),
        ("\nSource: WHO\n", 1),
        ("(20 rows)\n\n", 1),
        ("# by me, with\n\n# and others\n", 2),
        ("", 0),
        ("99,1\n", 0),  # a short row
        ('"Source: "\n', 0),  # may be the end of a string
    ],
)
def test_a_tail_that_needs_no_closer_look_is_cut_off(write: Write, below: str, n_lines: int) -> None:
    file = TextFile(write(ROWS + below), COMMAS, ("a", "b", "c"), numeric=(True, True, False))
    cut = without_tail(file)
    is_cut = below not in ("", "99,1\n", '"Source: "\n')
    assert cut.n_tail_bytes == (len(below) if is_cut else 0)
    assert count_rows(cut) == (20 if is_cut or not below else None)
    assert (f"{n_lines} line" in "; ".join(cut.notes)) == bool(n_lines)
