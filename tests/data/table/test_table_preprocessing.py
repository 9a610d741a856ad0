import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from mlplab.data.table.column import Column
from mlplab.data.table.spellings import Spellings
from mlplab.data.table.table_dataset import TableDataset
from mlplab.data.table.table_preprocessing import (
    LARGEST_SCORE,
    N_QUANTILES,
    CategoricalInput,
    NumericInput,
    TableInputs,
    TablePreprocessing,
    default_embedding_dim,
    quantiles_and_scores,
)
from mlplab.data.table.targets import Target

Array = npt.NDArray[np.float64]
NAN = float("nan")


def dataset(numbers: Array, scaling: str = "standardize") -> TableDataset:
    """Columns of numbers, NaN for missing."""
    names = [f"x{position}" for position in range(numbers.shape[1])]
    frame = pl.DataFrame({name: numbers[:, position] for position, name in enumerate(names)}).fill_nan(None)
    return TableDataset(
        name="toy",
        values=frame,
        columns=tuple(Column(name, "numeric") for name in names),
        target=Target(Column("y", "numeric")),
        targets=np.arange(float(len(numbers))),
        fingerprint="",
        numeric_scaling=scaling,
    )


def fitted(
    numbers: Array, rows: Any = slice(None), scaling: str = "standardize"
) -> tuple[TableDataset, TablePreprocessing]:
    toy = dataset(numbers, scaling)
    return toy, toy.fit(np.arange(len(numbers))[rows])


def transformed(toy: TableDataset, preprocessing: TablePreprocessing) -> Array:
    return preprocessing(*toy.inputs(np.arange(len(toy.targets)), preprocessing)).double().numpy()  # type: ignore[no-any-return]


def by_hand(**changes: Any) -> TablePreprocessing:
    numeric = (NumericInput(Column("a", "numeric")), NumericInput(Column("b", "numeric")))
    categorical = (CategoricalInput(Column("c", "categorical"), ("x", "y"), has_missing=True),)
    options = {
        "median": torch.tensor([1.0, 2.0]),
        "mean": torch.tensor([0.0, 10.0]),
        "std": torch.tensor([2.0, 4.0]),
        "indicated": torch.tensor([1]),
        "embedding_dims": [0],
    }
    return TablePreprocessing(TableInputs(numeric, categorical), **{**options, **changes})  # type: ignore[arg-type]


def test_a_robust_scaling_is_that_of_numpy_and_stays_within_3() -> None:
    generator = np.random.default_rng(0)
    numbers = np.stack(
        [generator.standard_cauchy(90), 1e9 + generator.normal(size=90), np.where(np.arange(90) % 9, 0.0, 4.0)], axis=1
    )
    numbers[:5, 1] = np.nan
    toy, preprocessing = fitted(numbers, rows=slice(60), scaling="robust_smooth_clip")
    train = numbers[:60].copy()
    train[:5, 1] = np.median(train[5:, 1])
    first, median, third = np.quantile(train, (0.25, 0.5, 0.75), axis=0)
    assert third[2] == first[2]  # a column that is mostly 0 is scaled by half its range
    spread = np.where(third > first, third - first, (train.max(0) - train.min(0)) / 2)
    scaled = (np.where(np.isnan(numbers), median, numbers) - median) / spread
    expected = scaled / np.sqrt(1 + (scaled / 3) ** 2)
    found = transformed(toy, preprocessing)[:, :3]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert np.abs(found).max() <= 3
    again = TablePreprocessing.from_dict(preprocessing.as_dict())
    np.testing.assert_array_equal(transformed(toy, again)[:, :3], found)
    older = {name: value for name, value in by_hand().as_dict().items() if name != "smooth_clip"}
    assert not TablePreprocessing.from_dict(older).smooth_clip  # as in cards of earlier releases


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_robust_scaling_is_that_of_pytabkit() -> None:
    pytest.importorskip("pytabkit")
    from pytabkit.models.data.data import DictDataset, TensorInfo
    from pytabkit.models.nn_models.models import smooth_clip_func
    from pytabkit.models.nn_models.pipeline import MedianCenterFactory, RobustScaleFactory

    numbers = np.random.default_rng(1).standard_cauchy((81, 4))
    numbers[:, 3] = np.arange(81) % 9 == 0
    rows = torch.from_numpy(numbers).float()
    for factory in (MedianCenterFactory(), RobustScaleFactory()):
        told = DictDataset({"x_cont": rows}, {"x_cont": TensorInfo(feat_shape=[4])})
        rows = factory._fit(told).forward_cont(rows)
    toy, preprocessing = fitted(numbers, scaling="robust_smooth_clip")
    np.testing.assert_allclose(transformed(toy, preprocessing), smooth_clip_func(rows).numpy(), rtol=1e-4, atol=1e-5)


