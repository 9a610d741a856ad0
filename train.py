"""Trains one network, or with -m a sweep of them. `python train.py --help` shows every choice."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # Ctrl-C while imports go on: nothing has begun
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import hydra
from omegaconf import DictConfig

from mlplab.cli.command_line import run_command, run_job
from mlplab.cli.script import exit_fast
from mlplab.config.checks import check
from mlplab.engine.startup import quick_imports


def train(config: DictConfig, *, resume: bool = False) -> float:
    """Checks the configuration, and only then imports what is needed to run it."""
    if "mlplab.training" not in sys.modules:  # which checks it too, and is there from a sweep's second job on
        check(config, resume=resume)
    with quick_imports():
        from mlplab.training import train
    return train(config, resume=resume)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float:
    """One job, as Hydra calls it."""
    return run_job(train, config)


if __name__ == "__main__":
    exit_fast(run_command(main, partial(train, resume=True), root=Path(__file__).resolve().parent))
