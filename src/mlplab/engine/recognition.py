"""Recognises the project's own code, so that any edit of it is heeded.

The fused step and the stacks compute in the place of functions that a researcher reads and changes. They do so only
where each of these functions is the one that they were written for, as `FINGERPRINTS` has it: a digest of its syntax
tree and of those of the functions in its module that it calls. Comments, docstrings and formatting do not count.
"""

import ast
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Hashable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks_module

from mlplab.callbacks import GradientNorms, LearningRateRange, NonFiniteGuard, ProgressLine, TrainingCurves
from mlplab.engine.fingerprints import FINGERPRINTS
from mlplab.engine.fused_step import FusedStep
from mlplab.engine.hooks import STEP_HOOKS, overriding
from mlplab.engine.kernels import ACTIVATION_KERNELS
from mlplab.engine.logged_values import FastLogDict
from mlplab.engine.surroundings import why_changed_by_updates, why_replaced
from mlplab.learner import Learner
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from mlplab.objectives.objective import Objective
from mlplab.objectives.penalties import l1_l2_penalty

LOSSES = (cross_entropy, binary_cross_entropy, mse, mae, huber)

WATCHERS = (NonFiniteGuard, GradientNorms, LearningRateRange, ProgressLine, TrainingCurves)
"""Callbacks of this project with hooks in every step, none of which changes the network."""

LIGHTNINGS_WATCHERS = (
    "DeviceStatsMonitor",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "RichProgressBar",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
)
"""The same of `lightning.pytorch.callbacks`."""

MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where a module keeps functions that are called with what it computes."""

GLOBAL_HOOKS = tuple(getattr(global_hooks_module, f"_global{name}") for name in MODULE_HOOKS)
"""The same for all modules."""


CONTAINERS = (list, tuple, set, frozenset, dict)

CALLS = ("__call__", "_wrapped_call_impl", "_call_impl")
# As they are imported: later replacements are found by comparing with these.
ORIGINAL_CALLS = [getattr(nn.Module, name) for name in CALLS]

ACCESS = (*CALLS, "__getattr__", "__getattribute__", "__setattr__")
"""Methods by which a module is called, and by which what it is made of is found and set."""


def first_edited(functions: Iterable[Callable[..., Any]]) -> str | None:
    """Returns the name of the first function that is not as it was when the engine was written; None if all are."""
    return next((function.__qualname__ for function in functions if not _is_known(function)), None)


def _is_known(function: Callable[..., Any]) -> bool:
    if type(function) is not FunctionType:
        return False
    known = FINGERPRINTS.get(full_name(function))
    return known is not None and known == fingerprint(function)


def full_name(function: FunctionType) -> str:
    """Returns module and name of a function; of the program that runs, the file's name stands for the module."""
    module = function.__module__
    if module == "__main__":
        module = Path(function.__code__.co_filename).stem
    return f"{module}.{function.__qualname__}"


@dataclass(frozen=True)
class _Fingerprint:
    """A digest with all that it was computed from, to notice helpers that were replaced since.

    Attributes:
        functions: each with its code and defaults.
        in_globals, in_others: (where, names, values): what was found under a name in globals; in modules and classes.
    """

    digest: str
    functions: list[tuple[FunctionType, CodeType, Any, Any]]
    in_globals: tuple[Any, ...]
    in_others: tuple[Any, ...]

    def is_current(self) -> bool:
        for function, code, defaults, by_name in self.functions:
            is_same = function.__code__ is code and function.__defaults__ is defaults
            if not is_same or function.__kwdefaults__ != by_name:
                return False
        # By loops in C: it is asked in every epoch.
        scopes, names, values = self.in_globals
        if not all(map(is_, map(dict.get, scopes, names), values)):
            return False
        owners, names, values = self.in_others
        return all(map(is_, map(getattr, owners, names, _NOTHING), values))


_NOTHING = repeat(None)  # an endless default for `getattr`
_FINGERPRINTS: dict[FunctionType, _Fingerprint] = {}


def fingerprint(function: FunctionType) -> str:
    """Returns a digest of the syntax trees of a function and of all functions in its module that it calls.

    A function whose source cannot be read, or that a decorator has wrapped, is like no other.
    """
    found = _FINGERPRINTS.get(function)
    if found is None or not found.is_current():
        descriptions: dict[FunctionType, str] = {}
        values: list[tuple[Any, str, Any]] = []
        _describe(function, descriptions, values)
        digest = hashlib.sha256("\n".join(sorted(descriptions.values())).encode()).hexdigest()[:16]
        functions = [(f, f.__code__, f.__defaults__, copy(f.__kwdefaults__)) for f in descriptions]
        of_globals = [value for value in values if isinstance(value[0], dict)]
        of_others = [value for value in values if not isinstance(value[0], dict)]
        found = _FINGERPRINTS[function] = _Fingerprint(digest, functions, _columns(of_globals), _columns(of_others))
    return found.digest


