import json
from pathlib import Path

import altair as alt
import pytest
from report.analysing import analyse
from report.conftest import Drawn
from slow_cases import slow
from sweeps.making import grid, job, write_sweep

from mlplab.report.charts import MARKS, Chart
from mlplab.report.run_rows import MOST_MARKS, run_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.report.sweep_charts import charts_of


def named(analysis: SweepAnalysis, drawn: Drawn) -> dict[str, Chart]:
    return {chart.name: chart for section in drawn(analysis)[1].values() for chart in section}


def names(analysis: SweepAnalysis, drawn: Drawn) -> dict[str, list[str]]:
    return {section: [chart.name for chart in charts] for section, charts in drawn(analysis)[1].items()}


def test_a_grid_gets_its_charts(told_grid: SweepAnalysis, drawn: Drawn) -> None:
    assert names(told_grid, drawn) == {
        "overview": ["main", "parallel"],
        "comparison": [],
        "parameters": ["effects", "by_optimizer", "pair_optimizer.lr_optimizer"],
        "course": ["distribution"],
        "curves": ["curves_val/loss"],
    }


def test_a_search_with_two_objectives_gets_its_charts(told_search: SweepAnalysis, drawn: Drawn) -> None:
    found = names(told_search, drawn)
    assert found["overview"] == ["parallel"]  # of random numbers there are no means
    assert found["parameters"][:2] == ["effects", "front"]
    assert {f"by_{name}" for name in told_search.axes} <= set(found["parameters"])
    assert found["course"] == ["search", "distribution", "pruned"]


def test_a_comparison_gets_its_charts(told_comparison: SweepAnalysis, drawn: Drawn) -> None:
    assert names(told_comparison, drawn)["comparison"] == ["arms", "target"]


def test_a_single_run_gets_no_empty_charts(tmp_path: Path) -> None:
    analysis = analyse(write_sweep(tmp_path, [job(0, {"a": 1})]))
    found = charts_of(analysis, run_rows(analysis))
    assert [chart.name for charts in found.values() for chart in charts] == ["curves_val/loss"]


@pytest.mark.parametrize("name", ["told_hostile", *slow("told_grid", "told_search", "told_comparison")])
def test_specifications_hold_to_the_schema(name: str, drawn: Drawn, request: pytest.FixtureRequest) -> None:
    for chart in named(request.getfixturevalue(name), drawn).values():
        spec = json.loads(json.dumps(chart.spec, allow_nan=False))
        alt.Chart.from_dict(spec)  # which raises where it is none
        assert chart.title
        assert chart.caption


def test_the_main_figure_has_a_line_and_a_band_over_seeds_for_each_choice(
    told_grid: SweepAnalysis, drawn: Drawn
) -> None:
    main = named(told_grid, drawn)["main"]
    line, band, dots, edge = main.spec["layer"]
    assert [layer["mark"]["type"] for layer in main.spec["layer"]] == ["line", "area", "point", "point"]
    x = line["encoding"]["x"]
    assert x["scale"]["type"] == "log"
    assert x["title"] == "learning rate"
    assert line["encoding"]["color"]["scale"]["domain"] == ["sgd", "adam"]
    assert band["encoding"]["y2"] == {"field": "high"}
    assert {part["field"] for part in dots["encoding"]["tooltip"]} >= {"mean", "deviation", "runs"}
    assert edge["encoding"]["shape"]["scale"]["domain"] == ["finished", "diverged"]
    assert "5 runs without a value are marked at the edge." in main.caption


def test_one_choice_has_one_colour(told_comparison: SweepAnalysis, drawn: Drawn) -> None:
    text = json.dumps([chart.spec for chart in named(told_comparison, drawn).values()])
    shared, _ = drawn(told_comparison)
    assert shared.choice == "arm"
    scale = json.dumps({"domain": list(shared.palette), "range": list(shared.palette.values())})
    assert text.count('"field": "c", "legend"') == text.count(scale) > 5
    assert len(set(shared.palette.values())) == len(shared.palette) == 2


def test_every_figure_of_runs_heeds_what_is_chosen(told_search: SweepAnalysis, drawn: Drawn) -> None:
    for name, chart in named(told_search, drawn).items():
        assert chart.spec["params"][0] == {"name": "chosen", "value": None}
        if name != "effects":  # of all runs, as its caption says
            assert "!chosen || chosen." in json.dumps(chart.spec)


def test_each_state_has_a_mark_of_its_own(tmp_path: Path) -> None:
    states = ("finished", "pruned", "infeasible", "failed", "damaged")
    jobs = [job(n, {"a": n / 7}, 0.1 + n, state=state) for n, state in enumerate(states)]
    jobs.append(job(5, {"a": 5 / 7}, 0.05, trial=5, also={"val/accuracy": 0.8}))
    bounds = [{"metric": "val/accuracy", "mode": "max", "value": 0.9}]
    directory = write_sweep(tmp_path, jobs, sweeper="optuna", search={"constraints": bounds})
    (directory / "4_job" / "status.json").write_text('{"state": "finished"}')
    shared = run_rows(analyse(directory))
    assert shared.states == ["finished", "pruned", "infeasible", "diverged", "failed", "damaged"]
    assert len({MARKS[state] for state in shared.states}) == 6


def test_of_many_runs_the_best_and_some_others_have_a_mark(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n / 7}, 0.1 + n, epochs=1) for n in range(MOST_MARKS + 50)]
    analysis = analyse(write_sweep(tmp_path, jobs))
    shared = run_rows(analysis)
    kept = [row["j"] for row in shared.rows if row["kept"]]
    assert len(kept) == MOST_MARKS
    assert kept[:100] == list(range(100))
    (by_a,) = charts_of(analysis, shared)["parameters"]
    assert [row["j"] for row in shared.datasets(by_a.spec)["marked"]] == kept


def test_when_jobs_ran_is_drawn_where_it_is_known(tmp_path: Path) -> None:
    directory = write_sweep(tmp_path, [job(n, {"a": n}) for n in range(3)])
    for n in range(3):
        times = {"started": f"2026-05-01T12:0{n}:00+00:00", "ended": f"2026-05-01T12:0{n + 1}:30+00:00"}
        path = directory / f"{n}_job" / "status.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | times))
    analysis = analyse(directory)
    shared = run_rows(analysis)
    assert shared.unit == "minutes"
    assert [(row["a"], row["b"]) for row in sorted(shared.rows, key=lambda row: row["j"])] == [
        (0, 1.5),
        (1, 2.5),
        (2, 3.5),
    ]
    assert "timeline" in [chart.name for chart in charts_of(analysis, shared)["course"]]


def test_names_stay_text_in_expressions(tmp_path: Path) -> None:
    bad = "'] + alert(1) + [\"</script>\u2028"
    jobs = grid(2)  # some of it diverged, and is marked at the edge, at a place for each name
    for part in jobs:
        part["entry"]["values"]["optimizer"] += bad
    analysis = analyse(write_sweep(tmp_path, jobs))
    main = next(c for c in charts_of(analysis, run_rows(analysis))["overview"] if c.name == "main")
    steps = [step for layer in main.spec["layer"] for step in layer.get("transform", [])]
    (held,) = [step["calculate"] for step in steps if "alert" in step.get("calculate", "")]
    texts = json.loads(held[held.index("indexof(") + len("indexof(") : held.index(", datum.c")])
    assert all(text.endswith('alert(1) + ["</script>\\u2028') for text in texts)
