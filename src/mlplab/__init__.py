"""Train, compare and understand multilayer perceptrons.

    run = mlplab.train(mlplab.compose(["data=wine"]))

`compose`, `train` and `Run` are those of `mlplab.notebook`. Nothing heavy is imported before one of them
is used: `python train.py --help` must answer at once.
"""

from typing import TYPE_CHECKING, Any

from mlplab.processors import let_waiting_threads_sleep

if TYPE_CHECKING:
    from mlplab.notebook import Run, compose, train

__version__ = "0.5.0"
__all__ = ["Run", "compose", "train"]

let_waiting_threads_sleep()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mlplab import notebook

    return getattr(notebook, name)
