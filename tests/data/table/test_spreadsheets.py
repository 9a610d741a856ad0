import builtins
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from mlplab.data.table.reading_options import Reading
from mlplab.data.table.spreadsheets import _cells
from mlplab.data.table.table_reading import read_table
from mlplab.data.table.text_layout import TextOptions
from mlplab.errors import UserError

Write = Callable[..., Path]

ROWS: list[list[Any]] = [[43831.0 + n, n / 2, True, "ab"[n % 2]] for n in range(12)]
BOOK: dict[str, list[list[Any]]] = {
    "Cover": [["About this study"]],
    "data": [["Report of 2020"], [], ["day", "x", "flag", "y"], ["", "cm"], *ROWS, ["Total", 33.0]],
    "2021": [["x", "y"], [1, "c"], [2, "d"]],
}


def cell(value: Any) -> str:
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>' if value else "<c/>"
    style = ' s="1"' if value > 43000 else ""  # a date
    return f"<c{style}><v>{value}</v></c>"


def workbook(sheets: Mapping[str, Sequence[Sequence[Any]]]) -> bytes:
    """Writes a file as Excel does, with the least that it needs."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        link = f'<Relationship Id="r0" Type="{office}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{package}/relationships">{link}</Relationships>')
        names = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, 1))
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{names}</sheets></workbook>'
        )
        links = "".join(
            f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n in range(1, len(sheets) + 1)
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{links}</Relationships>'
        )
        formats = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{main}">{formats}</styleSheet>')
        for n, rows in enumerate(sheets.values(), 1):
            lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            archive.writestr(
                f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
            )
    return out.getvalue()


def read(path: Path, sheet: str | None = None) -> tuple[dict[str, list[Any]], str]:
    raw = read_table(path, Reading(TextOptions(sheet=sheet)), known_names=["y"])
    return raw.frame.to_dict(as_series=False), "; ".join(raw.notes)


def test_the_first_sheet_with_a_table_is_read_as_text_is(write: Write) -> None:
    frame, notes = read(write(workbook(BOOK)))
    assert frame["day"][:2] == ["2020-01-01", "2020-01-02"]
    assert frame["x"] == [n / 2 for n in range(12)]
    assert frame["flag"] == [True] * 12
    assert frame["y"] == ["a", "b"] * 6
    assert "of 3 sheets, 'data' is read; data.sheet=Cover reads another" in notes
    for told in ("above the header", "further header line", "below the rows"):
        assert told in notes


def test_a_page_of_text_is_no_table(write: Write) -> None:
    pages = {"Info": [["Made by controlling"], ["for 2020"]], "rows": [["x", "y"], [1, "c"], [2, "d"]]}
    assert read(write(workbook(pages)))[0] == {"x": [1, 2], "y": ["c", "d"]}


def test_a_value_that_is_merged_over_rows_stands_in_each() -> None:
    class Sheet:
        start = (1, 1)
        merged_cell_ranges = (((1, 1), (2, 1)), ((3, 1), (4, 1)))

        def to_python(self, skip_empty_area: bool) -> list[list[Any]]:
            assert not skip_empty_area
            return [["", "", ""], ["", "region", "x"], ["", "", "cm"], ["", "north", 1.0], ["", "", 2.0]]

    assert _cells(Sheet()) == [["region", "x"], ["", "cm"], ["north", 1.0], ["north", 2.0]]


@pytest.mark.parametrize("sheet", ["2021", "3"])
def test_a_sheet_is_said_by_name_or_number(write: Write, sheet: str) -> None:
    assert read(write(workbook(BOOK)), sheet) == ({"x": [1, 2], "y": ["c", "d"]}, "")


def test_a_sheet_that_is_not_there_is_refused_with_the_nearest(write: Write) -> None:
    with pytest.raises(UserError, match=r"must be a sheet of table\.csv: Cover, data, 2021") as refusal:
        read(write(workbook(BOOK)), "Data 1")
    assert refusal.value.hint == "data.sheet=data"


def test_without_the_extra_a_line_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def fail(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "python_calamine":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(UserError, match=r"the extra excel is not installed; try .*pip install .*\[excel\]"):
        read(write(workbook(BOOK)))


def test_a_damaged_file_is_refused(write: Write) -> None:
    for content in (workbook(BOOK)[:-200], b"\xd0\xcf\x11\xe0" + b"\x00" * 600):
        with pytest.raises(UserError, match="must be a table that can be read"):
            read(write(content))
