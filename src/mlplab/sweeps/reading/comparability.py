"""Decides which runs can be compared: those on the same data, by a metric that means the same for all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlplab.sweeps.comparable_options import LOSS, chooses_data, chooses_loss
from mlplab.sweeps.job_values import SEEDS, canonical, key_of
from mlplab.sweeps.reading.formatting import value_text
from mlplab.sweeps.reading.sweep_records import Criterion, RunRecord, as_mapping

SHARED = (Criterion("val/accuracy", "max"), Criterion("val/rmse", "min"), Criterion("val/mae", "min"))
"""Metrics that do not depend on the loss, the preferred ones first."""

HOW_TO_LEARN = ("data.batch_size", "data.numeric_scaling", "data.one_hot_levels", "data.embedding_dim", *SEEDS)
"""Options of data that change no row."""

SHORT = 8
"""Digits of a fingerprint that are shown."""

Key = tuple[tuple[tuple[str, str], ...], str]


def with_data_sets(runs: Sequence[RunRecord], configs: Mapping[str, Any]) -> list[RunRecord]:
    """Names the data set of each run if there are several.

    Two runs have the same data if their fingerprints are equal, and the options that choose target and parts.

    Args:
        runs: of a sweep.
        configs: configurations of some of its jobs.
    """
    # Data that are drawn by the seed differ from seed to seed, and are the same problem.
    is_drawn = any("${seed}" in str(as_mapping(config).get("data")) for config in configs.values())
    known = {} if is_drawn else {_setting(run): print for run in runs if (print := _fingerprint(run))}
    # Jobs that have not begun have no fingerprint, and those of their values or their data.
    known |= {_chosen(run): known[_setting(run)] for run in runs if _setting(run) in known}
    keys: list[Key] = []
    for run in runs:
        own = "" if is_drawn else _fingerprint(run)
        keys.append((_chosen(run), own or known.get(_setting(run), known.get(_chosen(run), ""))))
    distinct = list(dict.fromkeys(keys))
    if len(distinct) < 2:
        return list(runs)
    names = {key: _name([run for run, its in zip(runs, keys, strict=True) if its == key]) for key in distinct}
    found = []
    for run, key in zip(runs, keys, strict=True):
        # Equal names of different data: a file was replaced between two launches.
        is_changed = sum(name == names[key] for name in names.values()) > 1
        version = f"fingerprint {key[1][:SHORT] or 'unknown'}" if is_changed else ""
        found.append(replace(run, data_set=", ".join(filter(None, (names[key], version))), data_version=version))
    return found


def _fingerprint(run: RunRecord) -> str:
    return str(as_mapping(run.manifest.get("data")).get("fingerprint") or "")


def _setting(run: RunRecord) -> Any:
    return key_of({name: value for name, value in run.entry.values.items() if name not in SEEDS})


def _chosen(run: RunRecord) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, canonical(value)) for name, value in run.entry.values.items() if chooses_data(name)))


def _name(runs: Sequence[RunRecord]) -> str:
    """Names the data of some runs by the options that they share, else by what their manifests say."""
    values = {
        name: value
        for name, value in runs[0].entry.values.items()
        if (chooses_data(name) or name.startswith("data."))
        and name not in HOW_TO_LEARN
        and all(name in run.entry.values and canonical(run.entry.values[name]) == canonical(value) for run in runs)
    }
    if values:
        return ", ".join(f"{name}={value_text(value)}" for name, value in values.items())
    return next((str(name) for run in runs if (name := as_mapping(run.manifest.get("data")).get("name"))), "data")


def shared_criterion(runs: Sequence[RunRecord]) -> Criterion | None:
    """Returns a metric by which runs with different losses can be compared; None if their losses are the same.

    Where no metric is known of every run, it returns a criterion that none has, so that nothing is ranked.
    """
    losses: dict[str, set[Any]] = defaultdict(set)
    for run in runs:
        # Runs on different data are not compared anyway.
        losses[run.data_set].add(key_of({n: value for n, value in run.entry.values.items() if chooses_loss(n)}))
    if all(len(those) < 2 for those in losses.values()):
        return None
    valued = [run for run in runs if run.state == "finished" and LOSS in run.measured]
    for criterion in SHARED:
        if all(criterion.metric in run.measured for run in valued):
            return criterion
    return Criterion("a metric that the losses share", "min")
