"""Lists the networks that checkpoints store by name."""

from mlplab.models.mlp import MLP
from mlplab.models.realmlp import RealMLP
from mlplab.models.tabm import TabM

MODELS: dict[str, type[MLP]] = {"mlp": MLP, "realmlp": RealMLP, "tabm": TabM}
"""Name → network. A name outside this table is never imported from a checkpoint."""
