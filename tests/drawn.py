"""How many examples Hypothesis draws: as many as a test says in the gate, and ten times as many in all tests."""

from hypothesis import settings

GATE, FULL = 100, 1000
"""Where a test says nothing."""


def examples(n: int) -> int:
    """The number of examples for a test that draws this many in the gate."""
    return n * settings.default.max_examples // GATE
