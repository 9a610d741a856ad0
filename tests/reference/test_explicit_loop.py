"""The Trainer against the loop that every textbook shows: the same weights, bit for bit, in float32."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mlplab.building import build_data
from mlplab.models import MLP
from mlplab.randomness import batch_order, derive_seed, seed_generators


def explicit_loop(features: Tensor, targets: Tensor, *, batch_size: int, epochs: int, seed: int) -> dict[str, Tensor]:
    seed_generators(derive_seed(seed, "initialization"))
    network = MLP(in_features=features.shape[1], out_features=10, hidden_dims=[128, 64], dropout=0.2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001, fused=True)
    for epoch in range(epochs):
        order = batch_order(len(targets), seed, epoch) if batch_size < len(targets) else torch.arange(len(targets))
        for step, rows in enumerate(order.split(batch_size)):
            seed_generators(derive_seed(seed, "step", epoch, step, 0))
            outputs = network(features[rows])  # forward
            loss = cross_entropy(outputs, targets[rows])  # loss
            optimizer.zero_grad()
            loss.backward()  # backward
            optimizer.step()  # update
    return dict(network.state_dict())


@pytest.mark.parametrize(("batch_size", "epochs"), [(32, 3), ("full", 8), pytest.param(1, 1, marks=pytest.mark.slow)])
def test_the_explicit_loop_gives_the_same_weights_bit_for_bit(
    train_run: Any, make_config: Any, batch_size: int | str, epochs: int
) -> None:
    overrides = [
        f"data.batch_size={batch_size}",
        f"trainer.max_epochs={epochs}",
        "trainer.threads=1",
        "seed=4",
        "model.dropout=0.2",
    ]
    run = train_run(*overrides)
    trained = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    data = build_data(make_config(*overrides))
    data.setup()
    features, targets = data.part("train")
    size = len(targets) if batch_size == "full" else int(batch_size)
    expected = explicit_loop(features, targets, batch_size=size, epochs=epochs, seed=4)
    assert {f"model.{name}" for name in expected} == set(trained)
    for name, value in expected.items():
        assert torch.equal(trained[f"model.{name}"], value), name
