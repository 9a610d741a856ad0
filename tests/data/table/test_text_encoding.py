import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from mlplab.data.table import text_encoding
from mlplab.data.table.text_encoding import STRAY, Encoding, find_encoding, first_lines, last_lines
from mlplab.errors import UserError

Write = Callable[..., Path]
TEXT = "größe,名前\n1,😀\n"
LINES = ["größe,名前\n", "1,😀\n"]
UTF_8 = Encoding("utf-8")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8-sig"),
        (TEXT.encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        ("a,b\n1,2\n".encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-32"), "utf-32"),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), "utf-32"),
        ("größe,x\n1,ä\n".encode("latin-1"), "cp1252"),
        (b"plain,ascii\n", "utf-8"),
    ],
)
def test_the_encoding_is_found(write: Write, content: bytes, expected: str) -> None:
    path = write(content)
    encoding = find_encoding(path)
    assert encoding.name == expected
    text = content.decode(expected).removeprefix("\ufeff")
    assert first_lines(path, encoding, 0) == text.splitlines(keepends=True)
    # What is sure needs no word.
    assert bool(encoding.note) == (expected in ("utf-16-le", "utf-16-be", "cp1252"))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe,Straße\n1,Hauptstraße\n2,Bäckerweg\n", "cp1252"),
        ("item,price\nbook,€5\npen,€6\n“quoted”,€7\n", "cp1252"),
        ("t (°C),u (µm)\n1,2\n", "cp1252"),
        ("año,ciudad\n2020,Málaga\n2021,Logroño\n", "cp1252"),
        ("nome,cidade\nJoão,São Paulo\nCamões,Évora\n", "cp1252"),
        ("navn,by\nSøren,Århus\nKåre,Tromsø\n", "cp1252"),
        ("имя,город\nИван,Москва\nАнна,Казань\n", "cp1251"),
        ("имя,да\nнет,1\n", "cp1251"),
        ("имя,город\nИван,Москва\nАнна,Казань\n", "koi8_r"),
        ("имя,город\nИван,Москва\nАнна,Казань\n", "cp866"),
        ("imię,miasto\nŁukasz,Łódź\nStanisław,Kraków\nGrażyna,Gdańsk\n", "cp1250"),
        ("jméno,město\nJiří,Plzeň\nŽofie,Příbram\nTomáš,Děčín\n", "cp1250"),
        ("név,város\nGyőző,Győr\nÁrpád,Fertőd\n", "cp1250"),
        ("prénom,ville\nRené,Orléans\nZoë,Besançon\nHélène,Nîmes\nStraße,Köln\n", "mac_roman"),
        ("Größe,Straße,Stadt\n1,Hauptstraße,München\n2,Bäckerweg,Köln\n", "mac_roman"),
        ("名前,年齢,都市\n太郎,33,東京\n花子,22,大阪\nカナ,1,ひらがな\n", "cp932"),
        ("姓名,年龄,城市\n张伟,33,北京\n王芳,22,上海\n李娜,25,广州\n", "gb18030"),
        ("姓名,年齡,城市\n陳大文,33,台北\n王小明,22,高雄\n", "big5"),
        ("이름,나이,도시\n김철수,33,서울\n이영희,22,부산\n", "cp949"),
        ("όνομα,πόλη\nΓιώργος,Αθήνα\nΜαρία,Θεσσαλονίκη\n", "cp1253"),
        ("isim,şehir\nAyşe,İstanbul\nÇağrı,Muğla\n", "cp1254"),
        ("שם,עיר\nדוד,ירושלים\nשרה,חיפה\n", "cp1255"),
        ("الاسم,المدينة\nأحمد,القاهرة\nفاطمة,دمشق\n", "cp1256"),
        ("ชื่อ,เมือง\nสมชาย,กรุงเทพ\nสมหญิง,เชียงใหม่\n", "cp874"),
    ],
)
def test_other_encodings_are_told_by_their_characters_and_noted(write: Write, text: str, encoding: str) -> None:
    path = write(text.encode(encoding))
    found = find_encoding(path)
    assert path.read_bytes().decode(found.name) == text
    assert found.note == f"the file is no UTF-8 and is read as {found.name}; data.encoding=… says otherwise"
    # A file that is read like another one is in its encoding, however few its characters.
    assert find_encoding(path, "latin-1").name == "latin-1"


