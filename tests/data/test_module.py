from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mlplab.data.dataset import Dataset
from mlplab.data.module import EVALUATION_BATCH_ROWS, DataModule
from mlplab.data.preprocessing import Standardize
from mlplab.data.split import split_rows
from mlplab.data.synthetic import synthetic
from mlplab.errors import UserError
from mlplab.models.inputs import build_inputs
from mlplab.randomness import batch_order


def classes() -> Dataset:
    return synthetic("gaussians", 100, 0.3, 0)


def numbers() -> Dataset:
    generator = np.random.default_rng(0)
    return Dataset(
        "toy",
        generator.normal(5.0, 3.0, (100, 3)),
        generator.normal(50.0, 10.0, 100),
        feature_names=("a", "b", "c"),
        target_name="height",
        unit="cm",
    )


def module(source: Any = classes, **options: Any) -> DataModule:
    data = DataModule(source, **options)
    data.setup()
    return data


def trainer(**attributes: Any) -> Any:
    defaults = {"current_epoch": 0, "overfit_batches": 0.0, "global_rank": 0, "world_size": 1}
    strategy = SimpleNamespace(root_device=attributes.pop("device", torch.device("cpu")))
    return SimpleNamespace(**{**defaults, "strategy": strategy, **attributes})


def epoch(data: DataModule, number: int = 0, **attributes: Any) -> list[torch.Tensor]:
    data.trainer = trainer(current_epoch=number, **attributes)
    return [targets for _, targets in data.train_dataloader()]


def test_parts_are_those_of_the_split_with_rows_and_targets_together() -> None:
    dataset = classes()
    data = module()
    split = split_rows(dataset, validation_fraction=0.15, test_fraction=0.15, seed=0)
    for name, rows in (("train", split.train), ("val", split.val), ("test", split.test)):
        features, targets = data.part(name)  # type: ignore[arg-type]
        expected = data.preprocessor(torch.from_numpy(dataset.features[rows]))
        assert torch.equal(features, expected)
        assert targets.tolist() == dataset.targets[rows].tolist()
        assert (features.dtype, targets.dtype) == (torch.float32, torch.int64)


def test_features_of_the_training_part_are_standardised() -> None:
    features, _ = module(numbers).part("train")
    assert features.mean(0).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert features.std(0, correction=0).tolist() == pytest.approx([1.0] * 3, abs=1e-6)


@pytest.mark.parametrize("source", [classes, numbers])
def test_statistics_come_from_the_training_part_only(source: Any) -> None:
    dataset = source()
    split = split_rows(dataset, validation_fraction=0.15, test_fraction=0.15, seed=0)
    features, targets = dataset.features.copy(), dataset.targets.copy()
    others = np.concatenate([split.val, split.test])
    features[others] += 1000
    if not dataset.class_names:
        targets[others] += 1000
    changed = Dataset(dataset.name, features, targets, class_names=dataset.class_names)
    one, other = module(lambda: dataset), module(lambda: changed)
    assert torch.equal(one.preprocessor.mean, other.preprocessor.mean)
    assert torch.equal(one.preprocessor.std, other.preprocessor.std)
    assert (one.task.target_mean, one.task.target_std) == (other.task.target_mean, other.task.target_std)
    assert torch.equal(one.part("train")[0], other.part("train")[0])
    assert not torch.equal(one.part("val")[0], other.part("val")[0])


def test_targets_of_a_regression_are_scaled_and_the_task_knows_the_way_back() -> None:
    dataset = numbers()
    data = module(lambda: dataset)
    split = split_rows(dataset, validation_fraction=0.15, test_fraction=0.15, seed=0)
    values = dataset.targets[split.train].astype(float)
    assert data.task.target_mean == pytest.approx(values.mean(), rel=1e-12)
    assert data.task.target_std == pytest.approx(values.std(), rel=1e-12)
    for name, rows in (("train", split.train), ("val", split.val), ("test", split.test)):
        targets = data.part(name)[1]  # type: ignore[arg-type]
        assert (targets.shape, targets.dtype) == ((len(rows), 1), torch.float32)
        back = targets.squeeze(1).double() * data.task.target_std + data.task.target_mean
        assert back.tolist() == pytest.approx(dataset.targets[rows].tolist(), rel=1e-6)


def test_the_task_says_what_is_learned() -> None:
    task = module(numbers).task
    assert (task.kind, task.n_features, task.n_classes) == ("regression", 3, 0)
    assert (task.feature_names, task.target_name, task.unit) == (("a", "b", "c"), "height", "cm")
    task = module(classes).task
    assert (task.kind, task.n_features) == ("classification", 2)
    assert task.class_names == ("right", "top", "bottom")
    assert (task.target_mean, task.target_std) == (0.0, 1.0)


def test_class_counts_are_those_of_the_training_part() -> None:
    data = module()
    assert data.class_counts == torch.bincount(data.part("train")[1]).tolist()
    assert sum(data.class_counts) == 70
    assert module(numbers).class_counts == []