def test_by_hand() -> None:
    outputs = by_hand()(torch.tensor([[4.0, NAN], [NAN, 18.0]]), torch.tensor([[3], [0]]))
    # a, b, whether b is missing, the number of c's level. Missing ones are the median, (1 − 0)/2 and (2 − 10)/4.
    assert outputs.tolist() == [[2.0, -2.0, 1.0, 3.0], [0.5, 2.0, 0.0, 0.0]]
    assert outputs.dtype == torch.float32


def test_names_and_what_the_network_is_said() -> None:
    assert by_hand().feature_names == ("a", "b", "b is missing", "c")
    assert by_hand(embedding_dims=[5]).input_encoding() == {
        "name": "categories", "n_levels": [3], "embedding_dims": [5],
    }  # fmt: skip
    _, numbers_alone = fitted(np.arange(6.0).reshape(3, 2))
    assert numbers_alone.input_encoding() is None


@settings(max_examples=examples(40))
@given(
    seed=st.integers(0, 2**30),
    n_rows=st.integers(5, 80),
    missing=st.floats(0, 0.6),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e6, 1e30]),
    offset=st.sampled_from([0.0, 1.0, -1e3]),
)
def test_imputing_and_scaling_are_those_of_scikit_learn(
    seed: int, n_rows: int, missing: float, scale: float, offset: float
) -> None:
    generator = np.random.default_rng(seed)
    numbers = (generator.normal(size=(n_rows, 3)) + offset) * scale
    numbers[generator.random(numbers.shape) < missing] = np.nan
    numbers[:2] = [[scale] * 3, [2 * scale] * 3]  # so that every column varies
    rows = np.r_[0:2, 2 : max(3, n_rows // 2)]
    toy = dataset(numbers)
    preprocessing = toy.fit(rows)
    pipeline = make_pipeline(SimpleImputer(strategy="median", add_indicator=False), StandardScaler())
    expected = pipeline.fit(numbers[rows]).transform(numbers)
    found = transformed(toy, preprocessing)
    # Single precision: 6e-8 of the value.
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-6, rtol=1e-6)
    indicators = np.isnan(numbers)[:, np.isnan(numbers[rows]).any(0)]
    assert (found[:, 3:] == indicators).all()


@pytest.mark.parametrize("n_rows", [20, 100, 1024, 5000])
@pytest.mark.parametrize("shape", ["normal", "uniform", "lognormal", "heavy"])
def test_normal_scores_are_those_of_scikit_learn(n_rows: int, shape: str) -> None:
    generator = np.random.default_rng(n_rows)
    draw = {
        "normal": lambda size: generator.normal(size=size),
        "uniform": lambda size: generator.random(size),
        "lognormal": lambda size: np.exp(2 * generator.normal(size=size)),
        "heavy": lambda size: generator.standard_t(2, size),
    }[shape]
    train, new = draw(n_rows), draw(500)
    numbers = np.concatenate([train, new])[:, None]
    toy, preprocessing = fitted(numbers, slice(n_rows), "quantile_normal")
    reference = QuantileTransformer(
        output_distribution="normal", n_quantiles=min(n_rows, N_QUANTILES), subsample=None
    ).fit(train[:, None])
    expected, found = reference.transform(numbers)[:, 0], transformed(toy, preprocessing)[:, 0]
    # Between two quantiles ours is linear in the score and theirs in the rank; the last of 1024 are far apart in the
    # score, from 3.1 to 5.2. Fewer rows than quantiles have steps of their own between the rows.
    inner = np.abs(expected) < 2.5
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-3 if n_rows >= N_QUANTILES else 0.05)
    np.testing.assert_allclose(found, expected, atol=1.5)
    assert (np.diff(found[np.argsort(numbers[:, 0], kind="stable")]) >= 0).all()


