"""The page's tables of a comparison: its arms, and paired tests."""

from functools import partial

from mlplab.report.analysis import Analysis
from mlplab.report.arms import Arm, Side
from mlplab.report.formatting import p_text
from mlplab.report.html import Element, part
from mlplab.report.leaderboard import metrics_of_test
from mlplab.report.ranked_settings import label
from mlplab.report.tables import (
    Column,
    cell,
    count_cell,
    hits_cell,
    median_cell,
    number_cell,
    sortable,
    spread_cell,
    spread_column,
)


def arms_table(analysis: Analysis) -> Element:
    """Each arm tuned, with its defaults beside it: what it comes to, and what it takes to the target."""
    metric = analysis.sweep.objective.metric
    rows: list[tuple[Arm, Side, bool]] = []
    for arm in analysis.arms:
        rows += [(arm, side, side is arm.tuned) for side in (arm.tuned, arm.default) if side is not None]
    columns = [
        Column("arm", lambda row: cell(row[0].name, style="strong")),
        Column("which", lambda row: cell("tuned" if row[2] else "default")),
        Column("setting", lambda row: cell(label(row[1].setting, analysis.names) if row[2] else "–", style="value")),
        Column("trials", lambda row: cell(str(row[0].n_trials if row[2] else 0), style="num"), "num"),
        Column(metric, lambda row: spread_cell(row[1].setting.validation, "strong"), "num"),
        Column("runs", lambda row: count_cell(len(row[1].setting.finished), len(row[1].setting.runs)), "num"),
    ]
    if analysis.sweep.target is not None:
        columns.append(Column("reached", lambda row: hits_cell(row[1].reaching), "num", "runs that reached the target"))
        columns += [
            Column(unit, partial(_median, unit), "num", f"median {unit} to the target")
            for unit in ("seconds", "steps", "epochs")
        ]
    tests = metrics_of_test(analysis.settings, metric)[:1]
    columns += [spread_column(name, lambda row, metric: row[1].setting.test(metric), "test first") for name in tests]
    n_before = len(columns) - len(tests)
    groups = [part("th", "validation", colspan=n_before, scope="colgroup")]
    groups += [part("th", "test: not used for selection", scope="colgroup", class_="test first")] if tests else []
    return sortable("Arms, on seeds that took no part in tuning", columns, rows, part("tr", *groups, class_="groups"))


def _median(unit: str, row: tuple[Arm, Side, bool]) -> Element:
    return median_cell(row[1].reaching, unit)


def tests_table(analysis: Analysis) -> Element:
    """Paired tests between settings."""
    columns = [
        Column("better", lambda test: cell(label(test.first, analysis.names), style="value")),
        Column("other", lambda test: cell(label(test.second, analysis.names), style="value")),
        Column("seeds won", lambda test: cell(f"{test.wins} of {test.result.n}", test.wins, "num"), "num"),
        Column("median difference", lambda test: number_cell(test.result.median), "num"),
        Column("rank-biserial", lambda test: cell(f"{test.result.rank_biserial:+.2f}", style="num"), "num"),
        Column("p", lambda test: cell(p_text(test.result.p), test.result.p, "num"), "num"),
        Column("p after Holm", lambda test: cell(p_text(test.corrected_p), test.corrected_p, "num"), "num"),
        Column(
            "least p", lambda test: cell(p_text(test.result.least_p), style="num"), "num", "that so many pairs can give"
        ),
    ]
    return sortable("Wilcoxon's signed-rank test on paired seeds", columns, analysis.tests)
