"""Builds objects from parts of the configuration, and turns their errors into refusals."""

import collections.abc
import copy
import functools
import inspect
import logging
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra.utils
import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlplab.config.suggestions import nearest_name
from mlplab.errors import RunStopped, UserError, described
from mlplab.rules import shown

# It logs each name that it does not find; the refusal says the same.
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)

FOR_TRACEBACK = "HYDRA_FULL_ERROR=1 for the traceback"
"""Hint for errors of the user's own code."""

# User code may rely on what Hydra does with its arguments.
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
        if not arguments:
            return hydra.utils.instantiate(node, _convert_="all")
        # Hydra does not see the arguments: it would take a dataclass among them for a configuration.
        function = hydra.utils.instantiate(node, _partial_=True, _convert_="all")
        return functools.partial(function, **arguments) if node.get("_partial_") else function(**arguments)
    except (KeyboardInterrupt, RunStopped):
        raise
    except BaseException as failure:  # user code may raise anything, or call sys.exit
        if isinstance(failure, OmegaConfBaseException):
            raise
        cause = failure.__cause__ or failure if isinstance(failure, InstantiationException) else failure
        must = f"{group} must be built by {node.get('_target_')} without an error"
        _refuse(must, cause, _meant_option(group, node) or FOR_TRACEBACK)


@contextmanager
def explain_own_code(requirement: str) -> Iterator[None]:
    """Turns an error of the user's own code into a refusal.

    Raises:
        UserError: says which error arose in which file and line.
    """
    try:
        yield
    except (KeyboardInterrupt, RunStopped):
        raise
    except BaseException as error:  # it may raise anything, or call sys.exit
        _refuse(requirement, error, FOR_TRACEBACK)


def _refuse(requirement: str, cause: BaseException, hint: str) -> NoReturn:
    if isinstance(cause, UserError):
        raise cause from None
    # The last frame is where the error arose.
    place = traceback.extract_tb(cause.__traceback__)[-1]
    given = f"{described(cause)} ({Path(place.filename).name}, line {place.lineno})"
    raise UserError(requirement, given, hint) from cause


def _meant_option(group: str, node: Any) -> str | None:
    """Suggests the parameter nearest to an option that the `_target_` accepts only by its `**kwargs`."""
    try:
        parameters = parameters_of(hydra.utils.get_object(node["_target_"])) or {}
    except Exception:  # it cannot be imported
        return None
    for name in node:
        if str(name).startswith("_") or name in parameters:
            continue
        near = nearest_name(str(name), [one for one, p in parameters.items() if p.kind is not p.VAR_KEYWORD])
        if near is not None:
            return f"{group}.{near}={shown(node[name])}"
    return None


def _options_of_own(node: Any, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the arguments for calling code of `OWN` directly; None if Hydra is needed.

    Hydra copies, merges and searches a configuration before it calls the target. For plain values that changes nothing,
    and takes longer than the call.
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


def build_function(group: str, node: Any, n_arguments: int = 2) -> Callable[..., Any]:
    """Builds a callable of `n_arguments` tensors: an object of a class, or a function with its options bound.

    Lists for parameters that are tensors, such as class weights, become tensors.

    Raises:
        UserError: the target cannot be imported or built, or does not take an option.
    """
    node = dict(node)
    accepted = accepted_options(group, node)
    target = hydra.utils.get_object(node["_target_"])
    kinds = annotations_of(target)
    for name in accepted:
        if isinstance(node.get(name), list) and torch.Tensor in members_of(kinds.get(name)):
            node[name] = torch.tensor(node[name], dtype=torch.get_default_dtype())
    if "_partial_" not in node and not isinstance(target, type):
        # A function that still needs `n_arguments` is the callable itself; any other function is a factory of it.
        node["_partial_"] = _n_missing(target, node) >= n_arguments
    options = {name: value for name, value in node.items() if isinstance(value, torch.Tensor)}
    built = instantiate(group, {name: value for name, value in node.items() if name not in options}, **options)
    if not callable(built):
        raise UserError(
            f"{group} must build a function, or an object that is called like one",
            f"{node['_target_']} built {type(built).__name__}", "another _target_",
        )  # fmt: skip
    return built  # type: ignore[no-any-return]


def _n_missing(target: Any, node: Mapping[str, Any]) -> int:
    """Counts the positional parameters without a default or an option."""
    parameters = parameters_of(target)
    if parameters is None:  # PyTorch's functions in C have no signature: taken as the callable itself
        return sys.maxsize
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in by_place and p.default is p.empty and name not in node for name, p in parameters.items())


