"""A sweep over every combination of values."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlplab.config.paths import shortest
from mlplab.errors import UserError, counted
from mlplab.runs.run_reading import State
from mlplab.sweeps.job_values import canonical
from mlplab.sweeps.launch import progress_of, run_jobs, select_to_do
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.overrides import dimension_of, params_as_overrides, parse_overrides
from mlplab.sweeps.ranking import print_best
from mlplab.sweeps.rerun import rerun_best
from mlplab.sweeps.search.space import Space, space_of, split_conditions
from mlplab.sweeps.sweep import Sweep, states_of


def sweep_grid(sweep: Sweep, arguments: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Runs the jobs of a grid that have not been run, or goes on with it.

    The settings are those of conf/hydra/sweeper/grid.yaml, which add to the command line's arguments.

    Raises:
        UserError: a job cannot be run, or the sweep was begun with another configuration.
        RunStopped: by a signal.
    """
    # An experiment may have settings for the sweeper that it was written for, where this one is chosen instead.
    params, when = split_conditions(settings.get("params"), settings.get("when"))
    overrides = params_as_overrides(params, "hydra.sweeper.params")
    shared, dimensions = sweep.composer.read_overrides(arguments, overrides)
    if sweep.config.data.folds is not None and not any(word.startswith("data.fold=") for word in shared):
        # A cross-validation is a sweep over its folds, unless some of them are given.
        every_fold = f"data.fold=range(0,{sweep.config.data.folds})"
        shared, dimensions = sweep.composer.read_overrides(arguments, [every_fold, *overrides])
    for dimension in dimensions:
        if dimension.interval is not None:
            low, high = dimension.interval
            raise UserError(
                "a grid must have values that can be counted", f"{dimension.name}=interval({low},{high})",
                f"hydra/sweeper=optuna, or {dimension.name}={low},{high}",
            )  # fmt: skip
    space = space_of(*sweep.composer.decide_conditions(shared, dimensions, when))
    for job in space.to_check():  # all combinations would take too long
        sweep.composer.check_job([*shared, *job])  # a mistake in the last job is found before the first one runs
    with sweep.opened(shared, space.names):  # writes nothing before `save`
        if sweep.config.sweep.rerun is not None:
            rerun_best(sweep)
            return
        # What was swept in an earlier launch is no longer shared, though it has one value now.
        alone = [override for override in shared if override not in sweep.ledger.shared]
        single = map(dimension_of, parse_overrides(alone, sweep.loader))
        space = replace(space, dimensions=(*single, *space.dimensions))
        found = (sweep.entry(sweep.complete(assignments)) for assignments in space.combinations())
        entries = list({entry.number: entry for entry in found}.values())  # a value that is given twice is one job
        if sweep.config.sweep.dry_run:
            _print_jobs(sweep, entries)
            return
        sweep.ledger.metadata["space"] = _space(sweep.ledger.metadata.get("space"), space)
        sweep.save()  # before the first job, so that a kill loses none of them
        states = states_of(sweep, entries)
        to_do = select_to_do(sweep, entries, states)
        _print_plan(sweep, states, to_do)
        run_jobs(sweep, to_do, progress_of(sweep, entries, states))
        print_best(sweep)


def _space(known: Any, space_now: Space) -> dict[str, Any]:
    """Extends the space of earlier launches by the values of this one."""
    space: dict[str, Any] = dict(known or {})
    for name, now in space_now.as_json().items():
        values = [*space.get(name, {}).get("values", []), *now["values"]]
        space[name] = {**now, "values": list({canonical(value): value for value in values}.values())}
    return space


def _print_jobs(sweep: Sweep, entries: Sequence[Entry]) -> None:
    """Prints the directory of each job, and whether it is done."""
    print(f"sweep   {sweep.shown}: {counted(len(entries), 'job')}, of which none is run now (sweep.dry_run=true)")
    for entry in entries:
        directory = shortest(sweep.directory / entry.directory)
        print(f"{sweep.state(entry).name:<10}{directory}  {' '.join(entry.overrides)}")


def _print_plan(sweep: Sweep, states: Mapping[int, State], to_do: Sequence[Entry]) -> None:
    names = [state.name for state in states.values()]
    counts = [f"{names.count(name)} {name}" for name in dict.fromkeys(names) if name != "waiting"]
    there = f" ({', '.join(counts)})" if counts else ""
    print(f"sweep   {sweep.shown}: {counted(len(states), 'job')}{there}, {len(to_do)} to do")
    n_failed = sum(name in ("failed", "infeasible") for name in names)  # they are not run again by themselves
    if n_failed and not sweep.config.sweep.retry_failed:
        print(f"        {counted(n_failed, 'job')} failed before; sweep.retry_failed=true runs them again")
