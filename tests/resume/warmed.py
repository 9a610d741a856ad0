"""What a process has done before it is forked for every run: imported all that runs import, and read conf/ once."""

import gc
import importlib.util
from pathlib import Path

from composing import composed, read_files_once
from no_flushing import spare_the_disk

from mlplab.config.resolvers import register_resolvers
from mlplab.parts import is_there

gc.disable()

OF_PARTS = {
    "sweeps": ["mlplab.sweeps.job_loader", "mlplab.sweeps.sweep_progress", "mlplab.sweeps.sweep"],
    "stacked": ["mlplab.stacked.launching"],
    "tables": ["mlplab.data.table.table_source"],
}
MODULES = [
    "mlplab.training", "mlplab.cli.command_line",
    *(module for part, its in OF_PARTS.items() if is_there(part) for module in its),
    "mlplab.data.bundled", "mlplab.inference.evaluating", "mlplab.cli.resume", "torch.utils.tensorboard",
    "tensorboard.summary.writer", "tensorboard.plugins.hparams.metadata", "matplotlib.backends.backend_agg",
    "sklearn.datasets", "joblib", "rich.live", "rich.table",
]  # fmt: skip
OPTIONAL = ["optuna", "psutil"]

for name in MODULES:
    importlib.import_module(name)
for name in OPTIONAL:
    if importlib.util.find_spec(name):
        importlib.import_module(name)

register_resolvers(Path(__file__).resolve().parents[2])
read_files_once()
spare_the_disk()
composed("data=wine")  # finds Hydra's plugins, and makes its parsers ready
gc.enable()
gc.freeze()  # a forked process that looked through all this for garbage would copy it
