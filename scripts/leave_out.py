"""Takes parts of the project away: their files, their dependencies, and what the pages say of them.

    python scripts/leave_out.py tables report

    NAME …    parts of scripts/parts.toml, which lists the files of each; a part that needs another goes with it

What is left trains, evaluates and passes its tests. Files are deleted, so commit first. Needs Python 3.11 alone.
"""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIST = "scripts/parts.toml"

MARKED = ("pyproject.toml", "Makefile", "conf/**/*.yaml", "README.md", "docs/*.md")
"""Texts that have marks."""

COMMENT = r"(?:<!-- {0} -->|# {0}$)"
"""A mark in Markdown, and at the end of a line elsewhere."""


def main(names: Sequence[str], root: Path = ROOT) -> int:
    parts = parts_of(root)
    unknown = [name for name in names if name not in parts]
    if unknown or not names:
        given = f"got {unknown[0]}" if unknown else "none was given"
        known = ", ".join(parts) or "none, as all have been left out"
        print(
            f"leave_out.py: parts must be some of {known}, {given}; try {next(iter(parts), '--help')}", file=sys.stderr
        )
        return 2
    gone = with_needing(names, parts)
    files = files_of(gone, parts, root)
    choices = [choice for file in files if (choice := choice_of(file))]
    for file in files:
        (root / file).unlink()
    for file in files:
        remove_empty(root / file, root)
    words = [word for name in gone for word in parts[name].get("words", [])]
    mention = mentions([*files, *folders_of(files, root)], choices, words)
    for path in sorted(path for pattern in MARKED for path in root.glob(pattern)):
        text = without_marked(path.read_text(encoding="utf-8"), gone)
        if path.suffix == ".md":
            text = without_lines(text, mention, root)
        elif path.parent.name == "help":  # a text that is shown, in which a mark would be too
            text = "".join(line for line in text.splitlines(keepends=True) if not mention.search(line))
        path.write_text(text, encoding="utf-8")
    for path in (root / "docs").glob("*.ipynb"):
        path.write_text(without_cells(path.read_text(encoding="utf-8"), gone), encoding="utf-8")
    shorten_list(root / LIST, gone, root)
    print(f"left out {', '.join(gone)}: {len(files)} files are gone")
    return 0


def parts_of(root: Path) -> dict[str, dict[str, Any]]:
    """Reads the list of parts."""
    return tomllib.loads((root / LIST).read_text(encoding="utf-8"))


def with_needing(names: Sequence[str], parts: dict[str, dict[str, Any]]) -> list[str]:
    """Adds the parts that need one of these."""
    gone = set(names).union(*(parts[name].get("needed", []) for name in names))
    return [name for name in parts if name in gone]


def files_of(names: Sequence[str], parts: dict[str, dict[str, Any]], root: Path) -> list[str]:
    """Lists the files of parts, relative to the project's folder."""
    found = {path for name in names for pattern in parts[name]["paths"] for path in root.glob(pattern)}
    files = {inner for path in found for inner in (path.rglob("*") if path.is_dir() else [path]) if inner.is_file()}
    return sorted(file.relative_to(root).as_posix() for file in files)


def folders_of(files: Sequence[str], root: Path) -> list[str]:
    """Lists the folders of these files that are gone."""
    folders = {parent.as_posix() for file in files for parent in Path(file).parents}
    return sorted(folder for folder in folders if not (root / folder).exists())


def choice_of(file: str) -> str | None:
    """Returns `group=choice` for a file of conf/; None for another."""
    match = re.fullmatch(r"conf/(.+)/([\w-]+)\.yaml", file)
    return f"{match[1]}={match[2]}" if match else None


def remove_empty(file: Path, root: Path) -> None:
    """Removes folders that hold nothing but caches of the file that is gone."""
    for folder in file.parents:
        if folder == root or not folder.is_dir() or any(path.name != "__pycache__" for path in folder.iterdir()):
            return
        shutil.rmtree(folder)


