"""The last lines of a text file that are no rows: totals, sources, notes, counts of rows."""

import re
from collections.abc import Sequence
from dataclasses import replace

from mlplab.data.table.strings import MISSING, is_value
from mlplab.data.table.text_encoding import last_lines
from mlplab.data.table.text_layout import TextFile, skipped

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


def without_tail(file: TextFile) -> TextFile:
    """Cuts blank lines and a footer off the end of a file, so that it needs no copy.

    Stops at a line with as many strings as a row. If that looks like a footer, the file is marked as irregular, and all
    of its records are read to decide.
    """
    tail: list[str] = []
    remarks: list[str] = []
    lines = last_lines(file.path)
    for line in reversed(lines):
        strings = file.dialect.strings(line)
        is_even = len(strings) == len(file.names)
        is_comment = line.startswith(file.comment) and not is_even
        if line.strip() and not is_comment and not is_footer(strings, file):
            break
        # The line may be the end of a string in quotes, or a total that stands between the rows as well.
        if is_even or (file.dialect.quote and file.dialect.quote in line) or len(tail) == len(lines) - 1:
            return replace(file, is_irregular=file.is_irregular or is_even)
        tail.append(line)
        remarks += [line] if line.strip() else []
    notes = skipped(remarks[::-1], "below the rows")
    return replace(file, n_tail_bytes=sum(len(line.encode()) for line in tail), notes=(*file.notes, *notes))
