import itertools
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from report.analysing import analyse
from scipy.stats import rankdata
from sweeps.making import job, write_sweep

from mlplab.report.parameter_effects import Effects, grid_effects, search_effects


def table(sizes: tuple[int, ...]) -> np.ndarray:
    return np.array(list(itertools.product(*(range(size) for size in sizes))), dtype=float)


def test_a_grid_is_decomposed_exactly() -> None:
    places = table((2, 3))
    a, b = places.T
    both = np.where((a == 1) & (b == 2), 1.0, 0.0)
    values = 2 * a + b + both
    found = grid_effects(["a", "b"], places, values)
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
    found = grid_effects(["a", "b", "c"], places, values)
    assert found is not None
    assert sum(found.alone.values()) == pytest.approx(0)
    assert sum(found.pairs.values()) == pytest.approx(0)
    assert found.rest == pytest.approx(1)


def test_a_value_whose_settings_have_diverged_is_left_out_of_the_grid() -> None:
    places = np.array([row for row in table((2, 4)) if tuple(row) != (1, 3)])
    found = grid_effects(["a", "b"], places, places @ [1.0, 2.0])
    assert found is not None
    assert found.method == "grid"
    assert found.without == (("b", 3.0),)
    assert found.n == 6
    assert found.pairs["a", "b"] == pytest.approx(0, abs=1e-12)


def test_too_little_tells_nothing() -> None:
    generator = np.random.default_rng(0)
    assert grid_effects(["a"], table((5,)), np.arange(5.0)) is None  # one parameter has all of it
    assert grid_effects(["a", "b"], table((2, 2)), np.zeros(4)) is None
    assert grid_effects(["a", "b"], generator.uniform(size=(8, 2)), generator.uniform(size=8)) is None
    assert search(generator.uniform(size=(8, 2)), generator.uniform(size=8)) is None


def test_the_spread_over_seeds_is_the_noise() -> None:
    """A saturated table: the two parameters and their interaction are all of the means, and noise half of the runs."""
    places = table((2, 3))
    generator = np.random.default_rng(0)
    runs = (2 * places[:, 0] + places[:, 1])[:, np.newaxis] + generator.normal(size=(6, 4))
    found = grid_effects(["a", "b"], places, runs.mean(axis=1), float(runs.var(axis=1).mean()))
    assert found is not None
    # The variance of all runs is that between settings and that within them.
    assert found.noise == pytest.approx(runs.var(axis=1).mean() / runs.var())
    of_a = runs.reshape(2, 12).mean(axis=1).var() / runs.var()
    assert found.alone["a"] == pytest.approx(of_a)
    assert found.rest == pytest.approx(0, abs=1e-12)


def test_a_parameter_with_one_value_left_is_not_shown_as_nothing() -> None:
    places = np.array([row for row in table((3, 2, 2)) if row[2] == 0 or row[1] == 0])
    found = grid_effects(["a", "b", "c"], places, places @ [1.0, 2.0, 3.0])
    assert found is not None
    assert (list(found.alone), found.without) == (["a", "b"], (("c", 1.0),))


def search(places: np.ndarray, ranks: np.ndarray, is_choice: list[bool] | None = None) -> Effects | None:
    names = ["a", "b", "c", "d"][: places.shape[1]]
    return search_effects(names, places, ranks, is_choice or [False] * len(names), [(0.0, 1.0)] * len(names))


def test_importances_are_those_of_optuna() -> None:
    """With pruned trials behind the others, on logarithms, and for a parameter that half of the trials have."""
    generator = np.random.default_rng(0)
    places = generator.uniform(0, 1, (100, 3))
    places[:, 1] = generator.integers(0, 3, 100)
    places[::2, 2] = np.nan
    ranks = rankdata(places[:, 0] ** 2 + 0.1 * places[:, 1])
    found = search(places, ranks, [False, True, False])
    assert found is not None
    study = optuna.create_study()
    for row, rank in zip(places, ranks, strict=True):
        params = {"a": 10.0 ** row[0], "b": "xyz"[int(row[1])], "c": row[2]}
        kinds = {
            "a": FloatDistribution(1, 10, log=True),
            "b": CategoricalDistribution(("x", "y", "z")),
            "c": FloatDistribution(0, 1),
        }
        known = [name for name in params if params[name] == params[name]]
        trial = optuna.trial.create_trial(
            value=rank, params={n: params[n] for n in known}, distributions={n: kinds[n] for n in known}
        )
        study.add_trial(trial)
    expected = optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    assert found.alone == pytest.approx(expected, abs=0.02)
    assert found.explained is not None
    assert found.explained > 0.5


def test_noise_has_no_importances() -> None:
    generator = np.random.default_rng(0)
    assert search(generator.uniform(size=(60, 2)), generator.permutation(60).astype(float)) is None


def test_pruned_trials_count(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Half of the learning rates were pruned early; among the finished ones dropout is all that differs."""
    generator = np.random.default_rng(0)
    jobs = []
    for n in range(80):
        lr, dropout = float(generator.uniform()), float(generator.uniform())
        state = "finished" if lr < 0.3 else "pruned"
        jobs.append(job(n, {"lr": lr, "dropout": dropout}, 0.1 + 0.1 * dropout + (lr > 0.3), state=state, epochs=2))
    space = {name: {"kind": "float", "low": 0.0, "high": 1.0, "log": False} for name in ("lr", "dropout")}
    effects = analyse(write_sweep(tmp_path, jobs, space=space, sweeper="optuna")).effects
    assert effects is not None
    assert effects.n == 80
    assert effects.alone["lr"] > 0.3
    finished = analyse(write_sweep(tmp_path / "f", [j for j in jobs if j["state"] == "finished"], space=space)).effects
    assert finished is not None
    assert finished.alone["lr"] < 0.2 < effects.alone["lr"]
    assert capfd.readouterr().err == ""
