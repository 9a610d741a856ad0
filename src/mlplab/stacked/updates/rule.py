"""What an update rule of K members at once consists of.

Legend: K members. A parameter, its gradient and its moments have the shape (K, …).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mlplab.stacked.networks.network import per_member
from mlplab.stacked.updates.bundle import Bundle, Group, Values


@dataclass(frozen=True)
class Moving:
    """What a rule needs of one parameter in a step: its value, its gradient, and its moments by name."""

    parameter: Tensor
    gradient: Tensor
    moments: dict[str, Tensor]


class Rule:
    """PyTorch's single-tensor form of a rule, on rows that have their own options.

    The factors of a step are computed in float64, as PyTorch's are, and rounded once to the parameter's type.
    """

    options: tuple[str, ...] = ()
    """The numbers in a group, beside `lr` and `weight_decay`, that may differ from member to member."""
    flags: tuple[str, ...] = ()
    """The switches in a group; they must be equal in a stack."""
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0}
    """What the state holds as one number, and what it begins with."""
    keeps_counters = True
    """Whether PyTorch's state holds them."""

    def moments(self, group: Group) -> dict[str, float]:
        """What the state holds in the parameter's shape, in PyTorch's order, and what it begins with."""
        raise AssertionError("each rule has its own")

    def advance(self, counters: Values, options: Values) -> None:
        """Counts a step."""
        counters["step"].add_(1)

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        """Of a step, from the counters after it."""
        return {}

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        """Changes a parameter and its moments; the decay is in the gradient already."""
        raise AssertionError("each rule has its own")

    def update_all(self, movings: Sequence[Moving], bundle: Bundle) -> None:
        """Updates parameters of a bundle."""
        options, group = bundle.options, bundle.groups[0]
        counters = {name: values.to(torch.float64) for name, values in bundle.counters.items()}
        factors = {**options, **self.factors(counters, options)}
        has_decay = bool(options["weight_decay"].any())
        is_decoupled = group.get("decoupled_weight_decay", False)
        if is_decoupled:
            factors["kept"] = 1 - options["lr"] * options["weight_decay"]
        shaped: dict[int, Values] = {}
        for moving in movings:
            parameter = moving.parameter
            own = shaped.get(parameter.ndim)
            if own is None:
                own = {name: per_member(values, parameter) for name, values in factors.items()}
                shaped[parameter.ndim] = own
            if has_decay and is_decoupled:
                parameter.mul_(own["kept"])
            elif has_decay:
                decayed = moving.gradient.addcmul(parameter, own["weight_decay"])
                moving = replace(moving, gradient=decayed)
            self.update(moving, own, group)
