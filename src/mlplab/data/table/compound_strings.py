"""Reads strings in which several numbers make one: lengths of time in seconds, feet and inches, degrees."""

import polars as pl

AMOUNT = r"\d+(?:[.,]\d+)?"

COMPOUNDS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "seconds": (
        (
            # 36:15:00, 1:06.5, 2 days 03:04:05 and 1.03:04:05
            r"^(?P<sign>-)?(?:(?P<d>\d+)(?: ?days?,?\s*|[.:]| ?d,?\s+))??(?:(?P<h>\d{1,5}):)??"
            r"(?P<m>\d{1,5}):(?P<s>[0-5]\d(?:[.,]\d+)?)$",
            rf"^(?P<sign>[+-])?P(?:(?P<w>{AMOUNT})W)?(?:(?P<d>{AMOUNT})D)?"
            rf"(?:T(?:(?P<h>{AMOUNT})H)?(?:(?P<m>{AMOUNT})M)?(?:(?P<s>{AMOUNT})S)?)?$",
            rf"(?i)^(?P<sign>[+-])?(?:(?P<w>{AMOUNT}) ?(?:weeks?|wks?|w)\b,?\s*)?"
            rf"(?:(?P<d>{AMOUNT}) ?(?:days?|d)\b,?\s*)?"
            rf"(?:(?P<h>{AMOUNT}) ?(?:hours?|hrs?|h|std)\.?,?\s*)?(?:and )?"
            rf"(?:(?P<m>{AMOUNT}) ?(?:minutes?|mins?|m)\.?,?\s*)?(?:and )?"
            rf"(?:(?P<s>{AMOUNT}) ?(?:seconds?|secs?|s)\.?)?$",
        ),
        {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0},
    ),
    "months": (
        (
            rf"(?i)^(?P<sign>-)?(?:(?P<years>{AMOUNT}) ?(?:years?|yrs?|y)\.?,?\s*)?(?:and )?"
            rf"(?:(?P<months>{AMOUNT}) ?(?:months?|mons?|mos?|m)\.?,?\s*)?"
            rf"(?:(?P<weeks>{AMOUNT}) ?(?:weeks?|wks?|w)\.?,?\s*)?(?:(?P<days>{AMOUNT}) ?(?:days?|d)\.?)?$",
        ),
        {"years": 12.0, "months": 1.0, "weeks": 12 * 7 / 365.25, "days": 12 / 365.25},
    ),
    "inches": (
        (
            r"^(?P<sign>-)?(?P<feet>\d{1,3}) ?(?:'|′|’|ft\.?|feet|foot) ?"
            r"(?:(?P<inches>\d{1,2}(?:\.\d+)?) ?(?:\"|″|”|''|’’|in\.?|inch(?:es)?)?)?$",
        ),
        {"feet": 12.0, "inches": 1.0},
    ),
    "degrees": (
        (
            r"^(?P<degrees>\d{1,3}(?:\.\d+)?) ?° ?(?:(?P<minutes>\d{1,2}(?:\.\d+)?) ?['′’] ?)?"
            r"(?:(?P<seconds>\d{1,2}(?:\.\d+)?) ?(?:\"|″|”|'') ?)?(?P<sign>[NSEW])$",
            r"^(?P<degrees>\d{1,3}\.\d+) ?(?P<sign>[NSEW])$",
        ),
        {"degrees": 1.0, "minutes": 1 / 60, "seconds": 1 / 3600},
    ),
}
"""Unit → forms in which a number in it is written, and the sizes of its parts."""

CLOCK_LIKE = r"^(?:(?P<hours>\d{1,2}):)?(?P<minutes>\d{1,2}):\d{2}(?:\.\d+)?$"


def as_compounds(text: pl.Series, unit: str) -> pl.Series:
    """Reads text as Float64 in one of the units of `COMPOUNDS`, null where it does not have their form."""
    patterns, sizes = COMPOUNDS[unit]
    total = pl.Series(text.name, [None], dtype=pl.Float64).new_from_index(0, len(text))
    for pattern in patterns:
        parts = text.str.extract_groups(pattern).struct.unnest()
        named = [name for name in parts.columns if name in sizes]
        amounts = [
            pl.col(name).str.replace(",", ".", literal=True).cast(pl.Float64, strict=False) * sizes[name]
            for name in named
        ]
        size = pl.when(pl.any_horizontal(pl.col(named).is_not_null())).then(pl.sum_horizontal(amounts))
        is_negative = pl.col("sign").is_in(["-", "S", "W"]).fill_null(False)
        total = total.zip_with(
            total.is_not_null(), parts.select(pl.when(is_negative).then(-size).otherwise(size)).to_series()
        )
    return total.alias(text.name)