@pytest.mark.parametrize("n_rows", [60, 5000])
def test_normal_scores_of_values_that_repeat_are_those_of_scikit_learn_but_at_the_ends(n_rows: int) -> None:
    train = np.random.default_rng(0).integers(0, 8, n_rows).astype(float)
    toy, preprocessing = fitted(train[:, None], scaling="quantile_normal")
    reference = QuantileTransformer(output_distribution="normal", n_quantiles=N_QUANTILES, subsample=None)
    expected = reference.fit(train[:, None]).transform(train[:, None])[:, 0] if n_rows > N_QUANTILES else None
    found = transformed(toy, preprocessing)[:, 0]
    if expected is not None:
        inner = (train > 0) & (train < 7)
        np.testing.assert_allclose(found[inner], expected[inner], atol=1e-6)
        assert set(np.abs(expected[~inner]).round(3)) == {5.199}
    # The score of the middle of its ranks, the ends included.
    for value in range(8):
        share = ((train < value).mean() + (train <= value).mean()) / 2
        score = torch.special.ndtri(torch.tensor(share)).item()
        # 1024 quantiles tell shares to a thousandth, 60 rows to a sixtieth.
        assert found[train == value] == pytest.approx(score, abs=0.02 if n_rows > N_QUANTILES else 0.1)


def test_normal_scores_end_where_training_ended() -> None:
    train = np.linspace(-1, 1, 300)
    toy, preprocessing = fitted(
        np.concatenate([train, [-1e30, -1.001, 1.001, 1e30]])[:, None], slice(300), "quantile_normal"
    )
    found = transformed(toy, preprocessing)[:, 0]
    assert found[-4:] == pytest.approx([-LARGEST_SCORE, -LARGEST_SCORE, LARGEST_SCORE, LARGEST_SCORE], abs=1e-6)
    assert found[:300].max() == pytest.approx(LARGEST_SCORE, abs=1e-6)


def test_a_missing_value_gets_the_score_of_the_median() -> None:
    numbers = np.append(np.exp(np.random.default_rng(0).normal(size=301)), np.nan)[:, None]
    toy, preprocessing = fitted(numbers, scaling="quantile_normal")
    assert preprocessing.median.item() == np.nanmedian(numbers)
    assert transformed(toy, preprocessing)[-1].tolist() == pytest.approx([0.0, 1.0], abs=2e-3)


@settings(max_examples=examples(60))
@given(
    train=st.lists(st.floats(-3e38, 3e38), min_size=2, max_size=30),
    new=st.lists(st.floats(-3e38, 3e38), min_size=1, max_size=20),
)
def test_normal_scores_are_finite_and_keep_the_order(train: list[float], new: list[float]) -> None:
    if min(train) == max(train):
        train = [*train, train[0] + 1 if abs(train[0]) < 1e15 else -train[0]]
    numbers = np.array(train + new)[:, None]
    toy, preprocessing = fitted(numbers, slice(len(train)), "quantile_normal")
    found = transformed(toy, preprocessing)[np.argsort(numbers[:, 0], kind="stable"), 0]
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= LARGEST_SCORE + 1e-6
    assert (np.diff(found) >= -1e-6).all()


@pytest.mark.parametrize("n_distinct", [1, 2, 5, N_QUANTILES, 5000])
def test_quantiles_ascend_and_fill_their_table(n_distinct: int) -> None:
    values = np.repeat(np.arange(float(n_distinct)), 3)
    quantiles, scores = quantiles_and_scores(values)
    assert quantiles.shape == scores.shape == (N_QUANTILES,)
    assert (np.diff(quantiles) >= 0).all()
    assert (np.diff(scores) >= 0).all()
    assert (quantiles[0], quantiles[-1]) == (0, n_distinct - 1)
    assert scores[0] == pytest.approx(-scores[-1], abs=1e-9)


@pytest.mark.parametrize("scaling", ["standardize", "quantile_normal"])
def test_it_survives_a_checkpoint_that_holds_tensors_and_plain_values_alone(tmp_path: Path, scaling: str) -> None:
    numbers = np.random.default_rng(0).normal(size=(50, 3))
    numbers[::7, 1] = np.nan
    toy, preprocessing = fitted(numbers, slice(30), scaling)
    torch.save(preprocessing.as_dict(), tmp_path / "preprocessing.pt")
    again = TablePreprocessing.from_dict(torch.load(tmp_path / "preprocessing.pt", weights_only=True))
    assert again.inputs == preprocessing.inputs
    assert again.feature_names == preprocessing.feature_names
    assert (transformed(toy, again) == transformed(toy, preprocessing)).all()
    with_levels = TablePreprocessing.from_dict(by_hand(embedding_dims=[3]).as_dict())
    assert with_levels.input_encoding() == by_hand(embedding_dims=[3]).input_encoding()


