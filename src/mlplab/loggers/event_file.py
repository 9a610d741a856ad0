"""Writes TensorBoard event files in batches, without a thread and an open file for each run."""

import itertools
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

MOST_HELD = 8_000_000
"""Maximum of bytes to buffer for a file: a callback may log many images in a long epoch."""

_number = itertools.count()


class EventFile:
    """Buffers events, and appends them to one file when they are flushed. It can be used after `close` too.

    It replaces TensorBoard's `EventFileWriter` in PyTorch's `FileWriter`. The file is created by the first flush, and
    open only while it is written to.

    Args:
        directory: of the file; created if it is missing.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files in the order of names. The last number distinguishes files of the same second.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_number)}"
        self.path = self.directory / name
        self._buffer: list[bytes] = []
        self._size = 0
        # TensorBoard expects the version in the first event of a file.
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        """Returns the directory; PyTorch's `FileWriter` calls it."""
        return str(self.directory)

    def add_event(self, event: Event) -> None:
        """Serialises an event now, and buffers it."""
        self._buffer.append(event.SerializeToString())
        self._size += len(self._buffer[-1])
        if self._size > MOST_HELD:
            self.flush()

    def add_summary(self, summary: Summary, step: int | None = None) -> None:
        """Buffers a summary of a step."""
        self.add_event(Event(wall_time=time.time(), step=None if step is None else int(step), summary=summary))

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Buffers the scalars of a step as one event, as they share step and time."""
        self.add_summary(Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]), step)

    def flush(self) -> None:
        """Appends the buffered events to the file.

        Raises:
            OSError: the file cannot be written; it is unchanged, and the events stay buffered.
        """
        records = list(self._buffer)
        if records:
            # One write for all events, so that readers see whole records and the file is only open for a moment.
            _append(self.path, memoryview(b"".join(map(framed, records))))
        del self._buffer[: len(records)]  # another thread may have added events meanwhile
        self._size = sum(map(len, self._buffer))

    def close(self) -> None:
        self.flush()


def _append(path: Path, content: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            while content:
                # The system may write less than requested.
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
