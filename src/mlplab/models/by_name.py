"""The networks that have a name in checkpoints."""

from mlplab.models.mlp import MLP
from mlplab.models.realmlp import RealMLP
from mlplab.models.tabm import TabM

MODELS: dict[str, type[MLP]] = {"mlp": MLP, "realmlp": RealMLP, "tabm": TabM}
"""The networks that a checkpoint can name. A name outside this table is never imported from a checkpoint."""
