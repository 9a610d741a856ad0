"""Reads strings as numbers, as people write them: with currencies, units, brackets, scales, notes or bounds."""

import re
from functools import cache

import polars as pl

from mlplab.data.table.strings import are_read

FEW = 0.05
"""Share of strings that are numbers, below which a column is none of numbers."""

NARROW_BLANKS = "[\u00a0\u202f]"
"""Blanks that do not break a line, and set off thousands in French."""

CURRENCY = (
    r"(?:(?:US|A|AU|C|CA|HK|NZ|S|SG|R|MX)?\$|[€£¥₹₽₩₺₪฿₫₴₦]|Rs\.?|kr\.?|zł|Kč|Ft|"
    r"USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|TRY|RUB|KRW|SGD|HKD|THB)"
)

NUMBER = (
    r"^(?P<bound>[<>≤≥]=?\s*)?(?:[~≈]\s*|ca\.?\s+)?(?P<open>\()?\s*(?P<sign>[+-])?\s*"
    rf"(?P<prefix>{CURRENCY})?\s*(?P<inner>[+-])?\s*"
    r"(?:(?P<whole>\d+)\s+)??(?P<number>\d+\s?/\s?\d+|\d(?:[\d.,' ]*\d)?[.,]?|[.,]\d+)"
    r"(?:\s?[×x*·⋅]\s?10\s?(?:\^|\*\*)?\s?(?P<power>[+-]?\d+|[⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)|[eE](?P<exponent>[+-]?\d+))?"
    r"(?P<gap>\s*)(?P<suffix>[\"″]|[%‰°µ¢\pL$€£¥₹][\pL.²³/°%$€]*(?: [\pL.²³/$€]+)?)?"
    r"\s*(?P<after>[+-])?\s*(?P<close>\))?\s*(?:[*†‡§]+|\[\w{1,4}\])*"
    # How sure it is: 7.1 ± 0.2 and 12.3 [10.1-14.5].
    r"(?:(?:±|\+/-)\s*\d[\d.,]*|[\[(]\s*-?\d[\d.,]*\s*(?:-|,\s|;|to\s)\s*-?\d[\d.,]*\s*[\])])?$"
)
"""The parts of a number, after `TYPED`."""

TYPED: dict[str, str] = {
    **dict.fromkeys("−–‐‑﹣－", "-"),
    **dict.fromkeys("\u00a0\u202f\u2007\u2008\u2009\u200a\u2002\u2003\u3000", " "),
    **dict.fromkeys("\u200b\u2060\ufeff\u200e\u200f", ""),
    "’": "'",
    "＋": "+",
    "，": ",",
    "．": ".",
    "％": "%",
    "٫": ".",
    "٬": ",",
    # Fullwidth digits, and those of Arabic, Persian and Devanagari.
    **{chr(zero + n): str(n) for zero in (0xFF10, 0x0660, 0x06F0, 0x0966) for n in range(10)},
    "½": " 1/2",
    "¼": " 1/4",
    "¾": " 3/4",
    "⅓": " 1/3",
    "⅔": " 2/3",
    "⅛": " 1/8",
    "⅜": " 3/8",
    "⅝": " 5/8",
    "⅞": " 7/8",
}
"""Characters → those of a keyboard that mean the same in a number."""

SUPERSCRIPTS = dict(zip("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789", strict=True))

SCALES = {
    **dict.fromkeys(("k", "tsd", "thousand"), 1e3),
    **dict.fromkeys(("m", "mn", "mio", "mill", "million", "millions"), 1e6),
    **dict.fromkeys(("b", "bn", "mrd", "billion", "billions"), 1e9),
    **dict.fromkeys(("t", "tn", "trillion"), 1e12),
    **dict.fromkeys(("lakh", "lakhs", "lac", "lacs", "l"), 1e5),
    **dict.fromkeys(("cr", "crore", "crores"), 1e7),
}
"""Word or letter behind a number or an amount of money → its factor; in any capitals, with or without a point."""

SCALED = "K, M, B"
"""The suffix of a column in which several scales stand behind the numbers."""

MULTIPLES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3, "c": 1e-2, "µ": 1e-6, "u": 1e-6, "n": 1e-9}
RUPEES = ("₹", "Rs", "Rs.", "INR")
"""Currencies of which L is a lakh. Elsewhere it is a litre, unless crores stand beside it."""

BASES = ("B", "m", "g", "l", "L", "s", "W", "Wh", "Hz", "V", "J", "Pa", "eV", "bps")
"""Units that `MULTIPLES` may stand in front of."""

FRACTIONS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 32, 64, 100)
"""Denominators of fractions. 120/80 is a blood pressure."""


def as_numbers(text: pl.Series, decimal: str, thousands: str, prefix: str = "", suffix: str = "") -> pl.Series:
    """Reads text as Float64, null where it is no number; `prefix` and `suffix` may stand around it."""
    numbers = plain_numbers(text, decimal, thousands, prefix, suffix)
    if are_read(text, numbers):
        return numbers
    # Few strings, or few different ones, need the longer look.
    places = (numbers.is_null() & text.is_not_null()).arg_true()
    return numbers.scatter(places, _annotated_numbers(text.gather(places), decimal, thousands, prefix, suffix))


