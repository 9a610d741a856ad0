"""A sweep over every combination of values."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlplab.errors import UserError
from mlplab.sweeps.ledger import canonical
from mlplab.sweeps.overrides import Swept, params_of, product
from mlplab.sweeps.rerun import rerun_best
from mlplab.sweeps.sweep import Sweep


def sweep_grid(sweep: Sweep, arguments: Sequence[str], params: Mapping[str, Any] | None) -> None:
    """Runs the jobs of a grid that have not been run.

    Args:
        sweep: in its directory.
        arguments: words of the command line.
        params: name → values, of the configuration.

    Raises:
        UserError: a job cannot be run, or the sweep was begun with another configuration.
        RunStopped: by a signal.
    """
    constants, dimensions = sweep.composer.read_words(arguments, params_of(params, "hydra.sweeper.params"))
    for dimension in dimensions:
        if dimension.interval is not None:
            raise UserError(
                "a grid must have values that can be counted",
                f"{dimension.name}=interval({dimension.interval[0]},{dimension.interval[1]})",
                f"hydra/sweeper=optuna, or {dimension.name}={dimension.interval[0]},{dimension.interval[1]}",
            )
    sweep.composer.check(constants, dimensions)
    with sweep.opened(constants, [dimension.name for dimension in dimensions]) as shared:
        if sweep.config.sweep.rerun is not None:
            rerun_best(sweep, shared)
            return
        # A word that was swept in an earlier launch is no longer shared, though it has one value now.
        alone = [word for word in constants if word not in shared]
        dimensions = [*sweep.composer.single(alone), *dimensions]
        # A value that is given twice is one job.
        asked = (sweep.entry(values, words, shared) for values, words in product(dimensions))
        entries = list({entry.number: entry for entry in asked}.values())
        sweep.ledger.asked["space"] = _space(sweep.ledger.asked.get("space"), dimensions)
        sweep.save()
        to_do = sweep.to_do(entries)
        sweep.say(entries, to_do)
        if to_do:
            sweep.require_ended(sweep.launch(to_do, shared, sweep.progress(entries, to_do)))
        sweep.say_best(entries)


def _space(known: Any, dimensions: Sequence[Swept]) -> dict[str, Any]:
    """What has been swept over in all launches."""
    space: dict[str, Any] = dict(known or {})
    for dimension in dimensions:
        now = dimension.as_space()
        values = [*space.get(dimension.name, {}).get("values", []), *now["values"]]
        space[dimension.name] = {**now, "values": list({canonical(value): value for value in values}.values())}
    return space
