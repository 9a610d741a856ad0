"""TensorBoard's event files, held in memory and written at once: no thread and no open file for each run."""

import itertools
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import google_crc32c

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
        records = [_serialized(record) for record in self._held]
        if records:
            _append(self.path, memoryview(b"".join(map(framed, records))))
        del self._held[: len(records)]  # what has come in the meantime stays
        self._size = sum(map(_size_of, self._held))

    def close(self) -> None:
        self.flush()


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


def framed(record: bytes) -> bytes:
    """Puts length and checksums around a record: TensorFlow's TFRecord format."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked_checksum(length), record, _masked_checksum(record)))


def _masked_checksum(part: bytes) -> bytes:
    checksum = google_crc32c.value(part)
    # Checksums of data that hold checksums are weak, so TensorFlow turns the bits and adds a constant.
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)
