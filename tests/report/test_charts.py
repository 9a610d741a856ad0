import math

import numpy as np
import pytest

from mlplab.report.charts import ChartAxis, value_axis


def axis_of(values: np.ndarray, sign: int, **options: bool) -> ChartAxis:
    return value_axis("loss", values, sign, **options)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_scale_shows_the_best_and_most_of_the_rest(sign: int) -> None:
    values = sign * np.array([*np.linspace(1, 2, 99), 1e6])
    scale = axis_of(values, sign)
    assert not scale.is_log
    assert 0.8 < min(abs(scale.low), abs(scale.high)) < 1
    assert 2 < max(abs(scale.low), abs(scale.high)) < 6
    assert scale.n_beyond == 1
    assert "1 beyond the axis is drawn at its edge." in scale.note()


def test_positive_values_over_decades_get_a_logarithmic_scale() -> None:
    scale = axis_of(np.geomspace(0.001, 1000, 50), 1)
    assert scale.is_log
    assert scale.low < 0.001
    assert not axis_of(np.linspace(1, 2, 50), 1).is_log
    assert not axis_of(np.array([-1.0, 1e-6, 1, 100]), 1).is_log
    whole = axis_of(np.array([1.0] * 99 + [1e9]), 1, is_whole=True)
    assert whole.is_log
    assert whole.high > 1e9


@pytest.mark.parametrize(
    "values",
    [[], [math.nan], [0.0], [5.0, 5.0], [math.inf, 1.0], [1e-300, 1e300], [-1.7e308, 0.0, 1.7e308], [0.0, 0.0, 1.0]],
)
def test_whatever_is_drawn_has_a_scale(values: list[float]) -> None:
    scale = axis_of(np.array(values), 1)
    assert math.isfinite(scale.low)
    assert math.isfinite(scale.high)
    assert scale.low < scale.high
