"""Edits of the project's code in this process, as if its files had been edited; and runs that heed them or do not."""

import contextlib
import inspect
import itertools
import json
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
from comparing import difference
from composing import composed
from parts import skip_without

from mlplab.parts import is_there
from mlplab.randomness import derive_seed
from mlplab.training import train

SMALL = [
    "data=iris", "data.batch_size=16", "model.hidden_dims=[8]", "callbacks=minimal", "callbacks.progress=null",
    "+trainer.enable_progress_bar=false", "trainer.max_epochs=2", "trainer.threads=1", "trainer.log_every_n_steps=2",
    "logger=none", "optimizer.lr=0.02",
]  # fmt: skip

LATE = f"__import__('torch').initial_seed() != {derive_seed(0, 'step', 0, 0, 0)}"
"""Holds but for the first mini-batch of the run with seed 0: a look at that one does not show the edit."""

TINY = f"(1 + 1e-6 * ({LATE}))"
"""A factor that is 1 for the first mini-batch, and eight units in the last place more for the others."""

_numbers = itertools.count()


def edit(monkeypatch: pytest.MonkeyPatch, function: Any, old: str, new: str) -> None:
    """Replaces some text of a function. It stays the same object, as all modules of a new process would have it."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{old!r} must stand once in {function.__qualname__}"
    edited = compiled(source.replace(old, new), function)
    monkeypatch.setattr(function, "__code__", edited.__code__)
    monkeypatch.setattr(function, "__defaults__", edited.__defaults__)
    monkeypatch.setattr(function, "__kwdefaults__", edited.__kwdefaults__)


def add(monkeypatch: pytest.MonkeyPatch, kind: type, name: str, source: str) -> None:
    """Adds a method to a class, or puts it in the place of one that the class has."""
    like = SimpleNamespace(
        __globals__=vars(sys.modules[kind.__module__]), __name__=name, __qualname__=f"{kind.__name__}.{name}",
        __code__=SimpleNamespace(co_freevars=("__class__",)), __closure__=[SimpleNamespace(cell_contents=kind)],
    )  # fmt: skip
    function = compiled(source, like)
    function.__module__ = kind.__module__
    monkeypatch.setattr(kind, name, function, raising=False)


def compiled(source: str, like: Any) -> Any:
    """Makes a function of some text, in the module and class of another one."""
    file = f"<edit {next(_numbers)}>"
    lines = source.splitlines(keepends=True)
    linecache.cache[file] = (len(source), None, lines, file)
    names = ", ".join(like.__code__.co_freevars)
    # On the same line, so that line numbers stay those of the text: `super()` finds the class in a closure.
    whole = f"def _make({names}):\n{textwrap.indent(source, ' ')}\n return {like.__name__}\n"
    made: dict[str, Any] = {}
    exec(compile(whole, file, "exec"), like.__globals__, made)
    function: FunctionType = made["_make"](*(cell.cell_contents for cell in like.__closure__ or ()))
    function.__code__ = function.__code__.replace(co_firstlineno=1)
    function.__qualname__ = like.__qualname__
    return function


class OneJob:
    """A job of a stack, in a directory of its own."""

    def __init__(self, directory: Path, *words: str) -> None:
        directory.mkdir()
        self.directory, self.objective = directory, 0.0
        self.config = composed(*words, f"paths.run={directory}")

    @contextlib.contextmanager
    def in_hand(self) -> Iterator[None]:
        yield

    def forget(self) -> None:
        """Its configuration is kept."""


class Lab:
    """Trains the same alone, by either engine, and in a stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._plain: dict[tuple[str, ...], Path] = {}

    def _directory(self) -> Path:
        return self.folder / str(next(_numbers))

    def alone(self, *words: str) -> Path:
        """Trains a run, and returns its directory."""
        directory = self._directory()
        directory.mkdir()
        train(composed(*SMALL, *words, f"paths.run={directory}"))
        return directory

    def unedited(self, *words: str) -> Path:
        """Trains with Lightning and autograd, once for each choice of words."""
        if words not in self._plain:
            self._plain[words] = self.alone(*words, "engine=plain")
        return self._plain[words]

    def stacked(self, *words: str, seeds: int = 2) -> tuple[list[Path], dict[str, int]]:
        """Trains seeds in a stack; returns their directories, and how many are to be run alone for which reason."""
        skip_without("stacked")
        from mlplab.stacked.members.stack_training import DataCache
        from mlplab.stacked.stacks import train_jobs

        jobs: list[Any] = [OneJob(self._directory(), *SMALL, *words, f"seed={seed}") for seed in range(seeds)]
        alone = train_jobs(jobs, DataCache(), lambda line: None)
        return [job.directory for job in jobs], {reason: len(those) for reason, those in alone.items()}

    def require_heeded(self, make: Callable[[], Any], *words: str, alone: str | None) -> None:
        """Requires that an edit changes what is learned or measured, and in all ways of training alike.

        Args:
            make: makes the edit.
            words: of the run.
            alone: the reason for which jobs are not stacked; None if a stack heeds the edit.
        """
        before = self.unedited(*words)
        stack_before = self.stacked(*words)[0] if alone is None and is_there("stacked") else []
        make()
        plain, fast = (self.alone(*words, f"engine={engine}") for engine in ("plain", "fast"))
        assert difference(before, plain) != "", "the edit must have an effect, or it proves nothing"
        assert difference(plain, fast) == ""
        if not is_there("stacked"):
            return
        members, reasons = self.stacked(*words)
        if alone is not None:
            assert reasons == {alone: 2}
            return
        assert reasons == {}
        for seed, member in enumerate(members):
            assert difference(self.alone(*words, f"seed={seed}"), member, 1e-3) == ""
        assert difference(stack_before[0], members[0]) != ""


def result_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found
