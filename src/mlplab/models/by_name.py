"""The networks that have a name in checkpoints."""

from mlplab.models.mlp import MLP
from mlplab.models.realmlp import RealMLP

MODELS: dict[str, type[MLP]] = {"mlp": MLP, "realmlp": RealMLP}
"""The networks that a checkpoint can name. A name outside this table is never imported from a checkpoint."""