def plain_numbers(text: pl.Series, decimal: str, thousands: str, prefix: str = "", suffix: str = "") -> pl.Series:
    """Reads text as `as_numbers` does, but only digits, signs, exponents and what is said to stand around them."""
    if prefix or suffix:
        # The last step removes the blank between a number and its unit.
        text = text.str.strip_prefix(prefix.strip()).str.strip_suffix(suffix.strip()).str.strip_chars()
    # polars reads the string nan as a number.
    return _with_decimal_point(text, decimal, thousands).cast(pl.Float64, strict=False).fill_nan(None)


def _with_decimal_point(text: pl.Series, decimal: str, thousands: str) -> pl.Series:
    """Writes numbers as polars reads them, without thousands marks; null where these do not set off thousands."""
    if thousands == " ":
        text = text.str.replace_all(NARROW_BLANKS, " ")
    if thousands:
        mark = re.escape(thousands)
        # No group begins with 0: 0.125 is an eighth in any country. In India, further groups have two digits.
        lakh = rf"|[1-9]\d?({mark}\d{{2}})+{mark}\d{{3}}" if thousands == "," else ""
        whole = rf"(\d+|[1-9]\d{{0,2}}({mark}\d{{3}})+{lakh})"
        grouped = rf"^[+-]?{whole}({re.escape(decimal)}\d*)?$"
        plain = text.str.replace_all(thousands, "", literal=True)
        text = plain.set((~text.str.contains(grouped)).fill_null(False), None)
    if decimal != ".":
        # polars reads decimal points only. A point in the text is no decimal mark here, so \0 makes it unreadable.
        text = text.str.replace(".", "\0", literal=True).str.replace(decimal, ".", literal=True)
    return text


def parts_of_numbers(text: pl.Series) -> pl.DataFrame:
    """Splits strings into the groups of `NUMBER`; null where a part is absent, and all of them for no number."""
    typed = text.str.replace_many(list(TYPED), list(TYPED.values())).str.strip_chars()
    # Spreadsheets show a debt as $ (5.00), and an amount of nothing as $ -.
    typed = typed.str.replace(rf"^({CURRENCY})\s*\((.*)\)$", "(${1}${2})")
    typed = typed.str.replace(rf"^({CURRENCY})\s*-+$", "${1} 0").str.replace(rf"^-+\s*({CURRENCY})$", "0 ${1}")
    return typed.str.extract_groups(NUMBER).struct.unnest()


def _annotated_numbers(text: pl.Series, decimal: str, thousands: str, prefix: str, suffix: str) -> pl.Series:
    """Reads numbers that have a sign, a scale or a note; null where the unit is not that of the column."""
    parts = parts_of_numbers(text)
    power = parts["power"].str.replace_many(list(SUPERSCRIPTS), list(SUPERSCRIPTS.values()))
    exponent = pl.Series(parts["exponent"].fill_null("0").zip_with(power.is_null(), power))
    digits = _with_decimal_point(parts["number"].str.strip_chars(), decimal, thousands)
    numbers = (digits + "e" + exponent).cast(pl.Float64, strict=False)
    is_fraction = parts["number"].str.contains("/", literal=True).fill_null(False)
    if is_fraction.any():
        numbers = numbers.zip_with(~is_fraction, _fractions(parts))
    # A whole number stands in front of a fraction only.
    is_number = is_fraction | parts["whole"].is_null()
    is_number &= parts["open"].is_null() == parts["close"].is_null()
    is_number &= parts["prefix"].fill_null(prefix) == prefix
    # Bookkeepers write 5.00-, while 5- is likely half a range.
    is_number &= ~((parts["after"] == "-") & ~parts["number"].str.contains("[.,]")).fill_null(False)
    plus = (parts["after"] == "+").fill_null(False)
    # 10+ is a bound, unless each number has its plus.
    unit = parts["suffix"].fill_null("").str.strip_chars_end(".")
    unit = pl.select(pl.when(plus & (suffix == "+") & (unit == "")).then(pl.lit("+")).otherwise(unit)).to_series()
    factors = _factors(suffix)
    scale = unit.replace_strict(factors, default=None, return_dtype=pl.Float64)
    # 0 is nothing in any unit.
    scale = scale.zip_with(~((unit == "") & (numbers == 0) & scale.is_null()).fill_null(False), pl.Series([1.0]))
    signs = [(parts[name] == "-").fill_null(False) for name in ("sign", "inner", "after")]
    is_negative = signs[0] | signs[1] | signs[2] | parts["open"].is_not_null()
    numbers = (numbers * scale).zip_with(~is_negative, -(numbers * scale))
    return numbers.set(~is_number, None)


