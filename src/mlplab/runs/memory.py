"""Explains out-of-memory errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import RunFailed

SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""Parts of PyTorch's out-of-memory messages, as not every device has an error class for them."""


@contextmanager
def explain_out_of_memory(data: DataModule | OwnData) -> Iterator[None]:
    """Turns out-of-memory errors into advice on the batch size.

    Raises:
        RunFailed: names the batch size, and suggests a smaller one.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(word in str(error).lower() for word in SIGNS)):
            raise  # most RuntimeErrors have another cause
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise RunFailed(
            f"a batch must fit into memory, but data.batch_size={data.batch_size} ran out of it "
            f"({reason.strip()}); try data.batch_size={_smaller(data)}, or a smaller model"
        ) from error


def _smaller(data: DataModule | OwnData) -> int:
    rows = int(data.n_rows["train"] or 1) if data.batch_size == "full" else int(data.batch_size)
    return max(1, rows // 4)  # half of it may still be too large
