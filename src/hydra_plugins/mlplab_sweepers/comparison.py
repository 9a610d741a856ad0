"""hydra/sweeper=comparison: arms that are each tuned with the same budget, and then judged on other seeds."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.mlplab_sweepers.sweeper import ResumableSweeper, as_plain


class ComparisonSweeper(ResumableSweeper):
    """What Hydra instantiates from conf/hydra/sweeper/comparison.yaml.

    Args:
        settings: what stands there.
    """

    kind = "comparison"

    def __init__(self, **settings: Any) -> None:
        self.settings = {name: as_plain(value) for name, value in settings.items()}

    def sweep(self, arguments: Sequence[str]) -> None:
        from mlplab.sweeps.comparison import sweep_comparison

        sweep_comparison(self.sweep_in_directory, arguments, self.settings)
