"""Networks: built from plain numbers and strings, returned as `nn.Module`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlplab.models.by_name import MODELS
    from mlplab.models.mlp import MLP
    from mlplab.models.realmlp import RealMLP
    from mlplab.models.tabm import TabM

__all__ = ["MLP", "MODELS", "RealMLP", "TabM"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line reads mlp_options.py from here without importing PyTorch.
    if name in __all__:
        from mlplab.models import by_name

        return getattr(by_name, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
