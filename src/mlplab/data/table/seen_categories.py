"""Counts the categories of another file that training did not have, or wrote in another way."""

from collections import Counter
from dataclasses import dataclass, field

import polars as pl

from mlplab.data.table.spellings import Spellings
from mlplab.errors import UserError, counted, first_of

NEARLY_ALL = 0.95
"""Share of the rows with an unknown category from which a column was likely written in another way."""

MOST_EXAMPLES = 100
"""Unknown categories of a column that are kept for the message, of perhaps millions."""


@dataclass
class SeenCategories:
    """Counts the categories of a column in another file, over its blocks.

    Attributes:
        name: of the column.
        training: the categories of training.
        n_rows: rows with a category.
        n_unknown: rows with one that training did not have.
        n_respelled: rows with one that training wrote in another way.
        unknown: some of the unknown categories → rows.
        example: a category in another spelling, and how training had it.
    """

    name: str
    training: Spellings
    n_rows: int = 0
    n_unknown: int = 0
    n_respelled: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    example: tuple[str, str] = ("", "")

    def add(self, series: pl.Series) -> pl.Series:
        """Counts the categories of some rows; returns them in the spelling of training."""
        self.n_rows += series.count()
        others = series.filter(~series.is_in(self.training.known)).value_counts(name="\0count")
        if not len(others):
            return series
        meant = self.training.as_known(others[series.name])
        is_unknown = meant == others[series.name]
        unknown, respelled = others.filter(is_unknown), others.filter(~is_unknown)
        self.n_unknown += int(unknown["\0count"].sum())
        self.n_respelled += int(respelled["\0count"].sum())
        if len(self.unknown) < MOST_EXAMPLES:
            self.unknown.update(dict(unknown.sort("\0count", series.name).tail(MOST_EXAMPLES).iter_rows()))
        if len(respelled) and not self.example[0]:
            category = str(respelled[series.name].min())
            self.example = category, meant.filter(others[series.name] == category)[0]
        return series.replace(respelled[series.name], meant.filter(~is_unknown)) if len(respelled) else series

    def require_known(self) -> None:
        """Refuses a column of which nearly all categories are unknown: the network would be blind to it."""
        # A single row may well be the first of its category.
        if self.n_rows > 1 and self.n_unknown >= NEARLY_ALL * self.n_rows:
            raise UserError(
                f"column {self.name!r} must hold categories that training had: "
                f"{first_of([repr(name) for name in self.training.known], 3)}",
                f"{self.n_unknown:,} of {self.n_rows:,} rows have others: {self._examples()}",
                "writing them as in training, or accept_unknown=true if they are new categories",
            )

    def notes(self) -> list[str]:
        """Tells of unknown categories, and of those that are taken for one of training, with examples."""
        if not self.n_unknown:
            return self.notes_on_spelling()
        what = f"a category of {self.name!r} that training did not have: {self._examples()}"
        return [*self.notes_on_spelling(), f"{counted(self.n_unknown, 'row', 'has')} {what}"]

    def notes_on_spelling(self) -> list[str]:
        """Tells of categories that are taken for one of training."""
        if not self.n_respelled:
            return []
        other, known = self.example
        what = f"a category of {self.name!r} in another spelling than training, such as {other!r} for {known!r}"
        return [f"{counted(self.n_respelled, 'row', 'has')} {what}"]

    def _examples(self) -> str:
        # By rows, then by alphabet: a file always has the same message.
        ranked = sorted(self.unknown.items(), key=lambda item: (-item[1], item[0]))
        return first_of([repr(name) for name, _ in ranked], 3)