def accepted_options(group: str, node: Any, also: Sequence[str] = ()) -> list[str]:
    """Returns the option names that the `_target_` accepts, and checks the given options against them.

    Args:
        group: of the configuration, or a place in it.
        node: that part, with the `_target_`.
        also: options beside those of the `_target_`, for messages.

    Raises:
        UserError: the target cannot be imported, or does not accept an option or the type of its value.
    """
    target = node.get("_target_")
    if target is None:
        raise UserError(
            f"{group} must name what it builds",
            f"conf/{group} has no _target_",
            f"_target_: package.{group}",
        )
    try:
        found = hydra.utils.get_object(target)
        if not callable(found):
            raise TypeError(f"{type(found).__name__} cannot be called")
    except Exception as error:
        near = _nearest_target(str(target))
        raise UserError(
            f"{group}._target_ must be importable",
            f"{target}: {error.__cause__ or error}",
            f"{group}._target_={near}" if near else "the full dotted name",
        ) from None
    parameters = parameters_of(found)
    if parameters is None:  # PyTorch's functions in C have no signature
        return []
    kinds = annotations_of(found)
    options = {str(name): value for name, value in node.items() if not str(name).startswith("_")}
    for name, value in options.items():
        if not _fits(value, kinds.get(name)):
            raise UserError(
                f"{group}.{name} must be {_shown_kind(kinds[name])}, as {target} says",
                f"{group}.{name}={shown(value)}", f"{group}.{name}={_example(kinds[name])}",
            )  # fmt: skip
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [name for name in options if name not in parameters]
    if unknown and not takes_any:
        names = [*parameters, *also]
        near = nearest_name(unknown[0], names)
        # The options of a whole group may be left from the former choice, such as digits.
        left = "leaving it out" if "." in group else f"leaving it out, or ~{group} +{group}._target_={target}"
        raise UserError(
            f"{group} must be given options that {target} takes: {', '.join(names)}",
            f"{group}.{unknown[0]}={shown(options[unknown[0]])}",
            f"{group}.{near}={shown(options[unknown[0]])}" if near else left,
        )
    return [name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _nearest_target(target: str) -> str | None:
    """Returns the nearest name within the module or class of a dotted name."""
    place, _, name = target.rpartition(".")
    try:
        names = [one for one in dir(hydra.utils.get_object(place)) if not one.startswith("_")]
    except Exception:  # the module or class does not exist either
        return None
    near = nearest_name(name, names)
    return near and f"{place}.{near}"


def class_of(target: Any) -> type | None:
    """Returns the class that a `_target_` names; None if it is a function, or cannot be imported."""
    try:
        found = hydra.utils.get_object(str(target))
    except Exception:  # reported where it is built
        return None
    return found if isinstance(found, type) else None


def is_data_module(target: Any) -> bool:
    """Returns whether a `_target_` is the class of a LightningDataModule."""
    found = class_of(target)
    return found is not None and issubclass(found, pl.LightningDataModule)


PLAIN_KINDS: dict[Any, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list"}
"""Type of a configuration's value → its name in messages."""

EXAMPLES: dict[Any, str] = {bool: "true", int: "1", float: "0.5", str: "text", list: "[1,2]"}


@functools.cache  # a stack of thousands of networks asks the same of each
def parameters_of(target: Any) -> Mapping[str, inspect.Parameter] | None:
    """Returns the parameters of a callable; None if Python does not know them."""
    try:
        return inspect.signature(target).parameters
    except ValueError:
        return None


@functools.cache
def annotations_of(target: Any) -> dict[str, Any]:
    """Returns the annotated types of the parameters; empty if they cannot be resolved."""
    try:
        return typing.get_type_hints(vars(target).get("__init__", target) if isinstance(target, type) else target)
    except Exception:  # annotations of foreign code may name anything
        return {}


def members_of(kind: Any) -> tuple[Any, ...]:
    """Returns the types of a union, or the type itself; a generic type by its origin."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(kind) for member in members_of(part))
    if typing.get_origin(kind) is typing.Literal:
        return (kind,)
    origin = typing.get_origin(kind) or kind
    return (list,) if origin in (tuple, collections.abc.Sequence, collections.abc.Iterable) else (origin,)


def _fits(value: Any, kind: Any) -> bool:
    """Returns whether a value fits a parameter. Only plain values against plain types are ever refused."""
    members = members_of(kind)
    if any(member not in (*PLAIN_KINDS, type(None)) and typing.get_origin(member) is None for member in members):
        return True
    choices = [choice for member in members for choice in typing.get_args(member)]
    given = float if type(value) is int and float in members else type(value)
    # A parameter that is None by default is often not annotated as such.
    return value is None or given not in PLAIN_KINDS or given in members or value in choices


def _shown_kind(kind: Any) -> str:
    choices = [str(choice) for member in members_of(kind) for choice in typing.get_args(member)]
    names = [PLAIN_KINDS.get(member, "null") for member in members_of(kind) if typing.get_origin(member) is None]
    return " or ".join([*names, *(["one of " + ", ".join(choices)] if choices else [])])


def _example(kind: Any) -> str:
    first = members_of(kind)[0]
    return str((typing.get_args(first) or [EXAMPLES.get(first, "null")])[0])


def plain_values(node: Any) -> dict[str, Any]:
    """Resolves a part of the configuration to plain values."""
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
