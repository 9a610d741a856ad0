import math
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mlplab.data.batches import Batches

SIZES = {"n_rows": st.integers(1, 60), "batch_size": st.integers(1, 70)}
RANKS = st.integers(1, 4)


def batches(n_rows: int, batch_size: int, *, shuffled: bool = False, **options: Any) -> Batches:
    features = torch.stack([torch.arange(n_rows), -torch.arange(n_rows)], dim=1).float()
    if shuffled:
        options["order"] = lambda: torch.randperm(n_rows, generator=torch.Generator().manual_seed(n_rows))
    return Batches(features, torch.arange(n_rows), batch_size=batch_size, **options)


def rows(loader: Batches) -> list[list[int]]:
    """The row numbers of each batch; each row of features must have come with its own target."""
    seen = []
    for features, targets in loader:
        assert torch.equal(features, torch.stack([targets, -targets], dim=1).float())
        seen.append(targets.tolist())
    return seen


def test_batches_in_order_by_hand() -> None:
    assert rows(batches(7, 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_in_a_given_order_by_hand() -> None:
    order = torch.tensor([4, 2, 0, 1, 3])
    assert rows(batches(5, 2, order=lambda: order)) == [[4, 2], [0, 1], [3]]


def test_single_rows_are_batches_of_one() -> None:
    assert rows(batches(3, 1)) == [[0], [1], [2]]


@given(shuffled=st.booleans(), **SIZES)
def test_an_epoch_has_each_row_once_in_full_batches_but_for_the_last(
    n_rows: int, batch_size: int, shuffled: bool
) -> None:
    loader = batches(n_rows, batch_size, shuffled=shuffled)
    seen = rows(loader)
    assert sorted(chain(*seen)) == list(range(n_rows))
    assert len(loader) == len(seen) == math.ceil(n_rows / batch_size)
    assert all(len(batch) == batch_size for batch in seen[:-1])
    assert len(seen[-1]) == n_rows - batch_size * (len(seen) - 1)


@given(shuffled=st.booleans(), world_size=RANKS, **SIZES)
def test_processes_share_every_batch_without_overlap_in_the_order_that_one_process_has(
    n_rows: int, batch_size: int, world_size: int, shuffled: bool
) -> None:
    alone = rows(batches(n_rows, batch_size, shuffled=shuffled))
    shares = [
        rows(batches(n_rows, batch_size, shuffled=shuffled, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == alone
    for parts in zip(*shares, strict=True):
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shuffled", [False, True])
def test_every_process_has_as_many_batches_also_where_its_share_is_empty(shuffled: bool) -> None:
    # The fifth row is a batch of its own, which leaves the other three processes with nothing.
    loaders = [batches(5, 4, shuffled=shuffled, rank=rank, world_size=4) for rank in range(4)]
    assert [[len(batch) for batch in rows(loader)] for loader in loaders] == [[1, 1], [1, 0], [1, 0], [1, 0]]
    assert [len(loader) for loader in loaders] == [2, 2, 2, 2]


def test_the_order_is_asked_for_once_at_the_start_of_every_epoch() -> None:
    asked: list[int] = []

    def order() -> Tensor:
        asked.append(len(asked))
        return torch.arange(6).roll(len(asked) - 1)

    loader = batches(6, 4, order=order)
    assert asked == []
    assert [rows(loader) for _ in range(3)] == [
        [[0, 1, 2, 3], [4, 5]],
        [[5, 0, 1, 2], [3, 4]],
        [[4, 5, 0, 1], [2, 3]],
    ]
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("batch_size", [6, 7, 1000])
def test_one_batch_of_the_whole_part_is_served_without_copying_it(batch_size: int) -> None:
    loader = batches(6, batch_size, shuffled=True)
    ((features, targets),) = list(loader)
    assert features.data_ptr() == loader.features.data_ptr()
    assert targets.tolist() == list(range(6))


def test_batches_keep_types_and_the_width_of_targets() -> None:
    targets = torch.arange(10.0).reshape(5, 2)
    loader = Batches(torch.zeros(5, 3, dtype=torch.float64), targets, batch_size=2, order=lambda: torch.arange(5))
    shapes = [(tuple(x.shape), x.dtype, tuple(y.shape), y.dtype) for x, y in loader]
    assert shapes[0] == ((2, 3), torch.float64, (2, 2), torch.float32)
    assert shapes[-1] == ((1, 3), torch.float64, (1, 2), torch.float32)


def test_shuffled_batches_are_copies_that_can_be_changed_without_harm() -> None:
    loader = batches(6, 2, shuffled=True)
    before = loader.features.clone()
    for features, _ in loader:
        features.zero_()
    assert torch.equal(loader.features, before)


@pytest.mark.parametrize("shuffled", [False, True])
def test_an_epoch_begins_where_it_is_told_to_and_the_next_at_its_beginning(shuffled: bool) -> None:
    loader = batches(7, 2, shuffled=shuffled)
    whole = rows(loader)
    loader.first_batch = 3
    assert rows(loader) == whole[3:]
    assert rows(loader) == whole


@pytest.mark.parametrize(
    "options", [{}, {"order": lambda: torch.tensor([2, 0, 4, 1, 3])}, {"world_size": 2, "rank": 1}]
)
def test_weights_come_third_with_the_row_that_they_belong_to(options: dict[str, Any]) -> None:
    loader = batches(5, 2, weights=torch.arange(5.0) / 4, **options)
    seen = [(targets.tolist(), weights.tolist()) for _, targets, weights in loader]
    assert all(weights == [target / 4 for target in targets] for targets, weights in seen)
    assert sum(len(targets) for targets, _ in seen) == (2 if options.get("rank") else 5)
