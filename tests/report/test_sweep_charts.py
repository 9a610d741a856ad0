import json
import math
from pathlib import Path

import numpy as np
import pytest
from report.making import job, write_sweep

from mlplab.report.chart_drawing import draw, file_name, short
from mlplab.report.charts import MOST_MARKS, ChartAxis, value_axis
from mlplab.report.sweep_analysis import SweepAnalysis, analyse
from mlplab.report.sweep_charts import charts_of, parameter_chart


def axis_of(values: np.ndarray, sign: int, **options: bool) -> ChartAxis:
    return value_axis("loss", values, sign, **options)


def names(analysis: SweepAnalysis) -> dict[str, list[str]]:
    return {section: [chart.name for chart in charts] for section, charts in charts_of(analysis).items()}


def test_a_grid_gets_its_charts(told_grid: SweepAnalysis) -> None:
    assert names(told_grid) == {
        "comparison": [],
        "parameters": ["effects", "by_optimizer.lr", "by_optimizer", "pair_optimizer.lr_optimizer"],
        "curves": ["curves_val/loss", "best_epoch"],
    }


def test_a_search_with_two_objectives_gets_its_charts(told_search: SweepAnalysis) -> None:
    found = names(told_search)["parameters"]
    assert found[:3] == ["effects", "front", "search"]
    assert {f"by_{name}" for name in told_search.axes} <= set(found)


def test_a_comparison_gets_its_charts(told_comparison: SweepAnalysis) -> None:
    assert names(told_comparison)["comparison"] == ["arms", "target"]


def test_charts_are_plain_rows(told_search: SweepAnalysis, told_comparison: SweepAnalysis) -> None:
    for analysis in (told_search, told_comparison):
        layers = [layer for charts in charts_of(analysis).values() for chart in charts for layer in chart.layers]
        assert json.loads(json.dumps([list(layer.rows) for layer in layers]))


def test_a_picture_marks_what_diverged_and_joins_the_best(told_grid: SweepAnalysis) -> None:
    axis = told_grid.axes["optimizer.lr"]
    chart = parameter_chart(axis, told_grid.searched, told_grid.objective)
    sound = parameter_chart(axis, told_grid.searched[:-1], told_grid.objective)
    assert "Red crosses: 1 with a run that diverged or failed." in chart.caption
    points, best, crosses = chart.layers
    assert (len(points.rows), len(best.rows)) == (7, 4)
    assert [row["x"] for row in crosses.rows] == [1.0]
    assert best.rows[1] == {"x": pytest.approx(0.01), "y": told_grid.settings[0].score}
    assert "Red crosses" not in sound.caption
    assert not sound.layers[2].rows
    first, second, third = draw([chart, chart, sound])
    assert first == second  # the same twice
    assert "#c4301d" in first.svg
    assert "#c4301d" not in third.svg
    assert "0.001" in first.svg  # a tick of the logarithmic axis, as text


def test_of_many_points_some_are_drawn(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n / 7}, 0.1 + n, epochs=1) for n in range(MOST_MARKS + 50)]
    analysis = analyse(write_sweep(tmp_path, jobs))
    chart = parameter_chart(analysis.axes["a"], analysis.searched, analysis.objective)
    assert len(chart.layers[0].rows) == MOST_MARKS


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


def test_names_of_files_are_plain_and_taken_once() -> None:
    assert file_name("by_optimizer.lr") == "by_optimizer.lr"
    assert file_name("../../etc/passwd", []) == "etc_passwd"
    assert file_name("<script>", ["script"]) == "script_2"
    assert file_name("名", []) == "figure"
    assert len(file_name("x" * 500, [])) == 60


def test_labels_are_short_and_whole() -> None:
    assert short("x" * 100) == "x" * 43 + "…"
    assert short("a\nb\ufffe") == "a\\nb\ufffd"
