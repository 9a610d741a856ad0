"""Writes TensorBoard event files in one go, without a thread and an open file for each run."""

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
"""Bytes to buffer for one file: a callback may log many images in one long epoch."""

BYTES_OF_SCALAR = 64
"""Approximate bytes of a scalar with its name."""

Scalars = tuple[float, int, Mapping[str, float]]
"""Buffered scalars of one event: seconds since 1970, step, name → value."""

_number = itertools.count()


class EventFile:
    """Buffers events, and appends them to one file when they are flushed. It can be used after `close` too.

    It replaces TensorBoard's `EventFileWriter` in PyTorch's `FileWriter`. The file is created by the first flush, and
    open only while it is written to.

    Args:
        directory: of the file; created if it is missing.
    """

    def __init__(self, directory: Path | str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names. The last number tells files of one second apart.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_number)}"
        self.path = self.directory / name
        self._buffer: list[bytes | Scalars] = []
        self._size = 0
        # TensorBoard expects the version in the first event of a file.
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        """Returns the directory; PyTorch's `FileWriter` calls it."""
        return str(self.directory)

    def add_event(self, event: "Event") -> None:
        """Buffers an event, serialised now."""
        self._hold(event.SerializeToString())

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Buffers scalars of a step as they are: serialising them all at the flush is faster."""
        self._hold((time.time(), step, values))

    def _hold(self, record: bytes | Scalars) -> None:
        self._buffer.append(record)
        self._size += _size_of(record)
        if self._size > MOST_HELD:
            self.flush()

    def add_summary(self, summary: "Summary", step: int | None = None) -> None:
        """Buffers a summary of a step."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.add_event(Event(wall_time=time.time(), step=None if step is None else int(step), summary=summary))

    def flush(self) -> None:
        """Appends the buffered events to the file.

        Raises:
            OSError: the file cannot be written; it is unchanged, and the events stay buffered.
        """
        records = [_serialized(record) for record in self._buffer]
        if records:
            # One write for all events: a reader sees whole records, and the file is open for moments only.
            _append(self.path, memoryview(b"".join(map(framed, records))))
        del self._buffer[: len(records)]  # another thread may have added events meanwhile
        self._size = sum(map(_size_of, self._buffer))

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
    # One event for all names, as they have the step and the time in common.
    numbers = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    return bytes(Event(wall_time=wall_time, step=step, summary=Summary(value=numbers)).SerializeToString())


def _append(path: Path, content: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            while content:
                # The system may write less than it is given.
                content = content[os.write(descriptor, content) :]
        except BaseException:
            os.ftruncate(descriptor, size)  # a partial record would make all later ones unreadable
            raise
    finally:
        os.close(descriptor)


def framed(record: bytes) -> bytes:
    """Frames a record by its length and checksums, in TensorFlow's TFRecord format."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked_checksum(length), record, _masked_checksum(record)))


def _masked_checksum(part: bytes) -> bytes:
    checksum = google_crc32c.value(part)
    # A CRC over data that contains CRCs is weak, so TensorFlow rotates the bits and adds a constant.
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)
