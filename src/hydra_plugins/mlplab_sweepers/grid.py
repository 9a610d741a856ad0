"""hydra/sweeper=grid: every combination of values, each run once however often the command is given."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.mlplab_sweepers.sweeper import ResumableSweeper, as_plain


class GridSweeper(ResumableSweeper):
    """What Hydra instantiates from conf/hydra/sweeper/grid.yaml.

    Args:
        params: name → values, beside those of the command line.
        of_others: what an experiment tells the sweeper that it was written for, where this one is chosen instead.
    """

    kind = "grid"

    def __init__(self, params: Any = None, **of_others: Any) -> None:
        self.params = as_plain(params)

    def sweep(self, arguments: Sequence[str]) -> None:
        from mlplab.sweeps.grid import sweep_grid

        sweep_grid(self.sweep_in_directory, arguments, self.params)
