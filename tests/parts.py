"""Skips tests of what the project was made without; with all its parts, as here, none is skipped by it."""

from collections.abc import Iterable

import pytest

from mlplab.parts import PARTS, is_there

WORDS = {
    "-m": "sweeps", "--multirun": "sweeps", "data=table": "tables", "hydra/launcher=stacked": "stacked",
}  # fmt: skip
"""Word of a command → the part that it needs."""


def needs(*parts: str) -> pytest.MarkDecorator:
    """Marks tests of a part."""
    assert set(parts) <= set(PARTS)
    missing = [part for part in parts if not is_there(part)]
    return pytest.mark.skipif(bool(missing), reason=f"left out: {', '.join(missing)}")


def skip_without(*parts: str) -> None:
    """Skips the test that runs, if one of the parts is not there."""
    missing = [part for part in parts if not is_there(part)]
    if missing:
        pytest.skip(f"left out: {', '.join(missing)}")


def skip_unless_possible(words: Iterable[str]) -> None:
    """Skips the test that runs, if a command of these words needs what is not there."""
    skip_without(*(WORDS[word] for word in words if word in WORDS))
