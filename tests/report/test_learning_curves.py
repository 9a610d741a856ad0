import math
from pathlib import Path

import numpy as np
import pytest
from sweeps.making import job, write_sweep

from mlplab.report.learning_curves import best_places, median_rows, overfitting, thinned
from mlplab.sweeps.objectives import Bound
from mlplab.sweeps.reading.ranked_settings import time_to_target
from mlplab.sweeps.reading.sweep_reading import read_sweep
from mlplab.sweeps.reading.sweep_records import Curve, RunRecord

TARGET = Bound("val/accuracy", "max", 0.9)


def curve(values: list[float], epochs: list[float] | None = None) -> Curve:
    at = np.array(epochs or range(1, len(values) + 1), dtype=float)
    return Curve(at, 10 * at, at / 2, np.array(values, dtype=float))


def runs(directory: Path, *jobs: dict) -> list[RunRecord]:
    target = {"metric": "val/accuracy", "value": 0.9, "mode": "max"}
    return read_sweep(write_sweep(directory / "s", jobs, target=target)).runs


def test_medians_and_quartiles_reach_as_far_as_half_of_the_curves() -> None:
    first, second, third = median_rows([curve([1, 2, 3]), curve([3, 4]), curve([5, 6]), curve([7, 8, 9, 10])])
    assert first == {"x": 1, "low": 2.5, "y": 4, "high": 5.5}
    assert (second["x"], second["y"], third["x"], third["y"]) == (2, 5, 3, 6)


def test_of_two_measurements_in_an_epoch_the_last_counts() -> None:
    assert [row["y"] for row in median_rows([curve([1, 2, 3], [1, 1, 2])])] == [2, 3]


def test_values_that_are_not_finite_are_left_out_of_a_median() -> None:
    assert [row["y"] for row in median_rows([curve([1, math.nan]), curve([3, 5])])] == [2, 5]
    assert median_rows([]) == median_rows([curve([math.nan])]) == []


def test_long_curves_are_thinned_between_their_ends() -> None:
    kept = thinned(10_000, 200)
    assert (kept[0], kept[-1], len(kept)) == (0, 9_999, 200)
    assert list(thinned(3)) == [0, 1, 2]
    assert list(thinned(0)) == []


def test_where_the_best_came(tmp_path: Path) -> None:
    found = runs(
        tmp_path, job(0, {}, epochs=10, best_epoch=5), job(1, {"a": 1}, epochs=10), job(2, {"a": 2}, epochs=2),
        job(3, {"a": 3}, epochs=10, best_epoch=1, state="infeasible"),
    )  # fmt: skip
    assert list(best_places(found)) == [0.5, 1.0]


def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_overfitting(tmp_path: Path) -> None:
    rising, steady = runs(
        tmp_path, job(0, {"a": 0}, 0.5, epochs=20, best_epoch=10, rise=0.05), job(1, {"a": 1}, 0.5, epochs=20)
    )
    assert overfitting(rising) == pytest.approx((0.5 + 9 * 0.05) / 0.5)  # the middle of the last three
    assert overfitting(steady) is None


def test_a_training_loss_that_rises_too_is_another_trouble() -> None:
    def run(training: list[float]) -> RunRecord:
        curves = {"val/loss": curve([1, 0.5, 0.9, 0.9]), "train/loss": curve(training)}
        return RunRecord(entry=None, state="finished", curves=curves)  # type: ignore[arg-type]

    assert overfitting(run([1.0, 0.8, 0.6, 0.4])) == pytest.approx(1.8)
    assert overfitting(run([1.0, 0.8, 0.9, 1.0])) is None


def test_a_loss_that_had_reached_zero_rises_without_bound() -> None:
    curves = {"val/loss": curve([1, 0.0, 0.9, 0.9]), "train/loss": curve([3, 2, 1, 0.5])}
    assert overfitting(RunRecord(entry=None, state="finished", curves=curves)) == math.inf  # type: ignore[arg-type]


def test_a_miss_counts_as_infinite(tmp_path: Path) -> None:
    hit, late, never = [0.5, 0.95, 0.95], [0.5, 0.6, 0.9], [0.5, 0.6, 0.7]
    found = runs(
        tmp_path, *(job(n, {"seed": n}, epochs=3, accuracy=a, seconds=2.0) for n, a in enumerate((hit, late, never)))
    )
    reached = time_to_target(found, TARGET)
    assert reached is not None
    assert (reached.n, reached.hits) == (3, 2)
    assert reached.median == {"seconds": 6.0, "steps": 30.0, "epochs": 3.0}
    reached = time_to_target(found[1:], TARGET)
    assert reached is not None
    assert reached.median["seconds"] == math.inf  # half of them missed


def test_runs_that_have_not_ended_are_neither_hits_nor_misses(tmp_path: Path) -> None:
    found = runs(
        tmp_path, job(0, {"seed": 0}, state="waiting"), job(1, {"seed": 1}, state="cut off", epochs=1, accuracy=[0.95]),
        job(2, {"seed": 2}, state="infeasible", epochs=1, accuracy=[0.1]),
    )  # fmt: skip
    reached = time_to_target(found, TARGET)
    assert reached is not None
    assert (reached.n, reached.hits) == (1, 0)
    assert time_to_target(found[:1], TARGET) is None
