"""Update rules of K members at once: their base classes, and the bundles of parameters that they update.

Legend: K members. A parameter, its gradient and its moments have the shape (K, …).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mlplab.stacked.networks.tensors import per_member

Group = Mapping[str, Any]
Values = Mapping[str, Tensor]
"""Numbers by name, each (K,) in float64; or in the type and shape of a parameter."""


class Bundle:
    """Parameters (K, …) that have the same options and have taken the same steps.

    Args:
        parameters: stacked.
        groups: the group of each member, whose options are read at every step.
        names: of the options.
        counters: (K,), counted on in place.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        groups: Sequence[Group],
        names: Sequence[str],
        counters: dict[str, Tensor],
    ) -> None:
        self.parameters = list(parameters)
        self.groups = list(groups)
        self.names = tuple(names)
        self.counters = counters
        self.options: Values = {}
        # What a rule derives from the options; made again when they change.
        self.plan: Any = None
        self._get = itemgetter(*self.names)
        self._seen: list[Any] | None = None

    def look_at_options(self) -> None:
        """Reads what the groups say: a schedule may have changed it. Where it has not, nothing is made again."""
        seen = list(map(self._get, self.groups))
        if seen == self._seen:
            return
        self._seen, self.plan = seen, None
        columns = dict(zip(self.names, zip(*seen, strict=True), strict=True))
        if "betas" in columns:
            columns["beta1"], columns["beta2"] = zip(*columns.pop("betas"), strict=True)
        self.options = {
            name: torch.tensor(values, dtype=torch.float64, device=self.parameters[0].device)
            for name, values in columns.items()
        }

    def select(self, rows: Sequence[int]) -> None:
        """Leaves those members, in that order."""
        self.groups = [self.groups[row] for row in rows]
        self.counters = {name: values[list(rows)] for name, values in self.counters.items()}
        self._seen = None

    def part(self, parameters: Sequence[nn.Parameter]) -> "Bundle":
        """Some of its parameters, which from now on count steps of their own."""
        counters = {name: values.clone() for name, values in self.counters.items()}
        return Bundle(parameters, self.groups, self.names, counters)


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


class MomentRule(Rule):
    """The running means of the gradient and of its square (Kingma and Ba 2015, algorithm 1)."""

    options: tuple[str, ...] = ("betas", "eps")
    flags: tuple[str, ...] = ("decoupled_weight_decay",)

    def moments(self, group: Group) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        corrections = {f"correction{i}": 1 - options[f"beta{i}"].pow(counters["step"]) for i in (1, 2)}
        return {"1-beta1": 1 - options["beta1"], "1-beta2": 1 - options["beta2"], **corrections}

    def average(self, moving: Moving, factors: Values) -> tuple[Tensor, Tensor]:
        """Moves both means."""
        gradient = moving.gradient
        mean = moving.moments["exp_avg"].lerp_(gradient, factors["1-beta1"])
        squares = moving.moments["exp_avg_sq"].mul_(factors["beta2"]).addcmul_(gradient.square(), factors["1-beta2"])
        return mean, squares
