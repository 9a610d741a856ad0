"""Gives the project another name: package, plug-ins, configuration, tests and docs.

    python scripts/rename_project.py mynet

Needs nothing installed. Runs, checkpoints and sweeps of before still open under the new name. Only history keeps the
old one: CHANGELOG.md, the runs of earlier releases that tests open, and `NAMES` in config/former_names.py.
"""

import builtins
import importlib.util
import keyword
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HISTORY = re.compile(r"CHANGELOG\.md|tests/releases/.+/.+")
"""Files that tell of what was."""

GENERATED = re.compile(r"\.git|\.venv|\.hypothesis|.*_cache|__pycache__|.*\.egg-info|logs|build|dist")
"""Folders that hold no code, where git does not say which do."""


class Refusal(Exception):
    """A mistake of the user's, as one sentence with a hint."""


def main(words: list[str]) -> int:
    if {"-h", "--help"} & {*words}:
        print(str(__doc__).strip())
        return 0
    try:
        if len(words) != 1 or words[0].startswith("-"):
            given = " ".join(words) or "nothing"
            raise Refusal(f"one new name must be given, got {given}; try python scripts/rename_project.py mynet")
        old, new = current_name(), words[0]
        require_committed()
        files = files_of_project()
        texts = {path: text for path in files if (text := text_of(path)) is not None}
        require_free(new, old, texts)
        changed = {path: renamed(text, old, new) for path, text in texts.items() if old in text.lower()}
    except Refusal as refusal:
        print(f"rename_project.py: {refusal}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the next second is better spent than stopped half-way
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8", newline="")
    moved = move(files, old, new)
    shutil.rmtree(ROOT / "src" / f"{old}.egg-info", ignore_errors=True)  # installing writes it anew
    print(f"renamed {old} to {new}: {len(changed)} files changed, {moved} files and folders moved")
    is_formatted = tidy()
    print(f"next    make {'setup' if is_formatted else 'format'}, which installs it by its new name, then git commit")
    return 0


def names_file() -> Path:
    """Finds the file that holds `NAMES`, whatever the package is called."""
    (path,) = (ROOT / "src").glob("*/config/former_names.py")
    return path


def current_name() -> str:
    """Returns the project's name.

    Raises:
        Refusal: it is not its first one.
    """
    names = re.search(r"^NAMES: .* = \((.*)\)$", names_file().read_text(encoding="utf-8"), re.MULTILINE)
    assert names is not None
    first, *others = re.findall(r'"(\w+)"', names[1])
    if others:
        # The name of somebody's project may be a word of the language, which a second renaming would replace, too.
        raise Refusal(f"a project must not be renamed twice, but this one was {first} before; try git revert")
    return first


def require_committed() -> None:
    """Refuses where git could not bring back what was."""
    if not (ROOT / ".git").exists():
        return
    status = git("status", "--porcelain", "-z").split("\0")[:-1]
    if status:
        shown = ", ".join(line[3:] for line in status[:3]) + (", …" if len(status) > 3 else "")
        raise Refusal(f"all changes must be committed, so that nothing is lost, but {shown} differ; try git commit")


def git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip().splitlines()[0]
        raise Refusal(f"git must say what is committed, but {reason}; try git status") from None
    return done.stdout


def files_of_project() -> list[Path]:
    """Lists the files of the project, and those that a machine keeps for itself beside them."""
    if (ROOT / ".git").exists():
        own = [ROOT / ".env", *(ROOT / "conf").rglob("*.yaml")]
        tracked = [ROOT / name for name in git("ls-files", "-z").split("\0")[:-1]]
        return sorted({path for path in (*tracked, *own) if path.is_file()})
    found: list[Path] = []
    for folder, folders, names in os.walk(ROOT):
        # In place, as os.walk goes on with the folders that are left in its list.
        folders[:] = [name for name in folders if not GENERATED.fullmatch(name)]
        found += (Path(folder, name) for name in names)
    return found


def text_of(path: Path) -> str | None:
    """Reads a file; None if it is history, no text, or a link to something else."""
    if path.is_symlink() or HISTORY.fullmatch(path.relative_to(ROOT).as_posix()):
        return None
    try:
        # Line ends stay as they are.
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        return None


def require_free(new: str, old: str, texts: dict[Path, str]) -> None:
    """Refuses a name that Python, pip or another module cannot share."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*(?<!_)", new):
        near = re.sub(r"\W+|^[\d_]+|_+$", "", re.sub(r"[\s.-]+", "_", new.lower()), flags=re.ASCII)
        rule = "begin with a letter, and hold small letters, digits and single _ between them"
        raise Refusal(f"a project's name must {rule}, got {new}; try {near or 'mynet'}")
    if new == old:
        raise Refusal(f"a new name must be another one, got {new}; try my_{new}")
    imported = {
        name
        for path, text in texts.items()
        if path.suffix == ".py"
        for name in re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE)
    }
    required = re.findall(r"([A-Za-z][\w.-]*)(?:\[[\w,]*\])?[=<>]=", dependencies())
    # Folders that are on Python's path while the program or its tests run.
    beside = {path.stem for folder in (".", "src", "scripts", "tests") for path in (ROOT / folder).iterdir()}
    for reason, names in (
        ("a word of Python", {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *sys.stdlib_module_names}),
        ("a module that the project uses", {*imported, *(re.sub("[.-]", "_", name.lower()) for name in required)}),
        ("a file or folder of the project", beside),
    ):
        if new in names:
            raise Refusal(f"a project's name must be free, but {new} is {reason}; try my_{new}")
    if importlib.util.find_spec(new) is not None:
        raise Refusal(f"a project's name must be free, but a module {new} is installed; try my_{new}")


def dependencies() -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt"))


def renamed(text: str, old: str, new: str) -> str:
    text = text.replace(old, new).replace(old.upper(), new.upper())
    return text.replace(f'NAMES: tuple[str, ...] = ("{new}",)', f'NAMES: tuple[str, ...] = ("{old}", "{new}")')


def move(files: Iterable[Path], old: str, new: str) -> int:
    """Renames files and folders, the deepest first; returns their number."""
    places = {place for path in files if not HISTORY.fullmatch(path.relative_to(ROOT).as_posix())
              for place in (path, *path.parents) if place.is_relative_to(ROOT) and place != ROOT}  # fmt: skip
    named = sorted((place for place in places if old in place.name), key=lambda place: -len(place.parts))
    for place in named:
        place.rename(place.with_name(place.name.replace(old, new)))
    return len(named)


def tidy() -> bool:
    """Sorts imports and breaks lines as the new name wants it; returns whether ruff was there to do it."""
    ruff = next(filter(os.path.exists, (ROOT / ".venv" / "bin" / "ruff", Path(sys.executable).with_name("ruff"))), None)
    if ruff is None:
        return False
    for words in (("check", "--fix", "--select", "I"), ("format",)):
        subprocess.run([ruff, *words, "--quiet", "."], cwd=ROOT, check=False)
    long = subprocess.run([ruff, "check", "--quiet", "."], cwd=ROOT, check=False).returncode
    if long:
        print("note    these lines have become too long for ruff; the rest of `make check` does not mind")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
