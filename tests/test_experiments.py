"""Every experiment says what it shows, and runs; the slow tests hold what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

FILES = (Path(__file__).parents[1] / "conf" / "experiment").glob("*.yaml")
EXPERIMENTS = sorted(path.stem for path in FILES if path.stem != "none")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not beside the project")


def run(root: Path, logs: Path, *words: str, expected: int = 0) -> list[tuple[list[str], dict[str, Any]]]:
    """The overrides and the result of every job."""
    command = [sys.executable, str(root / "train.py"), *words, f"paths.logs={logs}"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == expected, done.stderr
    return [
        (list(OmegaConf.load(path.parent / ".hydra" / "overrides.yaml")), json.loads(path.read_text()))
        for path in sorted(logs.rglob("result.json"))
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_head_says_what_it_shows_reaches_takes_and_how_to_run_it(root: Path, name: str) -> None:
    lines = (root / "conf" / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package _global_"
    head = "\n".join(line for line in lines if line.startswith("#"))
    for word in ("Shows:", "Reaches:", "Takes:", "Source:"):
        assert f"# {word}" in head
    assert f"# Command:  python train.py experiment={name}" in head


def accuracies(jobs: list[tuple[list[str], dict[str, Any]]], key: str) -> dict[str, float]:
    value_of = [next(word.partition("=")[2] for word in overrides if word.startswith(key)) for overrides, _ in jobs]
    return {value: result["test"].get("test/accuracy", 0.0) for value, (_, result) in zip(value_of, jobs, strict=True)}


@pytest.mark.slow
def test_zero_initialization_learns_nothing(root: Path, tmp_path: Path) -> None:
    reached = accuracies(run(root, tmp_path, "experiment=zero_initialization"), "model.initialization")
    assert reached.pop("zeros") == pytest.approx(0.1, abs=0.02)
    assert 0.1 < reached.pop("constant") < 0.35
    assert min(reached.values()) > 0.95


@pytest.mark.slow
def test_sigmoid_does_not_learn_in_a_deep_network(root: Path, tmp_path: Path) -> None:
    reached = accuracies(run(root, tmp_path, "experiment=vanishing_gradients"), "model.activation")
    assert reached["sigmoid"] < 0.3
    assert min(reached["tanh"], reached["relu"]) > 0.92


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "rmse"),
    [
        (["experiment=california_housing"], 0.52),
        (["experiment=california_housing", "model.numeric_embedding=piecewise"], 0.47),
        (["experiment=california_tabm"], 0.445),
    ],
)
def test_california_housing_reaches_what_it_says(root: Path, tmp_path: Path, words: list[str], rmse: float) -> None:
    path = DATA / "california_housing" / "california_sklearn_form.csv"
    ((_, result),) = run(root, tmp_path, *words, f"data.path={path}")
    assert result["test"]["test/rmse"] < rmse


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("adult", 0.850), ("adult_tabm", 0.865)])
def test_adult_reaches_what_it_says(root: Path, tmp_path: Path, name: str, accuracy: float) -> None:
    files = [f"data.path={DATA}/adult/adult-train.csv", f"data.test_path={DATA}/adult/adult-test.csv"]
    ((_, result),) = run(root, tmp_path, f"experiment={name}", *files)
    assert result["test"]["test/accuracy"] > accuracy


@pytest.mark.slow
def test_spirals_need_hidden_layers(root: Path, tmp_path: Path) -> None:
    reached = accuracies(run(root, tmp_path, "experiment=hidden_layers"), "model.hidden_dims")
    assert reached["[]"] < 0.7 < reached["[8]"] < 0.95 < reached["[64,64]"]


@pytest.mark.slow
def test_learning_rates_are_too_small_right_and_diverging(root: Path, tmp_path: Path) -> None:
    jobs = run(root, tmp_path, "experiment=learning_rates_of_sgd", expected=1)  # one diverges
    reached = accuracies(jobs, "optimizer.lr")
    assert max(reached, key=lambda rate: reached[rate]) == "0.1"
    assert reached["0.0001"] < 0.3
    assert [result["ended"].partition(":")[0] for _, result in jobs].count("diverged") == 1


@pytest.mark.slow
def test_optimizers_have_their_plateaus_at_different_learning_rates(root: Path, tmp_path: Path) -> None:
    few = ["optimizer=sgd,adam", "optimizer.lr=0.001,0.1,1.8", "seed=0"]
    jobs = run(root, tmp_path, "experiment=learning_rates", *few)
    reached = {" ".join(overrides[-2:]): result["test"]["test/accuracy"] for overrides, result in jobs}
    assert reached["optimizer=sgd optimizer.lr=0.1"] > 0.94 > 0.7 > reached["optimizer=sgd optimizer.lr=0.001"]
    assert reached["optimizer=adam optimizer.lr=0.001"] > 0.94 > 0.7 > reached["optimizer=adam optimizer.lr=0.1"]
    assert reached["optimizer=adam optimizer.lr=1.8"] < 0.2


@pytest.mark.slow
def test_every_optimizer_of_the_comparison_learns_digits(root: Path, tmp_path: Path) -> None:
    jobs = run(root, tmp_path, "experiment=optimizers_compared")
    assert len(jobs) == 21
    assert min(result["test"]["test/accuracy"] for _, result in jobs) > 0.94


@pytest.mark.slow
def test_batch_sizes_want_their_own_learning_rates(root: Path, tmp_path: Path) -> None:
    jobs = run(root, tmp_path, "experiment=batch_sizes", expected=1)  # one diverges
    reached = {" ".join(overrides[-2:]): result["test"].get("test/accuracy", 0.0) for overrides, result in jobs}
    assert reached["data.batch_size=1 optimizer.lr=0.01"] > 0.93
    assert reached["data.batch_size=32 optimizer.lr=0.3"] > 0.93
    assert reached["data.batch_size=full optimizer.lr=0.01"] < 0.5


@pytest.mark.slow
def test_cures_of_overfitting_lower_the_validation_loss(root: Path, tmp_path: Path) -> None:
    jobs = run(root, tmp_path, "experiment=overfitting", "logger=none")
    best = {" ".join(overrides[-2:]): result["validation"]["val/loss"] for overrides, result in jobs}
    uncured = best.pop("model.dropout=0.0 regularization.l2=0.0")
    assert all(loss < uncured for loss in best.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("circles", 0.95), ("circles model.hidden_dims=[2]", 0.0), ("spirals", 0.99)]
)
def test_experiments_in_the_plane_reach_what_they_say_and_draw_it(
    root: Path, tmp_path: Path, name: str, least: float
) -> None:
    ((_, result),) = run(root, tmp_path, *f"experiment={name}".split())
    assert result["test"]["test/accuracy"] > least
    if "[2]" in name:
        assert result["test"]["test/accuracy"] < 0.9
    (animation,) = tmp_path.rglob("figures/learned_function.gif")
    assert animation.stat().st_size < 1_000_000
    assert list(animation.parent.glob("hidden_units_hidden.*.png"))


@pytest.mark.slow
def test_the_slow_part_of_a_wave_is_learned_first(root: Path, tmp_path: Path) -> None:
    ((_, result),) = run(root, tmp_path, "experiment=wave")
    assert result["test"]["test/rmse"] < 0.2
    (checkpoint,) = tmp_path.rglob("checkpoints/last.ckpt")
    frames = torch.load(checkpoint, weights_only=True)["callbacks"]["LearnedFunction"]["frames"]
    early = next(frame for frame in frames if frame["epoch"] >= 30)
    x = np.linspace(0, 2, 301)
    # Both are standardised; the ends of the grid lie a little beyond the data.
    learned = early["values"][0].double().numpy()
    error = np.abs(np.interp(x, np.linspace(-0.16, 2.16, 301), learned * 0.7) - np.sin(2 * np.pi * x**2))
    assert error[x < 1].mean() < error[x > 1.4].mean() / 1.5
