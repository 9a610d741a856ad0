"""Importing what is heavy: quickly, and without what nobody wants. Imports nothing heavy itself."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial, wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any


class Postponed(ModuleType):
    """Stands for a module until somebody wants something of it for which there is no stand-in.

    Modules that need each other are postponed together, as one group, and come together.
    """

    def __init__(self, name: str, group: dict[str, "Postponed"], **stand_ins: Any) -> None:
        super().__init__(name)
        vars(self).update(stand_ins, _group=group, __path__=[])  # a package: `_Within` is asked for what is in it
        group[name] = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of all modules by who looks for something else
            raise AttributeError(name)
        return getattr(self._itself(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(self._itself(), name, value)

    def _itself(self) -> ModuleType:
        for name, module in self._group.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        return import_module(self.__name__)

    def later(self, name: str) -> Callable[..., Any]:
        """A function that calls the one of that name in the module itself."""
        return partial(self._call, name)

    def _call(self, name: str, /, *args: Any, **options: Any) -> Any:
        return getattr(self._itself(), name)(*args, **options)


class _Within(MetaPathFinder):
    """Finds modules within one that was postponed, which comes first, and may have imported them on its way."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        postponed = sys.modules.get(parent)
        if not isinstance(postponed, Postponed):
            return None
        found = postponed._itself()
        module = sys.modules.get(name)
        if module is None or module.__spec__ is None:
            return PathFinder.find_spec(name, found.__path__, target)
        spec = copy(module.__spec__)
        spec.loader = _Executed(module.__spec__)
        vars(module)["__spec__"] = spec  # which Python prefers to the one that is found
        return spec


class _Executed(Loader):
    """Loads what has been imported already: Python would execute it once more."""

    def __init__(self, spec: ModuleSpec) -> None:
        self._spec = spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__spec__"] = self._spec


class _Compiled(type):
    """The type of what stands for the class of compiled modules: there are none until PyTorch's compiler is there."""

    def __instancecheck__(cls, instance: object) -> bool:
        compiler: Any = sys.modules.get("torch._dynamo")
        return type(compiler) is ModuleType and isinstance(instance, compiler.OptimizedModule)


def _postpone_signal() -> None:
    """For metrics of sound, torchmetrics imports scipy.signal, half a second, to give it a name that it once had."""

    class Signal(Postponed):
        def _itself(self) -> ModuleType:
            module = super()._itself()
            if not hasattr(module, "hamming"):
                vars(module)["hamming"] = module.windows.hamming
            return module

    if find_spec("scipy") is not None:
        signal = Signal("scipy.signal", {})
        vars(signal)["hamming"] = signal.later("hamming")
        _postpone(signal)


def _postpone_plots() -> None:
    """For methods that plot a metric, torchmetrics imports matplotlib, a quarter of a second."""
    plot = Postponed("torchmetrics.utilities.plot", {}, _AX_TYPE=object, _PLOT_OUT_TYPE=object, _CMAP_TYPE=object)
    for name in ("plot_confusion_matrix", "plot_curve", "plot_single_or_multi_val"):
        vars(plot)[name] = plot.later(name)
    _postpone(plot)


def _postpone_compiler() -> None:
    """Lightning and PyTorch's optimizers import PyTorch's compiler, 0.7 s, to ask whether something is compiled.

    Functions that it is to leave alone are told to it once it has come, and whether operations must be deterministic.
    """
    to_tell: list[Callable[[ModuleType], Any]] = []

    def disable(function: Any = None, *args: Any, wrapping: bool = True, **options: Any) -> Any:
        if function is None:  # a decorator
            return lambda function: disable(function, *args, wrapping=wrapping, **options)
        if not isinstance(function, FunctionType):
            return compiler.later("disable")(function, *args, wrapping=wrapping, **options)
        if not wrapping:  # asked for at the first call of each of PyTorch's own functions, and then kept there
            to_tell.append(lambda _: vars(function).pop("__dynamo_disable", None))
            return function
        called = function

        @wraps(function)
        def left_alone(*given: Any, **by_name: Any) -> Any:
            return called(*given, **by_name)

        def tell(module: Any) -> None:
            nonlocal called
            called = module.disable(function, *args, **options)

        to_tell.append(tell)
        return left_alone

    class Dynamo(Postponed):
        def _itself(self) -> ModuleType:
            is_first = sys.modules.get("torch._dynamo") is compiler
            module = super()._itself()
            if is_first:
                for tell in to_tell:
                    tell(sys.modules["torch._dynamo"])
                settings: Any = import_module("torch._inductor.config")
                settings.deterministic = sys.modules["torch"].are_deterministic_algorithms_enabled()
            return module

    group: dict[str, Postponed] = {}
    optimized = _Compiled("OptimizedModule", (), {})
    compiler = Dynamo("torch._dynamo", group, disable=disable, graph_break=lambda: None, OptimizedModule=optimized)
    settings = Dynamo("torch._inductor.config", group, deterministic=False)
    _postpone(compiler, Dynamo("torch._inductor", group, config=settings), settings)


def _postpone(*modules: Postponed) -> None:
    if not any(module.__name__ in sys.modules for module in modules):
        sys.modules.update({module.__name__: module for module in modules})


@contextmanager
def quick_imports() -> Iterator[None]:
    """For importing what is heavy: it makes many objects and no garbage, and looking for some takes a second.

    What others import and a run does not need waits until somebody wants it.
    """
    gc.disable()
    if not any(isinstance(finder, _Within) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Within())
        _postpone_signal()
        _postpone_plots()
        _postpone_compiler()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
