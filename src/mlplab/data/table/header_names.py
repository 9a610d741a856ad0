"""Names of columns: those of the header line, or of several lines, each once."""

import re
from collections.abc import Sequence

from mlplab.errors import counted, first_of

GENERATED_NAME = re.compile(r"column_\d+")
"""Names that columns get where the file has none."""

UNNAMED = re.compile(r"|Unnamed: ?\d+(\.\d+|_level_\d+)?|\.\.\.\d+|__index_level_\d+__")
"""Names that stand for none: those of pandas and of R's readr, too."""

GENERIC = re.compile(r"|(V|X|Y|C|Var|Col|Column|Field|Unnamed:|column)?[ _]?\d*", re.IGNORECASE)
"""Names that say nothing, above which the real ones may stand."""


def column_names(
    header: Sequence[Sequence[str]], width: int, known_names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Returns a name of its own for each column, those that the file does not give, and notes."""
    if not header:
        # The names that polars would give.
        return tuple(f"column_{number}" for number in range(1, width + 1)), (), []
    # A line break in a name could not be typed on the command line.
    lines = [[re.sub(r"\s*[\r\n]\s*", " ", string) for string in line] for line in header]
    found, notes = _chosen_line(lines, known_names)
    names: list[str] = []
    repeated: list[str] = []
    taken = {name for name in found if name}
    for number, name in enumerate(found, 1):
        new = name or f"column_{number}"
        if new in names:
            copies = (f"{new}_{copy}" for copy in range(2, len(found) + 2))
            new = next(copy for copy in copies if copy not in taken)
            repeated.append(f"column {number} is called {new}")
        taken.add(new)
        names.append(new)
    if repeated:
        more = f", … {len(repeated) - 3} more" if len(repeated) > 3 else ""
        notes.append(f"{counted(len(repeated), 'column')} had the name of another: {', '.join(repeated[:3])}{more}")
    unnamed = tuple(name for name, given in zip(names, found, strict=True) if UNNAMED.fullmatch(given))
    return tuple(names), unnamed, notes


def _chosen_line(lines: Sequence[Sequence[str]], known_names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Chooses the line of names among several header lines, or joins them; adds notes."""
    if len(lines) == 1:
        return list(lines[0]), []
    first, second = lines[0], lines[1]
    with_known = [line for line in lines if set(known_names) & set(line)]

    def is_complete(line: Sequence[str]) -> bool:
        # The first column may have no name, and neither have columns that no line names.
        is_named = all(name or not any(texts) for name, *texts in list(zip(line, *lines, strict=True))[1:])
        given = [name for name in line if name]
        return is_named and len(set(given)) == len(given)

    likely = with_known[0] if len(with_known) == 1 else first
    chosen = likely if is_complete(likely) else None
    if chosen is first and not with_known and is_complete(second):
        n_generic = sum(bool(GENERIC.fullmatch(name)) for name in first)
        chosen = second if n_generic > 0.8 * len(first) and not all(map(GENERIC.fullmatch, second)) else first
    if chosen is not None:
        rest = [line for line in lines if line is not chosen]
        given = [[name[:30] for name in line if name] for line in rest]
        shown = "; ".join(first_of(line, 3) for line in given)
        return list(chosen), [f"{counted(len(rest), 'further header line', 'is')} not taken for names: {shown}"]
    filled = []
    for line in lines[:-1]:
        # The name of a group stands once, above its first column.
        group, groups = "", []
        for name in line:
            group = name or group
            groups.append(group)
        filled.append(groups)
    joined = [" ".join(dict.fromkeys(part for part in parts if part)) for parts in zip(*filled, lines[-1], strict=True)]
    example = next((name for name in joined if " " in name), joined[-1])
    return joined, [f"{len(lines)} header lines are joined into names such as {example!r}"]
