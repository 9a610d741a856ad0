import math

import numpy as np
import pytest

from mlplab.data.synthetic import SYNTHETIC, circles, gaussians, plane, spirals, synthetic, wave, xor


def test_the_data_sets_here_are_all_that_there_are() -> None:
    expected = {
        "circles": circles,
        "spirals": spirals,
        "xor": xor,
        "gaussians": gaussians,
        "plane": plane,
        "wave": wave,
    }
    assert expected == SYNTHETIC


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_same_arguments_give_the_same_rows_and_another_seed_gives_others(name: str) -> None:
    first = synthetic(name, 50, 0.1, 3)
    assert synthetic(name, 50, 0.1, 3).fingerprint == first.fingerprint
    assert synthetic(name, 50, 0.1, 4).fingerprint != first.fingerprint
    assert first.name == name
    assert first.features.shape == (50, 1 if name == "wave" else 2)
    assert first.feature_names == ("x", "y")[: first.features.shape[1]]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_global_generator_of_numpy_plays_no_part(name: str) -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    first = synthetic(name, 20, 0.1, 0)
    assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index]  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert synthetic(name, 20, 0.1, 0).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("name", "class_names"),
    [
        ("circles", ("inner", "outer")),
        ("spirals", ("first", "second")),
        ("xor", ("same", "different")),
        ("gaussians", ("right", "top", "bottom")),
    ],
)
@pytest.mark.parametrize("n_samples", [12, 13, 200])
def test_classes_are_as_even_as_the_number_of_rows_allows(
    name: str, class_names: tuple[str, ...], n_samples: int
) -> None:
    dataset = synthetic(name, n_samples, 0.1, 0)
    counts = np.bincount(dataset.targets.astype(np.int64), minlength=len(class_names))
    assert dataset.class_names == class_names
    assert counts.sum() == n_samples
    assert counts.max() - counts.min() <= 1


def test_circles_without_noise_have_radius_one_half_inside_and_one_outside() -> None:
    dataset = circles(200, 0.0, 0)
    radius = np.hypot(*dataset.features.T)
    assert radius == pytest.approx(np.where(dataset.targets == 0, 0.5, 1.0), rel=1e-12)
    # All around: each quadrant has its quarter of the rows, give or take six standard deviations.
    quadrants = np.bincount(2 * (dataset.features[:, 0] > 0) + (dataset.features[:, 1] > 0), minlength=4)
    assert quadrants == pytest.approx(50, abs=37)


def test_spirals_without_noise_are_one_curve_and_the_same_curve_turned_by_half_a_circle() -> None:
    dataset = spirals(500, 0.0, 0)
    turned = np.where(dataset.targets[:, None] == 0, 1, -1) * dataset.features
    radius = np.hypot(*turned.T)
    angle = 3 * math.pi * radius
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    assert turned == pytest.approx(expected, abs=1e-12)
    assert radius.min() > 0.14
    assert radius.max() <= 1


def test_xor_without_noise_is_its_truth_table() -> None:
    dataset = xor(8, 0.0, 0)
    table = {(x, y): target for (x, y), target in zip(dataset.features.tolist(), dataset.targets, strict=True)}
    assert table == {(0.0, 0.0): 0, (1.0, 0.0): 1, (0.0, 1.0): 1, (1.0, 1.0): 0}


def test_gaussians_without_noise_are_three_points_on_the_unit_circle_at_equal_distances() -> None:
    dataset = gaussians(9, 0.0, 0)
    centres = np.stack([dataset.features[dataset.targets == c][0] for c in range(3)])
    assert np.hypot(*centres.T) == pytest.approx(1.0, rel=1e-12)
    distances = [np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (1, 2), (2, 0))]
    assert distances == pytest.approx([math.sqrt(3)] * 3, rel=1e-12)
    assert len(np.unique(dataset.features.round(9), axis=0)) == 3


def test_a_plane_without_noise_lies_on_its_formula() -> None:
    dataset = plane(100, 0.0, 0)
    assert dataset.kind == "regression"
    assert dataset.target_name == "height"
    x, y = dataset.features.T
    assert dataset.targets.astype(float) == pytest.approx(2 * x - y + 0.5, abs=1e-15)
    assert np.abs(dataset.features).max() <= 1
    assert dataset.features.min() < -0.9 < 0.9 < dataset.features.max()


@pytest.mark.parametrize("name", ["xor", "gaussians"])
def test_noise_is_the_standard_deviation_around_each_centre(name: str) -> None:
    noisy, clean = synthetic(name, 20_000, 0.3, 0), synthetic(name, 20_000, 0.0, 0)
    assert np.array_equal(noisy.targets, clean.targets)
    # 40 000 draws: a relative standard error of 0.0035.
    assert (noisy.features - clean.features).std() == pytest.approx(0.3, rel=0.018)


def test_noise_on_the_plane_is_on_its_height_alone() -> None:
    noisy, clean = plane(20_000, 0.3, 0), plane(20_000, 0.0, 0)
    assert np.array_equal(noisy.features, clean.features)
    assert (noisy.targets - clean.targets).std() == pytest.approx(0.3, rel=0.025)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["circles", "spirals"])
def test_noise_moves_the_rows_of_the_curves_too(name: str) -> None:
    noisy, clean = synthetic(name, 20_000, 0.2, 0), synthetic(name, 20_000, 0.0, 0)
    assert (noisy.features - clean.features).std() == pytest.approx(0.2, rel=0.018)


@pytest.mark.parametrize(("name", "spread"), [("plane", 0.3), ("wave", 0.3), ("plane", 0.0), ("wave", 0.0)])
def test_the_truth_of_a_regression_is_its_target_without_noise(name: str, spread: float) -> None:
    dataset = synthetic(name, 2000, spread, 0)
    assert dataset.truth is not None
    noise = dataset.targets - dataset.truth(dataset.features)
    assert noise.std() == pytest.approx(spread, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.03)


def test_the_wave_becomes_faster() -> None:
    dataset = wave(500, 0.0, 0)
    x = dataset.features[:, 0]
    assert dataset.targets == pytest.approx(np.sin(2 * math.pi * x**2))
    assert (x.min(), x.max()) == (pytest.approx(0, abs=0.05), pytest.approx(2, abs=0.05))
