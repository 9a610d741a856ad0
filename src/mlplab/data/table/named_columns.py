"""The columns that the user names, or that a model takes, and errors where a file lacks one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mlplab.config.suggestions import nearest_name
from mlplab.data.table.strings import for_hydra, for_shell, override_of
from mlplab.errors import UserError, agree, counted, first_of

ROLES = {
    "split_column": "says which part a row belongs to",
    "group_column": "keeps its groups together",
    "weight_column": "says how much a row counts",
}


@dataclass(frozen=True)
class NamedColumns:
    """Names of columns by the options that give them.

    Attributes:
        targets: of `target`.
        lists: `drop`, `numeric` and `categorical` → names.
        single: `split_column`, `group_column`, `time_column` or `weight_column`, where given → name.
    """

    targets: tuple[str, ...]
    lists: Mapping[str, tuple[str, ...]]
    single: Mapping[str, str]

    @classmethod
    def of(cls, target: Any, lists: Mapping[str, Sequence[Any]], single: Mapping[str, Any]) -> "NamedColumns":
        """Collects the options of conf/data/table.yaml."""
        targets = target if isinstance(target, list | tuple) else [target]
        # A column may be called 2020, which YAML reads as a number.
        return cls(
            tuple(map(str, targets)),
            {key: tuple(map(str, names)) for key, names in lists.items()},
            {key: str(name) for key, name in single.items() if name is not None},
        )

    def with_keys(self) -> Iterator[tuple[str, str]]:
        """Yields each option with each name that it gives."""
        yield from (("target", name) for name in self.targets)
        yield from self.single.items()
        yield from ((key, name) for key, names in self.lists.items() for name in names)

    @property
    def of_split(self) -> dict[str, str]:
        """Returns the options that decide the split → name."""
        return {key: name for key, name in self.single.items() if key != "weight_column"}

    def roles(self) -> dict[str, str]:
        """Says of each column that is no feature, by its name alone, what it is there for."""
        roles = {self.single[key]: role for key, role in ROLES.items() if key in self.single}
        dropped = [name for name in self.lists["drop"] if name not in self.single.values()]
        return roles | dict.fromkeys(dropped, "left out: data.drop")

    def kind(self, name: str) -> str | None:
        """Returns "numeric" or "categorical" for a column that the user takes for one."""
        return next((kind for kind in ("numeric", "categorical") if name in self.lists[kind]), None)


def require_named_columns(
    frame: pl.DataFrame, named: NamedColumns, keep_values: Any, first_names: Sequence[str] = ()
) -> None:
    """Refuses names of columns that the file lacks, and columns that are named for two purposes.

    `first_names` are the strings of the first line, where it was not taken for a header. Naming one makes it one.
    """
    names = frame.columns
    if len(names) < 2:
        raise UserError(
            "there must be a column beside the target",
            f"the file has only one, {names[0]!r}",
            "data.delimiter=… with the character that stands between values",
        )
    keeping = keep_values if isinstance(keep_values, Mapping) else ()
    for key, name in (*named.with_keys(), *(("keep_values", name) for name in keeping)):
        if name not in names:
            raise _no_such_column(key, name, names, named, first_names)
    _require_one_purpose(named)


def _no_such_column(
    key: str, name: str, names: Sequence[str], named: NamedColumns, first_names: Sequence[str]
) -> UserError:
    # The target serves no other purpose, but it may keep values, as a class may be called NA.
    others = [other for other in names if key == "keep_values" or other not in {*named.targets} - {name}]
    could_be = [first for first in first_names if first] if len(set(first_names)) == len(first_names) else []
    near = nearest_name(name, could_be) or nearest_name(name, others) or others[-1]
    # A line break in a name would break the message.
    shown = first_of([" ".join(known.splitlines()) for known in names], 8)
    if could_be:
        shown += f"; or, if the first line is the header, {first_of(could_be, 8)}"
    if key == "target" and len(named.targets) > 1:
        return UserError(
            f"data.target must name columns of the file: {shown}",
            override_of("data.target", [name]),
            override_of("data.target", [near if one == name else one for one in named.targets]),
        )
    form = "{{{}: [NA]}}" if key == "keep_values" else "[{}]" if key in named.lists else "{}"
    return UserError(
        f"data.{key} must name a column of the file: {shown}",
        f"data.{key}={form.format(for_hydra(name))}",
        for_shell(f"data.{key}={form.format(for_hydra(near))}"),
    )


def _require_one_purpose(named: NamedColumns) -> None:
    for key, name in named.with_keys():
        if key != "target" and name in named.targets:
            raise UserError(f"data.{key} must not name the target", f"data.{key} names {name!r}", "another column")
    for name in named.targets:
        if named.targets.count(name) > 1:
            raise UserError(
                "data.target must name each column once",
                f"it names {name!r} twice",
                override_of("data.target", list(dict.fromkeys(named.targets))),
            )
    for name in named.lists["numeric"]:
        if name in named.lists["categorical"]:
            raise UserError(
                "a column must be numeric or categorical",
                f"{name!r} is named as both",
                override_of("data.numeric", [name]),
            )
    # A cut in time would go through the middle of groups.
    if {"group_column", "time_column"} <= named.single.keys():
        typed = [f"data.{key}={for_hydra(named.single[key])}" for key in ("group_column", "time_column")]
        raise UserError("the split must go by groups or by time", " ".join(typed), "one of them")


def require_columns(frame: pl.DataFrame, needed: Sequence[str], path: Path, key: str) -> list[str]:
    """Refuses a file that lacks a column; returns a note about the columns that it has beside.

    Raises:
        UserError: with the missing names, and the nearest to the first that is there.
    """
    there, wanted = set(frame.columns), set(needed)  # a table may have thousands of columns
    missing = [name for name in needed if name not in there]
    extra = [name for name in frame.columns if name not in wanted]
    if missing:
        near = nearest_name(missing[0], extra)
        raise UserError(
            f"{key} must have every column that the model takes",
            f"{path.name} lacks {len(missing)} of {len(needed)}: {first_of([repr(name) for name in missing], 5)}",
            f"renaming {near!r}" if near else "a file with the columns of the training file",
        )
    if not extra:
        return []
    are = agree(len(extra), "is")
    return [f"{path.name} has {counted(len(extra), 'column')} that {are} not used: {first_of(extra, 5)}"]
