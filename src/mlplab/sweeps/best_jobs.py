"""Ranks a sweep's settings for the sweep itself: what it runs once more, and what it prints at its end."""

from collections.abc import Sequence
from pathlib import Path

from mlplab.errors import UserError, counted, printable
from mlplab.sweeps.ranking import RankedJobs
from mlplab.sweeps.reading.formatting import spread_text
from mlplab.sweeps.reading.ranked_settings import (
    Setting,
    by_data_set,
    contenders,
    judged,
    pareto_front,
    settings_of,
    valued,
)
from mlplab.sweeps.reading.sweep_reading import read_sweep
from mlplab.sweeps.reading.sweep_records import RunRecord, SweepRecord


def rank_jobs(directory: Path) -> list[RankedJobs]:
    """Ranks the settings that have a value, as the report does, the best of each stage, arm and data set first.

    Raises:
        UserError: the directory holds no sweep.
    """
    sweep = read_sweep(directory, with_curves=False)
    settings = settings_of(sweep)
    # As in the report, several reruns decide. Several settings can have the same best value, such as an accuracy of 1.
    ranked = by_data_set(judged(settings)).values()
    best = [setting for those in ranked for setting in those if setting.sort_key == those[0].sort_key]
    if len(sweep.objectives) > 1:
        best = pareto_front(contenders(settings), sweep.objectives)
    return [
        RankedJobs(tuple(run.entry.number for run in s.runs), s.arm, s.stage, s.data_set, s in best, _text(sweep, s))
        for s in valued(settings)
    ]


def best_runs(directory: Path, n: int) -> list[RunRecord]:
    """Returns the `n` best finished runs of a sweep by validation, whatever their settings.

    Raises:
        UserError: the directory holds no sweep, or fewer such runs.
    """
    sweep = read_sweep(directory, with_curves=False)
    runs = _by_value(sweep, sweep.runs)
    if len(runs) < n:
        raise UserError(
            f"the sweep must have {n} finished runs with a value of {sweep.objective.metric}",
            f"it has {len(runs)}",
            f"top={len(runs)}" if len(runs) > 1 else "another sweep",
        )
    return runs[:n]


def runs_of_best_setting(directory: Path) -> list[RunRecord]:
    """Returns the finished runs of the setting that the report ranks first, the best of them first.

    Raises:
        UserError: the directory holds no sweep, or no setting has a value.
    """
    sweep = read_sweep(directory, with_curves=False)
    ranked = valued(judged(settings_of(sweep)))
    if not ranked:
        raise UserError("the sweep must have a setting with a value", "it has none", "another sweep")
    return _by_value(sweep, ranked[0].runs)


def _by_value(sweep: SweepRecord, runs: Sequence[RunRecord]) -> list[RunRecord]:
    metric, sign = sweep.objective.metric, sweep.objective.sign
    finished = [run for run in runs if run.state == "finished" and metric in run.measured]
    return sorted(finished, key=lambda run: sign * run.measured[metric])


def _text(sweep: SweepRecord, setting: Setting) -> str:
    spreads = {o.metric: setting.spread(o.metric) for o in sweep.objectives}
    # Whole numbers such as those of parameters are not rounded.
    whole = {m for m, s in spreads.items() if s.mean is not None and s.mean.is_integer() and not s.deviation}
    texts = {m: f"{s.mean:,.0f}" if m in whole else spread_text(s) for m, s in spreads.items()}
    values = ", ".join(f"{printable(metric)} {text}" for metric, text in texts.items())
    n, is_single = len(setting.validation.values), len(setting.runs) == 1
    over = f" over {counted(n, sweep.repetition)}" if n > 1 else ""
    # A setting of one run is known by its folder.
    name = printable(setting.runs[0].entry.directory) if is_single else setting.label
    arm = f"{printable(setting.arm)}: " if setting.arm is not None and not is_single else ""
    why = f" ({sweep.replaced.metric} is another measure for each loss)" if sweep.replaced is not None else ""
    where = f"on {printable(setting.data_set)}: " if setting.data_set else ""
    return f"{where}{values}{over}{why}  {arm}{name}"
