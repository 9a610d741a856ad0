"""Finds functions of this project that were edited or replaced.

The fused step and the stacks replace functions that a researcher reads and changes. They do so only if each function is
unedited. `FINGERPRINTS` holds a digest of its syntax tree, together with the functions in its module that it calls.
Comments, docstrings and formatting do not count.
"""

import ast
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mlplab.engine.fingerprints import FINGERPRINTS

CONTAINERS = (list, tuple, set, frozenset, dict)

PACKAGE = __name__.partition(".")[0]
FOLDER = Path(__file__).resolve().parents[1]

Value = tuple[Any, str, Any]
"""Namespace in which a name was looked up, the name, and its value there; None if it had none."""


def first_edited(functions: Iterable[Callable[..., Any]]) -> str | None:
    """Returns the name of the first function whose fingerprint differs from the recorded one; None if none does."""
    unknown = (function for function in functions if not _is_known(function))
    # A callable object has no such name.
    return next((getattr(one, "__qualname__", type(one).__name__) for one in unknown), None)


def _is_known(function: Callable[..., Any]) -> bool:
    # A partial, an object or a C function has no Python source to compare.
    if type(function) is not FunctionType:
        return False
    owner, name = owner_and_name(function)
    # As text, as the table has it in one line.
    return f" {name}:{fingerprint(function)} " in f" {FINGERPRINTS.get(owner, '')} "


def owner_and_name(function: FunctionType) -> tuple[str, str]:
    """Returns where a function is defined (module, or module and class), and its name there.

    For `__main__`, the file's name stands for the module.
    """
    # By where it was defined, wherever it has been imported to.
    module = function.__module__
    if module == "__main__":
        module = Path(function.__code__.co_filename).stem
    owner, _, name = f"{module}.{function.__qualname__}".rpartition(".")
    return owner, name


@dataclass(frozen=True)
class _Fingerprint:
    """A digest, and all that it was computed from, to notice functions that were replaced since.

    Attributes:
        functions: each with its code and defaults.
        values: of all names in these functions.
    """

    digest: str
    functions: list[tuple[FunctionType, CodeType, Any, Any]]
    values: list[Value]

    def is_current(self) -> bool:
        for function, code, defaults, by_name in self.functions:
            # By value, as a dict of keyword defaults can be changed in place.
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ != by_name
            ):
                return False
        for owner, name, value in self.values:
            # A name is found in the dict of a module's globals, or as an attribute of a module or class.
            if (owner.get(name) if type(owner) is dict else getattr(owner, name, None)) is not value:
                return False
        return True


_FINGERPRINTS: dict[FunctionType, _Fingerprint] = {}


def fingerprint(function: FunctionType) -> str:
    """Returns a digest of the syntax trees of a function and of all functions in its module that it calls.

    The digest is unique for a function that has no readable source, or that a decorator has wrapped.
    """
    found = _FINGERPRINTS.get(function)
    if found is None or not found.is_current():  # cached, as every epoch asks
        descriptions: dict[FunctionType, str] = {}
        values: list[Value] = []
        _describe(function, descriptions, values)
        # Sorted, so that the order of discovery does not count; 40 bits are enough to notice an edit.
        digest = hashlib.sha256("\n".join(sorted(descriptions.values())).encode()).hexdigest()[:10]
        # A copy of the keyword defaults, to notice changes of the dict in place.
        functions = [(f, f.__code__, f.__defaults__, copy(f.__kwdefaults__)) for f in descriptions]
        found = _FINGERPRINTS[function] = _Fingerprint(digest, functions, values)
    return found.digest


