"""A sweep over every combination of values."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mlplab.config.paths import shortest
from mlplab.errors import UserError, counted
from mlplab.sweeps.launch import progress_of, run_jobs, select_to_do
from mlplab.sweeps.ledger import Entry, canonical
from mlplab.sweeps.overrides import Dimension, dimension_of, params_as_overrides, parse_overrides
from mlplab.sweeps.ranking import print_best
from mlplab.sweeps.rerun import rerun_best
from mlplab.sweeps.sweep import Sweep


def sweep_grid(sweep: Sweep, arguments: Sequence[str], params: Mapping[str, Any] | None) -> None:
    """Runs the jobs of a grid that have not been run. The configuration adds `params` to the command line's arguments.

    Raises:
        UserError: a job cannot be run, or the sweep was begun with another configuration.
        RunStopped: by a signal.
    """
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
    sweep.composer.check_grid(shared, dimensions)  # a mistake in the last job is found before the first one runs
    with sweep.opened(shared, [dimension.name for dimension in dimensions]):  # writes nothing before `save`
        if sweep.config.sweep.rerun is not None:
            rerun_best(sweep)
            return
        # What was swept in an earlier launch is no longer shared, though it has one value now.
        alone = [override for override in shared if override not in sweep.ledger.shared]
        dimensions = [*map(dimension_of, parse_overrides(alone, sweep.loader)), *dimensions]
        jobs = itertools.product(*(dimension.assignments for dimension in dimensions))
        found = (sweep.entry(sweep.complete(assignments)) for assignments in jobs)
        entries = list({entry.number: entry for entry in found}.values())  # a value that is given twice is one job
        if sweep.config.sweep.dry_run:
            _print_jobs(sweep, entries)
            return
        sweep.ledger.metadata["space"] = _space(sweep.ledger.metadata.get("space"), dimensions)
        sweep.save()  # before the first job, so that a kill loses none of them
        to_do = select_to_do(sweep, entries)
        _print_plan(sweep, entries, to_do)
        run_jobs(sweep, to_do, progress_of(sweep, entries))
        print_best(sweep)


def _space(known: Any, dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """Extends the space of earlier launches by the values of this one."""
    space: dict[str, Any] = dict(known or {})
    for dimension in dimensions:
        now = dimension.as_space()
        values = [*space.get(dimension.name, {}).get("values", []), *now["values"]]
        space[dimension.name] = {**now, "values": list({canonical(value): value for value in values}.values())}
    return space


def _print_jobs(sweep: Sweep, entries: Sequence[Entry]) -> None:
    """Prints the directory of each job, and whether it is done."""
    print(f"sweep   {sweep.shown}: {counted(len(entries), 'job')}, of which none is run now (sweep.dry_run=true)")
    for entry in entries:
        directory = shortest(sweep.directory / entry.directory)
        print(f"{sweep.state(entry).name:<10}{directory}  {' '.join(entry.overrides)}")


def _print_plan(sweep: Sweep, entries: Sequence[Entry], to_do: Sequence[Entry]) -> None:
    names = [sweep.state(entry).name for entry in entries]
    counts = [f"{names.count(name)} {name}" for name in dict.fromkeys(names) if name != "waiting"]
    there = f" ({', '.join(counts)})" if counts else ""
    print(f"sweep   {sweep.shown}: {counted(len(entries), 'job')}{there}, {len(to_do)} to do")
    n_failed = sum(name in ("failed", "infeasible") for name in names)  # they are not run again by themselves
    if n_failed and not sweep.config.sweep.retry_failed:
        print(f"        {counted(n_failed, 'job')} failed before; sweep.retry_failed=true runs them again")
