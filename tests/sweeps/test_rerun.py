from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlplab.errors import UserError
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.ranking import RankedJobs
from mlplab.sweeps.rerun import _seeds, best_settings, rerun_best


def sweep_of(ranked: list[RankedJobs], entries: list[Entry] | None = None, **options: Any) -> Any:
    ledger = SimpleNamespace(metadata={}, entries=entries or [])
    config = SimpleNamespace(seed=0, sweep=SimpleNamespace(rerun=2, **options))
    return SimpleNamespace(ranking=lambda directory: ranked, directory=Path(), ledger=ledger, config=config, shown="s")


def ranked(number: int, *, arm: str | None = None, stage: str = "search", data_set: str = "") -> RankedJobs:
    return RankedJobs((number,), arm, stage, data_set, is_best=False, text="")


def test_the_first_of_each_arm_and_data_set_are_chosen_by_the_search_alone() -> None:
    both = [ranked(0, arm="x"), ranked(1, arm="y"), ranked(2, arm="x"), ranked(3, arm="x", stage="rerun")]
    assert [setting.numbers for setting in best_settings(sweep_of(both))] == [(0,), (1,)]
    data = [ranked(0, data_set="a"), ranked(1, data_set="a"), ranked(2, data_set="b"), ranked(3, data_set="a")]
    assert [setting.numbers for setting in best_settings(sweep_of(data), 2)] == [(0,), (1,), (2,)]


def test_of_an_arm_only_the_best_is_run() -> None:
    with pytest.raises(UserError, match="best of each arm alone"):
        rerun_best(sweep_of([ranked(0, arm="x")], rerun_top=5))


def test_reruns_share_their_seeds_and_none_with_the_search() -> None:
    entries = [Entry(0, "0", {"seed": 3}, []), Entry(1, "1", {"seed": 4}, [], stage="rerun")]
    assert _seeds(sweep_of([], entries), 2) == [4, 5]
    entries.append(Entry(2, "2", {"seed": 4}, []))  # the search went on, with a seed of the rerun
    assert _seeds(sweep_of([], entries), 2) == [5, 6]
