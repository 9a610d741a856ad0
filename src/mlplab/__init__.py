"""Train, compare and understand multilayer perceptrons.

    run = mlplab.train(mlplab.compose(["data=wine"]))

`compose`, `train` and `Run` come from `mlplab.notebook`, `MLPClassifier` and `MLPRegressor` from
`mlplab.estimators`. They are imported on first use, as `python train.py --help` must answer at once.
"""

from typing import TYPE_CHECKING, Any

from mlplab.processors import let_waiting_threads_sleep

if TYPE_CHECKING:
    from mlplab.estimators import MLPClassifier, MLPRegressor
    from mlplab.notebook import Run, compose, train

__version__ = "0.5.0"
__all__ = ["MLPClassifier", "MLPRegressor", "Run", "compose", "train"]

let_waiting_threads_sleep()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    from mlplab.parts import require_part

    if name.startswith("MLP"):
        require_part("tables", f"mlplab.{name}", "mlplab.train")
    return getattr(import_module("mlplab.estimators" if name.startswith("MLP") else "mlplab.notebook"), name)


def __dir__() -> list[str]:  # for tab completion in notebooks
    return [*globals(), *__all__]
