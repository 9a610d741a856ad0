import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from report.analysing import analyse
from report.conftest import HOSTILE, Drawn
from sweeps.making import job, write_sweep

from mlplab.report.figure_files import file_names
from mlplab.report.provenance import provenance_of
from mlplab.report.report_files import render_page
from mlplab.report.run_rows import as_json, run_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.report.sweep_charts import charts_of

KNOWN = {
    "html", "head", "meta", "link", "title", "style", "script", "body", "header", "main", "footer", "section", "nav",
    "a", "p", "h1", "h2", "h3", "div", "span", "ul", "ol", "li", "table", "caption", "thead", "tbody", "tr", "th", "td",
    "button", "code", "pre", "figure", "figcaption", "dl", "dt", "dd", "noscript",
}  # fmt: skip
"""The elements that the page is made of."""


class Reader(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "tr", "td"):  # of which the last two need no end
            self.open.append(tag)
        if tag == "script":
            self.script = ""  # the last one runs, those before are data

    def handle_endtag(self, tag: str) -> None:
        assert tag in ("tr", "td") or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.script += data
        else:
            self.texts.append(data)


@pytest.fixture(scope="session")
def page(root: Path, drawn: Drawn) -> Callable[[SweepAnalysis], str]:
    pages: dict[int, str] = {}

    def make(analysis: SweepAnalysis) -> str:
        if id(analysis) not in pages:
            shared, charts = drawn(analysis)
            named = file_names([chart.name for section in charts.values() for chart in section])
            pages[id(analysis)] = render_page(analysis, shared, charts, "", root, named)
        return pages[id(analysis)]

    return make


def test_a_page_has_its_sections_in_order(told_grid: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    text = page(told_grid)
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "What was learned", "The whole at a glance", "Leaderboard", "Paired tests", "Each parameter",
        "The course of the sweep", "Learning curves", "What was asked", "What went wrong",
    ]  # fmt: skip
    for anchor in re.findall(r'href="#([a-z]+)"', text):
        assert f'<section id="{anchor}">' in text
    assert "0.0964 ± 0.0050" in text
    assert "test: not used for selection" in text
    assert "python train.py -m optimizer=adam optimizer.lr=0.01 seed=0,1,2,3,4" in text


def test_every_figure_has_a_text_a_place_and_files(
    told_comparison: SweepAnalysis, page: Callable[[SweepAnalysis], str]
) -> None:
    text = page(told_comparison)
    places = re.findall(r'<div class="chart" role="img" aria-label="[^"]+" data-chart="(\d+)">', text)
    assert [int(place) for place in places] == list(range(len(places)))
    assert len(places) == text.count("<figure") == len(data_of(text)["charts"]) > 5
    assert (
        '<a href="figures/arms.svg">SVG</a> <a href="figures/arms.png">PNG</a> <a href="figures/arms.pdf">PDF</a>'
        in text
    )


def data_of(page: str) -> dict[str, Any]:
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert text is not None
    data: dict[str, Any] = json.loads(text[1])
    # As the page's script reads them: texts and few values are places in a list.
    for name, column in data["columns"].items():
        if isinstance(column, dict):
            places = column["at"] if isinstance(column["at"], list) else [column["at"]] * data["n"]
            data["columns"][name] = [column["of"][place] for place in places]
    return data


def test_a_row_leads_to_its_runs_and_its_command(
    told_grid: SweepAnalysis, page: Callable[[SweepAnalysis], str]
) -> None:
    text = page(told_grid)
    assert '<a href="30_job/">30</a>' in text
    letters = {0xE000 + place: f"{name}=" for place, (_, name) in enumerate(data_of(text)["parameters"])}
    commands = [
        found.translate({**letters, 0xF8FF: "python train.py "}) for found in re.findall(r'data-c="([^"]*)"', text)
    ]
    assert len(commands) == len(told_grid.settings)
    assert commands[0] == "python train.py -m optimizer=adam optimizer.lr=0.01 seed=0,1,2,3,4"


def test_addresses_of_runs_are_no_schemes_and_no_markup(tmp_path: Path, root: Path) -> None:
    analysis = analyse(write_sweep(tmp_path, [job(0, {"a": 0}, directory='javascript:alert(1)"> <b>')]))
    shared = run_rows(analysis)
    page = render_page(analysis, shared, charts_of(analysis, shared), "", root, {})
    assert 'href="javascript%3Aalert%281%29%22%3E%20%3Cb%3E/"' in page