def without_marked(text: str, gone: Sequence[str]) -> str:
    """Takes away what stands between the marks of a part, and lines with its mark."""
    for name in gone:
        begin, end = COMMENT.format(f"begin {name}"), COMMENT.format(f"end {name}")
        # Marks on lines of their own go with their lines, others with the blank before them.
        text = re.sub(rf"^[ ]*{begin}\n(?:.*\n)*?[ ]*{end}\n\n?", "", text, flags=re.MULTILINE)
        text = re.sub(rf" ?{begin}.*?{end}", "", text, flags=re.DOTALL | re.MULTILINE)
        text = re.sub(rf"^.*{COMMENT.format(f'only (?:[a-z]+ )*{name}(?: [a-z]+)*')}.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"<!-- begin ([a-z]+) --><!-- end \1 -->", "", text)


def mentions(paths: Sequence[str], choices: Sequence[str], words: Sequence[str]) -> re.Pattern[str]:
    """Matches text that names a path or a choice that is gone, or has one of the words of a part."""
    # Without a slash, the name of a folder is a word like any other.
    names = [re.escape(name) for path in paths for name in {path, path.removeprefix("src/mlplab/")} if "/" in name]
    return re.compile("|".join([rf"(?<![\w./-])(?:{'|'.join([*names, *map(re.escape, choices)])})(?![\w-])", *words]))


def without_lines(page: str, mention: re.Pattern[str], root: Path) -> str:
    """Takes away the lines of code and the rows of tables that mention what is gone."""
    parts = re.split(r"^(```.*?\n.*?^```\n)", page, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [
        "".join(line for line in part.splitlines(keepends=True) if not (line.startswith("|") and mention.search(line)))
        for part in parts[::2]
    ]
    for place in range(1, len(parts), 2):
        first, *lines, last = parts[place].splitlines(keepends=True)
        if any(line.startswith("train.py  ") for line in lines):
            kept = list(lines_of_tree(lines, root))
        else:
            kept = [line for group in commands(lines) if not mention.search("".join(group)) for line in group]
        parts[place] = "".join([first, *kept, last]) if any(map(str.strip, kept)) else ""
        if not parts[place]:
            parts[place + 1] = parts[place + 1].removeprefix("\n")
    return "".join(parts)


def without_cells(notebook: str, gone: Sequence[str]) -> str:
    """Takes away the cells of a notebook that have the name of a part for a tag."""
    content = json.loads(notebook)
    content["cells"] = [cell for cell in content["cells"] if not {*cell["metadata"].get("tags", [])} & {*gone}]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def commands(lines: Sequence[str]) -> Iterator[list[str]]:
    """Groups lines that a backslash joins."""
    group: list[str] = []
    for line in lines:
        group.append(line)
        if not line.rstrip().endswith("\\"):
            yield group
            group = []
    yield group


def lines_of_tree(lines: Sequence[str], root: Path) -> Iterator[str]:
    """Yields the lines whose path, within those that it is indented below, exists; and what belongs to them."""
    folders, is_kept = [root], True
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        if line.strip() and depth < len(folders):  # deeper lines go on with a description
            path = folders[depth] / line.split()[0]
            folders, is_kept = [*folders[: depth + 1], path], path.exists()
        if is_kept or not line.strip():
            yield line


def shorten_list(path: Path, gone: Sequence[str], root: Path) -> None:
    """Takes parts out of the list, and from others what went with them."""
    sections = re.split(r"^(?=\[)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kept = [part for part in sections if not any(part.startswith(f"[{name}]") for name in gone)]
    lines = "".join(kept).splitlines(keepends=True)
    path.write_text(
        "".join(
            line for line in lines if not (match := re.fullmatch(r'    "(.+)",\n', line)) or any(root.glob(match[1]))
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        sys.exit()
    sys.exit(main(sys.argv[1:]))