def _describe(
    function: FunctionType, descriptions: dict[FunctionType, str], values: list[tuple[Any, str, Any]]
) -> None:
    """Adds the description of a function, and of those that it calls."""
    if function in descriptions:
        return
    descriptions[function] = f"{function.__qualname__} {id(function)}"  # unlike any other, if it cannot be read
    if hasattr(function, "__wrapped__"):  # `inspect.getsource` would give the source of what is wrapped
        return
    tree = _syntax_tree(function, function.__code__)
    if tree is None:
        return
    own = _values_of_names(tree, function)
    values += own.values()
    module = function.__module__
    named = " ".join(
        # Containers of a library, such as `sys.modules`, are states.
        f"{name}={'' if isinstance(owner, ModuleType) and isinstance(value, CONTAINERS) else _described(value, module)}"
        for name, (owner, _, value) in sorted(own.items())
        if value is not None
    )
    defaults = f"{function.__defaults__!r} {function.__kwdefaults__!r}"
    descriptions[function] = f"{function.__qualname__} {defaults} {_serialized(tree)} {named}"
    for _, _, value in own.values():
        called = value.fget if isinstance(value, property) else value
        if type(called) is FunctionType and called.__module__ == function.__module__:
            _describe(called, descriptions, values)


@functools.cache
def _syntax_tree(function: FunctionType, code: CodeType) -> ast.AST | None:
    """Returns what was written, without annotations and docstrings, which change nothing; None if it cannot be read.

    Args:
        function: whose source it is.
        code: that of the function; only for the cache, as a function can be given other code.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    return _WithoutNotes().visit(tree)  # type: ignore[no-any-return]


class _WithoutNotes(ast.NodeTransformer):
    """Takes annotations and docstrings out of a syntax tree: they change nothing."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        if ast.get_docstring(node) is not None:
            del node.body[0]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return None if node.value is None else ast.Assign(targets=[node.target], value=self.visit(node.value))


def _serialized(node: Any) -> str:
    """Writes a syntax tree without positions and empty fields, which differ between versions of Python."""
    if isinstance(node, list):
        return f"[{' '.join(map(_serialized, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "ctx")
    return f"{type(node).__name__}({' '.join(f'{name}={_serialized(value)}' for name, value in fields)})"


def _values_of_names(tree: ast.AST, function: FunctionType) -> dict[str, tuple[Any, str, Any]]:
    """Finds what the dotted names of a function stand for: globals, what is in modules, and what `self` has of a class.

    Returns:
        dotted name → where its last part was looked up, that part, and the value; None of what is not there.
    """
    scope = function.__globals__
    own_variables = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
    kind = scope.get(function.__qualname__.partition(".")[0])
    values: dict[str, tuple[Any, str, Any]] = {}
    for node in ast.walk(tree):
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            continue
        if node.id == "self" and path and isinstance(kind, type):
            values[f"self.{path[0]}"] = kind, path[0], getattr(kind, path[0], None)
            continue
        if node.id in own_variables:
            continue
        name, owner, last, value = node.id, scope, node.id, scope.get(node.id)
        while path and isinstance(value, ModuleType | type) and hasattr(value, path[0]):
            if isinstance(value, type) and type(getattr(value, path[0])) is not FunctionType:
                break
            owner, last = value, path.pop(0)  # type: ignore[assignment]
            name, value = f"{name}.{last}", getattr(value, last)
        values[name] = owner, last, value
    return values


def _columns(rows: list[tuple[Any, str, Any]]) -> tuple[Any, ...]:
    return tuple(zip(*rows, strict=True)) if rows else ((), (), ())


def _described(value: Any, module: str) -> str:
    """Tells a value from another one that might stand in its place in a module."""
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, property):
        return f"property {_described(value.fget, module)}"
    if isinstance(value, FunctionType | type):
        wrapped = " in a decorator" if hasattr(value, "__wrapped__") else ""
        return f"{'' if value.__module__ == module else value.__module__}.{value.__qualname__}{wrapped}"
    if isinstance(value, CONTAINERS) and not isinstance(value, dict):
        parts = [_described(part, module) for part in value]
        return f"{type(value).__name__}({' '.join(parts if isinstance(value, list | tuple) else sorted(parts))})"
    if isinstance(value, dict):
        pairs = (f"{_described(name, module)}:{_described(part, module)}" for name, part in value.items())
        return f"dict({' '.join(pairs)})"
    if callable(value):  # of a library, in C: versions differ in all but its name
        return str(getattr(value, "__name__", type(value).__name__))
    # Other objects, such as `sys.stderr`, change from run to run.
    return repr(value) if isinstance(value, bool | int | float | str) else ""