def test_the_source_is_read_once() -> None:
    read: list[int] = []

    def source() -> Dataset:
        read.append(1)
        return classes()

    data = DataModule(source)
    assert read == []
    data.setup("fit")
    first = data.part("train")[0]
    data.setup("test")
    assert len(read) == 1
    assert data.part("train")[0] is first


def test_the_source_is_left_as_it_was() -> None:
    dataset = numbers()
    before = dataset.fingerprint
    data = module(lambda: dataset)
    data.part("train")[0].zero_()
    assert dataset.fingerprint == before == data.fingerprint


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    data = module(seed=7, batch_size=16)
    targets = data.part("train")[1]
    for number in (0, 3, 1, 3):
        expected = targets[batch_order(70, 7, number)]
        torch.manual_seed(number)
        assert torch.equal(torch.cat(epoch(data, number)), expected)


def test_a_dataloader_made_once_follows_the_trainer_from_epoch_to_epoch() -> None:
    data = module(seed=7)
    data.trainer = trainer()
    loader = data.train_dataloader()
    targets = data.part("train")[1]
    for number in range(3):
        data.trainer.current_epoch = number  # type: ignore[misc]
        assert torch.equal(torch.cat([batch for _, batch in loader]), targets[batch_order(70, 7, number)])


def test_the_split_seed_decides_the_parts_and_the_seed_only_their_order() -> None:
    one, same_parts, other_parts = module(seed=0), module(seed=1), module(split_seed=1)
    assert torch.equal(one.part("train")[0], same_parts.part("train")[0])
    assert not torch.equal(torch.cat(epoch(one)), torch.cat(epoch(same_parts)))
    assert not torch.equal(one.part("train")[0], other_parts.part("train")[0])


@pytest.mark.parametrize(("batch_size", "sizes"), [(32, [32, 32, 6]), (1, [1] * 70), (70, [70]), ("full", [70])])
def test_the_batch_size_is_rows_per_update(batch_size: Any, sizes: list[int]) -> None:
    data = module(batch_size=batch_size)
    assert [len(batch) for batch in epoch(data)] == sizes
    assert len(data.train_dataloader()) == len(sizes)


def test_overfitting_sees_the_same_batches_in_every_epoch() -> None:
    data = module()
    first = epoch(data, 0, overfit_batches=2)
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(data, 5, overfit_batches=2), strict=True))
    assert torch.equal(torch.cat(first), data.part("train")[1])


def test_without_a_trainer_it_serves_the_first_epoch_of_one_process() -> None:
    data = module(seed=3)
    seen = torch.cat([targets for _, targets in data.train_dataloader()])
    assert torch.equal(seen, data.part("train")[1][batch_order(70, 3, 0)])
    assert sum(len(targets) for _, targets in data.val_dataloader()) == 15


def test_processes_share_the_batch() -> None:
    data = module(batch_size=16)
    alone = epoch(data, 2)
    shares = [epoch(data, 2, global_rank=rank, world_size=3) for rank in range(3)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(torch.cat(parts), whole)
    data.trainer = trainer(global_rank=1, world_size=2)
    assert [len(targets) for _, targets in data.val_dataloader()] == [7]


def test_validation_test_and_prediction_keep_the_order_of_the_rows() -> None:
    data = module()
    for name, loader in (
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
        ("test", data.predict_dataloader()),
    ):
        features, targets = (torch.cat(column) for column in zip(*loader, strict=True))
        assert torch.equal(features, data.part(name)[0])  # type: ignore[arg-type]
        assert torch.equal(targets, data.part(name)[1])  # type: ignore[arg-type]
        assert loader.batch_size == EVALUATION_BATCH_ROWS


def test_a_target_that_never_varies_is_refused() -> None:
    dataset = Dataset("flat", np.random.default_rng(0).normal(size=(50, 2)), np.full(50, 3.5))
    with pytest.raises(UserError) as refusal:
        module(lambda: dataset)
    assert refusal.value.requirement == "flat: the target must vary"
    assert refusal.value.actual == "it is 3.5 in every training row"


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1e6 / 3])
@pytest.mark.parametrize("n_rows", [10, 20, 50, 51])
def test_a_constant_target_is_refused_also_where_its_mean_is_rounded(value: float, n_rows: int) -> None:
    # The mean of 34 thirds is not a third: the deviation is then about 1e-17 and not 0.
    dataset = Dataset("flat", np.random.default_rng(0).normal(size=(n_rows, 2)), np.full(n_rows, value))
    with pytest.raises(UserError, match="the target must vary"):
        module(lambda: dataset)


def test_a_constant_feature_is_zero_everywhere() -> None:
    generator = np.random.default_rng(0)
    features = np.stack([generator.normal(size=100), np.full(100, 0.1)], axis=1)
    data = module(lambda: Dataset("toy", features, generator.normal(size=100)))
    for name in ("train", "val", "test"):
        assert data.part(name)[0][:, 1].abs().max() < 1e-15  # type: ignore[arg-type]


def test_what_cannot_be_split_is_refused_and_leaves_nothing_half_done() -> None:
    data = DataModule(lambda: Dataset("few", np.zeros((3, 1)), np.arange(3.0)))
    with pytest.raises(UserError, match="must each have two rows"):
        data.setup()
    with pytest.raises(UserError, match="must each have two rows"):
        data.setup()


