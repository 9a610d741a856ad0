"""Composes the configuration for `train.py resume=…`. Imports nothing heavy."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from mlplab.config.differing import (
    ABSENT,
    NOT_LEARNED,
    changes,
    describe_changes,
    describe_new,
    extended,
    flat,
    shown_or_nothing,
)
from mlplab.config.paths import latest_run, shortest
from mlplab.config.suggestions import nearest_key
from mlplab.errors import UserError
from mlplab.optimization.names import NEED_END
from mlplab.rules import shown
from mlplab.runs.layout import LOCK
from mlplab.runs.lock import require_free
from mlplab.runs.run_reading import read_status
from mlplab.runs.untrusted_config import read_config, read_yaml, require_run

PATIENCE = "callbacks.early_stopping.patience"
"""Option of early stopping that may grow on resuming, as nothing else reads it."""


def resumes(words: Sequence[str]) -> bool:
    """Returns whether a command line resumes a run."""
    plain = [word.lstrip("+") for word in words]
    return any(word.startswith("resume=") and word != "resume=null" for word in plain)


def resumed_config(words: Sequence[str], conf: Path) -> DictConfig | None:
    """Composes the configuration of a resumed run; returns None if the run has finished.

    Args:
        words: of the command line.
        conf: the project's.

    Raises:
        UserError: there is no such run, another process runs it, or the overrides change what is learned.
    """
    # Hydra does not run here, so its flags would be ignored silently.
    flags = [word for word in words if word.startswith("-")]
    if flags:
        raise UserError("resume= must be used without flags", f"resume=… with {flags[0]}", "resume=… alone")
    if "LOCAL_RANK" in os.environ:  # Lightning passes hydra.run.dir to the processes that it starts
        words = [word for word in words if not word.startswith("hydra.")]
    with initialize_config_dir(str(conf), version_base="1.3"):
        overrides = OverridesParser.create().parse_overrides(list(words))
        given: dict[str, Override] = {}
        for override in overrides:
            key = override.key_or_group
            if key in given:
                raise UserError(f"{key} must be given once", "it is there twice", str(override.input_line))
            given[key] = override
        if given["resume"].is_sweep_override():
            runs = str(given["resume"].input_line)
            raise UserError("resume must be one run", runs, f"{runs.partition(',')[0]}, and then the others")
        name = str(given.pop("resume").value())
        if name == "latest" and not Path(name).exists():
            logs = given["paths.logs"].value() if "paths.logs" in given else conf.parent / "logs"
            name = str(latest_run(Path(str(logs)).expanduser() / "runs", "resume"))
        if "train" in given and not given["train"].value():
            # A test would end the run, which may still go on.
            hint = f"train=false start_from={name}, which is a run of its own"
            raise UserError("a resumed run must train", "train=false", hint)
        directory = require_run(Path(name).expanduser(), "resume")
        trust = given.pop("trust").value() if "trust" in given else False
        if not isinstance(trust, bool):
            raise UserError("trust must be true or false", f"trust={trust}", "trust=false")
        # The first process already holds the lock when the others arrive here.
        if all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID")):
            require_free(directory / LOCK)  # now, as the run itself checks only after long imports
        config = config_of_run(directory, conf, trust=trust)
        before = OmegaConf.to_container(config, resolve=False)
        for override in given.values():
            _change(config, override)
    # After all overrides, so that one message lists every change.
    _require_same_training(flat(before), flat(OmegaConf.to_container(config, resolve=False)), directory)
    set_hydra_config(directory, choices_of=directory)
    status = read_status(directory)
    if status["state"] == "finished" and not _can_go_on(config, status, before):
        print(f"the run has already finished ({status.get('reason')}): nothing to do")
        return None
    return config


def config_of_run(directory: Path, conf: Path, *, trust: bool) -> DictConfig:
    """Reads a run's configuration, and adds options that conf/ has gained since. Hydra must be initialised.

    Raises:
        UserError: the configuration cannot be read, or is unsafe.
    """
    config = read_config(directory, conf, trust=trust)
    then: Any = OmegaConf.to_container(config, resolve=False)
    options = GlobalHydra.instance().config_loader().get_group_options
    hydra = _hydra_of_run(directory)
    choices = [
        f"{group}={choice}"
        for group, choice in _choices(hydra).items()
        # Only names of files in conf/, as the file is untrusted. An experiment's values are not defaults.
        if group in config and choice in options(group, ObjectType.CONFIG)
    ]
    now = OmegaConf.to_container(compose("config", choices), resolve=False)
    tasks = (hydra.get("overrides") or {}).get("task")
    taken_away = [str(word)[1:] for word in tasks or () if str(word).startswith("~")]
    whole = extended(then, now, taken_away)  # type: ignore[arg-type]
    new = describe_new(then, whole, "the run", (*NOT_LEARNED, "paths", "sweep"))
    if new:
        print(new)
    return OmegaConf.create(whole)


def _hydra_of_run(directory: Path) -> dict[str, Any]:
    """Reads a run's record of Hydra's own configuration as plain values; empty if there is none."""
    path = directory / ".hydra" / "hydra.yaml"
    plain: Any = OmegaConf.to_container(read_yaml(path), resolve=False) if path.is_file() else {}
    hydra = plain.get("hydra")
    return {name: part for name, part in hydra.items() if isinstance(part, dict)} if isinstance(hydra, dict) else {}


def _choices(hydra: Mapping[str, Any]) -> dict[str, str]:
    named = hydra.get("runtime", {}).get("choices")
    # Hydra would resolve an interpolation in a choice, which is untrusted.
    return {
        str(group): choice
        for group, choice in (named.items() if isinstance(named, dict) else ())
        if isinstance(choice, str) and "${" not in choice
    }


def _change(config: DictConfig, override: Override) -> None:
    """Applies an override to the stored configuration of a run."""
    key, text = override.key_or_group, override.input_line or override.key_or_group
    if override.is_delete() or override.is_sweep_override() or key.startswith("hydra"):
        raise UserError("a resumed run must be given options with one plain value each", text, "a new run")
    value = override.value()
    if GlobalHydra.instance().config_loader().get_group_options(key, ObjectType.CONFIG):
        composed = compose("config", [f"{key}={value}"])
        if composed.get(key) is None:  # an experiment, which changes other groups
            raise UserError("a resumed run must be given options with one plain value each", text, "a new run")
        value = composed[key]  # the group as in conf/ now
    else:
        keys = [*flat(OmegaConf.to_container(config, resolve=False)), *config]
        # A prefix of a key also counts: it replaces a whole part of the configuration.
        is_known = any(str(known) == key or str(known).startswith(f"{key}.") for known in keys)
        if not is_known and not override.is_add() and not override.is_force_add():
            near = nearest_key(key, [str(known) for known in keys])
            hint = f"{near}={shown(value)}" if near else "resume=… alone"
            raise UserError("names on the command line must exist in the configuration of the run", text, hint)
    with open_dict(config):
        # A list or a group replaces the old one whole.
        OmegaConf.update(config, key, value, merge=False, force_add=True)


def _require_same_training(before: Mapping[str, Any], after: Mapping[str, Any], directory: Path) -> None:
    """Checks that the overrides do not change what is learned.

    Raises:
        UserError: lists the changes.
    """
    # The files may have moved: the fingerprint of the data is compared later.
    moved = ("data.path", "data.test_path", "data.directory")
    changed = changes(before, after, (*NOT_LEARNED, *moved, "paths.logs", "trust", "resume"))
    patience = changed.get(PATIENCE)
    # Without it the run would have taken the same steps, and ended later.
    if patience is not None and all(type(value) is int for value in patience) and patience[1] > patience[0]:
        del changed[PATIENCE]
    old, new = changed.pop("trainer.max_epochs", (ABSENT, ABSENT))
    if changed:
        raise UserError(
            "a resumed run must keep the options that affect what it learns",
            describe_changes(changed),
            f"resume={shortest(directory)} alone, or a new run",
        )
    if new is old:
        return
    actual = f"trainer.max_epochs={shown_or_nothing(new)} instead of {shown_or_nothing(old)}"
    hint = f"trainer.max_epochs={shown_or_nothing(old)}"
    # Both mean that epochs do not limit the run.
    unlimited = (-1, None)
    if new not in unlimited and (not isinstance(new, int) or old in unlimited or new < old):
        raise UserError("trainer.max_epochs must not be smaller when a run resumes", actual, hint)
    # With another number of epochs, earlier steps would have had other learning rates or averages.
    dependent = _averaging_by_epochs(after)
    if after.get("scheduler.name") in NEED_END:
        dependent.append(f"scheduler={after['scheduler.name']}")
    if dependent:
        requirement = f"the number of epochs must not change, as {dependent[0]} depends on it"
        raise UserError(requirement, actual, f"{hint}, or a new run")


def _averaging_by_epochs(values: Mapping[str, Any]) -> list[str]:
    """Returns the names of StochasticWeightAveraging callbacks whose settings depend on the number of epochs."""
    averaging = [key for key, value in values.items() if str(value).endswith(".StochasticWeightAveraging")]
    return [
        name
        for name in (key.removesuffix("._target_") for key in averaging)
        # Lightning multiplies a share by max_epochs, and uses max_epochs in the averages' cosine schedule.
        if not isinstance(values.get(f"{name}.swa_epoch_start"), int)
        or values.get(f"{name}.annealing_strategy") != "linear"
    ]


def _can_go_on(config: DictConfig, status: Mapping[str, Any], before: Any) -> bool:
    """Returns whether a finished run has been given more epochs, patience or time.

    Raises:
        UserError: it was given more epochs, but did not end at the limit of epochs.
    """
    reason = str(status.get("reason"))
    changed = changes(before, OmegaConf.to_container(config, resolve=False), ())
    old, new = before["trainer"].get("max_epochs"), config.trainer.max_epochs
    if reason == "converged" and PATIENCE in changed:
        return True
    if old == new:
        return reason == "time limit"
    if reason != "epoch limit":
        patience = OmegaConf.select(config, PATIENCE)
        grows = reason == "converged" and isinstance(patience, int)
        raise UserError(
            "a finished run must have ended by its epoch limit to be given more epochs",
            f"it ended: {reason}",
            f"{PATIENCE}={2 * patience}, with which it trains on" if grows else "a new run",
        )
    return True


def set_hydra_config(directory: Path, *, choices_of: Path) -> None:
    """Sets Hydra's own configuration for a run that is not started by `hydra.main`.

    Args:
        directory: of the run.
        choices_of: directory of the run whose group choices apply; only their names are read from its hydra.yaml.
    """
    setup_globals()  # registers Hydra's resolvers
    hydra = OmegaConf.structured(HydraConf)
    hydra.mode = "RUN"  # a sweep's job resumes as a single run
    hydra.run.dir = str(directory)
    hydra.job.name = "train"
    hydra.runtime.cwd = os.getcwd()
    hydra.runtime.output_dir = str(directory)
    hydra.runtime.choices = _choices(_hydra_of_run(choices_of))
    HydraConfig.instance().set_config(OmegaConf.create({"hydra": hydra}))
