"""What training does to its batches: noise, mixtures, shifted images."""

from typing import Any

import numpy as np
import pytest
import torch
from comparing import difference
from slow_cases import slow
from torch import nn

from mlplab.augmentation import Augmentation, RandomShift
from mlplab.data.preprocessing import ScalePixels, Standardize
from mlplab.errors import UserError
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.objectives.losses import cross_entropy, mse
from mlplab.objectives.objective import Objective

SMALL = ["data=wine", "trainer.max_epochs=3", "callbacks=minimal", "logger=csv", "callbacks.early_stopping=null"]


class Kept(nn.Module):
    """Returns its inputs, times its weight of 1, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.inputs = inputs
        return inputs * self.weight


def test_noise_has_its_deviation_and_spares_categories() -> None:
    model = WithInputs(CategoryInputs(n_features=3, n_levels=[2], embedding_dims=[0]), Kept())
    features = torch.tensor([[1.0, 0.0, 2.0]]).repeat(20_000, 1)  # a number, an indicator, a category
    torch.manual_seed(0)
    Augmentation(noise=0.5, n_numeric=1)(model, Objective(mse), features, torch.zeros(20_000, 4))
    seen = model.network.inputs.numpy()
    assert seen[:, 0].mean() == pytest.approx(1, abs=0.02)
    assert seen[:, 0].std() == pytest.approx(0.5, rel=0.02)
    np.testing.assert_array_equal(seen[:, 1:], np.tile([0, 0, 1], (20_000, 1)))


def test_noise_on_pixels_is_in_their_unit() -> None:
    model = WithInputs(PixelInputs(n_features=2, mean=100.0, std=50.0), Kept())
    features = torch.full((20_000, 2), 100, dtype=torch.uint8)
    torch.manual_seed(0)
    Augmentation(noise=0.5, n_numeric=2, unit=50.0)(model, Objective(mse), features, torch.zeros(20_000, 2))
    assert model.network.inputs.std().item() == pytest.approx(0.5, rel=0.02)


def _mixed(seed: int, *parts: torch.Tensor) -> tuple[float, list[np.ndarray]]:
    """The weight of a mixture and the partners of each part, drawn as Zhang et al. describe it."""
    torch.manual_seed(seed)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    partners = torch.randperm(len(parts[0]))
    return share, [part[partners].double().numpy() for part in parts]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_mixed_classes_have_the_cross_entropy_of_their_soft_targets(seed: int, weighted: bool) -> None:
    features, targets = torch.randn(8, 3), torch.arange(8) % 3
    weights = [torch.rand(8)] if weighted else []
    share, (others, _, *theirs) = _mixed(seed, features, targets, *weights)
    torch.manual_seed(seed)
    loss = Augmentation(mixup=0.4, n_numeric=3)(Kept(), Objective(cross_entropy), features, targets, *weights)
    inputs = share * features.double().numpy() + (1 - share) * others
    log_p = inputs - np.log(np.exp(inputs).sum(1, keepdims=True))
    torch.manual_seed(seed)
    torch.distributions.Beta(0.4, 0.4).sample()
    one_hot = np.eye(3)[targets.numpy()]
    partners = one_hot[torch.randperm(8).numpy()]
    own, their = (weights[0].double().numpy(), theirs[0]) if weighted else (np.ones(8), np.ones(8))
    soft = share * own[:, None] * one_hot + (1 - share) * their[:, None] * partners
    assert loss.item() == pytest.approx(-(soft * log_p).sum(1).mean(), rel=1e-5)


def test_mixed_values_have_mixed_targets() -> None:
    features, targets = torch.randn(8, 1), torch.randn(8, 1)
    share, (others, theirs) = _mixed(5, features, targets)
    torch.manual_seed(5)
    loss = Augmentation(mixup=0.4, n_numeric=1)(Kept(), Objective(mse), features, targets)
    inputs, mixed = (share * a.double().numpy() + (1 - share) * b for a, b in ((features, others), (targets, theirs)))
    assert loss.item() == pytest.approx(((inputs - mixed) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize("standardized", [False, True])
def test_shifted_images_are_those_of_numpy(standardized: bool) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (200, 3, 5))
    pixels = torch.from_numpy(images.reshape(200, 15))
    preprocessing: Any = Standardize.fit(pixels) if standardized else ScalePixels(100.0, 50.0)
    features = preprocessing(pixels)
    torch.manual_seed(1)
    found = RandomShift(3, 5, 2, preprocessing)(features)
    torch.manual_seed(1)
    expected = np.zeros_like(images)
    for number, (down, right) in enumerate(torch.randint(-2, 3, (200, 2, 1)).squeeze(2).tolist()):
        for row, column in np.ndindex(3, 5):
            if 0 <= row - down < 3 and 0 <= column - right < 5:
                expected[number, row, column] = images[number, row - down, column - right]
    wanted = preprocessing(torch.from_numpy(expected.reshape(200, 15)))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert not torch.equal(found, features)


@pytest.mark.parametrize(
    "words",
    [
        ["augmentation.mixup=0.4", "augmentation.noise=0.1", "data=diabetes", "model.dropout=0"],
        ["augmentation.shift=1", "data=digits", "trainer.max_epochs=1"],
        *slow(
            ["augmentation.noise=0.2"],
            ["augmentation.mixup=0.4", "loss=cross_entropy", "loss.label_smoothing=0.1"],
            ["augmentation.mixup=0.4", "data=breast_cancer", "loss=binary_cross_entropy", "optimizer=sgd"],
        ),
    ],
)
def test_both_engines_learn_the_same_and_a_stopped_run_ends_the_same(
    train_run: Any, go_on: Any, words: list[str]
) -> None:
    fast, plain = (train_run(*SMALL, *words, f"engine={engine}").directory for engine in ("fast", "plain"))
    assert difference(fast, plain) == ""
    assert difference(fast, go_on(*SMALL, *words, stops=(2, 7))) == ""
    assert "autograd instead of the fused step: augmentation has no fused kernels" in (fast / "train.log").read_text()
    without = train_run(*SMALL, *(word for word in words if "augmentation" not in word)).directory
    assert difference(fast, without) != ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["augmentation.shift=1"], "augmentation.shift must be for images, but wine has none"),
        (
            ["augmentation.shift=8", "data=digits"],
            "must be smaller than the images, 8×8, got 8; try",
        ),
        (["+augmentation.cutmix=1"], "augmentation must hold nothing but noise, mixup, shift"),
        (["augmentation.mixup=-1"], "a number of 0 or more, got -1; try augmentation.mixup=0.2"),
        (["augmentation.shift=1.5"], "a number of pixels"),
    ],
)
def test_what_cannot_be_is_refused(train_run: Any, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        train_run(*SMALL, *words)
    assert message in str(caught.value)
