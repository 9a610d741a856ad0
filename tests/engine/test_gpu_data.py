"""The copy of the data on the GPU, shown on a device whose tensors have shapes and no values."""

from typing import Any

import pytest
import torch

from mlplab.data.batches import Batches
from mlplab.engine import gpu_data
from mlplab.engine.gpu_data import copy_to_device

GPU = torch.device("meta")


def loader_of_five() -> Batches:
    return Batches(torch.ones(5, 3), torch.ones(5), batch_size=2, order=lambda: torch.arange(5))


def set_free_bytes(patch: pytest.MonkeyPatch, n_bytes: int) -> None:
    patch.setattr(gpu_data, "_free_bytes", lambda device: n_bytes if device == GPU else 0)


def test_batches_are_gathered_on_the_gpu_and_the_tensors_of_the_data_module_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = loader_of_five()
    features = loader.features
    set_free_bytes(monkeypatch, 2 * (features.nbytes + loader.targets.nbytes))
    copy_to_device(loader, GPU)
    assert {tensor.device for batch in loader for tensor in batch} == {GPU}
    assert [len(targets) for _, targets in loader] == [2, 2, 1]
    assert features.device.type == "cpu"
    copied = loader.features
    copy_to_device(loader, GPU)  # as at the beginning of each epoch
    assert loader.features is copied


def test_weights_go_along(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Batches(torch.ones(5, 3), torch.ones(5), weights=torch.ones(5), batch_size=2)
    set_free_bytes(monkeypatch, 2 * 4 * (15 + 5 + 5) - 1)
    copy_to_device(loader, GPU)
    assert {tensor.device.type for batch in loader for tensor in batch} == {"cpu"}
    set_free_bytes(monkeypatch, 2 * 4 * (15 + 5 + 5))
    copy_to_device(loader, GPU)
    assert [len(batch) for batch in loader] == [3, 3, 3]
    assert {tensor.device for batch in loader for tensor in batch} == {GPU}


def test_data_that_do_not_fit_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = loader_of_five()
    set_free_bytes(monkeypatch, 2 * (loader.features.nbytes + loader.targets.nbytes) - 1)
    copy_to_device(loader, GPU)
    assert loader.features.device.type == "cpu"


def test_a_loader_of_ones_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Batches):
        pass

    set_free_bytes(monkeypatch, 10**9)
    for loader in (Own(torch.ones(5, 3), torch.ones(5), batch_size=2), loader_of_five()):
        copy_to_device(loader, GPU if isinstance(loader, Own) else torch.device("cpu"))
        assert loader.features.device.type == "cpu"


def test_both_loops_copy_their_data(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    for name in ("epoch_loop", "validation_loop"):
        module = __import__(f"mlplab.engine.{name}", fromlist=[name])
        monkeypatch.setattr(module, "copy_to_device", lambda loader, device: seen.append(len(loader.targets)))
    train_run("data=wine", "trainer.max_epochs=1", "callbacks=minimal", "logger=none")
    assert len(set(seen)) == 2  # the training part and the validation part
