"""Names kinds of parameters and schedules. Imports no PyTorch: the command line is checked by it."""

from typing import Literal

Kind = Literal["weight", "bias", "normalization"]

KINDS: tuple[Kind, ...] = ("weight", "bias", "normalization")
"""Kinds of parameters, by which weight decay and penalties are applied."""

NEED_END = ("cosine", "warmup_cosine", "one_cycle", "coslog4")
"""Schedules of `schedules.py` that are spread over the whole run, so that they must know its number of steps."""
