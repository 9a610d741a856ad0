import csv
from io import StringIO

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.text_layout import DELIMITERS, RARE_DELIMITERS, Dialect, TextOptions, detect_dialect
from mlplab.errors import UserError

ROWS = [["height", "name", "n"], ["1.5", "Ada", "3"], ["2.25", "Bob", "4"], ["0.5", "Cy", "5"]]


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def written(rows: list[list[str]], **dialect: str | int) -> list[str]:
    out = StringIO()
    csv.writer(out, lineterminator="\n", **dialect).writerows(rows)  # type: ignore[arg-type]
    return lines(out.getvalue())


@pytest.mark.parametrize("name", DELIMITERS)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_each_delimiter_is_detected(name: str, quoting: int) -> None:
    found = detect_dialect(written(ROWS, delimiter=DELIMITERS[name], quoting=quoting))
    assert found == Dialect(DELIMITERS[name], '"')


@pytest.mark.parametrize("said", ["bar", "|"])
def test_a_delimiter_is_said_by_its_name_or_by_itself(said: str) -> None:
    # Commas would be even, too.
    assert detect_dialect(lines("a,b|c,d\n1,2|3,4\n"), TextOptions(delimiter=said)).delimiter == "|"


@pytest.mark.parametrize("said", ["", "\n", "\r"])
def test_what_cannot_divide_values_is_refused(said: str) -> None:
    with pytest.raises(
        UserError, match=r"data\.delimiter must be auto, tab, semicolon, bar, comma, blank, or a"
    ) as refusal:
        detect_dialect(lines("a,b\n1,2\n"), TextOptions(delimiter=said))
    assert "\n" not in str(refusal.value)


def test_a_delimiter_within_quotes_does_not_count() -> None:
    found = detect_dialect(lines('a,b\n"1;2;3",x\n"4;5",y\n"6",z\n'))
    assert found.delimiter == ","


def test_a_decimal_comma_does_not_pass_for_a_delimiter() -> None:
    assert detect_dialect(lines("a;b\n1,5;2,5\n3,5;4,5\n")).delimiter == ";"
    assert detect_dialect(lines("1,5\t2,5\n3,5\t4,5\n")).delimiter == "\t"


def test_prose_with_blanks_does_not_pass_for_values() -> None:
    text = "id,text\n1,two words\n2,three small words\n3,two words\n"
    assert detect_dialect(lines(text)).delimiter == ","


def test_blanks_are_even_by_chance_where_something_else_divides_most_lines() -> None:
    names = ["first name,last name", *["Ann Bee,Cid Dee"] * 8, "Ann Bee,Cid,E Dee"]
    assert detect_dialect([f"{line}\n" for line in names]).delimiter == ","


def test_several_blanks_are_one_delimiter_and_those_at_the_ends_of_a_line_none() -> None:
    dialect = detect_dialect(lines("  a    b\n 1   2  \n3 4\n"))
    assert dialect.delimiter == " "
    assert dialect.readable_records(lines("  1   2  \n3 4 \r\n")) == [["1", "2"], ["3", "4"]]


def test_an_empty_value_in_quotes_at_the_end_of_a_line_stays() -> None:
    assert Dialect(" ").readable_records(lines('1 ""\n2 "x "\n')) == [["1", ""], ["2", "x "]]


def test_a_line_break_within_quotes_stays_as_it_is() -> None:
    assert Dialect(" ").readable_records(lines('1 "x \n y"\n')) == [["1", "x \n y"]]
    assert Dialect(",").readable_records(lines('1,"x\n\ny"\n')) == [["1", "x\n\ny"]]


def test_single_quotes_are_detected() -> None:
    found = detect_dialect(lines("a,b\n'x, y',1\n'z',2\n"))
    assert (found.quote, found.delimiter) == ("'", ",")
    assert found.readable_records(lines("'x, y',1\n")) == [["x, y", "1"]]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\nit's,1\nthat's,2\n",
        "a,b,c\n',x,'\n1,2,3\n4,5,6\n",  # by single quotes this line would have one cell
        "a,b\n',x\nx,y\n',x\nx,y\n",
        "a,b\n\"it's, 'so'\",1\nz,2\n",
        "a,b\n'tis,1\n'twas,2\n",
        "a,b,c,d\nx,x,1,u\n',x,,v\n',x',,u\n",  # by single quotes the last two would be one of four cells
    ],
)
def test_apostrophes_do_not_pass_for_quotes(text: str) -> None:
    assert detect_dialect(lines(text)).quote == '"'


@pytest.mark.parametrize(("said", "quote"), [("double", '"'), ("single", "'"), ("none", "")])
def test_quotes_are_said_by_name(said: str, quote: str) -> None:
    assert detect_dialect(lines("a,b\n'x',\"y\"\n"), TextOptions(quote=said)).quote == quote


def test_values_end_where_one_is_beyond_all_bounds() -> None:
    endless = ['"open\n', *["x" * 1000 + "\n"] * 200]
    assert Dialect(",").readable_records(["a,b\n", "1,2\n", *endless]) == [["a", "b"], ["1", "2"]]


@settings(max_examples=examples(50))
@given(st.lists(st.text("ab1,;|\t \"'\n.-é", max_size=12), max_size=20))
def test_anything_has_some_dialect(wild: list[str]) -> None:
    text = [f"{line}\n" for line in "\n".join(wild).splitlines()]
    found = detect_dialect(text)
    assert found.delimiter in (*DELIMITERS.values(), *RARE_DELIMITERS)
    found.readable_records(text)


def test_a_tab_among_columns_set_off_by_blanks_separates_as_they_do() -> None:
    text = lines('18.0   8   307.0\t"chevrolet malibu"\n15.0   6   350.0\t"buick"\n')
    dialect = detect_dialect(text)
    assert dialect.readable_records(text)[0] == ["18.0", "8", "307.0", "chevrolet malibu"]
    assert detect_dialect(lines("a\tb\nsome words\t1\ntwo  words\t2\n")).delimiter == "\t"


def test_a_tab_among_blanks_divides_as_they_do() -> None:
    lines = [f'{n}.0   8   {n}30.5      35{n}.   12.0\t"chevrolet {n}"\n' for n in range(10, 20)]
    dialect = detect_dialect(lines)
    assert dialect.delimiter == " "
    assert next(iter(dialect.records(lines))) == ["10.0", "8", "1030.5", "3510.", "12.0", "chevrolet 10"]