def why_not_fused(trainer: pl.Trainer, learner: pl.LightningModule) -> str | None:
    """Returns why a step is left to autograd; None if a `FusedStep` computes it with the same bits.

    It is to be asked whenever code may have run that the engine does not know.
    """
    if trainer.strategy.root_device.type != "cpu":
        return "the fused step needs the CPU"
    if torch.is_anomaly_enabled():
        return "trainer.detect_anomaly=true looks for the anomaly in autograd"
    if torch.is_autocast_enabled("cpu"):
        return "torch.autocast chooses the precision of each operation"
    if type(learner) is not Learner:
        return f"{type(learner).__name__} is not the project's own Learner"
    return (
        why_changed_by_updates(trainer)
        or _unknown_step_hook(trainer, learner)
        or _unfusable_network(learner)
        or why_replaced()
    )


def _unknown_step_hook(trainer: pl.Trainer, learner: Learner) -> str | None:
    """Returns which hook of a step is not known to leave the network as it is."""
    heard = [name for name in STEP_HOOKS if overriding([learner], name, pl.LightningModule)]
    unknown = [name for name in heard if name != "on_train_batch_start"]
    if overriding([learner], "lr_scheduler_step", pl.LightningModule):
        unknown.append("lr_scheduler_step")
    if unknown:
        return f"Learner.{unknown[0]} may change the network within the step"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        kind = type(callback)
        hooks = [name for name in STEP_HOOKS if overriding([callback], name, pl.Callback)]
        is_set = any(name in vars(callback) for name in hooks)
        if not hooks or (_is_lightnings_watcher(kind) and not is_set):
            continue
        if kind not in WATCHERS or is_set:
            return f"{kind.__name__}.{hooks[0]} may change the network between two steps"
        edited = first_edited(getattr(kind, name) for name in hooks)
        if edited is not None:
            return f"{edited} was edited"
    return None


def _is_lightnings_watcher(kind: type) -> bool:
    return kind.__name__ in LIGHTNINGS_WATCHERS and kind.__module__.startswith("lightning.pytorch.callbacks.")


def _unfusable_network(learner: Learner) -> str | None:
    """Returns what in network or loss the kernels were not written for."""
    model, objective = learner.model, learner.objective
    network = model.network if type(model) is WithInputs else model
    if type(network) is not MLP:
        return f"{type(network).__name__} has no fused step, only MLP has one"
    if objective.function not in LOSSES:
        return f"the loss {getattr(objective.function, '__name__', objective.function)} is not the project's own"
    edited = first_edited([*functions_of_step(), objective.function])
    if edited is not None:
        return f"{edited} was edited"
    if type(objective) is not Objective:
        return f"{type(objective).__name__} is not the project's own Objective"
    if type(model) is WithInputs:
        if type(model.inputs) not in (PixelInputs, CategoryInputs):
            return f"{type(model.inputs).__name__} has no fused step"
        if next(model.inputs.parameters(), None) is not None:
            return "embeddings have no fused kernel"
        edited = first_edited([type(model.inputs).forward])
        if edited is not None:
            return f"{edited} was edited"
    return _unfusable_layers(network) or _unfusable_parameters(learner, network) or why_intercepted(learner)


def _unfusable_layers(network: MLP) -> str | None:
    if type(network.hidden) is not nn.Sequential:
        return "MLP.hidden is not an nn.Sequential"
    for layer in network.hidden:
        if type(layer) is not HiddenLayer:
            return f"{type(layer).__name__} has no fused step"
        if layer.residual and layer.linear.in_features != layer.linear.out_features:
            return "a residual connection between layers of two widths"
        if layer.normalization is not None:
            return f"{type(layer.normalization).__name__} has no fused kernel"
        activation = layer.activation
        if not isinstance(activation, Hashable) or activation not in ACTIVATION_KERNELS:
            return f"the activation {getattr(activation, '__name__', activation)} has no fused kernel"
        if type(activation) is FunctionType and activation.__module__.startswith("mlplab."):
            edited = first_edited([activation])
            if edited is not None:
                return f"{edited} was edited"
    linear: list[Any] = [*(layer.linear for layer in network.hidden), network.output]
    if any(type(part) is not nn.Linear or part.bias is None for part in linear):
        return "a layer's weighted sums are not those of nn.Linear with a bias"
    return None


def _unfusable_parameters(learner: Learner, network: MLP) -> str | None:
    """Returns what only autograd heeds: shared, frozen, hooked or replaced parameters, and evaluation mode."""
    linear: list[Any] = [*(layer.linear for layer in network.hidden), network.output]
    parameters = [parameter for part in linear for parameter in (part.weight, part.bias)]
    if any(type(parameter) is not nn.Parameter for parameter in parameters):
        return "a layer's weights are not an nn.Parameter"
    if not all(parameter.is_contiguous() for parameter in parameters):  # kernels of updates read memory in order
        return "a layer's weights do not lie in memory row by row"
    identities = set(map(id, parameters))
    if len(identities) < len(parameters):
        return "two layers share a parameter"
    if not identities.issuperset(map(id, learner.regularized)):
        return "a penalty applies to a parameter outside the network"
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            return f"{name} is frozen"
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return f"a hook is registered on {name}"
    for module in (*learner.model.modules(), *learner.objective.modules()):
        if not module.training:
            return f"{type(module).__name__} is in evaluation mode"
    return None


