"""The page's tables."""

from collections.abc import Sequence
from typing import Any

from mlplab.errors import printable
from mlplab.sweeps.report.analysis import Analysis
from mlplab.sweeps.report.commands import commands
from mlplab.sweeps.report.comparison import Side
from mlplab.sweeps.report.curves import Reaching, reaching
from mlplab.sweeps.report.elements import Element, part
from mlplab.sweeps.report.gathering import Run, as_number
from mlplab.sweeps.report.leaderboard import test_metrics
from mlplab.sweeps.report.pareto import front_of
from mlplab.sweeps.report.settings import Setting, Spread, label, value_text
from mlplab.sweeps.report.wording import number, p_text, spread_text

SHOWN = 50
"""Rows of a long table before the reader asks for all."""

NOT_ENDED = ("running", "waiting", "stopped", "cut off")

MOST_TESTS = 3
"""Test metrics on the page; leaderboard.csv has all."""


def leaderboard(analysis: Analysis, settings: Sequence[Setting], title: str) -> Element:
    """Settings of a stage, ranked by validation, with the test part apart."""
    sweep = analysis.sweep
    names = [name for name in analysis.axes if any(name in setting.values for setting in settings)]
    tests = test_metrics(settings, sweep.objective.metric)[:MOST_TESTS]
    front = {id(s) for s in front_of(settings, sweep.objectives)} if len(sweep.objectives) > 1 else set()
    with_arm = any(setting.arm for setting in settings)
    heads = [
        _head("#", "num"),
        *([_head("arm")] if with_arm else []),
        *(_head(analysis.names[n], title=n) for n in names),
    ]
    n_choices = len(heads)
    heads += [_head(objective.metric, "num") for objective in sweep.objectives]
    heads += [_head("front")] if front else []
    heads += [
        _head("runs", "num"),
        _head("not well"),
        _head("seconds", "num", title="of training, mean over finished runs"),
    ]
    if sweep.target is not None:
        heads += [_head("reached", "num"), _head("epochs to target", "num", title="median; a miss counts as infinite")]
    n_validation = len(heads) - n_choices
    heads += [_head(metric, f"num test{' first' if place == 0 else ''}") for place, metric in enumerate(tests)]
    groups = [part("th", "setting", colspan=n_choices, scope="colgroup")]
    groups.append(part("th", "validation: decides", colspan=n_validation, scope="colgroup"))
    if tests:
        groups.append(
            part("th", "test: not used for selection", colspan=len(tests), scope="colgroup", class_="test first")
        )
    groups.append(part("th", "", scope="colgroup", class_="plain"))
    heads.append(part("th", "command", scope="col", class_="command"))
    rows = []
    for setting in settings:
        cells = [_cell(setting.rank, str(setting.rank), "num")]
        cells += [_cell(setting.arm or "", setting.arm or "")] if with_arm else []
        cells += [_value(setting, name) for name in names]
        cells += [_spread(setting.spread(objective.metric), "strong") for objective in sweep.objectives]
        cells += [_cell(int(id(setting) in front), "●" if id(setting) in front else "", "mid")] if front else []
        cells += _counts(setting)
        cells.append(_spread(Spread(setting.spread("seconds").values), mean_only=True))
        if sweep.target is not None:
            cells += _target(reaching(setting.runs, sweep.target))
        cells += [
            _spread(setting.test(metric), f"test{' first' if place == 0 else ''}") for place, metric in enumerate(tests)
        ]  # fmt: skip
        cells.append(_command(setting, sweep.constants))
        rows.append(part("tr", *cells))
    head = part("thead", part("tr", *groups, class_="groups"), part("tr", *heads))
    return scrolling(part("table", part("caption", title), head, part("tbody", *rows), class_="sortable"), title)


def scrolling(table: Element, title: str) -> Element:
    """A table in a box that it can be scrolled in, with a button for the rest where it is long."""
    box = part("div", table, class_="scroll", tabindex="0", role="region", aria_label=title)
    n = len(table.find("tbody") or ())
    if n <= SHOWN:
        return box
    button = part("button", f"Show all {n:,}", type="button", class_="all", hidden=True, data_shown=SHOWN)
    return part("div", box, button, class_="long")


def _head(text: str, class_: str = "", title: str | None = None) -> Element:
    return part("th", part("button", text, type="button", title=title), scope="col", class_=class_ or None)


def _cell(key: Any, text: str, class_: str | None = None) -> Element:
    """A cell with what it is sorted by, where that is not its text."""
    return part("td", text, data_v=None if str(key) == text else key, class_=class_)


def _value(setting: Setting, name: str) -> Element:
    if name not in setting.values:
        return _cell("", "–", "none")
    value = setting.values[name]
    return _cell(value if as_number(value) is not None else value_text(value), value_text(value), "value")


def _spread(spread: Spread, class_: str = "", *, mean_only: bool = False) -> Element:
    text = number(spread.mean) if mean_only else spread_text(spread)
    return _cell("" if spread.mean is None else repr(spread.mean), text, f"num {class_}".strip())


