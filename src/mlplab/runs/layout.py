"""Names the files of a run's directory. Imports nothing heavy."""

from pathlib import Path

LOCK = ".lock"
STATUS = "status.json"
MANIFEST = "manifest.json"
RESULT = "result.json"
HISTORY = "history.jsonl"
LOG = "train.log"
CONFIG = Path(".hydra") / "config.yaml"
CHECKPOINTS = "checkpoints"
FIGURES = "figures"
TENSORBOARD = "tensorboard"

BEFORE_TRAINING = {STATUS, LOG, MANIFEST, CHECKPOINTS, FIGURES, TENSORBOARD, "csv", "data.json"}
"""Files and folders that a run may make before manifest and configuration are written."""
