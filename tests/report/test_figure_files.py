import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report.analysing import analyse
from report.conftest import Drawn
from slow_cases import slow
from sweeps.making import job, write_sweep

from mlplab.report.figure_files import browser_bundle, file_names, render, with_rows
from mlplab.report.run_rows import run_rows
from mlplab.report.sweep_analysis import SweepAnalysis, calling


def specs(analysis: SweepAnalysis, drawn: Drawn) -> dict[str, str]:
    shared, charts = drawn(analysis)
    return {c.name: with_rows(c.spec, shared.datasets(c.spec)) for section in charts.values() for c in section}


def test_one_specification_gives_three_kinds_of_files(told_grid: SweepAnalysis, drawn: Drawn) -> None:
    spec = specs(told_grid, drawn)["main"]
    files = render(spec)
    assert files["png"].startswith(b"\x89PNG")
    assert files["pdf"].startswith(b"%PDF")
    assert b"learning rate" in files["svg"]
    assert files["png"] == render(spec)["png"]  # the same twice


@pytest.mark.parametrize("name", ["told_hostile", *slow("told_search", "told_comparison")])
def test_every_figure_can_be_drawn(name: str, drawn: Drawn, request: pytest.FixtureRequest) -> None:
    for spec in specs(request.getfixturevalue(name), drawn).values():
        tags = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(render(spec)["svg"]).iter()}
        assert "path" in tags
        assert not tags & {"script", "img", "b"}


def test_a_figure_has_the_values_of_runs_that_it_shows(told_grid: SweepAnalysis, drawn: Drawn) -> None:
    rows = json.loads(specs(told_grid, drawn)["by_optimizer"])["datasets"]["runs"]
    assert len(rows) == 40
    assert rows[0].keys() >= {"y", "c", "state"}
    assert "d0" not in rows[0]


def test_a_figure_has_values_that_the_best_run_lacks(tmp_path: Path) -> None:
    jobs = [job(n, {"a": n, **({"b": n} if n else {})}, n) for n in range(5)]
    shared = run_rows(analyse(write_sweep(tmp_path, jobs)))
    rows = shared.datasets({"data": {"name": "runs"}, "transform": [{"filter": "isValid(datum.v1)"}]})["runs"]
    assert ["v1" in row for row in rows] == [False, True, True, True, True]


@pytest.mark.parametrize("bad", ["a\x1b[31m", "\ufffe", "\ud800", "\b\f", "\\\x01"])
def test_no_text_ends_the_renderer(bad: str) -> None:
    spec = {"data": {"name": "runs"}, "mark": "bar", "config": {}, "encoding": {"x": {"field": "a", "type": "nominal"}}}
    assert "\ufffd" in render(with_rows(spec, {"runs": [{"a": bad}]}))["svg"].decode()
    assert json.loads(with_rows(spec, {"runs": [{"a": "\\u001b"}]}))["datasets"]["runs"] == [{"a": "\\u001b"}]


def test_many_are_drawn_in_a_process_of_its_own() -> None:
    with calling(apart=True) as call:
        assert call(abs, -2) == 2


def test_the_script_of_the_page_can_stand_in_a_page() -> None:
    bundle = browser_bundle()
    assert "window.vegaEmbed" in bundle
    assert not [end for end in ("</script", "<!--", "\u2028") if end in bundle]


def test_names_of_files_are_plain_and_taken_once() -> None:
    names = ["by_optimizer.lr", "../../etc/passwd", "script", "<script>", "script>", "名", "x" * 500]
    files = ["by_optimizer.lr", "etc_passwd", "script", "script_2", "script_3", "figure", "x" * 60]
    assert file_names(names) == dict(zip(names, files, strict=True))