def _counts(setting: Setting) -> list[Element]:
    n, finished = len(setting.runs), len(setting.finished)
    troubles = [("diverged", setting.states["infeasible"]), ("pruned", setting.states["pruned"])]
    troubles.insert(1, ("failed", setting.states["failed"] + setting.states["damaged"] + setting.n_valueless))
    troubles += [(state, setting.states[state]) for state in NOT_ENDED]
    told = ", ".join(f"{count} {name}" for name, count in troubles if count)
    bad = setting.n_failed > 0
    return [
        _cell(finished, str(n) if finished == n else f"{finished} of {n}", "num"),
        _cell(setting.n_failed, told, "bad" if bad else None),
    ]


def _target(reached: Reaching | None) -> list[Element]:
    if reached is None:
        return [_cell("", "–", "num"), _cell("", "–", "num")]
    return [
        _cell(reached.hits, f"{reached.hits} of {reached.n}", "num"),
        _cell(repr(reached.median["epochs"]), number(reached.median["epochs"]), "num"),
    ]


def _command(setting: Setting, constants: Sequence[str]) -> Element:
    code = part("code", "\n".join(commands(setting, constants)))
    return part("td", part("details", part("summary", "show"), code), class_="command")


def arms_table(analysis: Analysis) -> Element:
    """Each arm tuned, with its defaults beside it: what it comes to, and what it takes to the target."""
    sweep = analysis.sweep
    metric = sweep.objective.metric
    tests = test_metrics(analysis.settings, metric)[:1]
    heads = [
        _head("arm"),
        _head("which"),
        _head("setting"),
        _head("trials", "num"),
        _head(metric, "num"),
        _head("runs", "num"),
    ]
    if sweep.target is not None:
        heads += [_head(text, "num") for text in ("reached", "seconds", "steps", "epochs")]
    heads += [_head(name, "num test first") for name in tests]
    rows = []
    for arm in analysis.arms:
        for side, which in ((arm.tuned, "tuned"), (arm.default, "default")):
            if side is not None:
                trials = _cell(arm.n_trials, f"{arm.n_trials}", "num") if which == "tuned" else _cell("", "0", "num")
                cells = [part("th", arm.name, scope="row"), _cell(which, which)]
                names = dict(analysis.names)
                told = label(side.setting, names) if which == "tuned" else "nothing tuned"
                cells += [_cell(told, told, "value"), trials, _spread(side.setting.validation, "strong")]
                cells.append(_cell(len(side.setting.finished), _of(side.setting), "num"))
                cells += _times(side) if sweep.target is not None else []
                cells += [_spread(side.setting.test(name), "test first") for name in tests]
                rows.append(part("tr", *cells))
    title = "Arms, on seeds that took no part in tuning"
    head = part("thead", part("tr", *heads))
    return scrolling(part("table", part("caption", title), head, part("tbody", *rows), class_="sortable"), title)


def _of(setting: Setting) -> str:
    n, finished = len(setting.runs), len(setting.finished)
    return str(n) if n == finished else f"{finished} of {n}"


def _times(side: Side) -> list[Element]:
    reached = side.reaching
    if reached is None:
        return [_cell("", "–", "num")] * 4
    times = [_cell(repr(value), number(value), "num") for value in reached.median.values()]
    return [_cell(reached.hits, f"{reached.hits} of {reached.n}", "num"), *times]


def tests_table(analysis: Analysis) -> Element:
    """Paired tests between settings."""
    heads = [
        "better",
        "other",
        "seeds won",
        "median difference",
        "rank-biserial",
        "p",
        "p after Holm",
        "least p possible",
    ]
    rows = []
    for test in analysis.tests:
        result = test.result
        texts = [
            f"{test.wins} of {result.n}", number(result.median), f"{result.rank_biserial:+.2f}",
            p_text(result.p).partition(" ")[2].removeprefix("= "), p_text(test.corrected_p).partition(" ")[2].removeprefix("= "),
            f"{result.least_p:.2g}",
        ]  # fmt: skip
        labels = [label(setting, analysis.names) for setting in (test.first, test.second)]
        rows.append(
            part(
                "tr",
                *(part("td", text, class_="value") for text in labels),
                *(part("td", t, class_="num") for t in texts),
            )
        )
    head = part(
        "thead", part("tr", *(part("th", t, scope="col", class_="num" if i > 1 else None) for i, t in enumerate(heads)))
    )
    title = "Wilcoxon's signed-rank test on paired seeds"
    return scrolling(part("table", part("caption", title), head, part("tbody", *rows)), title)


def ended_badly(runs: Sequence[Run]) -> Element | None:
    """Runs that failed or diverged, with the reason of each."""
    bad = [run for run in runs if run.state in ("failed", "infeasible", "damaged")]
    if not bad:
        return None
    rows = [
        part(
            "tr", part("td", str(run.entry.number), class_="num"), part("td", run.entry.directory, class_="value"),
            part("td", "diverged" if run.state == "infeasible" else run.state), part("td", _reason(run), class_="reason"),
        )
        for run in bad
    ]  # fmt: skip
    heads = (_head("job", "num"), _head("directory"), _head("state"), _head("why"))
    title = "Runs that failed or diverged"
    table = part(
        "table", part("caption", title), part("thead", part("tr", *heads)), part("tbody", *rows), class_="sortable"
    )
    return scrolling(table, title)


def _reason(run: Run) -> str:
    if run.state == "damaged":
        return "result.json cannot be read"
    return printable(run.reason[:400])
