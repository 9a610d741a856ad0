"""Event files: TensorBoard reads what was flushed, and no record is ever cut in half."""

import errno
import os
import struct
import threading
from pathlib import Path

import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from torch.utils.tensorboard import SummaryWriter

from mlplab.loggers import event_file
from mlplab.loggers.event_file import EventFile, framed


def point(value: float) -> Summary:
    return Summary(value=[Summary.Value(tag="val/loss", simple_value=value)])


def read(path: Path) -> list[tuple[int, float]]:
    """Steps and values; the loader checks all checksums."""
    events = EventFileLoader(str(path)).Load()
    return [(e.step, e.summary.value[0].tensor.float_val[0]) for e in events if e.summary.value]


@given(st.lists(st.binary(max_size=300), max_size=8))
@settings(max_examples=examples(30))
def test_records_are_framed_as_tensorboard_frames_them(records: list[bytes]) -> None:
    def masked(part: bytes) -> bytes:
        return struct.pack("<I", pywrap_tensorflow.masked_crc32c(part))

    lengths = [struct.pack("<Q", len(record)) for record in records]
    expected = [n + masked(n) + record + masked(record) for n, record in zip(lengths, records, strict=True)]
    assert [framed(record) for record in records] == expected


# --- the file ----------------------------------------------------------------------------------------------


def test_what_was_flushed_can_be_read_and_what_was_not_is_in_memory(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "a" / "b")
    file.add_summary(point(0.5), 1)
    assert list((tmp_path / "a" / "b").iterdir()) == []
    file.flush()
    file.add_summary(point(0.25), 2)
    assert read(file.path) == [(1, 0.5)]
    file.close()
    assert read(file.path) == [(1, 0.5), (2, 0.25)]
    file.add_summary(point(0.125), 3)
    file.flush()
    assert read(file.path) == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_the_file_begins_with_the_version_of_its_format(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.flush()
    (event,) = EventFileLoader(str(file.path)).Load()
    assert event.file_version == "brain.Event:2"


def test_a_writer_of_pytorch_draws_through_it_all_that_tensorboard_shows(tmp_path: Path) -> None:
    from mlplab.loggers.tensorboard import CalmTensorBoardLogger

    logger = CalmTensorBoardLogger(str(tmp_path))
    writer = logger.experiment
    assert isinstance(writer, SummaryWriter)
    writer.add_scalar("loss", 0.5, 1)
    writer.add_text("config", "text")
    writer.add_histogram("weights", torch.arange(3.0), 1)
    logger.finalize("success")
    (path,) = tmp_path.iterdir()
    accumulator = EventAccumulator(str(path))
    accumulator.Reload()
    assert accumulator.Scalars("loss")[0].value == 0.5
    assert accumulator.Tags()["histograms"] == ["weights"]
    assert accumulator.Tags()["tensors"] == ["config/text_summary"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_it_keeps_no_thread_and_no_open_file(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    files = [EventFile(tmp_path) for _ in range(20)]
    for file in files:
        file.add_summary(point(1.0), 1)
        file.flush()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert len({file.path for file in files}) == 20


def test_events_are_kept_as_they_were_when_they_were_added(tmp_path: Path) -> None:
    file, event = EventFile(tmp_path), Event(step=1, summary=point(1.0))
    file.add_event(event)
    event.step = 2
    file.flush()
    assert read(file.path) == [(1, 1.0)]


def test_a_great_deal_in_memory_is_written_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_file, "MOST_HELD", 1000)
    file = EventFile(tmp_path)
    for step in range(100):
        file.add_summary(point(1.0), step)
    assert len(read(file.path)) > 50


def test_a_full_disk_leaves_the_file_whole_and_the_events_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = EventFile(tmp_path)
    file.add_summary(point(0.5), 1)
    file.flush()
    file.add_summary(point(0.25), 2)

    with monkeypatch.context() as full:
        write = os.write
        room = [10]

        def write_some(descriptor: int, content: memoryview) -> int:
            if not room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, content[: room.pop()])

        full.setattr(event_file.os, "write", write_some)
        with pytest.raises(OSError, match="No space"):
            file.flush()
    assert read(file.path) == [(1, 0.5)]
    file.flush()
    assert read(file.path) == [(1, 0.5), (2, 0.25)]
