"""Writes report.html, one file that requests nothing from the network, tables for other programs, and figures/."""

import base64
import contextlib
import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from altair.utils.schemapi import debug_mode
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mlplab.errors import not_writable
from mlplab.report.charts import MARKS, Chart
from mlplab.report.figure_files import browser_bundle, file_names, render, with_rows
from mlplab.report.provenance import headline, provenance_of
from mlplab.report.report_tables import Table, failures_table, files_of, leaderboard, printable_lines, tests_table
from mlplab.report.run_rows import RunRows, as_json, page_data, run_rows
from mlplab.report.sweep_analysis import SweepAnalysis, calling
from mlplab.report.sweep_charts import charts_of
from mlplab.runs.files import read_ordinary, remove_temporary_files, write_bytes
from mlplab.sweeps.reading.ranked_settings import RULE, TITLES, judged, of_stage
from mlplab.sweeps.reading.sweep_records import Finding

STATES = (*MARKS, "running", "stopped", "cut off", "waiting")
ARMS = (
    "Each arm was tuned by as many trials; its best and its defaults then ran on seeds that were not used for that. "
    "Times are medians over runs until the target, and a miss counts as infinite."
)
TESTS = (
    "Each seed pairs two settings. The rank-biserial correlation is the effect size, 1 if the better one wins on every "
    "seed. With n pairs no p is below 2/2ⁿ: 5 seeds cannot give less than 0.0625. Settings that were chosen as the "
    "best of many on these very seeds look better than they are; new seeds tell."
)

# Runs of a sweep up to which its figures are files, too; of more, they take a third of the time.
MOST_WITH_FILES = 2_000

Charts = Mapping[str, Sequence[Chart]]


@dataclass(frozen=True)
class Section:
    """A section of the page; empty parts are left out."""

    name: str
    title: str
    note: str = ""
    findings: Sequence[Finding] = ()
    command: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    facts: Sequence[tuple[str, str]] = ()


def write_report(analysis: SweepAnalysis, root: Path, *, with_figures: bool | None = None) -> dict[str, Path]:
    """Writes the files of a report, each completely or not at all, and returns them by their kind.

    The page compares with the conf/ in `root`, the project's folder. Figures are files, too, `with_figures`; with None,
    those of at most `MOST_WITH_FILES` runs.

    Raises:
        UserError: the sweep's directory is not writable.
    """
    directory = analysis.sweep.report_folder
    shared = run_rows(analysis)
    with debug_mode(False):  # Altair's checks take a third of the time to make figures, and tests make them
        charts = charts_of(analysis, shared)
    if with_figures is None:
        with_figures = len(shared.rows) <= MOST_WITH_FILES
    every = [chart for section in charts.values() for chart in section]
    named = file_names([chart.name for chart in every]) if with_figures else {}
    page, figures = directory / "report.html", directory / "figures"
    tables = {directory / name: text for name, text in files_of(analysis).items()}
    try:
        for folder in (directory, *([figures] if with_figures else [])):
            folder.mkdir(parents=True, exist_ok=True)
            remove_temporary_files(folder)  # of a report that was killed
        bundle = _script_of_figures(apart=shared.is_thinned) if every else ""
        with calling(apart=shared.is_thinned) as call:
            for chart in every if with_figures else ():
                rendered = call(render, with_rows(chart.spec, shared.datasets(chart.spec)))
                for ending, content in rendered.items():
                    write_bytes(figures / f"{named[chart.name]}.{ending}", content)
        # The page comes last: where it is new, everything that it mentions is there.
        for path, text in tables.items():
            write_bytes(path, text.encode())
        write_bytes(page, render_page(analysis, shared, charts, bundle, root, named).encode())
    except OSError as error:
        raise not_writable("the report's folder", directory, error, f"chmod u+w {directory}, or out=FOLDER") from None
    return {"report": page, **{path.name: path for path in tables}} | ({"figures": figures} if with_figures else {})


