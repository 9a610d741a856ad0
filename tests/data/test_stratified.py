import numpy as np
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from mlplab.data.stratified import draw


@settings(max_examples=examples(150))
@given(
    n_rows=st.integers(2, 200), share=st.floats(0.01, 0.99), n_classes=st.integers(0, 6), seed=st.integers(0, 2**32 - 1)
)
def test_the_rows_are_those_of_scikit_learn_in_its_order(n_rows: int, share: float, n_classes: int, seed: int) -> None:
    size = min(max(1, round(share * n_rows)), n_rows - 1)
    labels = np.random.default_rng(seed).integers(0, n_classes, n_rows) ** 2 if n_classes else None
    try:
        expected = train_test_split(np.arange(n_rows), test_size=size, random_state=seed, stratify=labels)
    except ValueError:
        with pytest.raises(ValueError, match="too few rows"):
            draw(n_rows, size, seed, labels)
        return
    for found, rows in zip(draw(n_rows, size, seed, labels), expected, strict=True):
        assert found.tolist() == rows.tolist()


def test_classes_keep_their_shares_by_hand() -> None:
    labels = np.array(["a"] * 8 + ["b"] * 4)
    left, drawn = draw(12, 3, 0, labels)
    assert sorted(labels[drawn]) == ["a", "a", "b"]
    assert sorted([*left, *drawn]) == list(range(12))
