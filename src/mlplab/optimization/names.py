"""Names of kinds of parameters and of schedules. Imports no PyTorch, as it checks the command line."""

from typing import Literal

Kind = Literal["weight", "bias", "normalization"]

KINDS: tuple[Kind, ...] = ("weight", "bias", "normalization")
"""Kinds of parameters, by which weight decay and penalties are applied."""

NEED_END = ("cosine", "warmup_cosine", "one_cycle", "coslog4")
"""Schedules of `schedules.py` that span the whole run, and so need its number of steps."""
