"""What a run writes about itself: what was asked, what it is made of, what happened, and how it ended."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mlplab.data.module import DataModule
from mlplab.errors import Refusal, RunFailed, RunStopped
from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import write_json
from mlplab.runs.manifest import describe_environment

log = logging.getLogger("mlplab")


@contextmanager
def recorded(directory: RunDirectory) -> Iterator[None]:
    """Writes train.log, and the state in which the run ends, however it ends."""
    handler = logging.FileHandler(directory.path / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("mlplab", "lightning.pytorch", "py.warnings")]
    for logger in loggers:
        logger.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # who reads the terminal is told once, by the command line
    logging.captureWarnings(False)
    try:
        yield
    except RunStopped as stopped:
        directory.end("stopped", str(stopped))
        raise
    except KeyboardInterrupt:
        directory.end("stopped", "Ctrl-C, before anything was saved")
        raise
    except (RunFailed, Refusal) as failed:
        log.error(str(failed))
        directory.end("failed", str(failed))
        raise
    except BaseException as error:
        log.exception("the run failed")
        directory.end("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def write_manifest(directory: RunDirectory, config: DictConfig, data: DataModule, n_parameters: int) -> None:
    """Saves what was asked (.hydra/) and what it is made of (manifest.json)."""
    root = Path(OmegaConf.create({"root": "${project_root:}"}).root)
    write_json(
        directory.path / "manifest.json",
        {
            **describe_environment(root),
            "seed": config.seed,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "rows": {part: len(data.part(part)[1]) for part in ("train", "val", "test")},
            },
            "parameters": n_parameters,
        },
    )
    asked = directory.path / ".hydra"
    asked.mkdir(exist_ok=True)
    OmegaConf.save(config, asked / "config.yaml")
    if HydraConfig.initialized():  # not when called from a notebook or a test
        OmegaConf.save(OmegaConf.create({"hydra": HydraConfig.get()}), asked / "hydra.yaml")
        OmegaConf.save(HydraConfig.get().overrides.task, asked / "overrides.yaml")
