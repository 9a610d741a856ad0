"""Imports heavy packages quickly. Imports nothing heavy itself.

Lightning and torchmetrics import PyTorch's compiler, scipy.signal and matplotlib, which take a second and a half. A run
needs none of them. Stand-ins replace them in `sys.modules` until an attribute is needed that the stand-in lacks.
"""

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import wraps
from importlib import import_module, metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

TESTED = {"torch": ("2.13",), "torchmetrics": ("1.9",), "scipy": ("1.17",)}
"""Minor versions that the stand-ins were tested with; with any other version, nothing is replaced."""


REPLACED = {"scipy.signal", "torchmetrics.utilities.plot", "torch._dynamo", "torch._inductor", "torch._inductor.config"}
"""Modules with a stand-in. If one of them has been imported before, none is replaced."""


@contextmanager
def quick_imports() -> Iterator[None]:
    """Speeds up the imports in its block: installs the stand-ins, pauses garbage collection, and delays signals.

    With MLPLAB_PLAIN_IMPORTS=1 it only delays signals.
    """
    with _signals_waiting():
        if os.environ.get("MLPLAB_PLAIN_IMPORTS") == "1":
            yield
            return
        with _without_garbage_collection():
            yield


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Delays signals until the end of its block.

    PyTorch imports NumPy from C++ and ignores failures. It would swallow an exception raised by a signal handler, and a
    run would begin with a half-imported NumPy.
    """
    is_possible = hasattr(signal, "pthread_sigmask") and threading.current_thread() is threading.main_thread()
    if not is_possible:
        yield
        return
    waiting = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Installs the stand-ins, and pauses garbage collection in its block."""
    _use_stand_ins()
    gc.disable()  # imports make a million objects and no garbage; searching them takes a second
    try:
        yield
    finally:
        # Imported objects stay for good, so later collections need not search them.
        gc.freeze()
        gc.enable()


def _use_stand_ins() -> None:
    # The stand-ins are in place already.
    if any(isinstance(finder, _SubmoduleFinder) for finder in sys.meta_path):
        return
    new = [package for package, minors in TESTED.items() if _minor_version(package) not in minors]
    if new:
        logging.getLogger("mlplab").debug(f"plain imports: this version of {', '.join(new)} has no tested stand-ins")
    # Modules imported before hold references to the real ones.
    elif not REPLACED & sys.modules.keys():
        # First in the list, before Python's finder looks for a file.
        sys.meta_path.insert(0, _SubmoduleFinder())
        _replace_signal()
        _replace_plots()
        _replace_compiler()


def _minor_version(package: str) -> str | None:
    try:
        return ".".join(metadata.version(package).split(".")[:2])  # does not import it
    except metadata.PackageNotFoundError:
        return None


