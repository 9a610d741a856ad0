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
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn.modules import module as of_all_modules

from mlplab.callbacks import Divergence, GradientNorms, LearningRateRange, ProgressLine, TrainingCurves
from mlplab.engine.fingerprints import FINGERPRINTS
from mlplab.engine.fused_step import FusedStep
from mlplab.engine.hooks import STEP_HOOKS, overriding
from mlplab.engine.kernels import ACTIVATION_KERNELS
from mlplab.learner import Learner
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import MLP, HiddenLayer
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from mlplab.objectives.objective import Objective
from mlplab.objectives.penalties import l1_l2_penalty

LOSSES = (cross_entropy, binary_cross_entropy, mse, mae, huber)

WATCHERS = (Divergence, GradientNorms, LearningRateRange, ProgressLine, TrainingCurves)
"""Callbacks of this project with hooks in every step, none of which changes the network."""

LIGHTNINGS_WATCHERS = (
    "DeviceStatsMonitor",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "OnExceptionCheckpoint",
    "RichProgressBar",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
)
"""The same of `lightning.pytorch.callbacks`."""

MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where a module keeps functions that are called with what it computes."""

GLOBAL_HOOKS = tuple(getattr(of_all_modules, f"_global{name}") for name in MODULE_HOOKS)
"""The same for all modules."""


METHODS = tuple({*STEP_HOOKS, *(name for name, value in vars(Learner).items() if type(value) is FunctionType)})
"""What would be called in the place of the class's own method, if it were set on a learner."""

LINEAR, SEQUENTIAL, CALL = nn.Linear.forward, nn.Sequential.forward, nn.Module.__call__


def first_edited(functions: Iterable[Callable[..., Any]]) -> str | None:
    """Returns the name of the first function that is not as it was when the engine was written; None if all are."""
    return next((function.__qualname__ for function in functions if not _is_known(function)), None)


def _is_known(function: Callable[..., Any]) -> bool:
    if type(function) is not FunctionType:
        return False
    known = FINGERPRINTS.get(f"{function.__module__}.{function.__qualname__}")
    return known is not None and known == fingerprint(function)


Link = tuple[Callable[[str], Any], str, Any]
"""A way to look a name up, the name, and what it stood for."""


@dataclass(frozen=True)
class _Reading:
    """The fingerprint of a function, and all that it was computed from but the source: to see whether it holds."""

    digest: str
    functions: list[tuple[FunctionType, tuple[Any, ...]]]
    links: list[Link]

    def holds(self) -> bool:
        """Returns whether all names still stand for the same, and all functions have the same code."""
        return all(look_up(name) is value for look_up, name, value in self.links) and all(
            _code_of(function) == code for function, code in self.functions
        )


_readings: dict[FunctionType, _Reading] = {}


def fingerprint(function: FunctionType) -> str:
    """Returns a digest of the syntax trees of a function and of all functions in its module that it calls.

    A function whose source cannot be read, or that a decorator has wrapped, is like no other.
    """
    reading = _readings.get(function)
    if reading is None or not reading.holds():
        descriptions: dict[FunctionType, str] = {}
        links: dict[Any, Link] = {}
        _describe(function, descriptions, links)
        digest = hashlib.sha256("\n".join(sorted(descriptions.values())).encode()).hexdigest()[:16]
        reading = _Reading(digest, [(one, _code_of(one)) for one in descriptions], list(links.values()))
        _readings[function] = reading
    return reading.digest


def _code_of(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__, hasattr(function, "__wrapped__")


def _describe(function: FunctionType, descriptions: dict[FunctionType, str], links: dict[Any, Link]) -> None:
    """Adds the description of a function, and of those that it calls."""
    if function in descriptions:
        return
    descriptions[function] = f"{function.__qualname__} {id(function)}"
    if hasattr(function, "__wrapped__"):  # `inspect.getsource` would give the source of what is wrapped
        return
    try:
        tree: ast.AST = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return
    tree = _WithoutNotes().visit(tree)
    values = _values_of_names(tree, function, links)
    named = " ".join(f"{name}={_described(value)}" for name, value in sorted(values.items()))
    defaults = f"{function.__defaults__!r} {function.__kwdefaults__!r}"
    descriptions[function] = f"{function.__qualname__} {defaults} {_serialized(tree)} {named}"
    for value in values.values():
        if type(value) is FunctionType and value.__module__ == function.__module__:
            _describe(value, descriptions, links)


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


def _values_of_names(tree: ast.AST, function: FunctionType, links: dict[Any, Link]) -> dict[str, Any]:
    """Finds what the dotted names of a function stand for: globals, what is in modules, and methods of classes.

    All that it looks up is added to the links.
    """
    own_variables = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
    owner = function.__globals__.get(function.__qualname__.partition(".")[0])
    values: dict[str, Any] = {}
    for node in ast.walk(tree):
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            continue
        value: Any
        if node.id == "self" and isinstance(owner, type):
            name, value = "self", owner
        elif node.id in own_variables:
            continue
        else:
            name, value = node.id, function.__globals__.get(node.id)
            links[function.__module__, node.id] = function.__globals__.get, node.id, value
        while path and isinstance(value, ModuleType | type):
            look_up = functools.partial(_attribute, value)
            found = look_up(path[0])
            links[value, path[0]] = look_up, path[0], found
            if found is None:
                break
            name, value = f"{name}.{path.pop(0)}", found
        if value is not None and name != "self":
            values[name] = value
    return values


def _attribute(owner: ModuleType | type, name: str) -> Any:
    """Returns what a module has, or a function that a class has; None for all else."""
    found = getattr(owner, name, None)
    return found if isinstance(owner, ModuleType) or type(found) is FunctionType else None


def _described(value: Any) -> str:
    """Tells a value from another one that might stand in its place."""
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, FunctionType | type):
        wrapped = " in a decorator" if hasattr(value, "__wrapped__") else ""
        return f"{value.__module__}.{value.__qualname__}{wrapped}"
    if callable(value):  # of a library, in C: versions differ in all but its name
        return str(getattr(value, "__name__", type(value).__name__))
    # Other objects have states, as `sys.stderr` has: what they are is up to the run.
    return repr(value) if isinstance(value, bool | int | float | str) else ""


