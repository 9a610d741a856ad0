"""Networks: plain numbers and strings in, an `nn.Module` out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlplab.models.by_name import MODELS
    from mlplab.models.mlp import MLP
    from mlplab.models.realmlp import RealMLP
    from mlplab.models.tabm import TabM

__all__ = ["MLP", "MODELS", "RealMLP", "TabM"]


def __getattr__(name: str) -> Any:
    # Not before it is asked for: mlp_options.py beside it is read by the command line, which does without PyTorch.
    if name in __all__:
        from mlplab.models import by_name

        return getattr(by_name, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
