from typing import Any

import polars as pl
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.table.spellings import Spellings, merged


def meant(known: Any, texts: list[str]) -> list[str | None]:
    return Spellings(tuple(known)).meant(pl.Series(texts, dtype=pl.String)).to_list()


@pytest.mark.parametrize(
    ("known", "texts"),
    [
        (("1", "2"), {"1.0": "1", "2.00": "2", "02": "2", "+1": "1", "1e0": "1", "2.": "2", "3": None}),
        (("1.0", "2.0"), {"1": "1.0", "2,0": "2.0"}),
        (("00501", "10001"), {"501": "00501", "501.0": "00501", "10001.0": "10001"}),  # as a spreadsheet writes them
        (("1", "01", "10"), {"001": None, "010": "10"}),
        (("true", "false"), {"1": "true", "0": "false", "YES": "true", "n": "false", "1.0": "true", "maybe": None}),
        (("yes", "no"), {"1": "yes", "TRUE": "yes", "F": "no"}),
        (("0", "1"), {"True": "1", "no": "0"}),
        (("0", "1", "2"), {"yes": None, "True": None}),  # 1 is a code here
        (("caf\u00e9", "tea"), {"cafe\u0301": "caf\u00e9", "TEA": "tea", "t e a": None, " tea\u00a0": "tea"}),
        (("New York",), {"new  york": "New York", "New\u00a0York": "New York", "NewYork": None}),
        (("100000", "0.5", "1.25"), {"1e+05": "100000", "0,5": "0.5", "0.50": "0.5", "1,25": "1.25"}),  # R, SQL
        (("1000", "1"), {"1,000": None, "1.000": None, "1000.0": "1000"}),  # a thousand, or 1
        (("12345678901234567890",), {"12345678901234567891": None, "12345678901234567890.0": "12345678901234567890"}),
        (("<=50K", ">50K"), {"<=50k.": "<=50K", ">50K .": ">50K"}),
        (("A", "a"), {"a.": None}),
        (("don't", "18-25"), {"don’t": "don't", "18–25": "18-25", "\u200b18-25": "18-25"}),
        ((".", ".."), {"...": None}),
    ],
)
def test_a_label_is_recognised_as_other_programs_write_it(known: Any, texts: dict[str, str | None]) -> None:
    assert meant(known, list(texts)) == list(texts.values())


@settings(max_examples=examples(60))
@given(st.lists(st.text(st.sampled_from(list("aA1.0 ,+e\u0301")), max_size=4), min_size=1, max_size=12, unique=True))
def test_each_label_means_itself_or_several(labels: list[str]) -> None:
    for label, found in zip(labels, meant(labels, labels), strict=True):
        assert found in (label, None)
    names = merged(dict.fromkeys(labels, 1))
    # Of labels that were merged, each is recognised again.
    others = [label for label in labels if label not in names]
    assert None not in meant(names, others)
