"""How many examples Hypothesis draws: in the gate two fifths of what a test says, in all tests ten times as many."""

from hypothesis import settings

SAID, GATE, FULL = 100, 40, 1000
"""Where a test says nothing."""


def examples(n: int) -> int:
    """The number of examples for a test that says this many."""
    return max(1, n * settings.default.max_examples // SAID)