def _fractions(parts: pl.DataFrame) -> pl.Series:
    """Reads 3/4 and 1 1/2; null for what is no proper fraction of a usual kind."""
    pair = parts["number"].str.extract_groups(r"^(\d{1,3})\s?/\s?(\d{1,3})$").struct.unnest()
    above, below = (pair[name].cast(pl.Int64) for name in pair.columns)
    shares = (above / below).set(((above > below) | ~below.is_in(FRACTIONS)).fill_null(False), None)
    return shares + parts["whole"].cast(pl.Float64, strict=False).fill_null(0.0)


@cache
def _factors(suffix: str) -> dict[str, float]:
    """Returns the units that may stand behind the numbers of a column with this unit → what they are multiplied by."""
    unit = suffix.strip().rstrip(".")
    factors = {unit: 1.0}
    is_currency = re.fullmatch(CURRENCY, unit) is not None
    if unit == SCALED or is_currency:
        forms = {form: SCALES[word] for word in SCALES for form in (word, word.upper(), word.title())}
        ends = ("", unit, f" {unit}") if is_currency else ("",)
        return {"": 1.0, unit: 1.0, **{f"{form}{end}": factor for form, factor in forms.items() for end in ends}}
    if unit == "":
        return factors
    if unit in BASES:
        factors |= {f"{multiple}{unit}": factor for multiple, factor in MULTIPLES.items()}
        factors |= {"KB": 1e3, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3} if unit == "B" else {}
    # One star, two stars.
    one = unit.removesuffix("s")
    for form in (unit, one, f"{one}s") if len(one) > 2 else (unit,):
        factors |= dict.fromkeys((form.lower(), form.upper(), form.capitalize()), 1.0) if len(form) > 1 else {}
    return factors


def are_bounds(text: pl.Series) -> pl.Series:
    """Tells which strings are bounds such as < 5 or 100+, not numbers."""
    return text.str.contains(r"^\s*[<>≤≥]|\d\s*\+\s*$")


def _points_of(sample: pl.Series) -> str:
    """Finds the number of points that are possible, such as /5 behind 4.1/5 and 3/5; "" for other fractions."""
    most = sample.str.extract(r"^\d+(?:[.,]\d+)?(\s?/\s?\d{1,3})$").drop_nulls()
    if len(most) < (1 - FEW) * len(sample) or most.n_unique() > 1:
        return ""
    # Whole numbers up to 12 may be months.
    return str(most[0]) if sample.str.contains(r"^(\d+[.,]|1[3-9]|[2-9]\d)").any() else ""


def around_numbers(sample: pl.Series) -> tuple[str, str] | None:
    """Finds the currency or unit that stands before or behind numbers; "" if there is none, or several.

    Args:
        sample: some strings of a column, without nulls.

    Returns:
        the two, or None where hardly any string is a number.
    """
    if not sample.head(100).str.contains(r"\pN").any():
        return None
    if suffix := _points_of(sample):
        return "", suffix
    parts = parts_of_numbers(sample).filter(pl.col("number").is_not_null())
    if len(parts) < FEW * len(sample):
        return None
    prefixes = parts["prefix"].drop_nulls().unique()
    prefix = str(prefixes[0]) if len(prefixes) == 1 else ""
    # A zero may lack its unit.
    some = parts.filter(~pl.col("number").str.contains(r"^[0.,]+$") | pl.col("suffix").is_not_null())
    plus = pl.when((pl.col("after") == "+") & pl.col("bound").is_null()).then(pl.lit("+")).otherwise(pl.lit(""))
    units = some.select(unit=pl.col("suffix").str.strip_chars_end(".").fill_null(plus))["unit"]
    found = units.value_counts(sort=True)["unit"].to_list()
    if set(found) <= {""}:
        return prefix, ""
    # 300 K are kelvins, 300K are thousands. Without a currency, 5m may be metres, and 2.0T is an engine.
    is_kelvin = set(found) <= {"K", ""} and " " in parts["gap"]
    scales = {unit for unit in found if unit}
    is_scale = prefix != "" or len({unit.lower() for unit in scales}) > 1 or bool(scales - set("mtbTBlL"))
    is_scale &= not scales & {"l", "L"} or prefix in RUPEES or bool(scales & {"Cr", "cr", "CR", "Crore", "crore"})
    if not is_kelvin and is_scale and set(found) <= set(_factors(SCALED)):
        # A few thousands among many plain numbers are more likely mistakes.
        return prefix, SCALED if (units != "").sum() >= FEW * len(units) else ""
    for base in BASES:
        if (base in found or len(found) > 1) and set(found) <= set(_factors(base)):
            return prefix, base
    unit = max((unit for unit in found if unit), key=lambda unit: int((units == unit).sum()))
    # A letter behind a number is more likely a part of a name.
    is_unit = len(unit) > 1 or unit in ("%", "‰", "°", "¢", '"', "″", "+", "h", "d", "t", "x", *BASES) or is_kelvin
    is_unit |= re.fullmatch(CURRENCY, unit) is not None
    share = units.is_in(list(_factors(unit))).sum() / len(units)
    # 12% and 0.12 may be the same.
    return (prefix, unit) if is_unit and share >= (1.0 if unit == "%" else 0.5) else (prefix, "")
