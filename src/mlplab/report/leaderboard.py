"""The leaderboard: its columns, and leaderboard.csv."""

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from mlplab.config.rules import shown
from mlplab.errors import printable
from mlplab.report.analysis import Analysis
from mlplab.report.commands import commands
from mlplab.report.curves import reaching
from mlplab.report.ranked_settings import Setting

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def metrics_of_test(settings: Sequence[Setting], metric: str) -> list[str]:
    """Metrics of the test part: the one that was selected by first, then the others.

    Args:
        settings: with their runs.
        metric: of the validation part.
    """
    found = dict.fromkeys(name for setting in settings for run in setting.finished for name in run.test)
    first = f"test/{metric.partition('/')[2]}"
    return sorted(found, key=lambda name: (name != first, name != "test/accuracy"))


def as_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each setting, in plain values; what is not known is None, and infinite where a target was missed."""
    sweep = analysis.sweep
    tests = metrics_of_test(analysis.settings, sweep.objective.metric)
    rows = []
    for setting in analysis.settings:
        row: dict[str, Any] = {"stage": setting.stage, "rank": setting.rank}
        if analysis.arms:
            row["arm"] = setting.arm
        row |= {name: setting.values.get(name) for name in analysis.axes}
        for objective in sweep.objectives:
            spread = setting.spread(objective.metric)
            row |= {f"{objective.metric} mean": spread.mean, f"{objective.metric} std": spread.deviation}
        row |= {"runs": len(setting.runs), "finished": len(setting.finished), **_counts(setting)}
        row["seconds mean"] = setting.spread("seconds").mean
        if sweep.target is not None:
            reached = reaching(setting.runs, sweep.target)
            row["target hits"] = reached.hits if reached else None
            for name in ("seconds", "steps", "epochs"):
                row[f"median {name} to target"] = reached.median[name] if reached else None
        for metric in tests:
            row |= {f"{metric} mean": setting.test(metric).mean, f"{metric} std": setting.test(metric).deviation}
        row["command"] = "\n".join(commands(setting, sweep.constants))
        rows.append(row)
    return rows


def _counts(setting: Setting) -> dict[str, int]:
    return {
        "pruned": setting.states["pruned"],
        "infeasible": setting.states["infeasible"],
        "failed": setting.states["failed"] + setting.states["damaged"] + setting.n_valueless,
        "unfinished": setting.n_left,
    }


def as_csv(analysis: Analysis) -> str:
    """leaderboard.csv: numbers as they are, names so that no spreadsheet takes them for a formula."""
    rows = as_rows(analysis)
    out = StringIO()
    header = list(rows[0]) if rows else ["stage", "rank"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(row[name]) for name in header] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = "\n".join(printable(line) for line in shown(value).split("\n"))
    return f"'{text}" if text.startswith(FORMULA) else text
