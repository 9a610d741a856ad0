"""Checksums of many records at once.

The register of a CRC is linear over GF(2): that of a message is the XOR of what each byte comes to by itself, with
zeros in place of the bytes after it. So all bytes are looked up at once, in a table for their distance to the end
of their block, and then all blocks are moved past the bytes that follow them.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

BLOCK = 64
"""Bytes whose checksum is taken with one look-up each; the tables of so many stay in the processor's cache."""

BLOCKS_AT_ONCE = 4096
"""The look-ups of a block take eight times the memory of its bytes, for their indices."""

_POLYNOMIAL = np.uint32(0x82F63B78)  # Castagnoli's, of which the lowest bit stands for the highest power


def crc32c(records: Sequence[bytes]) -> Words:
    """The CRC-32C (RFC 3720, B.4) of N records of any length: (N,)."""
    if not records:
        return np.empty(0, np.uint32)
    table, _ = _tables()
    sizes = np.array([len(record) for record in records]) + 4
    n_blocks = -(-sizes // BLOCK)
    zeros = bytes(BLOCK)  # before a message they change nothing
    padding = (n_blocks * BLOCK - sizes).tolist()
    parts = ((zeros[:n], _start(), record) for n, record in zip(padding, records, strict=True))
    blocks = np.frombuffer(b"".join(itertools.chain.from_iterable(parts)), np.uint8).reshape(-1, BLOCK)
    position = np.arange(0, table.size, 256)
    words = np.empty(len(blocks), np.uint32)
    for begin in range(0, len(blocks), BLOCKS_AT_ONCE):
        part = slice(begin, begin + BLOCKS_AT_ONCE)
        np.bitwise_xor.reduce(table.ravel()[blocks[part] + position], axis=1, out=words[part])
    ends = n_blocks.cumsum()
    _move(words, np.repeat(ends, n_blocks) - 1 - np.arange(len(words)))
    return ~np.bitwise_xor.reduceat(words, ends - n_blocks)


def _move(words: Words, n_blocks: npt.NDArray[np.int64]) -> None:
    """Moves each register past a number of blocks of zeros, in place: by the powers of two that the number has."""
    for power in range(int(n_blocks.max()).bit_length()):
        chosen = np.flatnonzero(n_blocks >> power & 1)
        words[chosen] = _looked_up(_past_blocks(power), words[chosen])


@functools.cache
def _tables() -> tuple[Words, Words]:
    """Of each byte, with zeros after it, at each position in a block: (BLOCK, 256); and the last of them: (256,)."""
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = np.where(last & np.uint32(1), last >> np.uint32(1) ^ _POLYNOMIAL, last >> np.uint32(1))
    rows = [last]
    for _ in range(BLOCK - 1):
        rows.append(_past_a_zero(rows[-1], last))
    return np.stack(rows[::-1]), last


def _past_a_zero(words: Words, last: Words) -> Words:
    moved: Words = (words >> np.uint32(8)) ^ last[words & np.uint32(0xFF)]
    return moved


@functools.cache
def _past_blocks(power: int) -> Words:
    """What each byte of a register has become after 2^power blocks of zeros: (4, 256), the lowest byte first."""
    if power:
        half = _past_blocks(power - 1)
        return _looked_up(half, half)
    words = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    for _ in range(BLOCK):
        words = _past_a_zero(words, _tables()[1])
    return words


def _looked_up(tables: Words, words: Words) -> Words:
    byte = [words >> np.uint32(shift) & np.uint32(0xFF) for shift in (0, 8, 16, 24)]
    moved: Words = tables[0][byte[0]] ^ tables[1][byte[1]] ^ tables[2][byte[2]] ^ tables[3][byte[3]]
    return moved


@functools.cache
def _start() -> bytes:
    """The four bytes that take a register of zeros to one of ones, in which a checksum starts."""
    _, last = _tables()
    by_highest = {int(word) >> 24: byte for byte, word in enumerate(last)}
    register = 0xFFFFFFFF
    for _ in range(4):  # one byte back
        byte = by_highest[register >> 24]
        register = ((register ^ int(last[byte])) << 8 & 0xFFFFFFFF) | byte
    return register.to_bytes(4, "little")
