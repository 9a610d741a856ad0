"""Ranks a sweep's settings for the sweep itself: what it runs once more, and what it prints at its end."""

from pathlib import Path

from mlplab.errors import UserError, counted, printable
from mlplab.sweeps.ranking import RankedJobs
from mlplab.sweeps.reading.formatting import number, spread_text
from mlplab.sweeps.reading.ranked_settings import Setting, by_data_set, contenders, pareto_front, settings_of
from mlplab.sweeps.reading.sweep_reading import read_sweep
from mlplab.sweeps.reading.sweep_records import RunRecord, SweepRecord


def rank_jobs(directory: Path) -> list[RankedJobs]:
    """Ranks the settings that have a value, as the report does, the best of each stage, arm and data set first.

    Raises:
        UserError: the directory holds no sweep.
    """
    sweep = read_sweep(directory, with_curves=False)
    settings = settings_of(sweep)
    if len(sweep.objectives) > 1:
        best = pareto_front(contenders(settings), sweep.objectives)
    else:
        best = [those[0] for those in by_data_set(contenders(settings)).values()]
    return [
        RankedJobs(
            tuple(run.entry.number for run in setting.runs), setting.arm, setting.stage, setting.data_set,
            setting in best, _text(sweep, setting),
        )
        for setting in settings
        if setting.validation.mean is not None
    ]  # fmt: skip


def best_runs(directory: Path, n: int) -> list[RunRecord]:
    """Returns the `n` best finished runs of a sweep by validation, whatever their settings.

    Raises:
        UserError: the directory holds no sweep, or fewer such runs.
    """
    sweep = read_sweep(directory, with_curves=False)
    metric, sign = sweep.objective.metric, sweep.objective.sign
    runs = [run for run in sweep.runs if run.state == "finished" and metric in run.measured]
    if len(runs) < n:
        raise UserError(
            f"the sweep must have {n} finished runs with a value of {metric}",
            f"it has {len(runs)}",
            f"top={len(runs)}" if len(runs) > 1 else "another sweep",
        )
    return sorted(runs, key=lambda run: sign * run.measured[metric])[:n]


def runs_of_best_setting(directory: Path) -> list[RunRecord]:
    """Returns the finished runs of the setting that the report ranks first, the best of them first.

    Raises:
        UserError: the directory holds no sweep, or no setting has a value.
    """
    sweep = read_sweep(directory, with_curves=False)
    ranked = [setting for setting in contenders(settings_of(sweep)) if setting.validation.mean is not None]
    if not ranked:
        raise UserError("the sweep must have a setting with a value", "it has none", "another sweep")
    metric, sign = sweep.objective.metric, sweep.objective.sign
    runs = [run for run in ranked[0].finished if metric in run.measured]
    return sorted(runs, key=lambda run: sign * run.measured[metric])


def _text(sweep: SweepRecord, setting: Setting) -> str:
    n = len(setting.validation.values)
    values = ", ".join(f"{printable(o.metric)} {_value(setting, o.metric)}" for o in sweep.objectives)
    over = f" over {counted(n, sweep.repetition)}" if n > 1 else ""
    # A setting of one run is known by its folder.
    name = setting.label if len(setting.runs) > 1 else printable(setting.runs[0].entry.directory)
    arm = f"{printable(setting.arm)}: " if setting.arm is not None and len(setting.runs) > 1 else ""
    why = f" ({sweep.replaced.metric} is another measure for each loss)" if sweep.replaced is not None else ""
    where = f"on {printable(setting.data_set)}: " if setting.data_set else ""
    return f"{where}{values}{over}{why}  {arm}{name}"


def _value(setting: Setting, metric: str) -> str:
    spread = setting.spread(metric)
    # Whole numbers such as those of parameters are not rounded.
    is_whole = spread.mean is not None and spread.mean.is_integer() and not spread.deviation
    return f"{spread.mean:,.0f}" if is_whole else spread_text(spread) if spread.values else number(None)