def test_single_bytes_of_another_encoding_do_not_spoil_a_file_in_utf_8(write: Write) -> None:
    path = write("".join(f"größe {number},名前\n" for number in range(30)).encode() + b"gr\xf6\xdfe,\n")
    encoding = find_encoding(path)
    assert encoding.errors == STRAY
    assert "single bytes" in encoding.note
    assert first_lines(path, encoding, 0)[-1] == "größe,\n"


def test_one_byte_far_into_the_file_decides(write: Write) -> None:
    assert find_encoding(write(b"a,b\n" + b"1,2\n" * 100_000 + b"\xe4,2\n")).name == "cp1252"


def test_a_byte_that_the_likeliest_encoding_lacks_rules_it_out(write: Write) -> None:
    text = "größe,x\n" * 3000
    assert find_encoding(write(text.encode("latin-1") + b"\x81,1\n")).name != "cp1252"


def test_a_block_may_end_within_a_character(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoding, "BLOCK_BYTES", 6)
    assert find_encoding(write("a,b\nxä\n")).name == "utf-8"


def test_lines_end_as_they_are_written(write: Write) -> None:
    assert first_lines(write("a\rb\r\nc\n\nd"), UTF_8, 0) == ["a\r", "b\r\n", "c\n", "\n", "d"]
    assert first_lines(write(""), UTF_8, 0) == []


def test_many_short_lines_are_enough_and_a_few_long_ones(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(first_lines(write("1,2\n" * 2000), UTF_8, 100)) == 100 + text_encoding.SAMPLE_LINES
    line = "x" * text_encoding.SAMPLE_CHARACTERS + "\n"
    assert first_lines(write(line * 20), UTF_8, 2) == [line] * (2 + text_encoding.FEWEST_LINES)
    monkeypatch.setattr(text_encoding, "LONGEST_LINE", 5)
    assert first_lines(write("123456789\n"), UTF_8, 0) == ["12345", "6789\n"]


def test_the_last_lines_are_whole(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert last_lines(write("a,b\n1,ä\n2")) == ["a,b\n", "1,ä\n", "2"]
    monkeypatch.setattr(text_encoding, "TAIL_BYTES", 7)
    assert last_lines(write("a,b\n1,ä\n3,4\n")) == ["3,4\n"]


@pytest.mark.parametrize("content", [b"\x01\x02\r\n\x1a\n\x00\x00\x00\rIHDR", b"a,b\n1,\x002\n"])
def test_bytes_that_are_no_text_are_refused(write: Write, content: bytes) -> None:
    with pytest.raises(UserError, match="holds bytes that are no text"):
        find_encoding(write(content))


@pytest.mark.parametrize("said", ["hex", "rot13", "base64", "undefined", "klingon", "utf-8", "ascii"])
def test_an_encoding_that_the_file_does_not_have_is_refused(write: Write, said: str) -> None:
    path = write(b"gr\xf6\xdfe,x\n")
    with pytest.raises(UserError, match=r"data\.encoding must be the file's own, but table\.csv is no ") as refusal:
        first_lines(path, Encoding(said), 0)
    assert "data.encoding=auto" in refusal.value.hint
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("written", "said"), [("utf-8-sig", "utf-8"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-le")]
)
def test_a_byte_order_mark_is_no_text_whatever_encoding_is_said(write: Write, written: str, said: str) -> None:
    assert first_lines(write(TEXT.encode(written)), Encoding(said), 0) == LINES


def test_text_that_ends_within_a_character_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match=r"is no utf-16: .*truncated"):
        first_lines(write(TEXT.encode("utf-16") + b"a"), Encoding("utf-16"), 0)
