"""Parameters that stand in the same group in each member, with those groups' options as they are now.

Legend: K members.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

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

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves those members, in that order."""
        self.groups = [self.groups[row] for row in rows]
        self.counters = {name: values[list(rows)] for name, values in self.counters.items()}
        self._seen = None

    def part(self, parameters: Sequence[nn.Parameter]) -> "Bundle":
        """Some of its parameters, which from now on count steps of their own."""
        counters = {name: values.clone() for name, values in self.counters.items()}
        return Bundle(parameters, self.groups, self.names, counters)
