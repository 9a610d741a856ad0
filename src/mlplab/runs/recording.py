"""Records a run: configuration, manifest, log, and final state."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mlplab.config.as_yaml import as_yaml
from mlplab.config.env_file import describe_env_file
from mlplab.config.paths import shortest
from mlplab.config.resolvers import project_root, without_secrets
from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import DiskFull, Diverged, RunFailed, RunStopped, UserError, described, is_disk_full
from mlplab.runs.directory import RunDirectory
from mlplab.runs.files import flushed_together, timestamp, write_bytes, write_json
from mlplab.runs.layout import CONFIG, LOG, MANIFEST
from mlplab.runs.manifest import describe_environment, differences
from mlplab.runs.run_reading import read_manifest
from mlplab.runs.trust import NoKey, signed_text, why_text_is_not_own

log = logging.getLogger("mlplab")
log.addHandler(logging.NullHandler())  # before train.log is open, Python would print errors with their tracebacks

LOGGERS = ("mlplab", "lightning.pytorch")
"""Names of the Python loggers whose messages go to train.log."""


@contextmanager
def recording_run(directory: RunDirectory) -> Iterator[None]:
    """Writes train.log, and the run's final state however it ends."""
    with ending_only_by_error(directory):
        # If the log cannot be opened, the final state is still written to status.json.
        handler = train_log(directory.path)
    with logged(handler), ending(directory):
        variables = describe_env_file()
        if variables:
            log.info(variables)
        yield


def train_log(directory: Path) -> logging.FileHandler:
    """Opens the train.log of a run as a logging handler."""
    log.propagate = False  # the command line prints errors on the terminal itself, also one of this file
    handler = logging.FileHandler(directory / LOG, encoding="utf-8", errors="backslashreplace")
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is reported on the terminal
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


@contextmanager
def logged(handler: logging.Handler) -> Iterator[None]:
    """Adds the handler to `LOGGERS`, and closes it at the end."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


@contextmanager
def ending(directory: RunDirectory) -> Iterator[None]:
    """Writes the final state of a run that an error ends, and releases its directory."""
    try:
        yield
    except BaseException as error:
        if directory.why_gone is None:
            _end(directory, error)
        gone = directory.why_gone
        with contextlib.suppress(OSError):  # a checkpoint may have made the directory again
            directory.end("failed", gone)
        if isinstance(error, RunStopped | KeyboardInterrupt):
            raise RunStopped(gone, getattr(error, "status", 130)) from None
        raise RunFailed(gone) from error
    finally:
        directory.release()


def _end(directory: RunDirectory, error: BaseException) -> NoReturn:
    """Writes the state of a run that an error has ended, and raises the error or an explanation."""
    try:
        raise error
    except RunStopped as stopped:
        directory.end("stopped", str(stopped))
        raise
    except KeyboardInterrupt:  # only where `stop_on_signal` cannot set handlers, outside the main thread
        directory.end("stopped", "Ctrl-C")
        raise
    except BaseException as error:
        # First, as a full disk raises many classes of errors, but the run can resume.
        if is_disk_full(error):
            full = error if isinstance(error, DiskFull) else _disk_full(directory, error)
            log.error(str(full), exc_info=error)
            with contextlib.suppress(OSError):  # otherwise the run counts as killed, which can resume too
                directory.end("stopped", str(full))
            raise full from error.__cause__ if full is error else error
        if isinstance(error, RunFailed | UserError):
            log.error(str(error), exc_info=error.__cause__)
            also = {"infeasible": True} if isinstance(error, Diverged) else {}
            directory.end("failed", str(error), is_refused=isinstance(error, UserError), **also)
            raise
        log.exception("the run failed")
        directory.end("failed", described(error))
        if not isinstance(error, Exception):  # raised by user code: it must not end a whole sweep
            raise RuntimeError(_raised(error)) from error
        raise


@contextmanager
def ending_only_by_error(directory: RunDirectory) -> Iterator[None]:
    """Does the same as `ending`, but without an error keeps the directory locked."""
    try:
        yield
    except BaseException as error:
        with ending(directory):
            raise error
        raise


def _raised(error: BaseException) -> str:
    return f"sys.exit({error.code}) was called" if isinstance(error, SystemExit) else described(error)


def _disk_full(directory: RunDirectory, error: BaseException) -> DiskFull:
    return DiskFull(
        f"a run must fit on the disk, but {described(error)}; the last checkpoint remains; try freeing "
        f"some space, then resume={shortest(directory.path)}"
    )


@flushed_together()
def write_manifest(
    directory: RunDirectory,
    config: DictConfig,
    data: DataModule | OwnData,
    n_parameters: int,
    found: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Writes configuration (.hydra/) and environment (manifest.json) of a new run; returns the configuration as YAML.

    Values from the environment stay `${oc.env:…}` in it, so that no secret is written.
    """
    folder = (directory.path / CONFIG).parent
    folder.mkdir(exist_ok=True)
    if HydraConfig.initialized():  # not in a notebook or a test
        # Unresolved, so that no value from the environment is written.
        hydra = OmegaConf.to_container(HydraConfig.get(), enum_to_str=True)
        write_bytes(folder / "hydra.yaml", as_yaml({"hydra": hydra}).encode())
        write_bytes(folder / "overrides.yaml", as_yaml(HydraConfig.get().overrides.task).encode())
    text = as_yaml(config)
    # Last of the three: once it exists a run can resume, and needs the other two.
    write_bytes(directory.path / CONFIG, _signed(text.encode(), directory.path))
    write_json(
        directory.path / MANIFEST,
        {
            **_label(config, directory),
            **environment(config, directory),
            "seed": config.seed,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "rows": data.n_rows,
            },
            "parameters": n_parameters,
            **({"found": dict(found)} if found else {}),
        },
    )
    return text


def add_to_manifest(directory: RunDirectory, config: DictConfig, step: int) -> list[str]:
    """Records in the manifest that a run resumes; returns differences from its initial environment."""
    manifest = read_manifest(directory.path)
    now = environment(config, directory)
    differing = differences(manifest, now)
    manifest.setdefault("resumed", []).append({"time": timestamp(), "step": step, **now})
    manifest |= _label(config, directory)
    write_json(directory.path / MANIFEST, manifest)
    path, text = directory.path / CONFIG, as_yaml(config).encode()
    # A received run is not signed, or the sender's code would run without trust=true from now on.
    is_own = why_text_is_not_own(path.read_bytes(), directory.path) is None
    write_bytes(path, _signed(text, directory.path) if is_own else text)
    return differing


def environment(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Describes command, code, versions, hardware and engine, and whether the run trains in a stack."""
    engine = OmegaConf.select(config, "engine.name", default="fast")
    return {**describe_environment(project_root()), "engine": engine, "stacked": directory.is_stacked}


def _label(config: DictConfig, directory: RunDirectory) -> dict[str, Any]:
    """Returns name, tags and notes of a run; status.json has the name, too."""
    label = without_secrets(config, [key for key in ("name", "tags", "notes") if key in config])
    if label.get("name") is not None:
        directory.note(name=label["name"])
    return label


def _signed(text: bytes, directory: Path) -> bytes:
    try:
        return signed_text(text, directory)
    except NoKey as reason:
        log.warning(f"not signed: {reason}; code that conf/ does not name will need trust=true to resume")
        return text
