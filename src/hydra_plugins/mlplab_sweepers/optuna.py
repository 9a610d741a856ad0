"""hydra/sweeper=optuna: a search for good values, which goes on with what it has tried."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.mlplab_sweepers.sweeper import ResumableSweeper, as_plain


class OptunaSweeper(ResumableSweeper):
    """What Hydra instantiates from conf/hydra/sweeper/optuna.yaml.

    Args:
        settings: what stands there.
    """

    kind = "optuna"

    def __init__(self, **settings: Any) -> None:
        self.settings = {name: as_plain(value) for name, value in settings.items()}

    def sweep(self, arguments: Sequence[str]) -> None:
        from mlplab.sweeps.search.trials import sweep_search

        sweep_search(self.sweep_in_directory, arguments, self.settings)
