from fractions import Fraction

import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.data.preprocessing import ScalePixels, Standardize
from mlplab.models.inputs import build_inputs

# Features of any size and offset that double precision can tell from a constant column.
OFFSETS = st.floats(-1e6, 1e6)
SCALES = st.floats(1e-3, 1e6)


def table(seed: int, n_rows: int, columns: list[tuple[float, float]]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(n_rows, len(columns), generator=generator, dtype=torch.float64)
    offsets, scales = torch.tensor(columns, dtype=torch.float64).T
    return offsets + scales * normal


def test_by_hand() -> None:
    # Means 2 and 10; deviations over N: √((1 + 0 + 1)/3) and √((100 + 0 + 100)/3).
    fitted = Standardize.fit(torch.tensor([[1.0, 0.0], [2.0, 10.0], [3.0, 20.0]]))
    assert fitted.mean.tolist() == [2.0, 10.0]
    assert fitted.std.tolist() == pytest.approx([(2 / 3) ** 0.5, (200 / 3) ** 0.5], rel=1e-15)
    outputs = fitted(torch.tensor([[2.0, 0.0], [5.0, 10.0]]))
    expected = torch.tensor([[0.0, -(1.5**0.5)], [3 * 1.5**0.5, 0.0]])
    torch.testing.assert_close(outputs, expected, atol=0, rtol=1e-6)


@settings(max_examples=examples(100))
@given(
    seed=st.integers(0, 2**30),
    n_rows=st.integers(2, 200),
    columns=st.lists(st.tuples(OFFSETS, SCALES), min_size=1, max_size=5),
)
def test_the_training_part_gets_mean_zero_and_deviation_one(
    seed: int, n_rows: int, columns: list[tuple[float, float]]
) -> None:
    outputs = Standardize.fit(table(seed, n_rows, columns))(table(seed, n_rows, columns))
    assert outputs.dtype == torch.float32
    # Single precision: 6e-8 of values up to about √N.
    assert outputs.double().mean(0).abs().max() < 1e-5
    assert (outputs.double().std(0, correction=0) - 1).abs().max() < 1e-5


@settings(max_examples=examples(100))
@given(value=st.floats(-1e15, 1e15), n_rows=st.integers(1, 2000), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_a_constant_column_stays_zero_however_large_it_is(value: float, n_rows: int, dtype: torch.dtype) -> None:
    features = torch.full((n_rows, 2), value, dtype=dtype)
    features[:, 1] = torch.arange(n_rows)
    outputs = Standardize.fit(features)(features)
    # The mean of equal numbers can differ from them by a few roundings.
    assert outputs[:, 0].abs().max().item() <= 2e-15 * abs(value)
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -7.7])
def test_a_constant_column_is_only_centred_for_rows_where_it_differs(value: float) -> None:
    fitted = Standardize.fit(torch.full((1000, 1), value, dtype=torch.float64))
    outputs = fitted(torch.tensor([[value], [value + 2.5]], dtype=torch.float64))
    assert outputs.squeeze(1).tolist() == pytest.approx([0.0, 2.5], abs=1e-9)


def test_a_single_training_row_is_only_centred() -> None:
    fitted = Standardize.fit(torch.tensor([[3.0, -1.0]]))
    assert fitted(torch.tensor([[3.0, -1.0], [4.0, 1.0]])).tolist() == [[0.0, 0.0], [1.0, 2.0]]


def test_a_column_that_varies_little_around_zero_is_not_taken_for_a_constant() -> None:
    features = torch.tensor([[1e-9], [-1e-9]], dtype=torch.float64)
    assert Standardize.fit(features)(features).squeeze(1).tolist() == pytest.approx([1.0, -1.0], rel=1e-6)


def test_a_large_offset_costs_no_precision_because_statistics_are_in_double_precision() -> None:
    features = 1e6 + torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    fitted = Standardize.fit(features)
    assert fitted(features).squeeze(1).tolist() == pytest.approx(
        [-1.3416408, -0.4472136, 0.4472136, 1.3416408], rel=1e-6
    )
    assert fitted.mean.dtype == fitted.std.dtype == torch.float64


@settings(max_examples=examples(50))
@given(seed=st.integers(0, 2**30), columns=st.lists(st.tuples(OFFSETS, SCALES), min_size=1, max_size=5))
def test_mean_and_deviation_take_the_outputs_back_to_the_features(
    seed: int, columns: list[tuple[float, float]]
) -> None:
    features = table(seed, 30, columns)
    fitted = Standardize.fit(features)
    back = fitted(features).double() * fitted.std + fitted.mean
    assert ((back - features).abs() / fitted.std).max() < 1e-5


