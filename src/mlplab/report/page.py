"""report.html: one file, that asks nothing of the network."""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from mlplab.report.analysis import Analysis
from mlplab.report.commands import commands
from mlplab.report.comparison_tables import arms_table, tests_table
from mlplab.report.figure_style import Picture, inline
from mlplab.report.html import Element, as_html, part
from mlplab.report.provenance import facts, headline
from mlplab.report.ranked_settings import RULE, TITLES, contenders, of_stage
from mlplab.report.tables import ended_badly, leaderboard

STATES = ("finished", "pruned", "infeasible", "failed", "damaged", "running", "stopped", "cut off", "waiting")
LEVELS = {"result": "Result", "caution": "Caution", "fault": "Fault"}


def as_page(analysis: Analysis, pictures: Mapping[str, Sequence[Picture]], root: Path) -> str:
    """The report as HTML.

    Args:
        analysis: of the sweep.
        pictures: section → pictures.
        root: the project.
    """
    style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    head = part(
        "head",
        part("meta", charset="utf-8"),
        part("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        part("meta", name="viewport", content="width=device-width, initial-scale=1"),
        part("meta", name="color-scheme", content="light dark"),
        part("link", rel="icon", href="data:,"),
        part("title", f"{analysis.sweep.name}: report of a sweep"),
        _raw("style", style),
    )
    sections = [section for section in _sections(analysis, pictures, root) if section is not None]
    links = [part("a", section.findtext("h2"), href=f"#{section.get('id')}") for section in sections]
    main = part("main", *sections)
    body = part("body", _header(analysis, links), main, _footer(analysis), _raw("script", script))
    return "<!DOCTYPE html>\n" + as_html(part("html", head, body, lang="en")) + "\n"


def _policy(script: str) -> str:
    """Forbids every request, and every script but the page's own."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _raw(tag: str, text: str) -> Element:
    """The project's own style or script, as it is."""
    element = Element(tag)
    element.text = text
    return element


def _header(analysis: Analysis, links: Sequence[Element]) -> Element:
    counts = Counter(run.state for run in analysis.sweep.runs)
    shares = [
        part("span", class_=f"state-{state.replace(' ', '-')}", style=f"flex-grow: {counts[state]}")
        for state in STATES
        if counts[state]
    ]
    keys = [
        part(
            "li",
            part("span", class_=f"dot state-{s.replace(' ', '-')}"),
            f"{counts[s]:,} {'diverged' if s == 'infeasible' else s}",
        )
        for s in STATES
        if counts[s]
    ]
    return part(
        "header",
        part("p", "Report of a sweep", class_="over"),
        part("h1", analysis.sweep.name),
        part("p", " · ".join(headline(analysis)), class_="under"),
        part("div", *shares, class_="bar", aria_hidden="true") if shares else None,
        part("ul", *keys, class_="key"),
        part("nav", *links, aria_label="Sections"),
    )


def _sections(analysis: Analysis, pictures: Mapping[str, Sequence[Picture]], root: Path) -> list[Element | None]:
    return [
        _learned(analysis),
        _comparison(analysis, pictures["comparison"]),
        _leaderboards(analysis),
        _tests(analysis),
        _gallery("parameters", "Each parameter", pictures["parameters"]),
        _gallery("curves", "Learning curves", pictures["curves"]),
        _asked(analysis, root),
        _bad(analysis),
    ]


def _section(name: str, title: str, *children: Element | str | None) -> Element:
    return part("section", part("h2", title), *children, id=name)


def _learned(analysis: Analysis) -> Element:
    items = [
        part(
            "li", part("span", LEVELS[finding.level], class_="level"),
            part("div", part("p", finding.sentence, class_="sentence"), part("p", finding.evidence, class_="evidence")),
            class_=finding.level,
        )
        for finding in analysis.findings
    ]  # fmt: skip
    return _section("learned", "What was learned", part("ol", *items, class_="findings"), _best_command(analysis))


def _best_command(analysis: Analysis) -> Element | None:
    ranked = contenders(analysis.settings)
    if not ranked or ranked[0].validation.mean is None or len(analysis.sweep.objectives) > 1:
        return None
    code = part("code", "\n".join(commands(ranked[0], analysis.sweep.constants)))
    return part("div", part("p", "The best once more:"), part("pre", code, tabindex="0"), class_="again")


def _comparison(analysis: Analysis, pictures: Sequence[Picture]) -> Element | None:
    if not analysis.arms and not pictures:
        return None
    note = (
        "Each arm was tuned by as many trials; its best and its defaults then ran on seeds that took no part in that. "
        "Times are medians over runs until the target, and a miss counts as infinite."
    )
    parts = [part("p", note, class_="note"), arms_table(analysis)] if analysis.arms else []
    return _section("comparison", "Comparison" if analysis.arms else "Target", *parts, _grid(pictures))


def _leaderboards(analysis: Analysis) -> Element | None:
    stages = list(dict.fromkeys(setting.stage for setting in analysis.settings))
    tables = [
        leaderboard(analysis, of_stage(analysis.settings, stage), TITLES[stage] if len(stages) > 1 else "Settings")
        for stage in stages
    ]
    if not tables:
        return None
    how = f"Mean ± standard deviation over seeds. {RULE} Test metrics stand beside, and decide nothing."
    return _section("leaderboard", "Leaderboard", part("p", how, class_="note"), *tables)


def _tests(analysis: Analysis) -> Element | None:
    if not analysis.tests:
        return None
    note = (
        "Each seed pairs two settings. The test is exact; the rank-biserial correlation is its size of effect, 1 where "
        "the better one wins on every seed. With n pairs no p is below 2/2ⁿ: 5 seeds cannot give less than 0.0625. "
        "Settings that were picked as the best of many on these very seeds look better than they are; new seeds tell."
    )
    return _section("tests", "Paired tests", part("p", note, class_="note"), tests_table(analysis))


def _gallery(name: str, title: str, pictures: Sequence[Picture]) -> Element | None:
    return _section(name, title, _grid(pictures)) if pictures else None


def _grid(pictures: Sequence[Picture]) -> Element | None:
    if not pictures:
        return None
    figures = [
        part("figure", part("h3", drawn.title), inline(drawn), part("figcaption", drawn.caption)) for drawn in pictures
    ]  # fmt: skip
    return part("div", *figures, class_="grid")


def _asked(analysis: Analysis, root: Path) -> Element:
    rows = []
    for name, text in facts(analysis, root):
        is_code = name in ("command", "commands", "shared by all runs", "space", "differs from conf/")
        rows += [part("dt", name), part("dd", part("code", text) if is_code else text)]
    return _section("asked", "What was asked", part("dl", *rows))


def _bad(analysis: Analysis) -> Element | None:
    table = ended_badly(analysis.sweep.runs)
    return None if table is None else _section("failed", "What went wrong", table)


def _footer(analysis: Analysis) -> Element:
    made = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by scripts/report.py, from what stood in the directory then."
    also = " Pictures are in figures/ too, the leaderboard in leaderboard.csv."
    return part("footer", part("p", made + also))
