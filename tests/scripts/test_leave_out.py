"""Whatever is left out, nothing that stays imports it, chooses it, names it or links to it.

That the tests of what stays pass is tested in tests/template.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlplab.parts import PARTS

ROOT = Path(__file__).resolve().parents[2]
LIST: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "scripts" / "parts.toml").read_text(encoding="utf-8"))


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("leave_out", ROOT / "scripts" / "leave_out.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


leave_out = load()
CHOICES = [
    list(names)
    for names in chain.from_iterable(combinations(sorted({*LIST} & {*PARTS}), n) for n in range(1, len(PARTS) + 1))
    if leave_out.with_needing(names, LIST) == [name for name in LIST if name in names]
]
"""Every set of parts that can be left out."""


def copy_to(folder: Path) -> Path:
    """Copies the files of the project that can be read as text."""
    for name in ("src", "conf", "scripts", "docs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.png", "*.ckpt", "events.*", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("README.md", "pyproject.toml", "Makefile", "train.py", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    if "template" in LIST:
        shutil.copy(ROOT / "copier.yaml", folder)
    return folder


@pytest.fixture(scope="module", params=CHOICES, ids="-".join)
def rest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The project without some of its parts, and the whole."""
    if not CHOICES:
        pytest.skip("nothing can be left out any more")
    folder = copy_to(tmp_path_factory.mktemp("rest"))
    assert leave_out.main(request.param, folder) == 0
    return folder, ROOT


def modules_of(folder: Path) -> set[str]:
    """The modules of a project by the names by which they are imported, also those of tests."""
    paths = [(path, base) for base in ("src", "scripts", "tests") for path in (folder / base).rglob("*.py")]
    return {
        ".".join(path.relative_to(folder / base).with_suffix("").parts).removesuffix(".__init__")
        for path, base in paths
    }


def imports(text: str) -> Iterator[str]:
    for module, names in re.findall(r"^from ([\w.]+) import (\([^)]*\)|.*)", text, re.MULTILINE):
        yield module
        yield from (f"{module}.{name}" for name in re.findall(r"(\w+)(?: as \w+)?", names))
    yield from re.findall(r"^import ([\w.]+)", text, re.MULTILINE)


def test_whatever_stays_imports_nothing_that_is_gone(rest: tuple[Path, Path]) -> None:
    folder, whole = rest
    gone = modules_of(whole) - modules_of(folder)
    assert gone
    for path in chain.from_iterable((folder / base).rglob("*.py") for base in ("src", "scripts", "tests")):
        wrong = gone & set(imports(path.read_text(encoding="utf-8")))
        assert not wrong, f"{path.relative_to(folder)} imports {wrong}"


def test_no_choice_that_stays_names_one_that_is_gone(rest: tuple[Path, Path]) -> None:
    folder, whole = rest
    conf = folder / "conf"
    modules = modules_of(folder)
    for path in conf.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"_target_: ((?:mlplab|hydra_plugins)\.[\w.]+)", text):
            assert any(target.startswith(f"{module}.") for module in modules - {"mlplab"}), f"{path}: {target}"
        for group, choice in re.findall(r"^  - (?:override )?/?([\w/]+): (\w+)", text, re.MULTILINE):
            there, here = (base / "conf" / group / f"{choice}.yaml" for base in (whole, folder))
            assert here.is_file() or not there.is_file(), f"{path}: {group}={choice}"


