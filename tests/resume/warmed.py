"""What a process has done before it is forked for every run: imported all that runs import, and read conf/ once."""

import gc
import importlib.util
from pathlib import Path

from composing import composed, read_files_once
from no_flushing import spare_the_disk

from mlplab.config.resolvers import register_resolvers

gc.disable()

MODULES = [
    "mlplab.training", "mlplab.cli.command_line", "mlplab.sweeps.job_loader",
    "mlplab.stacked.launching", "mlplab.sweeps.sweep_progress", "mlplab.sweeps.sweep",
    "mlplab.data.bundled", "mlplab.data.table.table_source",
    "mlplab.inference.evaluating", "mlplab.cli.resume", "torch.utils.tensorboard",
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
