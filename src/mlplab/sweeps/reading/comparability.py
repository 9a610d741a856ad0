"""Decides which runs can be compared: those on the same data, by a metric that means the same for all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlplab.sweeps.comparable_options import LOSS, chooses_data, chooses_loss
from mlplab.sweeps.job_values import SEEDS, canonical, key_of
from mlplab.sweeps.reading.formatting import value_text
from mlplab.sweeps.reading.sweep_records import RunRecord, as_mapping
from mlplab.sweeps.search.outcomes import Objective

SHARED = (Objective("val/accuracy", "max"), Objective("val/rmse", "min"), Objective("val/mae", "min"))
"""Metrics that do not depend on the loss, the preferred ones first."""

HOW_TO_LEARN = ("data.batch_size", "data.numeric_scaling", "data.one_hot_levels", "data.embedding_dim", *SEEDS)
"""Options of data that change no row."""

SHORT = 8  # digits of a fingerprint that are shown


def is_of_method(name: str) -> bool:
    """Returns whether an option is no choice of data."""
    return name in HOW_TO_LEARN or not (chooses_data(name) or name.startswith("data."))


def with_data_sets(runs: Sequence[RunRecord], configs: Mapping[str, Any]) -> list[RunRecord]:
    """Names the data set of each run if there are several.

    Two runs have the same data if their fingerprints are equal, and the options that choose target and parts.

    Args:
        runs: of a sweep.
        configs: configurations of some of its jobs.
    """
    # Data that are drawn by the seed differ from seed to seed, and are the same problem.
    is_drawn = any("${seed}" in str(as_mapping(config).get("data")) for config in configs.values())
    prints = ["" if is_drawn else str(as_mapping(r.manifest.get("data")).get("fingerprint") or "") for r in runs]
    settings = [key_of({name: v for name, v in run.entry.values.items() if name not in SEEDS}) for run in runs]
    chosen = [key_of({name: v for name, v in run.entry.values.items() if chooses_data(name)}) for run in runs]
    # Jobs that have not begun have no fingerprint, and those of their values or their data.
    known: dict[Any, str] = {}
    for keys in (chosen, settings):
        known |= {key: print for key, print in zip(keys, prints, strict=True) if print}
    by_data: dict[Any, list[RunRecord]] = defaultdict(list)
    for run, print, setting, choice in zip(runs, prints, settings, chosen, strict=True):
        by_data[choice, print or known.get(setting, known.get(choice, ""))].append(run)
    if len(by_data) < 2:
        return list(runs)
    names = {key: _name(those) for key, those in by_data.items()}
    found: dict[int, RunRecord] = {}
    for key, those in by_data.items():
        # Equal names of different data: a file was replaced between two launches.
        is_changed = sum(name == names[key] for name in names.values()) > 1
        version = f"fingerprint {key[1][:SHORT] or 'unknown'}" if is_changed else ""
        full = ", ".join(filter(None, (names[key], version)))
        found |= {id(run): replace(run, data_set=full, data_version=version) for run in those}
    return [found[id(run)] for run in runs]


def _name(runs: Sequence[RunRecord]) -> str:
    """Names the data of some runs by the options that they share, else by what their manifests say."""
    values = {name: v for name, v in runs[0].entry.values.items() if not is_of_method(name)}
    shared = {n: v for n, v in values.items() if {canonical(r.entry.values.get(n)) for r in runs} == {canonical(v)}}
    if shared:
        return ", ".join(f"{name}={value_text(value)}" for name, value in shared.items())
    return next((str(name) for run in runs if (name := as_mapping(run.manifest.get("data")).get("name"))), "data")


def shared_criterion(runs: Sequence[RunRecord]) -> Objective | None:
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
    unknown = Objective("a metric that the losses share", "min")
    return next((c for c in SHARED if all(c.metric in run.measured for run in valued)), unknown)
