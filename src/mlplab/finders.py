"""Finds the learning rate and the batch size that Lightning's finders suggest, before a run begins."""

import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BatchSizeFinder, Callback, LearningRateFinder
from omegaconf import DictConfig, OmegaConf, open_dict

from mlplab.callbacks.compatibility import FINDERS
from mlplab.config.commands import typed_overrides
from mlplab.data.module import DataModule
from mlplab.data.own_data import OwnData
from mlplab.errors import RunFailed, RunStopped, UserError, described
from mlplab.instantiation import accepted_options, class_of, instantiate, is_data_module
from mlplab.rules import shown
from mlplab.trainer_settings import use_threads

LIMITS = ("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "fast_dev_run", "profiler", "threads")
"""Trainer flags that a search ignores, as it has its own number of steps."""

TINY = 1e-6
"""Found learning rates below this one probably come from noise."""

Build = Callable[[DictConfig], tuple[DataModule | OwnData, pl.LightningModule]]

# It logs what the refusal says.
logging.getLogger("lightning.pytorch.tuner").setLevel(logging.CRITICAL)


def find_values(config: DictConfig, build: Build) -> dict[str, Any]:
    """Runs the finders among the callbacks, and sets the found values in the configuration; returns them by key.

    Each search has its own data, network and Trainer. The run is therefore the same as with these values on the command
    line.

    Args:
        config: as conf/ composes it.
        build: builds data and learner from it.

    Raises:
        UserError: a value cannot be found, or is given on the command line, too.
    """
    found: dict[str, Any] = {}
    for name, node in _finders(config):
        idle = "train=false" if not config.get("train", True) else "trainer.fast_dev_run"
        if config.trainer.fast_dev_run or idle == "train=false":
            print(f"note    callbacks.{name} finds nothing with {idle}", flush=True)
            continue
        accepted_options(f"callbacks.{name}", node)
        finder = instantiate("callbacks", node)
        _require_one_search(name, finder)
        key = _key(config, finder)
        typed = next((word for word in typed_overrides() if word.lstrip("+").startswith(f"{key}=")), None)
        if typed is not None:
            raise UserError(
                f"{key} must be found or given, not both", f"{typed} with callbacks.{name}",
                f"leaving one of them out: {key}, or callbacks.{name}=null",
            )  # fmt: skip
        is_set = getattr(finder, "_update_attr", True)
        # Lightning would set an attribute, which the learner does not have.
        finder._update_attr = False
        print(f"search  for {key}, by {type(finder).__name__}", flush=True)
        value = _search(config, build, name, finder, key)
        kind = type(finder).__name__
        if not is_set:
            print(f"note    {kind} suggests {key}={shown(value)}, which update_attr=false leaves unused", flush=True)
            continue
        print(f"found   {key}={shown(value)}", flush=True)
        if isinstance(finder, LearningRateFinder) and value < TINY:
            # Lightning takes the slope over the rate, not over its logarithm.
            print(
                "note    losses at tiny rates differ by noise, where its slope is steepest: min_lr: 0.0001 leaves "
                "them out"
            )
        _set(config, key, value)
        found[key] = value
    return found


def set_found(config: DictConfig, found: Mapping[str, Any]) -> None:
    """Sets in the configuration the values that a run found at its beginning, from its manifest."""
    for key, value in found.items():
        _set(config, key, value)


def _set(config: DictConfig, key: str, value: Any) -> None:
    with open_dict(config):
        OmegaConf.update(config, key, value, force_add=True)


def _finders(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """Yields name and configuration of each finder. Batch sizes come first, as learning rates depend on them."""
    nodes = [(str(name), node) for name, node in (config.get("callbacks") or {}).items() if node]
    classes = [(name, node, class_of(node.get("_target_"))) for name, node in nodes]
    for kind in FINDERS:
        yield from ((name, node) for name, node, one in classes if one is not None and issubclass(one, kind))


def _require_one_search(name: str, finder: Callback) -> None:
    kind = next(kind for kind in FINDERS if isinstance(finder, kind))
    hooks = [hook for hook in dir(Callback) if hook.startswith("on_")]
    other = next((hook for hook in hooks if getattr(type(finder), hook) is not getattr(kind, hook)), None)
    if other is not None:
        raise UserError(
            f"callbacks.{name} must search once, before the run: checkpoints hold no further value",
            f"{type(finder).__name__} has its own {other}",
            f"{kind.__name__} itself",
        )


def _key(config: DictConfig, finder: Callback) -> str:
    """Returns the key in the configuration for the value of a finder."""
    is_rate = isinstance(finder, LearningRateFinder)
    # As Lightning names them.
    named: str = finder._attr_name if is_rate else finder._batch_arg_name  # type: ignore[attr-defined]
    if not is_rate:
        is_own = is_data_module(config.data.get("_target_"))
        if named in (_options_of(config, "data") if is_own else ["batch_size"]):
            return f"data.{named}"
        raise UserError(
            f"batch_arg_name must be an option of {config.data.get('_target_')}", f"batch_arg_name={named}",
            "batch_arg_name=batch_size",
        )  # fmt: skip
    names = [named] if named else ["lr", "learning_rate"]
    if config.get("module"):
        options = _options_of(config, "module")
        own = next((one for one in names if one in options), None)
        if own is not None:
            return f"module.{own}"
        if named or "optimizer" not in options:
            raise UserError(
                "a module must have an option for its learning rate, which LearningRateFinder sets",
                f"{config.module.get('_target_')} takes {', '.join(options) or 'none'}",
                f"an argument {names[0]} of its __init__, or attr_name: NAME",
            )
    elif named not in ("", "lr", "learning_rate"):
        raise UserError("attr_name must be lr, which is optimizer.lr", f"attr_name={named}", "leaving attr_name out")
    if OmegaConf.select(config, "optimizer.groups"):
        raise UserError(
            "a learning rate that is found must be that of all parameters", "optimizer.groups gives some their own",
            "~optimizer.groups",
        )  # fmt: skip
    return "optimizer.lr"


def _options_of(config: DictConfig, group: str) -> list[str]:
    return accepted_options(group, {"_target_": config[group].get("_target_")})


def _search(config: DictConfig, build: Build, name: str, finder: Any, key: str) -> Any:
    """Runs a search, and returns the value that it suggests."""
    config = copy.deepcopy(config)
    if isinstance(finder, BatchSizeFinder):
        _set(config, key, finder._init_val)
    data, learner = build(config)
    use_threads(config, data, learner)
    if isinstance(finder, BatchSizeFinder) and isinstance(data, DataModule):
        # Lightning asks a loader for its data set; the project's loader has none.
        finder._max_val = min(finder._max_val, data.n_rows["train"])
    # As `lightning.pytorch.tuner.Tuner` does: nothing comes after the search.
    finder._early_exit = True
    flags: Any = OmegaConf.to_container(config.trainer, resolve=True)
    flags = {flag: value for flag, value in flags.items() if flag not in LIMITS}
    try:
        # Lightning's bar stays open after the search, and would be drawn between later lines.
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            # Left over from a search that ends within an epoch.
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                **flags, max_epochs=-1, callbacks=[finder], logger=False, default_root_dir=folder,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            if trainer.world_size > 1:
                raise UserError(
                    f"callbacks.{name} must search in one process", f"there are {trainer.world_size}",
                    f"trainer.devices=1 first, and then {key}=… for all",
                )  # fmt: skip
            trainer.fit(learner, data.module)
    except (UserError, RunFailed, RunStopped, KeyboardInterrupt):
        raise
    except Exception as error:  # of Lightning's search, or of the user's code
        raise UserError(
            f"callbacks.{name} must find {key}",
            " ".join(described(error).split()).rstrip("."),
            f"callbacks.{name}=null {key}=…",
        ) from error
    if isinstance(finder, BatchSizeFinder):
        return min(int(finder.optimal_batch_size or 1), finder._max_val)
    rate = finder.optimal_lr.suggestion()
    if rate is None:
        raise UserError(
            f"callbacks.{name} must find {key}", "there are too few losses to tell a slope",
            f"callbacks.{name}.num_training_steps=100, or a larger early_stop_threshold",
        )  # fmt: skip
    return rate
