"""Writes the pages of the lessons, from their templates and the numbers that were computed."""

import ast
import importlib
import json
import textwrap
import traceback
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlplab.errors import RunFailed
from mlplab.runs.files import write_bytes
from teaching import LESSONS
from teaching.drawing import as_svg, in_style
from teaching.lesson import rounded

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "mlplab"
TEMPLATES = Path(__file__).parent / "templates"

NUMBERS = "numbers.json"


def write_lesson(name: str, out: Path, logs: Path) -> None:
    """Computes a lesson, and writes its figures, its numbers and its page.

    Args:
        name: of `LESSONS`.
        out: the folder of the pages; its numbers.json keeps the numbers of the other lessons.
        logs: for the runs that it trains.

    Raises:
        RunFailed: a statement of the page does not hold.
    """
    with in_style():
        lesson = importlib.import_module(f"teaching.{name}").compute(logs)
        figures = {one: as_svg(figure) for one, figure in lesson.figures.items()}
    numbers = rounded(lesson.numbers)
    page = render(name, numbers)  # first, as it may find that a statement does not hold
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for figure_name, content in figures.items():
        write_bytes(out / "figures" / f"{figure_name}.svg", content)
    path = out / NUMBERS
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[name] = numbers
    ordered = {one: known[one] for one in LESSONS if one in known}
    write_bytes(path, (json.dumps(ordered, indent=1, ensure_ascii=False) + "\n").encode())
    write_bytes(out / f"{name}.md", page.encode())


def write_index(out: Path) -> None:
    """Writes the page that leads to the lessons."""
    write_bytes(out / "README.md", render("README", {}).encode())


def render(name: str, numbers: dict[str, Any]) -> str:
    """Fills the template of a page.

    A template has the numbers by their names, and the functions below.

    Raises:
        RunFailed: a statement of the page does not hold for the numbers.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"digits": digits, "short": short, "signed": signed, "power": power, "percent": percent}
    environment.globals |= {"code": code, "holds": holds, "lessons": LESSONS, "title": title, "navigation": navigation}
    try:
        return environment.get_template(f"{name}.md.j2").render(name=name, **numbers)
    except NotTrue as error:
        (line,) = {
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".j2")
        }
        place = (TEMPLATES / f"{name}.md.j2").relative_to(ROOT)
        raise RunFailed(
            "each statement of a page must hold for the numbers that were computed, but that of "
            f"{place}, line {line}, does not; try another statement"
        ) from error


def title(name: str) -> str:
    """Reads the title of a lesson: the heading of its template."""
    text = (TEMPLATES / f"{name}.md.j2").read_text(encoding="utf-8")
    return text.partition("# ")[2].partition("\n")[0]


def navigation(name: str) -> str:
    """Links to the lesson before and to the one after."""
    place = LESSONS.index(name)
    names = {one: title(one).partition(":")[0] for one in LESSONS}
    before = "".join(f"← [{names[one]}]({one}.md) · " for one in LESSONS[max(0, place - 1) : place])
    after = "".join(f" · [{names[one]}]({one}.md) →" for one in LESSONS[place + 1 : place + 2])
    return f"{before}[All lessons](README.md){after}"


class NotTrue(Exception):
    """A statement of a page that its numbers do not support."""


def holds(statement: bool) -> str:
    """Stands behind a statement, and shows nothing.

    Raises:
        NotTrue: the statement is not true of the numbers.
    """
    if statement is not True:
        raise NotTrue
    return ""


def code(path: str, name: str) -> str:
    """Quotes a function, a method (`Class.method`) or a table of src/mlplab as it stands there, with a link."""
    text = (SOURCE / path).read_text(encoding="utf-8")
    node: Any = ast.parse(text)
    for part in name.split("."):
        node = next(one for one in node.body if part in _names_of(one))
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    quoted = textwrap.dedent("\n".join(lines))
    return f"[`src/mlplab/{path}`](../../src/mlplab/{path}):\n\n```python\n{quoted}\n```"


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    return [getattr(node, "name", "")]


def digits(value: float, n: int = 3) -> str:
    """Writes a number with n digits behind the point."""
    return f"{value:.{n}f}".replace("-", "−")


def short(value: float) -> str:
    """Writes a number with as many digits as it has."""
    return f"{value:g}".replace("-", "−")


def signed(value: float, n: int = 3) -> str:
    """Writes a number with its sign, for a sum: + 0.5, − 0.5."""
    return f"{'−' if value < 0 else '+'} {abs(value):.{n}f}"


def power(value: float) -> str:
    """Writes a small or large number as 2·10⁻⁵."""
    mantissa, exponent = f"{value:.0e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.replace('-', '−')}·10{raised}"


def percent(value: float) -> str:
    """Writes a share as whole percent."""
    return f"{100 * value:.0f} %"
