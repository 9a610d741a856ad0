"""Pictures of data that are images: weights of the first layer, and mistakes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from slow_cases import slow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlplab.callbacks import mistakes, weight_images
from mlplab.callbacks.mistakes import most_confident_mistakes

WEIGHTS = (
    "+callbacks.weight_images={_target_: mlplab.callbacks.WeightImages, directory: '${paths.run}/figures', "
    "every_n_epochs: 2}"
)
MISTAKES = "+callbacks.mistakes={_target_: mlplab.callbacks.Mistakes, directory: '${paths.run}/figures'}"
SMALL = ["callbacks=minimal", "trainer.max_epochs=3", "data.batch_size=256", "model.hidden_dims=[7]"]


def test_mistakes_are_sorted_by_their_probability() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55], [0.1, 0.9]])
    targets = torch.tensor([1, 1, 1, 0, 0])
    assert most_confident_mistakes(probabilities, targets).tolist() == [0, 4, 1, 3]
    assert most_confident_mistakes(probabilities[:0], targets[:0]).tolist() == []


def test_all_mistakes_of_the_test_part_are_drawn_with_what_was_said(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    draw = mistakes.mistakes_figure

    def figure(*arguments: Any) -> Any:
        drawn.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr(mistakes, "mistakes_figure", figure)
    run = train_run(*SMALL, MISTAKES)
    ((images, true, predicted, probabilities, title),) = drawn
    n_wrong = round(270 * (1 - run.result["test"]["test/accuracy"]))
    assert title.startswith(f"test part: {n_wrong} of 270 rows wrong")
    assert len(images) == len(true) == len(predicted) == len(probabilities) == min(n_wrong, mistakes.MOST_IMAGES)
    assert all(one != other for one, other in zip(true, predicted, strict=True))
    assert probabilities == sorted(probabilities, reverse=True)
    # As they were before they were standardised: from 0 to 16.
    assert images.shape[1:] == (8, 8)
    assert abs(images - images.round()).max() < 1e-4
    assert (images.min(), images.max()) == (pytest.approx(0, abs=1e-4), pytest.approx(16, abs=1e-4))
    assert (run.directory / "figures" / "mistakes.png").is_file()
    assert "test/mistakes" in EventAccumulator(str(run.directory / "tensorboard")).Reload().Tags()["images"]


def test_weights_are_drawn_as_images_and_constant_pixels_are_left_out(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    draw = weight_images.tiles_figure

    def figure(*arguments: Any) -> Any:
        drawn.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr(weight_images, "tiles_figure", figure)
    directory = train_run(*SMALL, WEIGHTS).directory
    assert [title.splitlines()[0].rpartition(", ")[2] for *_, title in drawn] == [
        "before training",
        "epoch 2",
        "epoch 3",
    ]
    tiles = torch.from_numpy(drawn[-1][0])
    content = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    weight = content["state_dict"]["model.hidden.0.linear.weight"].double().reshape(7, 8, 8)
    is_constant = tiles.isnan()
    # The corner of every digit is empty.
    assert is_constant[:, 0, 0].all()
    assert 0 < is_constant[0].sum() < 10
    assert torch.equal(tiles[~is_constant], weight[~is_constant])
    first = torch.from_numpy(drawn[0][0])
    assert (first != tiles)[~is_constant].any()
    assert (directory / "figures" / "weight_images.png").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=wine"], "callbacks.weight_images draws nothing: wine has no images"),
        *slow(
            (
                ["model.numeric_embedding=linear"],
                "callbacks.weight_images draws nothing: no torch.nn.Linear takes the 64 pixels",
            )
        ),
    ],
)
def test_what_has_no_images_is_told(train_run: Any, capsys: Any, words: list[str], told: str) -> None:
    directory: Path = train_run(*SMALL, *words, WEIGHTS, MISTAKES).directory
    output = capsys.readouterr().out
    assert f"note    {told}" in output
    assert ("note    callbacks.mistakes draws nothing: wine has no images of classes" in output) == (
        "data=wine" in words
    )
    assert not (directory / "figures" / "weight_images.png").exists()
