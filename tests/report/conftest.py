"""Sweeps that several tests read, made and told once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from report.analysing import analyse
from sweeps.making import COMPARISON, GRID_SPACE, MANY_SPACE, comparison, grid, job, search, write_sweep

from mlplab.report.charts import Chart
from mlplab.report.run_rows import RunRows, run_rows
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.report.sweep_charts import charts_of

Drawn = Callable[[SweepAnalysis], tuple[RunRows, dict[str, list[Chart]]]]

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script><b>", "</style><svg onload=alert(1)>",
    "=cmd()", "$x^2$", "a\x1b[31mb", "\u202eabc", "]]>&amp;<!--", "[bold]not markup[/]", "\ufffe", "$(rm -rf ~)",
    "名前", "|", "-2+3",
)  # fmt: skip
"""Names and values as anybody may have them."""


@pytest.fixture(scope="session")
def told_grid(tmp_path_factory: pytest.TempPathFactory) -> SweepAnalysis:
    """Two optimizers, four learning rates, five seeds; one setting diverged."""
    return analyse(write_sweep(tmp_path_factory.mktemp("grid") / "lr_study", grid(), space=GRID_SPACE))


@pytest.fixture(scope="session")
def told_search(tmp_path_factory: pytest.TempPathFactory) -> SweepAnalysis:
    """Eighty trials over six parameters."""
    asked = {"sampler": "tpe", "seed": 0, "pruner": "median", "budget": {"trials": 80, "epochs": None, "minutes": None}}
    asked["objectives"] = [{"metric": "val/loss", "mode": "min"}, {"metric": "seconds", "mode": "min"}]
    directory = tmp_path_factory.mktemp("search") / "search"
    return analyse(write_sweep(directory, search(80, epochs=12), space=MANY_SPACE, sweeper="optuna", search=asked))


@pytest.fixture(scope="session")
def told_comparison(tmp_path_factory: pytest.TempPathFactory) -> SweepAnalysis:
    """Two arms with reruns, defaults and a target."""
    return analyse(write_sweep(tmp_path_factory.mktemp("comparison") / "arms", comparison(), **COMPARISON))


@pytest.fixture(scope="session")
def told_hostile(hostile_sweep: Path) -> SweepAnalysis:
    """What is made of it."""
    return analyse(hostile_sweep)


@pytest.fixture(scope="session")
def hostile_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep all of whose names and values are `HOSTILE`."""
    jobs = []
    for place, text in enumerate(HOSTILE):
        bad = place % 4 == 3
        jobs.append(
            job(
                place, {text: text, "data.target": text, "seed": 0}, 0.1 + 0.01 * place, arm=text,
                stage=("search", "rerun", "default")[place % 3], state="failed" if bad else "finished", reason=text,
                also={HOSTILE[0]: 0.5 + 0.01 * place}, directory=f"{place}_{'x' if '/' in text else text}",
            )
        )  # fmt: skip
    objectives = [{"metric": "val/loss", "mode": "min"}, {"metric": HOSTILE[0], "mode": "max"}]
    directory = tmp_path_factory.mktemp("hostile") / '"><img src=x onerror=alert(1)>'
    return write_sweep(
        directory, jobs, commands=[f"python train.py -m {text}" for text in HOSTILE], constants=list(HOSTILE),
        target={"metric": HOSTILE[1], "value": 1, "mode": "max"}, search={"objectives": objectives}, sweeper=HOSTILE[0],
        space={text: {"kind": "choice", "values": list(HOSTILE)} for text in HOSTILE}, started=HOSTILE[0],
    )  # fmt: skip


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """Specifies the figures of a sweep, once."""
    kept: dict[int, tuple[RunRows, dict[str, list[Chart]]]] = {}

    def make(analysis: SweepAnalysis) -> tuple[RunRows, dict[str, list[Chart]]]:
        if id(analysis) not in kept:
            shared = run_rows(analysis)
            kept[id(analysis)] = shared, charts_of(analysis, shared)
        return kept[id(analysis)]

    return make
