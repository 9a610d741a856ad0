"""Checksums of many records at once, against those of the standard and of TensorBoard."""

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from mlplab.runs import crc32c as module
from mlplab.runs.crc32c import BLOCK, BLOCKS_AT_ONCE, crc32c

RECORDS = st.lists(
    st.one_of(st.binary(max_size=3 * BLOCK), st.integers(0, 5000).flatmap(lambda n: st.binary(min_size=n, max_size=n))),
    max_size=8,
)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b"", 0x00000000),
        (b"123456789", 0xE3069283),  # the check value of the catalogue of parametrised CRCs
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4: zeros, ones, and a row of numbers
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_are_those_of_the_standard(record: bytes, expected: int) -> None:
    assert crc32c([record]).tolist() == [expected]


@given(RECORDS)
@settings(max_examples=examples(60))
def test_checksums_are_those_of_tensorboard(records: list[bytes]) -> None:
    assert crc32c(records).tolist() == [pywrap_tensorflow.crc32c(record) for record in records]


def test_a_record_of_more_blocks_than_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKS_AT_ONCE", 3)
    record = bytes(number % 251 for number in range(10 * BLOCK + 7))
    assert crc32c([b"short", record]).tolist() == [pywrap_tensorflow.crc32c(part) for part in (b"short", record)]
    assert BLOCKS_AT_ONCE > 3


def test_no_records_have_no_checksums() -> None:
    assert crc32c([]).tolist() == []