def test_rows_stand_once_and_in_few_characters(
    told_search: SweepAnalysis, page: Callable[[SweepAnalysis], str]
) -> None:
    data = data_of(page(told_search))
    columns = data["columns"]
    assert data["n"] == len(columns["j"]) == 80
    assert columns["stage"] == ["search"] * 80
    assert set(columns["c"]) == set(data["palette"])
    assert max(len(str(value)) for value in columns["y"]) <= 8
    assert not [spec for spec in data["charts"] if "runs" in spec.get("datasets", {})]


def test_a_comparison_is_told(told_comparison: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    text = page(told_comparison)
    assert "Arms, on seeds that were not used for tuning" in text
    assert ">9 of 10<" in text
    assert "∞" in text
    assert re.findall(r">(tuned|default)<", text) == ["tuned", "tuned", "default", "default"]


def test_what_differs_from_conf_leaves_out_what_was_swept(
    tmp_path: Path, root: Path, make_config: Callable[..., DictConfig]
) -> None:
    config = OmegaConf.to_container(make_config("data=wine", "optimizer=sgd", "model.dropout=0.5"), resolve=False)
    jobs = [job(n, {"optimizer": name, "model.dropout": 0.5}, 0.1) for n, name in enumerate(("sgd", "adam"))]
    analysis = analyse(write_sweep(tmp_path, jobs, configs={"0": config}))
    assert dict(provenance_of(analysis, root))["differs from conf/"] == "data.name: wine (conf/: digits)"


def test_nothing_is_asked_of_the_network(told_grid: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    text = page(told_grid)
    reader = Reader(text)
    assert [value for name, value in reader.attributes if name in ("src", "srcset", "action", "data", "poster")] == []
    hrefs = [value for name, value in reader.attributes if name == "href"]
    assert all(value is not None and re.match(r"#|data:,|[\w.%-]+/", value) for value in hrefs)
    assert "@import" not in text
    policy = next(value for name, value in reader.attributes if name == "content" and value and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    digest = base64.b64encode(hashlib.sha256(reader.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_no_name_becomes_a_part_of_the_page(told_hostile: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    text = page(told_hostile)
    reader = Reader(text)
    assert set(reader.tags) <= KNOWN
    assert (reader.tags.count("script"), reader.tags.count("style")) == (2, 1)  # data, and what is run
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert reader.open == []
    told = "".join(reader.texts)
    for name in HOSTILE[:5]:
        assert name in told  # as text
    assert not [character for character in text if character < " " and character != "\n"]
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_data_cannot_end_their_element(told_hostile: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    data = data_of(page(told_hostile))
    assert set(HOSTILE[:4]) <= set(data["columns"]["c"])
    assert as_json({"</script>\u2028": "<!--"}) == '{"\\u003c/script\\u003e\\u2028":"\\u003c!--"}'


@pytest.mark.parametrize(
    "jobs",
    [
        [],
        [job(0, {"a": 0}, state="waiting")],
        [job(n, {"a": n}, 10.0**n, epochs=1) for n in range(-300, 300, 100) if n >= 0],
        [job(n, {"a": n}, state="infeasible", epochs=1) for n in range(3)],
        [job(n, {"a": [n] * 50}, 0.1 * n) for n in range(14)],
    ],
)
def test_there_is_a_page_at_any_time(tmp_path: Path, root: Path, jobs: list[dict]) -> None:
    analysis = analyse(write_sweep(tmp_path / "s", jobs))
    shared = run_rows(analysis)
    text = render_page(analysis, shared, charts_of(analysis, shared), "", root, {})
    assert Reader(text).open == []
    assert "What was learned" in text


def test_long_tables_are_whole(tmp_path: Path, root: Path) -> None:
    analysis = analyse(write_sweep(tmp_path, [job(k, {"a": k}, 0.1 + k, epochs=1) for k in range(200)]))
    shared = run_rows(analysis)
    assert render_page(analysis, shared, defaultdict(list), "", root, {}).count("<tr data-s=") == 200
