"""What is told where memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlplab.data.module import DataModule
from mlplab.errors import RunFailed

SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""In the messages of PyTorch's errors, which have no class of their own on every device."""


@contextmanager
def explain_out_of_memory(data: DataModule) -> Iterator[None]:
    """Within it, running out of memory is told with what the run takes it for.

    Raises:
        RunFailed: with the size of a batch.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(word in str(error).lower() for word in SIGNS)):
            raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise RunFailed(
            f"a batch must fit into memory, however: data.batch_size={data.batch_size} ran out of it "
            f"({reason.strip()}); try: data.batch_size={_smaller(data)}, or a smaller model"
        ) from error


def _smaller(data: DataModule) -> int:
    rows = len(data.part("train")[1]) if data.batch_size == "full" else data.batch_size
    return max(1, rows // 4)
