"""The picture of a learned function shows what the network predicts, and changes nothing that it learns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparing import difference
from PIL import Image
from slow_cases import slow
from torch import nn

from mlplab.callbacks.input_grid import POINTS, grid_of
from mlplab.callbacks.learned_function import MOST_FRAMES, packed, title_of, unpacked
from mlplab.callbacks.network_outputs import evaluating
from mlplab.data.module import DataModule
from mlplab.data.synthetic import synthetic
from mlplab.errors import Diverged
from mlplab.runs.checkpoint import load_predictor
from mlplab.task import Task

OF_PICTURES = "{_target_: mlplab.callbacks.LearnedFunction, directory: '${paths.run}/figures', every_n_epochs: 2}"
PICTURES = [f"+callbacks.learned_function={OF_PICTURES}", "callbacks=minimal"]
SMALL = [
    "data.n_samples=90",
    "data.noise=0.1",
    "model.hidden_dims=[5]",
    "trainer.max_epochs=4",
    "data.batch_size=16",
    "optimizer.lr=0.05",
]


def frames_of(directory: Path) -> list[dict[str, Any]]:
    content = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    frames: list[dict[str, Any]] = content["callbacks"]["LearnedFunction"]["frames"]
    return frames


def frames_in(path: Path) -> int:
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0  # for ever
        return int(picture.n_frames)


def data_of(name: str, **options: Any) -> DataModule:
    data = DataModule(lambda: synthetic(name, 90, 0.1, 0), **options)
    data.setup()
    return data


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("circles", "binary_cross_entropy"),
        ("wave", "auto"),
        pytest.param("plane", "auto", marks=pytest.mark.slow),
        *slow(("circles", "cross_entropy"), ("gaussians", "auto")),
    ],
)
def test_the_picture_shows_the_predictions_of_the_network(train_run: Any, name: str, loss: str) -> None:
    directory = train_run(f"data={name}", f"loss={loss}", *SMALL, *PICTURES).directory
    predictor = load_predictor(directory / "checkpoints" / "last.ckpt")
    grid, _ = grid_of(data_of(name))
    raw = np.stack([axis.ravel() for axis in np.meshgrid(*grid.axes)], axis=1)
    with torch.no_grad():
        expected = predictor(torch.from_numpy(raw)).T
    last = frames_of(directory)[-1]
    assert (last["epoch"], last["values"].shape[1]) == (4, POINTS[len(grid.axes)] ** len(grid.axes))
    # Kept in 16 bits.
    torch.testing.assert_close(unpacked(last["values"], grid.task).float(), expected.float(), atol=2e-3, rtol=2e-3)


def test_the_grid_is_in_the_unit_of_the_data_and_goes_beyond_them(train_run: Any) -> None:
    data = data_of("spirals")
    grid, points = grid_of(data)
    rows = np.concatenate([inputs for inputs, _ in grid.points.values()])
    source = synthetic("spirals", 90, 0.1, 0)
    assert grid.names == ("x", "y")
    for place, axis in enumerate(grid.axes):
        assert axis[0] < rows[:, place].min() < rows[:, place].max() < axis[-1]
    # Both parts are rows of the source, in its own unit.
    distances = np.abs(rows[:, None] - source.features[None]).sum(-1)
    assert distances.min(axis=1).max() < 1e-6
    # The first input changes first.
    assert points[0, 1] == points[1, 1]
    assert points[0, 0] < points[1, 0]


def test_a_function_that_is_known_is_drawn_too() -> None:
    grid, _ = grid_of(data_of("wave"))
    assert grid.truth == pytest.approx(np.sin(2 * np.pi * grid.axes[0] ** 2))
    x, y = np.meshgrid(*grid_of(data_of("plane"))[0].axes)
    assert grid_of(data_of("plane"))[0].truth == pytest.approx(2 * x - y + 0.5)


def test_the_animation_has_a_frame_before_training_every_few_epochs_and_at_the_end(train_run: Any) -> None:
    directory = train_run("data=circles", *SMALL, *PICTURES, "trainer.max_epochs=5").directory
    # Of the last epoch, which is none of every second, none is kept: a longer run goes on without it.
    assert [frame["epoch"] for frame in frames_of(directory)] == [0, 2, 4]
    animation = directory / "figures" / "learned_function.gif"
    assert frames_in(animation) == 4
    assert animation.stat().st_size < 1_000_000
    with Image.open(animation) as picture, Image.open(directory / "figures" / "learned_function.png") as last:
        assert last.width > picture.width


@pytest.mark.parametrize("stops", [(8,), pytest.param((3, 9, 13), marks=pytest.mark.slow)])
def test_the_animation_of_a_run_that_was_stopped_and_resumed_is_complete(
    train_run: Any, go_on: Any, stops: tuple[int, ...]
) -> None:
    overrides = ["data=circles", *SMALL, *PICTURES]
    whole = train_run(*overrides).directory
    resumed = go_on(*overrides, stops=stops)
    name = Path("figures") / "learned_function.gif"
    assert frames_in(resumed / name) == 3
    assert (resumed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("engine", ["fast", pytest.param("plain", marks=pytest.mark.slow)])
def test_pictures_change_nothing_that_is_learned(train_run: Any, engine: str) -> None:
    overrides = [
        "data=circles",
        *SMALL,
        "trainer.max_epochs=2",
        "model.dropout=0.3",
        "model.normalization=batch",
        f"engine={engine}",
    ]
    drawn = train_run(*overrides, "callbacks=pictures", "callbacks.learned_function.every_n_epochs=1")
    plain = train_run(*overrides, "callbacks=default")
    weights = [
        torch.load(one.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for one in (drawn, plain)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert drawn.result["test"] == plain.result["test"]


@pytest.mark.slow
def test_both_engines_draw_the_same(train_run: Any) -> None:
    fast, plain = (
        train_run("data=circles", *SMALL, "callbacks=pictures", f"engine={engine}").directory
        for engine in ("fast", "plain")
    )
    assert difference(fast, plain) == ""
    for picture in (fast / "figures").iterdir():
        assert picture.read_bytes() == (plain / "figures" / picture.name).read_bytes()


def test_data_with_more_features_are_not_drawn_and_that_is_told(train_run: Any, capsys: Any) -> None:
    directory = train_run("data=wine", "trainer.max_epochs=1", *PICTURES).directory
    assert (
        "note    callbacks.learned_function draws nothing: it draws functions of one or two numbers, and wine has 13"
        in (capsys.readouterr().out)
    )
    assert not (directory / "figures" / "learned_function.gif").exists()


@pytest.mark.slow
def test_of_many_frames_every_other_one_is_left_out(train_run: Any) -> None:
    every = ["callbacks.learned_function.every_n_epochs=1", f"trainer.max_epochs={MOST_FRAMES + 1}"]
    small = [*SMALL[:2], "data.batch_size=full", "logger=none", "callbacks.early_stopping=null"]
    directory = train_run("data=wave", *small, *PICTURES, *every).directory
    frames = [frame["epoch"] for frame in frames_of(directory)]
    assert frames == [*range(0, MOST_FRAMES + 1, 2)]
    # With the last epoch, which is none of every second.
    assert frames_in(directory / "figures" / "learned_function.gif") == len(frames) + 1


def test_predictions_are_kept_in_16_bits() -> None:
    classes = Task("classification", 2, class_names=("a", "b", "c"))
    outputs = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.0, 0.0]])
    assert packed(outputs, classes).dtype == torch.float16
    torch.testing.assert_close(
        unpacked(packed(outputs, classes), classes), outputs.softmax(1).T.double(), atol=1e-3, rtol=0
    )
    # Two classes that are nearly as probable are told apart.
    nearly = torch.tensor([[0.0, 1e-5], [0.0, -1e-5]])
    two = Task("classification", 2, class_names=("a", "b"))
    assert unpacked(packed(nearly, two), two).argmax(0).tolist() == [1, 0]
    # In the target's own unit, these numbers would be infinite in 16 bits.
    heights = Task("regression", 2, target_mean=1e6, target_std=1e5)
    torch.testing.assert_close(
        unpacked(packed(torch.tensor([[0.5], [-1.0]]), heights), heights), torch.tensor([[1.05e6, 9e5]]).double()
    )


def test_the_title_says_when_and_how_well() -> None:
    assert title_of({"epoch": 0, "metrics": {}}) == "before training"
    metrics = {"val/loss": 0.12345, "val/accuracy": 0.5}
    assert title_of({"epoch": 7, "metrics": metrics}) == "epoch 7: validation loss 0.123, accuracy 0.5"


def test_parts_of_a_network_that_were_switched_off_stay_so() -> None:
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)).train()
    network[1].eval()
    with evaluating(network):
        assert not any(part.training for part in network.modules())
    assert [part.training for part in network.modules()] == [True, True, False]


@pytest.mark.slow
def test_of_a_run_that_diverges_there_are_the_frames_before(train_run: Any, tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        train_run("data=wave", *SMALL, *PICTURES, "optimizer=sgd", "optimizer.lr=1e30", directory=tmp_path / "run")
    assert frames_in(tmp_path / "run" / "figures" / "learned_function.gif") == 1