def test_its_tensors_are_part_of_the_models_state() -> None:
    _, preprocessing = fitted(np.random.default_rng(0).normal(size=(50, 2)), scaling="quantile_normal")
    assert set(preprocessing.state_dict()) == {"median", "mean", "std", "indicated", "quantiles", "scores"}
    assert not list(preprocessing.parameters())
    assert set(by_hand().state_dict()) == {"median", "mean", "std", "indicated"}


def test_widths_of_learned_embeddings_grow_with_the_categories() -> None:
    # 1.6 · n^0.56, by a calculator: 10 → 5.8, 100 → 21.1, 1000 → 76.6.
    assert [default_embedding_dim(n) for n in (2, 10, 100, 1000, 10**6)] == [2, 5, 21, 64, 64]


AREA, DAY, TOWN = Column("area", "numeric"), Column("day", "datetime"), Column("town", "categorical")
INPUTS = TableInputs(
    (NumericInput(AREA), NumericInput(DAY, "month"), NumericInput(DAY, "weekday")),
    (
        CategoricalInput(TOWN, ("Köln", "Ulm"), has_missing=True),
        CategoricalInput(Column("k", "boolean"), ("false",), False),
    ),
)
FRAME = pl.DataFrame(
    {
        "k": ["true", "false", None],
        "town": ["Ulm", "Rom", None],
        "day": [datetime(2024, 2, 29), None, datetime(2024, 1, 1)],
        "area": [1.5, None, 1e300],
        "more": [1, 2, 3],
    }
)


def test_rows_become_numbers_and_numbers_of_categories() -> None:
    numeric, categorical = INPUTS.encode(FRAME)
    nan = float("nan")
    expected = torch.tensor([[1.5, 2.0, 4.0], [nan, nan, nan], [1e300, 1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(numeric, expected, atol=0, rtol=0, equal_nan=True)
    # Köln 1, Ulm 2, missing 3, unknown 0; where training missed none, missing is unknown.
    assert categorical.tolist() == [[2, 0], [0, 1], [3, 0]]
    assert categorical.dtype == torch.int64


def test_names_and_columns() -> None:
    assert [one.name for one in (*INPUTS.numeric, *INPUTS.categorical)] == [
        "area", "day.month", "day.weekday", "town", "k",
    ]  # fmt: skip
    assert [column.name for column in INPUTS.columns] == ["area", "day", "town", "k"]
    assert [one.n_categories for one in INPUTS.categorical] == [3, 1]


def test_inputs_of_one_kind_alone() -> None:
    numeric, categorical = TableInputs((), INPUTS.categorical).encode(FRAME)
    assert (numeric.shape, categorical.shape) == ((3, 0), (3, 2))
    numeric, categorical = TableInputs(INPUTS.numeric, ()).encode(FRAME)
    assert (numeric.shape, categorical.shape) == ((3, 3), (3, 0))


def test_they_are_kept_as_plain_values() -> None:
    assert TableInputs.from_dict(json.loads(json.dumps(INPUTS.as_dict()))) == INPUTS


@settings(max_examples=examples(40))
@given(
    levels=st.sets(st.text(max_size=4), min_size=1, max_size=8),
    cells=st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1, max_size=20),
    has_missing=st.booleans(),
)
def test_a_category_has_its_number_whatever_it_is_called(levels: set[str], cells: list[Any], has_missing: bool) -> None:
    ordered = tuple(sorted(levels))
    cells = [*cells, *ordered]
    category = CategoricalInput(TOWN, ordered, has_missing)
    frame = pl.DataFrame({"town": cells}, schema={"town": pl.String})
    as_enum = frame.cast(pl.Enum(sorted({cell for cell in cells if cell is not None})))
    assert category.of(as_enum).to_list() == category.of(frame).to_list()
    missing = len(ordered) + 1 if has_missing else 0
    numbers = {level: number for number, level in enumerate(ordered, 1)}
    assert category.of(frame).to_list() == [missing if cell is None else numbers.get(cell, 0) for cell in cells]
    respelled = Spellings(category.categories).as_known(frame["town"])
    assert [one for one, cell in zip(respelled, cells, strict=True) if cell in levels] == [
        cell for cell in cells if cell in levels
    ]


@pytest.mark.parametrize("n_categories", [300, 70_000])
def test_there_may_be_many_categories(n_categories: int) -> None:
    levels = tuple(f"{number:06}" for number in range(n_categories))
    category = CategoricalInput(TOWN, levels, has_missing=True)
    frame = pl.DataFrame({"town": [levels[0], levels[-1], "x", None]})
    assert category.of(frame).to_list() == [1, n_categories, 0, n_categories + 1]
