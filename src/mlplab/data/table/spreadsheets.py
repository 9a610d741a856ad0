"""Reads one sheet of an Excel or OpenDocument file, by python-calamine, into a text file."""

import csv
import datetime
import io
from pathlib import Path
from typing import Any

from mlplab.config.commands import install
from mlplab.config.suggestions import nearest_name
from mlplab.data.table.file_errors import unreadable_file
from mlplab.data.table.strings import for_hydra, for_shell
from mlplab.errors import UserError, counted


def sheet_as_text(path: Path, copy: Path, sheet: str | None, named: Path) -> list[str]:
    """Writes the cells of a sheet as CSV in UTF-8; returns notes.

    Args:
        path: of the file.
        copy: to write.
        sheet: name or number of the sheet, from 1; None for the first that holds anything.
        named: what the user calls the file, for messages.

    Raises:
        UserError: python-calamine is not installed, the file is damaged, or there is no such sheet.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise UserError(
            "an Excel or OpenDocument file must be read by python-calamine",
            f"{named.name} is one, and the extra excel is not installed",
            f"{install('excel')}, or saving the sheet as CSV",
        ) from None
    try:
        # By its name, the library would not know a copy.
        book = CalamineWorkbook.from_filelike(io.BytesIO(path.read_bytes()))
        names = book.sheet_names
        chosen = names[0] if sheet is None and names else _chosen(str(sheet), names, named)
        rows = _cells(book.get_sheet_by_name(chosen))
        first = chosen, rows
        for name in names[1:] if sheet is None else ():
            # The first sheets of a report may be empty, or a title page.
            if not _may_be_table(rows):
                chosen, rows = name, _cells(book.get_sheet_by_name(name))
        if sheet is None and not _may_be_table(rows):
            chosen, rows = first
    except (CalamineError, OSError) as error:
        raise unreadable_file(named, error) from None
    with copy.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        for row in rows:
            cells = [_text(cell) for cell in row]
            # A row without any value separates, as a blank line does.
            writer.writerow(cells if any(cells) else [])
    if sheet is None and len(names) > 1:
        another = next(name for name in names if name != chosen)
        hint = for_shell(f"data.sheet={for_hydra(another)}")
        return [f"of {counted(len(names), 'sheet')}, {chosen!r} is read; {hint} reads another"]
    return []


def _chosen(sheet: str, names: list[str], named: Path) -> str:
    if sheet in names:
        return sheet
    if sheet.isdecimal() and 1 <= int(sheet) <= len(names):
        return names[int(sheet) - 1]
    near = nearest_name(sheet, names) or (names[0] if names else "1")
    raise UserError(
        f"data.sheet must be a sheet of {named.name}: {', '.join(names[:8])}",
        f"data.sheet={sheet}",
        for_shell(f"data.sheet={for_hydra(near)}"),
    )


def _cells(sheet: Any) -> list[list[Any]]:
    """Returns the cells of a sheet; a value that is merged over rows below the header stands in each of them."""
    rows: list[list[Any]] = sheet.to_python(skip_empty_area=False)
    for (top, left), (bottom, _) in sheet.merged_cell_ranges or ():
        # The rows of a header hold text alone.
        if any(isinstance(cell, int | float | datetime.date) for cell in rows[top]):
            for row in rows[top + 1 : bottom + 1]:
                row[left] = rows[top][left]
    # Without the empty rows and columns in front of the table.
    first_row, first_column = sheet.start or (0, 0)
    return [row[first_column:] for row in rows[first_row:]]


def _may_be_table(rows: list[list[Any]]) -> bool:
    """Checks for two rows with two values each: a page of text has one column."""
    return sum(sum(cell not in ("", None) for cell in row) > 1 for row in rows) > 1


def _text(cell: Any) -> str:
    """Writes a cell as a text file would hold it: whole numbers without decimals, dates as ISO."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, datetime.datetime):
        is_day = cell.time() == datetime.time()
        return cell.date().isoformat() if is_day else cell.isoformat(sep=" ", timespec="seconds")
    return " ".join(str(cell).split())