def _script_of_figures(*, apart: bool) -> str:
    """Returns the script that draws figures; kept within the environment, as making it takes as long as all else."""
    kept = Path(sys.prefix, "share", __package__, f"vega-{version('vl-convert-python')}.js")
    with contextlib.suppress(OSError):
        return read_ordinary(kept).decode()
    # Apart from the files of figures, too, as V8 frees little memory before its process ends.
    with calling(apart=apart) as call:
        bundle: str = call(browser_bundle)
    with contextlib.suppress(OSError):  # an environment of somebody else
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, bundle.encode())
    return bundle


def render_page(
    analysis: SweepAnalysis, shared: RunRows, charts: Charts, bundle: str, root: Path, named: Mapping[str, str]
) -> str:
    """Renders the page, with the script of Vega as `bundle`, and links to the files of figures by their names."""

    def as_text(value: Any) -> Any:
        """Shows control characters as their codes; escaping the rest is left to Jinja."""
        return value if isinstance(value, Markup) else printable_lines(str(value))

    names = ("page.html.j2", "page.css", "page.js")
    template, style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in names)
    # Names come from files that anybody may have written, so every expression is text unless it is declared markup.
    # A misspelled name in the template raises, instead of leaving a gap in the page.
    environment = Environment(autoescape=True, finalize=as_text, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    specs = {chart.name: chart.spec for section in charts.values() for chart in section}
    script = f"{bundle}\n{script}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # No request, and no script but the page's own: should a name from a file become markup after all, a browser runs
    # and fetches nothing. Any style: drawings have style attributes, which the digest of a style sheet does not cover.
    allowed = f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    counts = Counter(run.state for run in analysis.sweep.runs)
    stream = environment.from_string(template).stream(
        name=analysis.sweep.name,
        headline=headline(analysis),
        states=[(state, counts[state]) for state in STATES if counts[state]],
        sections=_sections(analysis, charts, root),
        figures=named,
        places={name: place for place, name in enumerate(specs)},
        data=Markup(as_json(page_data(shared, analysis) | {"charts": list(specs.values())})),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        policy=f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
    )
    # A page of thousands of rows has a million parts, which would otherwise be held until they are joined.
    stream.enable_buffering(1000)
    return "".join(stream)


def _sections(analysis: SweepAnalysis, charts: Charts, root: Path) -> list[Section]:
    """Collects the sections of the page that have any content, in their order."""
    sweep, settings, ranked = analysis.sweep, analysis.settings, judged(analysis.settings)
    # With several objectives, or data sets, no setting is the best one.
    has_best = ranked and ranked[0].validation.values and len(sweep.objectives) == 1 and not sweep.data_sets
    command = "\n".join(analysis.commands[ranked[0]]) if has_best else ""
    arms: list[Table] = []
    if analysis.arms:
        reruns = [setting for setting in settings if setting.stage != "search"]
        arms = [leaderboard(analysis, reruns, "Arms, on seeds that were not used for tuning")] if reruns else []
        settings = analysis.searched  # the others are in the table of the arms
    stages = list(dict.fromkeys(setting.stage for setting in settings))
    titles = TITLES if analysis.arms or len(stages) > 1 else dict.fromkeys(stages, "Settings")
    boards = [leaderboard(analysis, of_stage(settings, stage), titles[stage]) for stage in stages]
    note = f"Mean ± standard deviation over {sweep.repetition}s. {RULE} Test metrics stand beside, and decide nothing."
    tests = [tests_table(analysis)] if analysis.tests else []
    failures = failures_table(analysis)
    title, about = ("Comparison", ARMS) if analysis.arms else ("Target", "")
    sections = [
        Section("learned", "What was learned", findings=analysis.findings, command=command),
        Section("explore", "The whole at a glance", charts=charts["overview"]),
        Section("comparison", title, about, tables=arms, charts=charts["comparison"]),
        Section("leaderboard", "Leaderboard", note, tables=boards),
        Section("tests", "Paired tests", TESTS, tables=tests),
        Section("parameters", "Each parameter", charts=charts["parameters"]),
        Section("course", "The course of the sweep", charts=charts["course"]),
        Section("curves", "Learning curves", charts=charts["curves"]),
        Section("asked", "What was asked", facts=provenance_of(analysis, root)),
        Section("failed", "What went wrong", tables=[failures] if failures.objects else []),
    ]
    return [section for section in sections if section.findings or section.tables or section.charts or section.facts]
