"""Activations and gradients by layer: counted on networks that are made for it, and told where they fail."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from mlplab.callbacks.hidden_activations import recording_activations
from mlplab.callbacks.layer_statistics import PROBE_ROWS, LayerStatistics, dead_units, probe, spread
from mlplab.models.mlp import MLP
from mlplab.objectives.objective import Objective

PICTURES = (
    "+callbacks.layer_statistics={_target_: mlplab.callbacks.LayerStatistics, directory: '${paths.run}/figures', "
    "every_n_epochs: 2}"
)
TRAINER: Any = SimpleNamespace(precision_plugin=Precision())


def learner_with(model: nn.Module) -> Any:
    learner = nn.Module()
    learner.model, learner.objective = model, Objective(nn.functional.mse_loss, name="mse")
    learner.device = torch.device("cpu")  # type: ignore[assignment]
    return learner


def half_dead() -> MLP:
    """A network with four relu units, of which two see nothing but negative sums for inputs above 0."""
    model = MLP(in_features=1, out_features=1, hidden_dims=[4])
    with torch.no_grad():
        model.hidden[0].linear.weight.copy_(torch.tensor([[1.0], [-1.0], [2.0], [-3.0]]))
        model.hidden[0].linear.bias.copy_(torch.tensor([0.0, -0.1, -1.0, 0.0]))
        model.output.weight.fill_(1.0)
        model.output.bias.zero_()
    return model


def test_a_unit_is_dead_if_it_is_0_for_every_row() -> None:
    activations = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])
    assert dead_units(activations) == (1, 3)
    # Of an ensemble (N, k, H) the units of all members.
    assert dead_units(torch.zeros(5, 2, 3)) == (6, 6)


def test_the_dead_units_of_a_network_are_counted() -> None:
    inputs = torch.linspace(0.1, 2, 20)[:, None]
    activations, gradients = probe(TRAINER, learner_with(half_dead()), (inputs, inputs))
    assert list(activations) == ["hidden.0"]
    assert dead_units(activations["hidden.0"]) == (2, 4)
    # No gradient reaches their weights.
    assert (gradients["hidden.0.linear"][[1, 3]] == 0).all()
    assert (gradients["hidden.0.linear"][[0, 2]] != 0).all()
    assert list(gradients) == ["hidden.0.linear", "output"]


def test_gradients_are_those_of_backpropagation_and_leave_no_trace() -> None:
    model = MLP(in_features=3, out_features=1, hidden_dims=[5, 4], activation="tanh", dropout=0.5)
    inputs, targets = torch.randn(30, 3), torch.randn(30, 1)
    state = torch.random.get_rng_state()
    model.output.weight.grad = torch.ones_like(model.output.weight)
    _, gradients = probe(TRAINER, learner_with(model), (inputs, targets))
    assert (model.output.weight.grad == 1).all()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    model.zero_grad()
    nn.functional.mse_loss(model.eval()(inputs), targets).backward()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_submodule(name).weight.grad)


@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_activations_come_before_dropout_and_without_the_residual_connection(normalization: str) -> None:
    model = MLP(
        in_features=4, out_features=1, hidden_dims=[4, 4], residual=True, dropout=0.5, normalization=normalization
    ).eval()
    inputs = torch.randn(10, 4)
    with recording_activations(model) as found, torch.no_grad():
        model.forward(inputs)
        first = model.hidden[0](inputs)
    assert list(found) == ["hidden.0", "hidden.1"]
    torch.testing.assert_close(found["hidden.0"], first - inputs, atol=1e-6, rtol=1e-5)


def test_modules_that_are_activation_functions_are_found_in_other_networks() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout(), nn.Linear(3, 3), nn.Tanh())
    with recording_activations(network) as found:
        network.forward(torch.ones(5, 2))
    assert {name: tuple(values.shape) for name, values in found.items()} == {"1": (5, 3), "4": (5, 3)}


def test_rows_are_spread_over_the_part_and_the_same_each_time() -> None:
    assert spread(torch.arange(7)).tolist() == [*range(7)]
    rows = spread(torch.arange(10.0 * PROBE_ROWS))
    assert (len(rows), rows[0], rows[-1]) == (PROBE_ROWS, 0, 10 * PROBE_ROWS - 1)
    assert rows.unique().numel() == PROBE_ROWS


def found(dead: dict[str, tuple[int, int]], *gradients: tuple[int, dict[str, float]]) -> list[str]:
    callback = LayerStatistics("somewhere")
    callback._dead, callback.gradients, callback._rows = dead, list(gradients), (torch.zeros(300, 1),)
    return callback.findings()


def test_dead_units_and_vanishing_gradients_are_told_where_there_are_many() -> None:
    fine = {"hidden.0.linear": 0.1, "output": 1.0}
    assert found({"hidden.0": (2, 10)}, (3, fine)) == []
    assert found({"hidden.0": (3, 10), "hidden.1": (0, 5)}, (3, fine)) == [
        "dead units after epoch 3: 3 of 10 in hidden.0 give 0 for all 300 training rows looked at"
    ]
    vanished = {"hidden.0.linear": 1e-5, "output": 0.2}
    (line,) = found({}, (0, fine), (9, vanished))
    assert line.startswith("vanishing gradients after epoch 9: 1.0e-05 in hidden.0.linear, 2.0e-01 in output")
    (line,) = found({}, (0, vanished), (9, fine))
    assert line.startswith("vanishing gradients before training")
    assert found({}, (0, {"output": 0.1})) == []


def test_a_run_logs_shares_and_distributions_and_tells(train_run: Any, capsys: Any) -> None:
    words = ["data=wine", "callbacks=minimal", PICTURES, "trainer.max_epochs=3", "model.hidden_dims=[6,4]"]
    directory = train_run(*words, "model.initialization=zeros", "model.bias_initialization=zeros").directory
    log = EventAccumulator(str(directory / "tensorboard"), size_guidance={"histograms": 0}).Reload()
    # 124 rows in batches of 32.
    shares = [(event.step, event.value) for event in log.Scalars("dead_units/hidden.0")]
    assert shares == [(0, 1.0), (8, 1.0), (12, 1.0)]
    assert [event.step for event in log.Histograms("activations/hidden.1")] == [0, 8, 12]
    assert log.Histograms("gradients/output")
    assert "gradients_by_depth" in log.Tags()["images"]
    line = "dead units after epoch 3: 6 of 6 in hidden.0, 4 of 4 in hidden.1 give 0 for all 124 training rows looked at"
    assert f"note    {line}" in capsys.readouterr().out
    assert line in (directory / "train.log").read_text()


def test_a_run_that_was_resumed_has_measured_as_often(train_run: Any, go_on: Any) -> None:
    words = ["data=wine", "callbacks=minimal", PICTURES, "trainer.max_epochs=5", "model.hidden_dims=[6,4]"]
    whole, resumed = train_run(*words).directory, go_on(*words, stops=(6, 11))
    picture = Path("figures") / "gradients_by_depth.png"
    assert (resumed / picture).read_bytes() == (whole / picture).read_bytes()
    logs = [EventAccumulator(str(one / "tensorboard")).Reload() for one in (whole, resumed)]
    steps = [[event.step for event in log.Scalars("dead_units/hidden.0")] for log in logs]
    assert steps[0] == steps[1] == [0, 8, 16, 20]
