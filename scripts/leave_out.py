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

TEXTS = ("pyproject.toml", "Makefile", "conf/**/*.yaml", "README.md", "docs/*.md")
"""Texts that speak of parts."""

COMMENT = r"(?:<!-- {0} -->|# {0}$)"
"""A mark in Markdown, and at the end of a line elsewhere."""

COMMENT_OR_DEFAULT = r"\s*(?:#|- )"
"""Begins the lines of settings that may go: a value is needed by others."""

UNIT = r"(\n{2,}|\n(?=[ ]*(?:[-*]|\d+\.) |\||#|<!--))"
"""Separates paragraphs, items of lists and rows of tables."""

SENTENCE = r'(?:(?<=[.!?])|(?<=[.!?]\*\*)|(?<=[.!?]\)))(\s+)(?=[A-Z`\[*("])'
"""Separates sentences."""


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
    n_changed = 0
    for path in sorted(path for pattern in TEXTS for path in root.glob(pattern)):
        before = path.read_text(encoding="utf-8")
        text = without_marked(before, gone)
        if path.suffix == ".md":
            text = without_mentions(text, mention, root)
        elif path.suffix == ".yaml":
            # The help is a text as a whole.
            text = without_comments(text, mention, "" if path.parent.name == "help" else COMMENT_OR_DEFAULT)
        path.write_text(text, encoding="utf-8")
        n_changed += text != before
    for path in (root / "docs").glob("*.ipynb"):
        path.write_text(without_cells(path.read_text(encoding="utf-8"), gone), encoding="utf-8")
    shorten_list(root / LIST, gone, root)
    print(f"left out {', '.join(gone)}: {len(files)} files are gone, and lines of {n_changed} others: see git diff")
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
    """Takes away the lines between the marks of a part, and lines with its mark."""
    for name in gone:
        begin, end = COMMENT.format(f"begin {name}"), COMMENT.format(f"end {name}")
        text = re.sub(rf"^[ ]*{begin}\n(?:.*\n)*?[ ]*{end}\n\n?", "", text, flags=re.MULTILINE)
        text = re.sub(rf"^.*{COMMENT.format(f'only {name}')}\n", "", text, flags=re.MULTILINE)
    return text


def mentions(paths: Sequence[str], choices: Sequence[str], words: Sequence[str]) -> re.Pattern[str]:
    """Matches text that names a path or a choice that is gone, or has one of the words of a part."""
    # Without a slash, the name of a folder is a word like any other.
    bases = ("", "src/mlplab/", "conf/", "docs/")
    names = [re.escape(name) for path in paths for name in {path.removeprefix(base) for base in bases} if "/" in name]
    pages = [rf"\]\({re.escape(Path(path).name)}[)#]" for path in paths if path.startswith("docs/")]  # within docs/
    chosen = [re.escape(choice).replace("=", "(?:=|: )") for choice in choices]  # `GROUP: CHOICE` in a list of defaults
    return re.compile("|".join([rf"(?<![\w./-])(?:{'|'.join([*names, *chosen])})(?![\w-])", *pages, *words]))


def without_mentions(page: str, mention: re.Pattern[str], root: Path) -> str:
    """Takes away the sentences, items, rows of tables and lines of commands that mention what is gone."""
    parts = re.split(r"^(```.*?\n.*?^```\n)", page, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [without_sentences(part, mention) for part in parts[::2]]
    for place in range(1, len(parts), 2):
        first, *lines, last = parts[place].splitlines(keepends=True)
        if any(line.startswith("train.py  ") for line in lines):
            kept = list(lines_of_tree(lines, root))
        elif first.startswith(("```bash", "```text")):
            kept = [line for group in commands(lines) if not mention.search("".join(group)) for line in group]
        else:  # code, of which lines are needed by others
            kept = lines
        parts[place] = "".join([first, *kept, last]) if any(map(str.strip, kept)) else ""
        if not parts[place]:
            parts[place + 1] = parts[place + 1].removeprefix("\n")
    return "".join(parts)


def without_comments(settings: str, mention: re.Pattern[str], beginning: str = COMMENT_OR_DEFAULT) -> str:
    """Takes away the lines of YAML that mention what is gone, if they begin so."""
    lines = settings.splitlines(keepends=True)
    return "".join(line for line in lines if not (mention.search(line) and re.match(beginning, line)))


def without_sentences(prose: str, mention: re.Pattern[str]) -> str:
    """Takes away the sentences that mention what is gone, and rows of tables as a whole."""
    kept = ""
    units = re.split(UNIT, prose)
    for unit, gap in zip(units[::2], [*units[1::2], ""], strict=True):
        bullet = re.match(r"\s*(?:(?:[-*]|\d+\.) )?", unit)[0]  # type: ignore[index]  # it matches anything
        sentences = re.split(SENTENCE, unit.removeprefix(bullet))
        rest = [
            (blank, sentence)
            for blank, sentence in zip(["", *sentences[1::2]], sentences[::2], strict=True)
            if not mention.search(sentence)
        ]
        if unit.startswith("|"):
            text = without_items(unit, mention)
        elif rest:
            text = bullet + "".join(blank + sentence for blank, sentence in rest).removeprefix(rest[0][0])
        else:
            text = ""
        if text:
            kept += text + gap
        elif len(gap) > len("\n") and kept and not kept.endswith("\n\n"):
            kept += "\n"  # after the last item of a list or row of a table
    return kept


def without_items(row: str, mention: re.Pattern[str]) -> str:
    """Takes names that are gone out of a row whose cells list `names`; returns nothing if it speaks of what is gone."""
    if not mention.search(row):
        return row
    cells = row.removeprefix("| ").removesuffix(" |").split(" | ")
    for place, cell in enumerate(cells):
        items = re.split("[,;] ", cell)
        rest = [item for item in items if not mention.search(item)]
        if len(rest) < len(items) and rest and all(re.match("`[^`]+`(?!:)", item) for item in {*items} - {*rest}):
            cells[place] = ", ".join(rest)
        elif len(rest) < len(items):
            return ""
    return f"| {' | '.join(cells)} |"


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
