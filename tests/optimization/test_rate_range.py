"""Suggested learning rates, on curves whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplab.optimization.rate_range import smoothed, suggestions

RATES = np.geomspace(1e-6, 1e2, 801)


def curve(begins: float, lowest: float) -> np.ndarray:
    """2 until `begins`, then down in a straight line over log(rate) to 1 at `lowest`, then steeply up."""
    x, a, b = np.log10(RATES), np.log10(begins), np.log10(lowest)
    down = np.clip((x - a) / (b - a), 0, 1)
    return 2 - down + 10 * np.clip(x - b, 0, None)


def test_the_middle_of_the_descent_and_a_tenth_of_the_minimum() -> None:
    found = suggestions(RATES, curve(1e-3, 1e-1), before=2.0)
    assert found["valley"] == pytest.approx(10 ** ((np.log10(1e-3) + 0.05 * 2 - 1) / 2), rel=0.03)
    assert found["minimum/10"] == pytest.approx(0.01, rel=0.03)
    assert 1e-3 < found["steepest"] < 1e-1


def test_the_steepest_place() -> None:
    losses = 2 - 1 / (1 + np.exp(-8 * (np.log10(RATES) + 2)))  # steepest at 0.01
    losses[-50:] += 5
    assert suggestions(RATES, losses, before=2.0)["steepest"] == pytest.approx(0.01, rel=0.05)


def test_a_long_flat_beginning_changes_nothing() -> None:
    short = suggestions(RATES[300:], curve(1e-2, 1.0)[300:], before=2.0)
    falling = curve(1e-2, 1.0) - np.linspace(0, 1e-3, len(RATES))
    long = suggestions(RATES, falling, before=2.0)
    assert long == pytest.approx(short, rel=0.05)


@pytest.mark.parametrize(
    "losses",
    [np.full(801, 2.0), np.linspace(2, 3, 801), np.linspace(2, 1.99, 801), curve(1e-3, 1e-1) + 40],
    ids=["flat", "rising", "hardly falling", "falling from an explosion to what it was before"],
)
def test_where_nothing_fell_nothing_is_suggested(losses: np.ndarray) -> None:
    assert suggestions(RATES, losses, before=2.0) == {}


@given(st.floats(0.5, 2), st.floats(-5, -1), st.floats(0.5, 3), st.integers(0, 2**32 - 1))
def test_suggestions_lie_within_the_range_and_do_not_depend_on_the_unit_of_the_loss(
    scale: float, begins: float, decades: float, seed: int
) -> None:
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(RATES))
    losses = smoothed(curve(10**begins, 10 ** (begins + decades)) + noise)
    found = suggestions(RATES, losses, before=2.0)
    assert found == pytest.approx(suggestions(RATES, scale * losses, before=scale * 2.0))
    assert RATES[0] <= found["valley"] <= 10 * found["minimum/10"] <= RATES[-1] * (1 + 1e-9)
    assert RATES[0] <= found["steepest"] <= RATES[-1]


def test_smoothing_keeps_a_constant_a_line_and_the_place_of_a_dip() -> None:
    assert smoothed(np.full(50, 3.0)) == pytest.approx(np.full(50, 3.0))
    line = np.arange(200.0)
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])
    dip = np.ones(201)
    dip[100] = 0.0
    assert int(smoothed(dip).argmin()) == 100
