import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from omegaconf import DictConfig, OmegaConf
from report.conftest import HOSTILE, Drawn
from report.making import job, write_sweep

from mlplab.report.provenance import provenance_of
from mlplab.report.report_files import draw_charts, render_page
from mlplab.report.sweep_analysis import SweepAnalysis, analyse

KNOWN = {
    "html", "head", "meta", "link", "title", "style", "script", "body", "header", "main", "footer", "section", "nav",
    "a", "p", "h1", "h2", "h3", "div", "span", "ul", "ol", "li", "table", "caption", "thead", "tbody", "tr", "th", "td",
    "button", "code", "pre", "details", "summary", "figure", "figcaption", "dl", "dt", "dd",
    "svg", "g", "path", "defs", "use", "text", "tspan", "clippath", "rect",
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
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

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
            pages[id(analysis)] = render_page(analysis, drawn(analysis), root)
        return pages[id(analysis)]

    return make


def test_a_page_has_its_sections_in_order(told_grid: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    text = page(told_grid)
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "What was learned", "Leaderboard", "Paired tests", "Each parameter", "Learning curves", "What was asked",
        "What went wrong",
    ]  # fmt: skip
    for anchor in re.findall(r'href="#([a-z]+)"', text):
        assert f'<section id="{anchor}">' in text
    assert "0.0964 ± 0.0050" in text
    assert "test: not used for selection" in text
    assert "python train.py -m optimizer=adam optimizer.lr=0.01 seed=0,1,2,3,4" in text


def test_every_picture_has_a_text_and_ids_of_its_own(
    told_comparison: SweepAnalysis, page: Callable[[SweepAnalysis], str]
) -> None:
    text = page(told_comparison)
    assert len(re.findall(r"<svg [^>]*role=\"img\"[^>]*>", text)) == text.count("<svg ") == text.count("<figure>") > 5
    assert all(label.strip() for label in re.findall(r'aria-label="([^"]*)"', text))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert name in ids


def test_pictures_take_on_the_colours_of_the_page(
    told_grid: SweepAnalysis, page: Callable[[SweepAnalysis], str]
) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", page(told_grid), flags=re.DOTALL))
    assert "var(--ink)" in drawn
    assert "var(--series-0)" in drawn
    assert "var(--fault)" in drawn
    fixed = set(re.findall(r"fill: (#[0-9a-f]{6})", drawn))
    in_cells = set(re.findall(r"fill: (#[0-9a-f]{6})", drawn[drawn.index("QuadMesh") :]))
    assert fixed <= in_cells | {"#000000", "#ffffff"}  # but for heat maps, which are the same in light and dark


def test_a_comparison_is_told(told_comparison: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    text = page(told_comparison)
    assert "Arms, on seeds that were not used for tuning" in text
    assert ">9 of 10<" in text
    assert "∞" in text
    assert re.findall(r">(tuned|default)</td>", text) == ["tuned", "tuned", "default", "default"]


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
    assert all(value is not None and (value.startswith("#") or value == "data:,") for value in hrefs)
    assert "@import" not in text
    assert "http:" not in text
    assert "https:" not in text
    policy = next(value for name, value in reader.attributes if name == "content" and value and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    digest = base64.b64encode(hashlib.sha256(reader.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_no_name_becomes_a_part_of_the_page(told_hostile: SweepAnalysis, page: Callable[[SweepAnalysis], str]) -> None:
    text = page(told_hostile)
    reader = Reader(text)
    assert set(reader.tags) <= KNOWN
    assert reader.tags.count("script") == reader.tags.count("style") == 1
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert reader.open == []
    told = "".join(reader.texts)
    for name in HOSTILE[:5]:
        assert name in told  # as text
    assert not [character for character in text if character < " " and character != "\n"]
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_pictures_of_hostile_names_are_whole(told_hostile: SweepAnalysis, drawn: Drawn) -> None:
    text = "".join(picture.svg for section in drawn(told_hostile).values() for picture in section)
    assert "$x^2$" in text  # and no formula
    for section in drawn(told_hostile).values():
        for picture in section:
            tags = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(picture.svg).iter()}
            assert not tags & {"script", "img", "b"}
            assert picture.png.startswith(b"\x89PNG")


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
    text = render_page(analysis, draw_charts(analysis), root)
    assert Reader(text).open == []
    assert "What was learned" in text


def test_long_tables_offer_their_rest(tmp_path: Path, root: Path) -> None:
    def buttons(n: int) -> list[str]:
        analysis = analyse(write_sweep(tmp_path / f"{n}", [job(k, {"a": k}, 0.1 + k, epochs=1) for k in range(n)]))
        return re.findall(
            r"Show all [\d,]+", render_page(analysis, {"comparison": [], "parameters": [], "curves": []}, root)
        )

    assert buttons(50) == []
    assert buttons(51) == ["Show all 51"]