def why_intercepted(learner: Learner) -> str | None:
    """Returns a hook, compiled call or replaced method that runs besides the `forward` of a module's class."""
    if any(GLOBAL_HOOKS):
        return "hooks are registered for all modules"
    if [getattr(nn.Module, name) for name in CALLS] != ORIGINAL_CALLS:
        return "nn.Module.__call__ was replaced"
    for module in learner.modules():
        kind, own = type(module), vars(module)
        if any(own[hooks] for hooks in MODULE_HOOKS):
            return f"a hook is registered on {kind.__name__}"
        if module._compiled_call_impl is not None:
            return "the network is compiled"
        replaced = method_on_instance(module) or _overridden_access(kind)
        if replaced is not None:
            return f"{kind.__name__}.{replaced} was replaced"
    return None


def method_on_instance(part: Any) -> str | None:
    """Returns a name under which an object has something else to call than its class; None if there is none."""
    kind = type(part)
    own = ((name, value) for name, value in vars(part).items() if type(value) is not FastLogDict)
    return next((name for name, value in own if callable(value) and hasattr(kind, name)), None)


def _overridden_access(kind: type[nn.Module]) -> str | None:
    """Returns the method by which a class of this project is called, or has its attributes, in its own way."""
    if not kind.__module__.startswith("mlplab."):
        return None
    base: type = pl.LightningModule if issubclass(kind, pl.LightningModule) else nn.Module
    return next((name for name in ACCESS if getattr(kind, name) is not getattr(base, name)), None)


MOST_COMPARED = 256
"""Rows of the first batch on which the fused step is compared with autograd."""


def matches_autograd(fused: FusedStep, learner: pl.LightningModule, batch: Any, batch_idx: int) -> bool:
    """Returns whether the fused step gives a batch the loss and gradients of `training_step`, number for number.

    Gradients and random numbers stay as they were.
    """
    # More rows take the same kernels. All of a batch of 1024 images would take as long as two steps.
    batch = tuple(part[:MOST_COMPARED] for part in batch)
    # Without frozen ones: a learner may hold a copy of the network.
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    generator = torch.get_rng_state()
    accumulated = [parameter.grad for parameter in parameters]
    try:
        # Backward into `.grad`, and not `torch.autograd.grad`, so that hooks on the way there are heard.
        expected, gradients = _with_gradients(parameters, lambda: _by_autograd(learner, batch, batch_idx))
        torch.set_rng_state(generator)
        try:
            loss, found = _with_gradients(parameters, lambda: _by_kernels(fused, batch))
        except (RuntimeError, IndexError):  # shapes that the kernels do not take
            return False
    finally:
        torch.set_rng_state(generator)
        for parameter, gradient in zip(parameters, accumulated, strict=True):
            parameter.grad = gradient
    pairs = zip([loss, *found], [expected, *gradients], strict=True)
    return all(
        a is b or (a is not None and b is not None and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True))
        for a, b in pairs
    )


def _with_gradients(
    parameters: list[nn.Parameter], compute: Callable[[], Tensor]
) -> tuple[Tensor, list[Tensor | None]]:
    for parameter in parameters:
        parameter.grad = None
    loss = compute()
    return loss.detach(), [parameter.grad for parameter in parameters]


def _by_autograd(learner: pl.LightningModule, batch: Any, batch_idx: int) -> Tensor:
    with torch.enable_grad():
        outputs: Any = learner.training_step(batch, batch_idx)
    loss: Tensor = outputs["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


def _by_kernels(fused: FusedStep, batch: Any) -> Tensor:
    outputs, backward = fused(batch)
    backward()
    loss: Tensor = outputs["loss"]
    return loss


def functions_of_step() -> Iterator[Callable[..., Any]]:
    """Yields the functions that a step calls, but for the loss, as they are now."""
    yield from (Learner.training_step, Learner.on_train_batch_start, Learner.optimizer_step)
    yield from (Objective.forward, MLP.forward, HiddenLayer.forward, WithInputs.forward, l1_l2_penalty)


def functions_of_watchers() -> Iterator[Callable[..., Any]]:
    """Yields the hooks of this project's callbacks that are called in every step, as they are now."""
    for kind in WATCHERS:
        yield from (getattr(kind, name) for name in STEP_HOOKS if getattr(kind, name) is not getattr(pl.Callback, name))
