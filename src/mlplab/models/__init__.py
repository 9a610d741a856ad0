"""Networks: plain numbers and strings in, an `nn.Module` out."""

from mlplab.models.mlp import MLP

MODELS = {"mlp": MLP}
"""The networks that a checkpoint can name. A name outside this table is never imported from a checkpoint."""

__all__ = ["MLP", "MODELS"]