def _describe(function: FunctionType, descriptions: dict[FunctionType, str], values: list[Value]) -> None:
    """Adds the description of a function, and of those that it calls."""
    # Functions may call each other in a circle.
    if function in descriptions:
        return
    descriptions[function] = f"{function.__qualname__} {id(function)}"  # unique if it cannot be read
    if hasattr(function, "__wrapped__"):  # `inspect.getsource` would give the wrapped function's source
        return
    tree = _syntax_tree(function, function.__code__)
    if tree is None:
        return
    own = _values_of_names(tree, function)
    values += own.values()
    module = function.__module__
    named = " ".join(
        # Containers of a library, such as `sys.modules`, change while the program runs.
        f"{name}={'' if isinstance(owner, ModuleType) and isinstance(value, CONTAINERS) else _described(value, module)}"
        for name, (owner, _, value) in sorted(own.items())
        # Builtins and undefined names are None here, as no module's globals hold them.
        if value is not None
    )
    # Defaults are evaluated where the function is defined, so its source alone does not show them.
    defaults = f"{function.__defaults__!r} {function.__kwdefaults__!r}"
    descriptions[function] = f"{function.__qualname__} {defaults} {_serialized(tree)} {named}"
    for _, _, value in own.values():
        called = value.fget if isinstance(value, property) else value
        if type(called) is FunctionType and called.__module__ == function.__module__:
            _describe(called, descriptions, values)


@functools.cache
def _syntax_tree(function: FunctionType, code: CodeType) -> ast.AST | None:
    """Parses a function, without annotations and docstrings; returns None if its source cannot be read.

    Args:
        function: to parse.
        code: of the function; part of the cache key, as a function's code can be replaced.
    """
    try:
        # The source of a method is indented, which the parser refuses.
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    return _WithoutNotes().visit(tree)  # type: ignore[no-any-return]


class _WithoutNotes(ast.NodeTransformer):
    """Removes annotations and docstrings from a syntax tree, as they do not change results."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        if ast.get_docstring(node) is not None:
            del node.body[0]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        # As a plain assignment, so that adding an annotation is no edit.
        return None if node.value is None else ast.Assign(targets=[node.target], value=self.visit(node.value))


def _serialized(node: Any) -> str:
    """Writes a syntax tree without positions and empty fields, which differ between versions of Python."""
    if isinstance(node, list):
        return f"[{' '.join(map(_serialized, node))}]"
    if not isinstance(node, ast.AST):
        return repr(_from_package(node) if isinstance(node, str) else node)
    # `ctx` says whether a name is read or set; its place in the tree already says so.
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "ctx")
    return f"{type(node).__name__}({' '.join(f'{name}={_serialized(value)}' for name, value in fields)})"


def _from_package(name: str) -> str:
    """Removes this package's name from a module's dotted name, as renaming the project is no edit."""
    package, _, rest = name.partition(".")
    module = FOLDER / rest.partition(".")[0]
    # Other names may begin like the package.
    return f".{rest}" if package == PACKAGE and (module.is_dir() or module.with_suffix(".py").is_file()) else name


def _values_of_names(tree: ast.AST, function: FunctionType) -> dict[str, Value]:
    """Finds the values of a function's dotted names: globals, attributes of modules, and class attributes of `self`."""
    scope = function.__globals__
    # Local variables hide globals of the same name.
    own_variables = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
    kind = scope.get(function.__qualname__.partition(".")[0])
    values: dict[str, Value] = {}
    for node in ast.walk(tree):
        # In the tree of `a.b.c` the last name is outermost.
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


def _described(value: Any, module: str) -> str:
    """Describes a value so that another one in its place would be noticed."""
    if isinstance(value, ModuleType):
        return _from_package(value.__name__)
    if isinstance(value, property):
        return f"property {_described(value.fget, module)}"
    if isinstance(value, FunctionType | type):
        wrapped = " in a decorator" if hasattr(value, "__wrapped__") else ""
        return f"{'' if value.__module__ == module else _from_package(value.__module__)}.{value.__qualname__}{wrapped}"
    if isinstance(value, dict):
        pairs = (f"{_described(name, module)}:{_described(part, module)}" for name, part in value.items())
        return f"dict({' '.join(pairs)})"
    if isinstance(value, CONTAINERS):
        parts = [_described(part, module) for part in value]
        # Sets have no order of their own; lists and tuples do.
        return f"{type(value).__name__}({' '.join(parts if isinstance(value, list | tuple) else sorted(parts))})"
    if callable(value):  # a library's function in C: only its name is the same in all versions
        return str(getattr(value, "__name__", type(value).__name__))
    # Other objects, such as `sys.stderr`, change from run to run.
    return repr(value) if isinstance(value, bool | int | float | str) else ""
