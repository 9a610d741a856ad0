"""Building what a part of the configuration names, with its mistakes told as the configuration's."""

import inspect
import traceback
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from mlplab.errors import Refusal


def instantiate(group: str, node: Any, **arguments: Any) -> Any:
    """Builds what a part of the configuration names.

    Raises:
        Refusal: it could not be built; with the error of the code that failed, and where that was.
    """
    try:
        return hydra.utils.instantiate(node, **arguments, _convert_="all")
    except InstantiationException as failure:
        cause = failure.__cause__ or failure
        if isinstance(cause, Refusal):
            raise cause from None
        reason = " ".join(str(cause).split())
        place = traceback.extract_tb(cause.__traceback__)[-1]
        raise Refusal(
            f"{group} must be built by {node.get('_target_')} without an error",
            f"{type(cause).__name__}: {reason} ({Path(place.filename).name}, line {place.lineno})",
            "HYDRA_FULL_ERROR=1 for the traceback",
        ) from cause


def accepted_options(group: str, node: Any) -> list[str]:
    """The names that what `_target_` names takes; checked against the options given, before anything is built.

    Raises:
        Refusal: for the first such option, with those that it takes.
    """
    target = node.get("_target_")
    if target is None:
        raise Refusal(
            f"{group} must name what it builds",
            f"conf/{group} without _target_",
            f"_target_: package.{group}",
        )
    try:
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters
    except Exception as error:
        raise Refusal(
            f"{group}._target_ must be importable",
            f"{target}: {error.__cause__ or error}",
            "the full dotted name",
        ) from None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    unknown = [str(name) for name in node if not str(name).startswith("_") and name not in parameters]
    if unknown:
        raise Refusal(
            f"{group} must be given options that {target} takes",
            f"{group}.{unknown[0]}={node[unknown[0]]}",
            ", ".join(parameters),
        )
    return list(parameters)