def why_not_fused(trainer: pl.Trainer, learner: pl.LightningModule) -> str | None:
    """Returns why a step is left to autograd; None if a `FusedStep` computes it with the same bits.

    It is to be asked whenever code may have run that the engine does not know.
    """
    if trainer.strategy.root_device.type != "cpu":
        return "it runs on the CPU only"
    if torch.is_anomaly_enabled():
        return "trainer.detect_anomaly=true looks for the anomaly in autograd"
    if type(learner) is not Learner:
        return f"{type(learner).__name__} is not the project's own Learner"
    return _why_not_watched_safely(trainer, learner) or _why_another_network(learner)


def _why_not_watched_safely(trainer: pl.Trainer, learner: Learner) -> str | None:
    """Returns which hook of a step is not known to leave the network as it is."""
    heard = [name for name in STEP_HOOKS if overriding([learner], name, pl.LightningModule)]
    own = [name for name in METHODS if name in vars(learner)]
    unknown = own or [name for name in heard if name != "on_train_batch_start"]
    if unknown:
        return f"Learner.{unknown[0]} was edited"
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


def _why_another_network(learner: Learner) -> str | None:
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
            return "embeddings learn by autograd"
    return _why_other_layers(network) or _why_other_parameters(learner, network) or _why_watched(model, objective)


def _why_other_layers(network: MLP) -> str | None:
    if type(network.hidden) is not nn.Sequential or nn.Sequential.forward is not SEQUENTIAL:
        return "MLP.hidden is not an nn.Sequential"
    for layer in network.hidden:
        if type(layer) is not HiddenLayer:
            return f"{type(layer).__name__} has no fused step"
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
    if any(type(part) is not nn.Linear or part.bias is None for part in linear) or nn.Linear.forward is not LINEAR:
        return "a layer's weighted sums are not those of nn.Linear with a bias"
    return None


def _why_other_parameters(learner: Learner, network: MLP) -> str | None:
    """Returns what autograd would heed in the weights and biases of layers that are known."""
    linear: list[Any] = [*(layer.linear for layer in network.hidden), network.output]
    parameters = [parameter for part in linear for parameter in (part.weight, part.bias)]
    if any(type(parameter) is not nn.Parameter for parameter in parameters):
        return "a layer's weights are not an nn.Parameter"
    identities = set(map(id, parameters))
    if len(identities) < len(parameters):
        return "two layers share a parameter"
    if not identities.issuperset(map(id, learner.regularized)):
        return "a penalty on what is not in the network"
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            return f"{name} is frozen"
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return f"a hook on {name}"
    return None


def _why_watched(model: nn.Module, objective: nn.Module) -> str | None:
    """Returns what is watched, compiled, or not in training mode."""
    if any(GLOBAL_HOOKS):
        return "hooks on all modules"
    for module in (*model.modules(), *objective.modules()):
        own = vars(module)
        if any(own[hooks] for hooks in MODULE_HOOKS):
            return f"a hook on {type(module).__name__}"
        if module._compiled_call_impl is not None:
            return "the network is compiled"
        if "forward" in own or type(module).__call__ is not CALL:
            return f"{type(module).__name__}.forward was replaced"
        if not module.training:
            return f"{type(module).__name__} is in evaluation mode"
    return None


def matches_autograd(fused: FusedStep, learner: pl.LightningModule, batch: Any, batch_idx: int) -> bool:
    """Returns whether the fused step gives a batch the loss and gradients of `training_step`, bit for bit.

    Gradients and random numbers stay as they were.
    """
    # Not all need be trained: somebody may keep a copy of the network in the learner.
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    generator = torch.get_rng_state()
    with torch.enable_grad():
        expected: Any = learner.training_step(batch, batch_idx)
    gradients = torch.autograd.grad(expected["loss"], parameters, allow_unused=True)
    torch.set_rng_state(generator)
    accumulated = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    outputs, backward = fused(batch)
    backward()
    torch.set_rng_state(generator)
    found = [parameter.grad for parameter in parameters]
    for parameter, gradient in zip(parameters, accumulated, strict=True):
        parameter.grad = gradient
    pairs = zip([outputs["loss"], *found], [expected["loss"].detach(), *gradients], strict=True)
    return all(
        a is b or (a is not None and b is not None and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True))
        for a, b in pairs
    )


def functions_of_step() -> Iterator[Callable[..., Any]]:
    """Yields the functions that a step calls, but for the loss, as they are now."""
    yield from (Learner.training_step, Learner.on_train_batch_start, Learner.optimizer_step)
    yield from (Objective.forward, MLP.forward, HiddenLayer.forward, WithInputs.forward, l1_l2_penalty)


def functions_of_watchers() -> Iterator[Callable[..., Any]]:
    """Yields the hooks of this project's callbacks that are called in every step, as they are now."""
    for kind in WATCHERS:
        yield from (getattr(kind, name) for name in STEP_HOOKS if getattr(kind, name) is not getattr(pl.Callback, name))