def test_pages_link_and_name_nothing_that_is_gone(rest: tuple[Path, Path]) -> None:
    folder, whole = rest
    for page in (folder / "README.md", *(folder / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+\.(?:md|ipynb))(?:#[^)]*)?\)", text):
            assert link.startswith("https:") or (page.parent / link).is_file(), f"{page.name} links to {link}"
        for name in re.findall(r"`(?:python )?((?:src|scripts|tests|conf|docs)/[\w./-]+)", text):
            assert (folder / name).exists() or not (whole / name).exists(), f"{page.name} names {name}"
    # A sentence that leads to commands must not have lost them.
    assert not re.search(r":(?: <!--.*-->)?\n\n(?=[A-Z#])", (folder / "README.md").read_text(encoding="utf-8"))


def test_pages_and_settings_say_nothing_of_a_part_that_is_gone(rest: tuple[Path, Path]) -> None:
    folder, _ = rest
    left = leave_out.parts_of(folder)
    words = re.compile("|".join(word for name in {*LIST} - {*left} for word in LIST[name].get("words", ["a^"])))
    for page in (folder / "README.md", *(folder / "docs").glob("*.md")):
        # Code may use the words otherwise.
        blocks = re.compile(r"^```(\w+).*?^```$", flags=re.MULTILINE | re.DOTALL)
        text = blocks.sub(lambda m: m[0] if m[1] in ("bash", "text") else "", page.read_text(encoding="utf-8"))
        assert not (found := words.search(text)), f"{page.name}: {text[found.start() - 80 : found.end() + 80]}"
    for path in (folder / "conf").rglob("*.yaml"):
        comments = re.findall(r"(?:^|\s)#.*", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert not words.search("\n".join(comments)), path


def test_the_page_of_the_benchmark_has_the_workloads_that_can_be_measured(rest: tuple[Path, Path]) -> None:
    folder, whole = rest
    before, after = ((part / "docs" / "benchmarks.md").read_text(encoding="utf-8") for part in (whole, folder))
    left = leave_out.parts_of(folder)
    for title, part in (("## T:", "tables"), ("## K512:", "sweeps"), ("K1 to K512", "sweeps")):
        assert (title in after) is (title in before and part in left)


def test_settings_and_the_list_name_nothing_that_is_gone(rest: tuple[Path, Path]) -> None:
    folder, whole = rest
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    gone = modules_of(whole) - modules_of(folder)
    for contract in project["tool"]["importlinter"]["contracts"]:
        for names in (names for names in contract.values() if isinstance(names, list)):
            assert not gone & set(names), contract["name"]
    extras = project["project"]["optional-dependencies"]
    for wanted in re.findall(r"mlplab\[([\w,]+)\]", " ".join(extras["dev"])):
        assert set(wanted.split(",")) <= set(extras)
    left: dict[str, dict[str, Any]] = tomllib.loads((folder / "scripts" / "parts.toml").read_text(encoding="utf-8"))
    assert set(left) < set(LIST)
    require_existing(left, folder)


def require_existing(parts: dict[str, dict[str, Any]], folder: Path) -> None:
    for name, part in parts.items():
        for pattern in part["paths"]:
            assert any(folder.glob(pattern)), f"{name}: {pattern}"


def test_the_list_names_what_is_there() -> None:
    require_existing(LIST, ROOT)
    # What was left out before stays among what a part needs.
    assert all(needed in PARTS for part in LIST.values() for needed in part.get("needed", []))


def test_every_mark_has_its_end_and_names_a_part(tmp_path: Path) -> None:
    for pattern in leave_out.TEXTS:
        for path in ROOT.glob(pattern):
            text = path.read_text(encoding="utf-8")
            marks = re.findall(r"(?:<!--|#) (begin|end|only) ([a-z]+)(?: -->|$)", text, re.MULTILINE)
            assert {name for _, name in marks} <= {*PARTS, "template"}, path
            opened: list[str] = []
            for kind, name in marks:
                if kind == "begin":
                    opened.append(name)
                elif kind == "end":
                    assert opened.pop() == name, path
            assert not opened, path


@pytest.mark.parametrize("words", [[], ["tabels"], ["--nonsense"]])
def test_a_wrong_name_is_told_and_nothing_is_deleted(tmp_path: Path, words: list[str]) -> None:
    for name in ("leave_out.py", "parts.toml"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    command = [sys.executable, str(tmp_path / "scripts" / "leave_out.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"leave_out\.py: parts must be some of .+; try [\w-]+\n", done.stderr)
    assert len(list(tmp_path.rglob("*.*"))) == 2


MARKDOWN = """\
One. Two by `scripts/gone.py`,
and three. Four.

[Five](gone.md#there). A wave.

<!-- begin x -->
## Six

Seven.
<!-- end x -->

- Eight.
- Nine. (See `scripts/gone.py`.) Ten
  and more.
- **Eleven.** With waves.
- Twelve waves.

| a | b |
|---|---|
| 1 | `kept.py`, `scripts/gone.py` (of two), `other.py` |
| 2 | see `scripts/gone.py`, `kept.py` |
| 3 | `scripts/gone.py` |
| 4 | 5 |

Thirteen:

```bash
python scripts/gone.py \\
    more
python scripts/gone.pyc
python kept.py data=gone
```

```bash
python scripts/gone.py
```

End.
"""

LEFT = """\
One. Four.

- Eight.
- Nine. Ten
  and more.
- **Eleven.**

| a | b |
|---|---|
| 1 | `kept.py`, `other.py` |
| 4 | 5 |

Thirteen:

```bash
python scripts/gone.pyc
```

End.
"""


def test_what_is_marked_or_names_what_is_gone_goes(tmp_path: Path) -> None:
    text = leave_out.without_marked(MARKDOWN, ["x"])
    mention = leave_out.mentions(["scripts/gone.py", "docs/gone.md"], ["data=gone"], [r"\bwaves?\b"])
    assert leave_out.without_mentions(text, mention, tmp_path) == LEFT
    assert leave_out.without_mentions(LEFT, mention, tmp_path) == LEFT


def test_in_settings_comments_and_defaults_go_but_no_value() -> None:
    mention = leave_out.mentions(["conf/data/gone.yaml"], ["data=gone"], [r"\bwaves?\b"])
    lines = ["# With a wave.\n", "  - data: gone # one\n", "a: wave # of waves\n", "  - data: other\n"]
    assert leave_out.without_comments("".join(lines), mention) == "".join(lines[2:])


def test_the_tree_keeps_lines_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "src" / "kept").mkdir(parents=True)
    tree = """\
src/    code
  kept/    that stays;
           and more of it
  gone/    that does not;
           with more
    inner/    of it

  kept/  again
other.py   gone
""".splitlines(keepends=True)
    assert list(leave_out.lines_of_tree(tree, tmp_path)) == [*tree[:3], *tree[6:8]]