def test_rows_do_not_depend_on_each_other() -> None:
    features = table(0, 20, [(1.0, 2.0), (-3.0, 0.5)])
    fitted = Standardize.fit(features)
    rows = torch.cat([fitted(row.unsqueeze(0)) for row in features])
    assert torch.equal(fitted(features), rows)


def test_applying_it_changes_neither_statistics_nor_features_not_even_in_training() -> None:
    features = table(0, 20, [(1.0, 2.0)])
    fitted = Standardize.fit(features).train()
    before, given = fitted.mean.clone(), features.clone()
    fitted(features + 100)
    assert torch.equal(fitted.mean, before)
    assert torch.equal(features, given)


def test_it_comes_back_from_plain_values() -> None:
    features = table(0, 20, [(1.0, 2.0), (5.0, 0.0)])
    fitted = Standardize.fit(features)
    plain = fitted.as_dict()
    assert plain["name"] == "standardize"
    assert torch.equal(Standardize.from_dict(plain)(features), fitted(features))


def test_it_has_nothing_to_train_and_its_statistics_follow_the_module() -> None:
    fitted = Standardize.fit(torch.zeros(2, 3))
    assert list(fitted.parameters()) == []
    assert fitted.state_dict().keys() == {"mean", "std"}


def test_integers_are_taken_for_the_numbers_that_they_are() -> None:
    outputs = Standardize.fit(torch.tensor([[1], [3]]))(torch.tensor([[1], [5]]))
    assert outputs.tolist() == [[-1.0], [3.0]]


def test_pixels_share_one_mean_and_one_deviation_by_hand() -> None:
    # 0, 10, 20, 30, 40, 50: the mean is 25, the mean of the squares 5500/6 = 916.67, so the variance 291.67.
    fitted = ScalePixels.fit(torch.tensor([[0, 10, 20], [30, 40, 50]], dtype=torch.uint8))
    assert fitted.mean == 25.0
    assert fitted.std == pytest.approx((1750 / 6) ** 0.5, rel=1e-15)


def test_statistics_of_pixels_are_exact_however_many_there_are() -> None:
    pixels = torch.randint(0, 256, (3000, 400), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[:, 100:] = 0  # most of an image is black
    fitted = ScalePixels.fit(pixels)
    values = pixels.to(torch.int64)
    mean = Fraction(int(values.sum()), values.numel())
    variance = Fraction(int(values.square().sum()), values.numel()) - mean**2
    assert fitted.mean == pytest.approx(float(mean), rel=1e-14)
    assert fitted.std == pytest.approx(float(variance) ** 0.5, rel=1e-14)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_images_of_one_grey_are_only_centred(value: int) -> None:
    fitted = ScalePixels.fit(torch.full((4, 3), value, dtype=torch.uint8))
    assert (fitted.mean, fitted.std) == (value, 1.0)


def test_pixels_stay_bytes_and_the_network_standardises_them() -> None:
    pixels = torch.randint(0, 256, (50, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    fitted = ScalePixels.fit(pixels)
    assert fitted(pixels).dtype == torch.uint8
    assert torch.equal(fitted(pixels), pixels)
    outputs = build_inputs(fitted.input_encoding(), 20)(pixels).double()
    assert outputs.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert outputs.std(correction=0).item() == pytest.approx(1.0, abs=1e-6)


def test_a_pixel_is_scaled_alike_wherever_it_stands() -> None:
    pixels = torch.tensor([[0, 200], [0, 100], [1, 255]], dtype=torch.uint8)  # the first is nearly always black
    outputs = build_inputs(ScalePixels.fit(pixels).input_encoding(), 2)(torch.tensor([[9, 9]], dtype=torch.uint8))
    assert outputs[0, 0] == outputs[0, 1]


def test_scaling_of_pixels_comes_back_from_plain_values() -> None:
    fitted = ScalePixels.fit(torch.tensor([[0, 10, 20]], dtype=torch.uint8))
    plain = fitted.as_dict()
    assert plain == {"name": "pixels", "mean": 10.0, "std": pytest.approx((200 / 3) ** 0.5)}
    assert all(type(value) in (str, float) for value in plain.values())
    assert ScalePixels.from_dict(plain).as_dict() == plain
