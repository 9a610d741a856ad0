"""Cases of a parametrisation that show what its others show: `make test-full` runs them, the gate does not."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow(*cases: Any) -> list[Any]:
    """Marks cases as slow; a tuple is a case of several values."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


def slow_but(often: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """Marks all cases as slow but these, each of one value."""
    return [pytest.param(case, marks=() if case in often else pytest.mark.slow) for case in cases]
