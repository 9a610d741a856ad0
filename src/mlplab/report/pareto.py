"""Settings that no other one betters in every objective."""

from collections.abc import Sequence

import numpy as np

from mlplab.report.finished_runs import Objective
from mlplab.report.ranked_settings import Setting


def front_of(settings: Sequence[Setting], objectives: Sequence[Objective]) -> list[Setting]:
    """The Pareto front, in the order of the first objective: of equal ones all.

    Settings that lack a value of some objective are on no front.
    """
    known = [s for s in settings if all(s.spread(objective.metric).mean is not None for objective in objectives)]
    if not known:
        return []
    table = np.array([[o.sign * (s.spread(o.metric).mean or 0.0) for o in objectives] for s in known])
    order = np.lexsort(table.T[::-1])
    front: list[int] = []
    for index in order:  # whatever is better in the first objective has come before
        no_worse = table[front] <= table[index]
        better = table[front] < table[index]
        if not (no_worse.all(axis=1) & better.any(axis=1)).any():
            front.append(int(index))
    return [known[index] for index in front]
