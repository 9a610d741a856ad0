"""The last lines of a text file that are no rows: totals, sources, notes, counts of rows."""

import csv
import re
from collections.abc import Sequence
from contextlib import suppress

from mlplab.data.table.strings import MISSING
from mlplab.data.table.text_encoding import last_lines
from mlplab.data.table.text_header import TextFile, is_value

TOTAL = re.compile(
    r"(grand |overall |sub-?)?(totals?|sums?|average|avg|mean|median|count|min(imum)?|max(imum)?|std|stdev|sd|"
    r"summe|gesamt|insgesamt|mittelwert|moyenne|somme|promedio|suma|итого|всего|合计|总计|合計)\.?\s*:?",
    re.IGNORECASE,
)
"""The first string of a line with totals."""

REMARK = re.compile(
    r"\(?\d[\d,. ]* (rows?|records?|observations?|lines?|tuples)\b.*|"
    r"(data )?(sources?|notes?|footnote|remark|quelle|anmerkung|fuente|last updated?|updated|exported|generated|"
    r"created|copyright|downloaded|citation|license|end of (file|report|data|table))\b.*|©.*|https?://.*|<?eof>?|-- .*",
    re.IGNORECASE | re.DOTALL,
)
"""The first string of a line that is a remark on the table."""


def is_footer(strings: Sequence[str], file: TextFile, *, is_after_blank: bool = False) -> bool:
    """Checks whether a record at the end of a file is no row, but a total or a remark."""
    filled = [string.strip() for string in strings if string.strip()]
    n_columns = len(file.names)
    if not filled:
        # Spreadsheets leave lines of delimiters below the table.
        return n_columns > 2
    if all(len(text) > 2 and not text.strip("-=\u2013\u2014") for text in filled):
        return True  # a line above the totals
    first = filled[0]
    numeric_first = file.numeric[:1] == (True,)
    if TOTAL.fullmatch(first):
        # Of any form: 5.600,5 or 12 % or $ 3
        others_are_numbers = all(
            re.fullmatch(r"[^\w]*\d[^A-Za-z]*", text) or text.lower() in MISSING for text in filled[1:]
        )
        return any(file.numeric) and len(filled) > 1 and others_are_numbers
    if len(strings) == n_columns and not (n_columns > 2 and len(filled) == 1):
        return False
    if is_value(first):
        return False
    # A row of which only the name is known is a row.
    is_line_of_text = len(filled) == 1 and n_columns > 2 and (len(strings) == 1 or re.search(r"[\s:]", first))
    is_remark = REMARK.fullmatch(first) is not None
    return is_remark or numeric_first or is_after_blank or bool(is_line_of_text)


def has_footer(file: TextFile) -> bool:
    """Looks at the last line of a file, where each line has as many strings as there are columns."""
    records: list[list[str]] = []
    lines = last_lines(file.path)
    with suppress(csv.Error):
        records.extend(file.dialect.records(lines[-1:]))
    return bool(records and records[-1] and is_footer(records[-1], file))
