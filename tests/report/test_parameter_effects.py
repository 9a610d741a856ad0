import itertools

import numpy as np
import pytest

from mlplab.report.parameter_effects import effects_of


def table(sizes: tuple[int, ...]) -> np.ndarray:
    return np.array(list(itertools.product(*(range(size) for size in sizes))), dtype=float)


def test_a_grid_is_decomposed_exactly() -> None:
    places = table((2, 3))
    a, b = places.T
    both = np.where((a == 1) & (b == 2), 1.0, 0.0)
    values = 2 * a + b + both
    found = effects_of(["a", "b"], places, values)
    assert found is not None
    assert (found.method, found.n, found.explained) == ("grid", 6, None)
    # By hand, from the table [[0, 1, 2], [2, 3, 5]].
    cells = values.reshape(2, 3)
    total = cells.var()
    assert found.alone == pytest.approx({"a": cells.mean(1).var() / total, "b": cells.mean(0).var() / total})
    rest = cells - cells.mean(1, keepdims=True) - cells.mean(0, keepdims=True) + cells.mean()
    assert found.pairs == pytest.approx({("a", "b"): (rest**2).mean() / total})
    assert found.rest == pytest.approx(0, abs=1e-12)


def test_what_three_do_together_is_the_rest() -> None:
    places = table((2, 2, 2))
    values = np.prod(2 * places - 1, axis=1)
    found = effects_of(["a", "b", "c"], places, values)
    assert found is not None
    assert sum(found.alone.values()) == pytest.approx(0)
    assert sum(found.pairs.values()) == pytest.approx(0)
    assert found.rest == pytest.approx(1)


def test_a_value_whose_settings_have_diverged_is_left_out_of_the_grid() -> None:
    places = np.array([row for row in table((2, 4)) if tuple(row) != (1, 3)])
    found = effects_of(["a", "b"], places, places @ [1.0, 2.0])
    assert found is not None
    assert found.method == "grid"
    assert found.without == (("b", 3.0),)
    assert found.n == 6
    assert found.pairs["a", "b"] == pytest.approx(0, abs=1e-12)


def test_too_little_tells_nothing() -> None:
    generator = np.random.default_rng(0)
    assert effects_of(["a"], table((5,)), np.arange(5.0)) is None  # one parameter has all of it
    assert effects_of(["a", "b"], table((2, 2)), np.zeros(4)) is None
    assert effects_of(["a", "b"], generator.uniform(size=(8, 2)), generator.uniform(size=8)) is None


def test_a_forest_finds_what_matters() -> None:
    places = np.random.default_rng(0).uniform(0, 1, (400, 4))
    values = 3 * places[:, 0] + 4 * places[:, 1] * places[:, 2]
    found = effects_of(["a", "b", "c", "noise"], places, values)
    assert found is not None
    assert (found.method, found.pairs) == ("forest", {})
    # Variances 9/12, 4/12, 4/12 and, of b and c together, 16/144; of 1.53 in all.
    assert found.alone == pytest.approx({"a": 0.49, "b": 0.22, "c": 0.22, "noise": 0}, abs=0.06)
    assert found.rest == pytest.approx(0.073, abs=0.05)
    assert found.explained == pytest.approx(0.97, abs=0.03)


def test_a_forest_gives_every_choice_the_same_weight() -> None:
    """However often a search drew it: the space is what counts."""
    generator = np.random.default_rng(0)
    places = np.stack([generator.choice(3, 300, p=[0.8, 0.1, 0.1]), generator.uniform(size=300)], axis=1)
    found = effects_of(["a", "b"], places.astype(float), (places[:, 0] == 2) + places[:, 1])
    assert found is not None
    # Variances 2/9 and 1/12.
    assert found.alone == pytest.approx({"a": 0.73, "b": 0.27}, abs=0.06)


def test_a_forest_knows_nothing_of_noise() -> None:
    generator = np.random.default_rng(0)
    found = effects_of(["a", "b"], generator.uniform(size=(200, 2)), generator.normal(size=200))
    assert found is not None
    assert found.explained is not None
    assert found.explained < 0.1
