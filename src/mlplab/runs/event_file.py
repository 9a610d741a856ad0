"""TensorBoard's event files, held in memory and written at once: no thread and no open file for each run."""

import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlplab.runs.crc32c import crc32c

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

MOST_HELD = 8_000_000
"""Bytes that one file holds in memory: a callback that logs many pictures in one long epoch would fill it."""

BYTES_OF_SCALAR = 64
"""About as many as a number with its name takes in the file."""

Scalars = tuple[float, int, Mapping[str, float]]
"""Numbers that wait to become an event: seconds since 1970, step, and the numbers by name."""

_number = itertools.count()


class EventFile:
    """Holds events until they are flushed, and then appends them to one file; it can be used after `close` too.

    It takes the place of TensorBoard's `EventFileWriter` in PyTorch's `FileWriter`. The file is open for the moment
    of writing only, and is there once something has been flushed.

    Args:
        directory: of the file; made where it is not there.
    """

    def __init__(self, directory: Path | str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_number)}"
        self.path = self.directory / name
        self._held: list[bytes | Scalars] = []
        self._size = 0
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        """The directory, as PyTorch's `FileWriter` asks for it."""
        return str(self.directory)

    def add_event(self, event: "Event") -> None:
        """Holds an event as it is now."""
        self._hold(event.SerializeToString())

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Holds numbers of a step as they are; they become one event when they are flushed, which many do sooner."""
        self._hold((time.time(), step, values))

    def _hold(self, record: bytes | Scalars) -> None:
        self._held.append(record)
        self._size += _size_of(record)
        if self._size > MOST_HELD:
            self.flush()

    def add_summary(self, summary: "Summary", step: int | None = None) -> None:
        """Holds what has been measured or drawn at a step."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.add_event(Event(wall_time=time.time(), step=None if step is None else int(step), summary=summary))

    def flush(self) -> None:
        """Appends what is held to the file.

        Raises:
            OSError: it cannot be written to; what was held still is, and the file is as it was.
        """
        flush_together([self])

    def close(self) -> None:
        self.flush()


def flush_together(files: Sequence[EventFile]) -> None:
    """Flushes several files, whose checksums are computed together.

    Raises:
        OSError: one cannot be written to; it and those after it still hold their events.
    """
    records = [[_serialized(record) for record in file._held] for file in files]
    content = memoryview(framed(list(itertools.chain.from_iterable(records))))
    begin = 0
    for file, own in zip(files, records, strict=True):
        end = begin + sum(map(len, own)) + FRAME * len(own)
        if own:
            _append(file.path, content[begin:end])
            del file._held[: len(own)]  # what has come in the meantime stays
            file._size = sum(map(_size_of, file._held))
        begin = end


def _size_of(record: bytes | Scalars) -> int:
    return len(record) if isinstance(record, bytes) else BYTES_OF_SCALAR * len(record[2])


def _serialized(record: bytes | Scalars) -> bytes:
    if isinstance(record, bytes):
        return record
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    wall_time, step, values = record
    numbers = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    return bytes(Event(wall_time=wall_time, step=step, summary=Summary(value=numbers)).SerializeToString())


def _append(path: Path, content: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            while content:
                content = content[os.write(descriptor, content) :]
        except BaseException:
            os.ftruncate(descriptor, size)  # half of a record would hide all that come after it
            raise
    finally:
        os.close(descriptor)


# --- the format of records -----------------------------------------------------------------------------------

FRAME = 16
"""Bytes around a record: its length (8) and the checksum of that (4) before it, its own checksum (4) after it."""


def framed(records: Sequence[bytes]) -> bytes:
    """Records as they follow each other in a file: TensorFlow's TFRecord format, with masked checksums."""
    lengths = [struct.pack("<Q", len(record)) for record in records]
    sums = crc32c([*lengths, *records])
    # Checksums of data that hold checksums are weak, so TensorFlow turns the bits and adds a constant.
    masked = ((sums >> np.uint32(15)) | (sums << np.uint32(17))) + np.uint32(0xA282EAD8)
    of_lengths, of_records = (_pieces(part) for part in np.split(masked.astype("<u4"), 2))
    return b"".join(itertools.chain.from_iterable(zip(lengths, of_lengths, records, of_records, strict=True)))


def _pieces(sums: npt.NDArray[Any]) -> Iterator[bytes]:
    whole = sums.tobytes()
    return (whole[begin : begin + 4] for begin in range(0, len(whole), 4))
