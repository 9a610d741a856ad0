"""Loss surfaces hold the losses of the weights that they say, and refuse runs that do not belong together."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from mlplab.errors import UserError
from mlplab.inference.evaluating import evaluate
from mlplab.inference.loss_surface import (
    LossSurface,
    barrier,
    describe_surface,
    filter_normalized,
    loss_around,
    loss_between,
    write_surface,
)
from mlplab.inference.trained import TrainedRun, load_run

SMALL = ["data=wine", "trainer.max_epochs=2", "callbacks=minimal", "logger=none", "model.hidden_dims=[6]"]


@pytest.fixture
def trained(train_run: Any) -> Any:
    return lambda *words: load_run(train_run(*SMALL, *words).directory)


def weights_of(run: TrainedRun) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in run.predictor.model.named_parameters()}


def test_directions_are_as_long_as_the_weights_of_each_unit_and_leave_biases_alone() -> None:
    weights = {"weight": torch.randn(5, 7), "bias": torch.randn(5), "members": torch.randn(2, 3, 4)}
    direction = filter_normalized(weights, torch.Generator().manual_seed(0))
    for name in ("weight", "members"):
        torch.testing.assert_close(direction[name].norm(dim=-1), weights[name].norm(dim=-1))
        assert not torch.equal(direction[name], weights[name])
    assert (direction["bias"] == 0).all()
    again = filter_normalized(weights, torch.Generator().manual_seed(0))
    assert all(torch.equal(again[name], value) for name, value in direction.items())


def test_units_without_weights_have_a_direction_of_0() -> None:
    direction = filter_normalized({"weight": torch.zeros(2, 3)}, torch.Generator().manual_seed(0))
    assert (direction["weight"] == 0).all()


@pytest.mark.parametrize("part", ["train", "val"])
def test_in_the_middle_of_the_plane_is_the_run(trained: Any, part: str) -> None:
    run = trained()
    before = weights_of(run)
    surface = loss_around(run, part, most_rows=1000, n_points=5, reach=0.5, seed=3)
    assert surface.positions == pytest.approx([-0.5, -0.25, 0, 0.25, 0.5])
    expected = evaluate(run, part=part).metrics["loss"]
    assert surface.losses[part][2, 2] == pytest.approx(expected, rel=1e-5)
    assert surface.at_runs == {part: [pytest.approx(expected, rel=1e-5)]}
    # And elsewhere the loss of what it says, the first direction along the columns.
    generator = torch.Generator().manual_seed(3)
    first, second = filter_normalized(before, generator), filter_normalized(before, generator)
    with torch.no_grad():
        for name, parameter in run.predictor.model.named_parameters():
            assert torch.equal(parameter, before[name])  # the network is as it was
            parameter.add_(0.5 * first[name] - 0.25 * second[name])
    assert surface.losses[part][1, 4] == pytest.approx(evaluate(run, part=part).metrics["loss"], rel=1e-4)


def test_the_line_goes_from_one_run_to_the_other(trained: Any) -> None:
    run, other = trained(), trained("seed=1")
    surface = loss_between(run, other, most_rows=1000, n_points=7)
    assert surface.positions == pytest.approx([-0.25, 0, 0.25, 0.5, 0.75, 1, 1.25])
    for part in ("train", "val"):
        for place, one, end in ((1, run, 0), (5, other, 1)):
            expected = evaluate(one, part=part).metrics["loss"]
            assert surface.losses[part][place] == pytest.approx(expected, rel=1e-5)
            assert surface.at_runs[part][end] == pytest.approx(expected, rel=1e-5)
    middle = {name: (weights_of(run)[name] + value) / 2 for name, value in weights_of(other).items()}
    with torch.no_grad():
        for name, parameter in run.predictor.model.named_parameters():
            parameter.copy_(middle[name])
    assert surface.losses["val"][3] == pytest.approx(evaluate(run, part="val").metrics["loss"], rel=1e-4)


def test_of_many_rows_a_sample_is_taken_and_told(trained: Any) -> None:
    run = trained("model.normalization=batch")
    surface = loss_around(run, "train", most_rows=50, n_points=3, reach=1, seed=0)
    assert surface.notes == [
        "batch normalisation keeps its running statistics, and does not measure them anew",
        "train: 50 rows of 124, evenly spaced",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=iris"], "the same data"),
        (["data.split_seed=1"], "the same split"),
        (["model.hidden_dims=[7]"], "the same network"),
        (["loss.label_smoothing=0.1", "data.batch_size=16"], None),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(trained: Any, words: list[str], told: str | None) -> None:
    run, other = trained(), trained(*words)
    if told is None:
        loss_between(run, other, most_rows=100, n_points=3)
        return
    with pytest.raises(UserError, match=told):
        loss_between(run, other, most_rows=100, n_points=3)


def test_the_barrier_is_what_exceeds_the_straight_line() -> None:
    line = LossSurface(np.array([-0.25, 0, 0.5, 1, 1.25]), {"val": np.array([9.0, 1, 4, 2, 9])}, {"val": [1.0, 2.0]})
    assert barrier(line, "val") == pytest.approx(2.5)
    line.losses["val"] = np.array([0.0, 1, 1.2, 2, 0])
    assert barrier(line, "val") == 0
    line.losses["val"] = np.array([0.0, 1, np.inf, 2, 0])
    assert barrier(line, "val") == np.inf
    assert describe_surface(line) == ["val     loss 1 and 2 at the runs, barrier inf"]


def test_values_and_figure_are_written(tmp_path: Path) -> None:
    positions = np.linspace(-1, 1, 3)
    losses = np.arange(9.0).reshape(3, 3)
    losses[0, 0] = np.inf
    plane = LossSurface(positions, {"train": losses}, {"train": [4.0]})
    table, figure = write_surface(plane, ["one"], tmp_path / "plane")
    read = pl.read_csv(table)
    assert read.columns == ["direction_1", "direction_2", "train_loss"]
    assert read.row(5) == (1.0, 0.0, 5.0)
    assert figure.read_bytes()[1:4] == b"PNG"
    line = LossSurface(
        np.linspace(0, 1, 4), {"train": np.ones(4), "val": np.full(4, np.nan)}, {"train": [1, 1], "val": [1, 1]}
    )
    table, _ = write_surface(line, ["one", "$other$"], tmp_path / "line")
    assert pl.read_csv(table).columns == ["position", "train_loss", "val_loss"]
    with pytest.raises(UserError, match="new directory"):
        write_surface(line, ["one", "other"], tmp_path / "line")