@pytest.mark.parametrize("layout", [np.flipud, np.asfortranarray, lambda array: array.astype(">f8")])
def test_arrays_of_any_memory_layout_are_taken(layout: Any) -> None:
    dataset = numbers()
    turned = Dataset("toy", layout(dataset.features), layout(dataset.targets))
    plain = Dataset("toy", np.array(turned.features, dtype=float), np.array(turned.targets, dtype=float))
    one, other = module(lambda: turned), module(lambda: plain)
    assert torch.equal(one.part("train")[0], other.part("train")[0])
    assert torch.equal(one.part("test")[1], other.part("test")[1])


def test_class_indices_of_any_memory_layout_are_taken() -> None:
    dataset = classes()
    flipped = Dataset("toy", dataset.features[::-1], dataset.targets[::-1], class_names=dataset.class_names)
    plain = Dataset("toy", flipped.features.copy(), flipped.targets.copy(), class_names=dataset.class_names)
    for part in ("train", "val", "test"):
        for one, other in zip(module(lambda: flipped).part(part), module(lambda: plain).part(part), strict=True):
            assert torch.equal(one, other)


def test_arrays_that_cannot_be_written_to_are_taken() -> None:
    dataset = numbers()
    dataset.features.flags.writeable = False
    dataset.targets.flags.writeable = False
    assert len(module(lambda: dataset).part("train")[0]) == 70


def test_reading_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module(numbers)
    monkeypatch.setattr("mlplab.data.module.BLOCK_ROWS", 7)
    blocks = module(numbers)
    for name in ("train", "val", "test"):
        assert torch.equal(whole.part(name)[0], blocks.part(name)[0])  # type: ignore[arg-type]


def test_blocks_leave_the_number_of_threads_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    n_threads, seen = torch.get_num_threads(), set()
    monkeypatch.setattr("mlplab.data.module.BLOCK_ROWS", 7)
    forward = Standardize.forward

    def watched(self: Standardize, features: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        if len(seen) > 1 and fails:
            raise ValueError("no features")
        return forward(self, features)

    monkeypatch.setattr(Standardize, "forward", watched)
    torch.set_num_threads(3)
    try:
        fails = False
        module(numbers)
        assert (torch.get_num_threads(), seen) == (3, {3, 1})  # the first block is computed by all of them
        fails = True
        with pytest.raises(ValueError, match="no features"):
            module(numbers)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)


def test_pixels_stay_bytes_and_are_scaled_by_the_network() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (60, 9), dtype=np.uint8)
    data = module(lambda: Dataset("grey", pixels, generator.integers(0, 2, 60), class_names=("a", "b")))
    assert data.part("train")[0].dtype == torch.uint8
    assert {tuple(row) for row in data.part("test")[0].tolist()} <= {tuple(row) for row in pixels.tolist()}
    encoding = data.preprocessor.input_encoding()
    assert encoding is not None
    scaled = build_inputs(encoding, 9)(data.part("train")[0])
    assert float(scaled.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(scaled.std(correction=0)) == pytest.approx(1.0, abs=1e-5)


def test_weights_have_the_mean_one_in_the_training_part_and_are_left_out_where_they_are_equal() -> None:
    plain = numbers()
    split = split_rows(plain, validation_fraction=0.15, test_fraction=0.15, seed=0)
    weights = np.arange(100.0)
    weights[split.val] = 5.0
    data = module(lambda: replace(plain, weights=weights))
    (train, val, test), mean = (data.weights[part] for part in ("train", "val", "test")), weights[split.train].mean()
    assert val is None
    assert train is not None
    assert test is not None
    assert train.tolist() == pytest.approx((weights[split.train] / mean).tolist(), rel=1e-6)
    assert test.tolist() == pytest.approx((weights[split.test] / mean).tolist(), rel=1e-6)
    assert [len(batch) for batch in (next(iter(data.val_dataloader())), next(iter(data.test_dataloader())))] == [2, 3]
    assert module(lambda: replace(plain, weights=np.full(100, 7.0))).weights == dict.fromkeys(("train", "val", "test"))


def test_weights_that_leave_nothing_of_a_part_or_are_none_are_refused() -> None:
    plain = numbers()
    split = split_rows(plain, validation_fraction=0.15, test_fraction=0.15, seed=0)
    weights = np.ones(100)
    weights[split.val] = 0.0
    with pytest.raises(UserError, match=r"a row of the validation part must have a weight above 0, but all 15 have 0"):
        module(lambda: replace(plain, weights=weights))
    for wrong in (np.ones(99), np.full(100, -1.0), np.full(100, np.nan)):
        with pytest.raises(UserError, match="weights must have shape"):
            replace(plain, weights=wrong)


def test_balanced_classes_count_by_weight() -> None:
    dataset = classes()
    weights = np.where(dataset.targets == 0, 3.0, 1.0)
    data = module(lambda: replace(dataset, weights=weights))
    zeros, ones = module().class_counts[:2]
    assert data.class_counts[0] / data.class_counts[1] == pytest.approx(3 * zeros / ones, rel=1e-5)