class LazyModule(ModuleType):
    """Stands in for a module, and imports it when an attribute without a stand-in is used.

    Modules that import each other are one `group`, and are imported together; `once_loaded` is called then.
    """

    def __init__(
        self, name: str, group: dict[str, "LazyModule"], once_loaded: Callable[[], None], **stand_ins: Any
    ) -> None:
        super().__init__(name)
        # A package has a __path__. Imports of what is in it ask `_SubmoduleFinder`.
        vars(self).update(stand_ins, _group=group, _once_loaded=once_loaded, __path__=[])
        group[name] = sys.modules[name] = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspect asks every module for some
            raise AttributeError(name)
        return getattr(self.load(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        # A module's own attributes are set on the stand-in, all others on the real module.
        if name in vars(self) or name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(self.load(), name, value)

    def load(self) -> ModuleType:
        """Imports and returns the module."""
        # Only as long as the stand-in is in place: a second load must not import the module again.
        replaced = [name for name, module in self._group.items() if sys.modules.get(name) is module]
        for name in replaced:
            del sys.modules[name]
        module = import_module(self.__name__)
        if replaced:
            self._once_loaded()
        return module

    def function(self, name: str) -> Callable[..., Any]:
        """Returns a stand-in for a function, which imports the module when it is called."""
        return lambda *args, **options: getattr(self.load(), name)(*args, **options)


class _SubmoduleFinder(MetaPathFinder, Loader):
    """Finds a module in a package that a `LazyModule` stands in for, by importing the package."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        parent = sys.modules.get(name.rpartition(".")[0])
        if not isinstance(parent, LazyModule):
            return None
        package = parent.load()
        module = sys.modules.get(name)
        # The module is not there yet, or was put there without a spec: Python's own finder takes it.
        if module is None or module.__spec__ is None:
            return PathFinder.find_spec(name, package.__path__, target)
        # The package has imported it. By the module's own spec, Python would execute it once more.
        spec = copy(module.__spec__)
        spec.loader, spec.loader_state = self, module.__spec__
        vars(module)["__spec__"] = spec
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        vars(module)["__spec__"] = spec.loader_state


def _replace_signal() -> None:
    """Replaces scipy.signal (half a second): torchmetrics restores a removed function there, for audio metrics."""

    def add_hamming() -> None:
        module: Any = sys.modules["scipy.signal"]
        vars(module).setdefault("hamming", module.windows.hamming)

    signal = LazyModule("scipy.signal", {}, add_hamming)
    vars(signal)["hamming"] = signal.function("hamming")


def _replace_plots() -> None:
    """Replaces torchmetrics' plots, which import matplotlib (a quarter of a second)."""
    # Used in annotations only, so any class will do.
    types = dict.fromkeys(("_AX_TYPE", "_PLOT_OUT_TYPE", "_CMAP_TYPE"), object)
    plot = LazyModule("torchmetrics.utilities.plot", {}, lambda: None, **types)
    for name in ("plot_confusion_matrix", "plot_curve", "plot_single_or_multi_val"):
        vars(plot)[name] = plot.function(name)


class _IsCompiled(type):
    """Implements isinstance(…, OptimizedModule): nothing is compiled before PyTorch's compiler is imported."""

    def __instancecheck__(cls, instance: object) -> bool:
        compiler: Any = sys.modules.get("torch._dynamo")
        # A stand-in is a LazyModule: then nothing can be compiled yet.
        return type(compiler) is ModuleType and isinstance(instance, compiler.OptimizedModule)


def _replace_compiler() -> None:
    """Replaces PyTorch's compiler (0.7 s): Lightning and optimizers import it to ask whether a module is compiled."""
    to_disable: list[Callable[[Any], None]] = []

    def disable(function: Any = None, *args: Any, **options: Any) -> Any:
        # Used as a decorator with options, or on a class: rare enough to import the compiler.
        if not isinstance(function, FunctionType):
            return compiler.function("disable")(function, *args, **options)
        called = function  # no compiler yet, so nothing to disable

        @wraps(function)
        def left_alone(*given: Any, **by_name: Any) -> Any:
            return called(*given, **by_name)

        def disable_now(module: Any) -> None:
            nonlocal called
            called = module.disable(function, *args, **options)

        to_disable.append(disable_now)
        return left_alone

    def once_loaded() -> None:
        for disable_now in to_disable:
            disable_now(sys.modules["torch._dynamo"])
        settings: Any = import_module("torch._inductor.config")
        # PyTorch sets this option in the stand-in if determinism is asked for before the import.
        settings.deterministic = sys.modules["torch"].are_deterministic_algorithms_enabled()

    group: dict[str, LazyModule] = {}
    optimized = _IsCompiled("OptimizedModule", (), {})
    # Outside of a compiled program, breaking the graph does nothing.
    compiler = LazyModule(
        "torch._dynamo", group, once_loaded, disable=disable, graph_break=lambda: None, OptimizedModule=optimized
    )
    settings = LazyModule("torch._inductor.config", group, once_loaded, deterministic=False)
    LazyModule("torch._inductor", group, once_loaded, config=settings)
