"""The batches of a stack are those that its members would see alone."""

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mlplab.data.bundled import bundled
from mlplab.data.module import DataModule
from mlplab.stacked.members.stacked_data import StackedData


def members(size: int | str, splits: tuple[int, ...] = (0, 0, 0)) -> list[DataModule]:
    held = {split: DataModule(lambda: bundled("wine"), batch_size=size, split_seed=split) for split in splits}  # type: ignore[arg-type]
    for data in held.values():
        data.setup()
    return [with_seed(held[split], seed) for seed, split in enumerate(splits)]


def with_seed(data: DataModule, seed: int) -> DataModule:
    """The same data in another order, as a stack holds them."""
    other = copy.copy(data)
    other.seed = seed
    return other


def copies(batches: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Batches lie in memory that later ones are written to."""
    return [(features.clone(), targets.clone()) for features, targets in batches]


@pytest.mark.parametrize("size", [1, 32, 41, "full"])
@pytest.mark.parametrize("splits", [(0, 0, 0), (0, 1, 0)])
def test_each_member_sees_its_own_batches(size: int | str, splits: tuple[int, ...]) -> None:
    alone = members(size, splits)
    stacked = StackedData(alone).train_dataloader()
    batches = [list(data.train_dataloader()) for data in alone]
    assert len(stacked) == len(batches[0])
    for index, (features, targets) in enumerate(stacked):
        for row, own in enumerate(batches):
            shared = features.ndim == 2
            assert_close(features if shared else features[row], own[index][0], rtol=0, atol=0)
            assert_close(targets if shared else targets[row], own[index][1], rtol=0, atol=0)


def test_an_epoch_goes_on_in_its_middle() -> None:
    stacked = StackedData(members(41)).train_dataloader()
    whole = copies(stacked)
    stacked.first_batch = 2
    for (features, targets), (later, later_targets) in zip(whole[2:], stacked, strict=True):
        assert torch.equal(features, later)
        assert torch.equal(targets, later_targets)
    assert len(list(stacked)) == len(whole)


def test_members_leave_within_an_epoch() -> None:
    whole = copies(StackedData(members(41)).train_dataloader())
    data = StackedData(members(41))
    batches = iter(data.train_dataloader())
    next(batches)
    data.select([2, 0])
    for (features, targets), (fewer, fewer_targets) in zip(whole[1:], batches, strict=True):
        assert torch.equal(features[[2, 0]], fewer)
        assert torch.equal(targets[[2, 0]], fewer_targets)


def test_data_that_are_split_alike_are_held_once() -> None:
    alone = members(32, (0, 1, 0))
    parts, of_member = StackedData(alone).of_parts("train")
    assert (len(parts), of_member) == (2, [0, 1, 0])
    assert parts[0][0] is alone[0].part("train")[0]


def test_validation_parts_come_whole_and_in_order() -> None:
    data = DataModule(lambda: bundled("digits"))
    data.setup()
    many = StackedData([with_seed(data, seed) for seed in range(256)]).val_dataloader()
    assert len(many) > 1
    assert torch.equal(torch.cat([features for features, _ in many]), data.part("val")[0])
    few = list(StackedData(members(32, (0, 1, 0))).val_dataloader())
    for row, own in enumerate(members(32, (0, 1, 0))):
        assert torch.equal(torch.cat([features[row] for features, _ in few]), own.part("val")[0])
