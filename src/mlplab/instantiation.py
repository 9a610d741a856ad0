"""Builds objects from parts of the configuration, and turns their errors into refusals."""

import copy
import functools
import inspect
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlplab.errors import RunStopped, UserError, described

# Code of the user's may rely on what Hydra does with its arguments.
OWN: str | tuple[str, ...] = ("mlplab.", "lightning.pytorch.callbacks.", "torch.optim.")
"""Packages whose code is called directly, without Hydra, if all options are plain values."""


def instantiate(group: str, node: Any, **arguments: Any) -> Any:
    """Builds the object whose `_target_` a part of the configuration names.

    Raises:
        UserError: it could not be built; says which error arose in which file and line.
    """
    options = _options_of_own(node, arguments)
    try:
        if options is not None:
            function = hydra.utils.get_object(node["_target_"])
            if str(getattr(function, "__module__", None)).startswith(OWN):  # not a name that its module merely imports
                return functools.partial(function, **options) if node.get("_partial_") else function(**options)
        # Plain lists and dicts: PyTorch's and Lightning's classes do not take OmegaConf's.
        return hydra.utils.instantiate(node, **arguments, _convert_="all")
    except (KeyboardInterrupt, RunStopped):
        raise
    except BaseException as failure:  # code of the user's may raise anything, or call sys.exit
        if options is None and isinstance(failure, Exception) and not isinstance(failure, InstantiationException):
            raise
        cause = failure.__cause__ or failure if isinstance(failure, InstantiationException) else failure
        if isinstance(cause, UserError):
            raise cause from None
        # The last frame is where the error arose.
        place = traceback.extract_tb(cause.__traceback__)[-1]
        raise UserError(
            f"{group} must be built by {node.get('_target_')} without an error",
            f"{described(cause)} ({Path(place.filename).name}, line {place.lineno})",
            "HYDRA_FULL_ERROR=1 for the traceback",
        ) from cause


def _options_of_own(node: Any, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the arguments for calling code of `OWN` directly; None if Hydra is needed.

    Hydra copies, merges and searches a configuration before it calls the target. With plain values all this yields
    the values themselves, and takes longer than the call.
    """
    if not str(node.get("_target_")).startswith(OWN):
        return None
    try:
        resolved = OmegaConf.is_config(node) and OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        # A copy, as the object that is built may change its arguments.
        plain: Any = resolved or copy.deepcopy(dict(node))
    except OmegaConfBaseException:
        return None
    is_call = type(plain.get("_partial_", False)) is bool
    options = {name: value for name, value in plain.items() if name not in ("_target_", "_partial_")}
    is_plain = all(isinstance(name, str) and not name.startswith("_") for name in options)
    return (
        options | dict(arguments)
        if is_call and is_plain and _are_plain([*options.values(), *arguments.values()])
        else None
    )


def _are_plain(values: Sequence[Any]) -> bool:
    """Returns whether there is nothing for Hydra to resolve in the values."""
    return all(
        value is None
        # OmegaConf writes a missing value as ???.
        or (type(value) is str and "${" not in value and value != "???")
        or type(value) in (bool, int, float)
        or (type(value) is list and _are_plain(value))
        for value in values
    )


def accepted_options(group: str, node: Any) -> list[str]:
    """Returns the option names that the `_target_` accepts, and checks the given options against them.

    Raises:
        UserError: the target cannot be imported, or does not accept an option; lists those that it does.
    """
    target = node.get("_target_")
    if target is None:
        raise UserError(
            f"{group} must name what it builds",
            f"conf/{group} has no _target_",
            f"_target_: package.{group}",
        )
    try:
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters
    except Exception as error:
        raise UserError(
            f"{group}._target_ must be importable",
            f"{target}: {error.__cause__ or error}",
            "the full dotted name",
        ) from None
    # **options takes any name, so there is nothing to check against.
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    unknown = [str(name) for name in node if not str(name).startswith("_") and name not in parameters]
    if unknown:
        raise UserError(
            f"{group} must be given options that {target} takes",
            f"{group}.{unknown[0]}={node[unknown[0]]}",
            ", ".join(parameters),
        )
    return list(parameters)
