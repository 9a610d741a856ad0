"""From anybody's file to a trained network: whole runs of data=table."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from launching import run_program
from slow_cases import slow

from mlplab.errors import UserError
from mlplab.training import train

QUICK = ("trainer.max_epochs=2", "callbacks=minimal", "logger=none", "data=table")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not beside the project")


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], **dialect: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **dialect)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def houses(path: Path, n_rows: int = 200, **dialect: Any) -> Path:
    """Numbers with gaps, levels, dates, truth values, an identifier and prose; a price in between."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(n_rows):
        area = generator.uniform(30, 200)
        town = ["Ulm", "Köln", "Bad Tölz", ""][generator.integers(4)]
        rows.append(
            [
                f"H-{number:05}",
                f"{area:.1f}" if number % 7 else "NA",
                town,
                round(1000 * area + 20_000 * (town == "Köln") + generator.normal(0, 500)),
                f"2024-{1 + number % 12:02}-{1 + number % 28:02}",
                ["yes", "no"][number % 2],
                f"a house with {number} stories about its {number} windows",
            ]
        )
    header = ["house id", "area [m²]", "town", "price (€)", "sold.on", "garden?", "text"]
    return write(path, header, rows, **dialect)


def words(path: Path, target: str, *more: str) -> tuple[str, ...]:
    return (*QUICK, f"data.path={path}", f"data.target='{target}'", *more)


def test_a_file_and_a_target_are_all_it_takes(train_run: Any, tmp_path: Path, capsys: Any) -> None:
    run = train_run(*words(houses(tmp_path / "houses.csv"), "price (€)"))
    assert all(math.isfinite(value) for value in run.result["test"].values())
    told = capsys.readouterr().out
    for line in (r"area \[m²\] +numeric", r"town +categorical", r"sold\.on +datetime", r"regression \(by numbers\)"):
        assert re.search(line, told)
    described = json.loads((run.directory / "data.json").read_text(encoding="utf-8"))
    kinds = {column["name"]: column["kind"] for column in described["columns"]}
    assert kinds == {
        "house id": "identifier",
        "area [m²]": "numeric",
        "town": "categorical",
        "sold.on": "datetime",
        "garden?": "boolean",
        "text": "text",
    }
    assert described["columns"][1]["missing_share"] == pytest.approx(29 / 200)
    assert "2 columns are left out" in described["warnings"][0]
    assert "2 columns are left out" in (run.directory / "train.log").read_text(encoding="utf-8")


def test_the_description_is_told_before_the_first_epoch(tmp_path: Path) -> None:
    path = houses(tmp_path / "houses.csv")
    told = words(path, "town", "data.drop_missing_target=true", f"paths.logs={tmp_path}")
    done = run_program("train.py", told, tmp_path)
    assert done.stdout.index("target  town: classification") < done.stdout.index("validation (epoch")
    assert "Köln" in done.stdout


@pytest.mark.parametrize(
    "dialect",
    [{"delimiter": ";", "quoting": csv.QUOTE_ALL}, *slow({"delimiter": "\t"}, {"delimiter": "|"})],
)
def test_the_way_a_file_is_written_changes_nothing(train_run: Any, tmp_path: Path, dialect: dict[str, Any]) -> None:
    plain = train_run(*words(houses(tmp_path / "plain.csv"), "price (€)"))
    other = train_run(*words(houses(tmp_path / "other.csv", **dialect), "price (€)"))
    assert other.result["test"] == plain.result["test"]


def test_regression_is_scored_in_the_targets_own_unit(train_run: Any, tmp_path: Path) -> None:
    run = train_run(
        *words(
            houses(tmp_path / "a.csv", 400), "price (€)", "data.unit='€'", "trainer.max_epochs=40", "model.dropout=0"
        )
    )
    assert 100 < run.result["test"]["test/rmse"] < 30_000  # the standard deviation is 50,000
    card = torch.load(run.directory / "checkpoints" / "best.ckpt", weights_only=True)["card"]
    assert card["task"]["unit"] == "€"


def test_embeddings_learn_what_levels_mean(train_run: Any, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    meaning = generator.normal(0, 1, 40)
    rows = [[f"level {level}", meaning[level] + generator.normal(0, 0.1)] for level in generator.integers(0, 40, 2000)]
    path = write(tmp_path / "levels.csv", ["level", "y"], rows)
    run = train_run(*words(path, "y", "trainer.max_epochs=40", "model.dropout=0"))
    assert run.result["test"]["test/r2"] > 0.95
    state = torch.load(run.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    vectors = state["model.inputs.embeddings.0.weight"]
    assert vectors.shape[0] == 41
    assert not vectors[0].any()  # of an unknown level


def test_a_last_batch_of_one_row_does_not_stop_batch_normalisation(train_run: Any, tmp_path: Path) -> None:
    path = houses(tmp_path / "a.csv", 100)
    run = train_run(
        *words(path, "town", "model.normalization=batch", "data.batch_size=26", "data.drop_missing_target=true")
    )
    rows = json.loads((run.directory / "manifest.json").read_text())["data"]["rows"]
    assert rows["train"] % 26 == 1
    assert run.status["state"] == "finished"


@pytest.mark.parametrize("precision", ["64-true", *slow("bf16-mixed")])
def test_other_precisions_take_levels_as_they_are(train_run: Any, tmp_path: Path, precision: str) -> None:
    run = train_run(*words(houses(tmp_path / "a.csv"), "price (€)", f"trainer.precision={precision}"))
    assert math.isfinite(run.objective)


def test_half_precision_is_refused_where_it_would_mix_levels_up(train_run: Any, tmp_path: Path) -> None:
    rows = [[f"level {n % 300}", n % 7 + 0.5] for n in range(900)]
    path = write(tmp_path / "a.csv", ["level", "y"], rows)
    with pytest.raises(UserError, match="256 categories"):
        train_run(*words(path, "y", "trainer.precision=bf16-true"))


def test_a_value_to_go_by_that_the_task_lacks_is_refused_once_the_task_is_known(train_run: Any, tmp_path: Path) -> None:
    path = houses(tmp_path / "a.csv")
    with pytest.raises(UserError, match="monitor must be one of"):
        train_run(*words(path, "price (€)", "monitor=val/accuracy", "mode=max"))
    with pytest.raises(UserError, match="loss must fit a regression task"):
        train_run(*words(path, "price (€)", "loss=cross_entropy"))


def test_an_area_that_no_validation_row_defines_is_empty_and_nothing_to_go_by(train_run: Any, tmp_path: Path) -> None:
    parts = [("train", "a"), ("train", "b"), ("val", "a"), ("test", "b"), ("test", "c")]
    rows = [(n, *parts[n % 5]) for n in range(100)]
    told = words(write(tmp_path / "a.csv", ["x", "part", "y"], rows), "y", "data.split_column=part")
    run = train_run(*told, "loss.class_weights=balanced")
    assert run.result["validation"]["val/auroc"] is None
    assert 0 <= run.result["test"]["test/auroc"] <= 1
    for key in ("monitor", "callbacks.early_stopping.monitor"):
        mode = "mode=max" if key == "monitor" else "callbacks.early_stopping.mode=max"
        with pytest.raises(UserError, match=f"{key}=val/auroc must have validation rows of two classes"):
            train_run(*told, f"{key}=val/auroc", mode)


Damage = Callable[[Path], None]


def lines(*text: str) -> Damage:
    return lambda path: path.write_text("\n".join(text) + "\n", encoding="utf-8") and None


@pytest.mark.parametrize(
    ("damage", "more", "said"),
    [
        (lines("a,b", "1,2", "3"), (), "1 row differs, the first in line 3 with 1"),
        (lines("a,b"), (), "must hold rows"),
        (lines("a,c", "1,2", "3,4"), (), "got b; try data.target="),
        (lines("a,b", *["1,x"] * 9), (), "at least two classes"),
        (lines("a,b", *[f"{n},{n / 7}" for n in range(60)], *["x,1"] * 9), (), "the first is 'x' in row 61"),
        (lines("a,b", *[f"{n},{n / 7}" for n in range(60)]), ("data.task=classification",), "data.task=regression"),
        (lines("a,b", *[f"{n},{'xy'[n % 2]}" for n in range(60)]), ("data.task=regression",), "must hold numbers"),
        (lines("a,b", *[f"{n},{n / 7}" for n in range(60)], "7,"), (), "data.drop_missing_target=true"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(
    make_config: Any, tmp_path: Path, damage: Damage, more: tuple[str, ...], said: str
) -> None:
    damage(tmp_path / "bad.csv")
    config = make_config(*QUICK, f"data.path={tmp_path}/bad.csv", "data.target=b", *more, f"paths.run={tmp_path}/run")
    with pytest.raises(UserError) as refusal:
        train(config)
    assert said in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_command_tells_it_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n3\n", encoding="utf-8")
    bad = [*QUICK, "data.path=bad.csv", "data.target=b", f"paths.logs={tmp_path}/logs"]
    done = run_program("train.py", bad, tmp_path)
    assert done.status == 2
    assert done.stderr.startswith("train.py: every row of bad.csv must have 2 values")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "logs").exists()


def test_a_name_that_needs_quotes_is_told_with_them(tmp_path: Path) -> None:
    path = houses(tmp_path / "houses.csv")
    done = run_program("train.py", ["data=table", f"data.path={path}", "data.target=price (€)"], tmp_path)
    assert done.status == 2
    assert """'data.target="price (€)"'""" in done.stderr


def peak_memory(root: Path, logs: Path, path: Path) -> int:
    """Largest resident size of a whole run, in bytes."""
    words = [*QUICK, f"data.path={path}", "data.target=y", "data.batch_size=4096", "trainer.max_epochs=1"]
    command = [sys.executable, str(root / "train.py"), *words, f"paths.logs={logs}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen itself has not waited for it
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count memory in other units")
def test_a_million_rows_of_fifty_numbers_take_less_than_two_gigabytes(root: Path, tmp_path: Path) -> None:
    import polars as pl

    numbers = np.random.default_rng(0).standard_normal((1_000_000, 50))
    frame = pl.DataFrame(numbers, schema=[f"x{column}" for column in range(50)])
    frame = frame.with_columns(y=pl.col("x0") * 2 + pl.col("x1"))
    frame.write_csv(tmp_path / "large.csv")
    frame.head(1000).write_csv(tmp_path / "small.csv")
    del frame, numbers
    grown = peak_memory(root, tmp_path, tmp_path / "large.csv") - peak_memory(root, tmp_path, tmp_path / "small.csv")
    assert grown < 2 * 1024**3


@needs_data
@pytest.mark.slow
def test_adult_with_its_own_test_file(train_run: Any) -> None:
    run = train_run(
        "data=table",
        f"data.path={DATA}/adult/adult-train.csv",
        f"data.test_path={DATA}/adult/adult-test.csv",
        "data.target=column_15",
    )
    assert run.result["test"]["test/accuracy"] > 0.850


@needs_data
@pytest.mark.parametrize(
    ("file", "target", "kind", "n_rows"),
    [
        ("titanic/train.csv", "Survived", "classification", 891),
        *slow(
            ("california_housing/housing.csv", "median_house_value", "regression", 20_640),
            ("wine_quality/winequality-red.csv", "quality", "classification", 1454),
        ),
    ],
)
def test_real_files_train(train_run: Any, file: str, target: str, kind: str, n_rows: int) -> None:
    run = train_run(*QUICK, "data.batch_size=256", f"data.path={DATA}/{file}", f"data.target={target}")
    described = json.loads((run.directory / "data.json").read_text(encoding="utf-8"))
    assert (described["target"]["task"], described["n_rows"]) == (kind, n_rows)
    assert math.isfinite(run.objective)


def factorial(path: Path, repeats: bool, weight: Callable[[float], float] = lambda product: 1.0) -> Path:
    """All corners of a cube, eight times; those with a product of 1 weigh double, or stand there twice.

    Mean and std of every column are those of the corners in either case, so that the network is given equal numbers.
    """
    rows: list[list[object]] = []
    for corner in np.ndindex(2, 2, 2):
        signs = [2 * place - 1 for place in corner]
        product = math.prod(signs)
        rows += [[*signs, "odd" if sum(signs) > 0 else "even", "train", weight(product)]] * (
            8 * (1 + (repeats and product > 0))
        )
        rows += [[*signs, "odd" if sum(signs) > 0 else "even", part, weight(product)] for part in ("val", "test")]
    return write(path, ["a", "b", "c", "kind", "part", "w"], rows)


def network_of(run: Any) -> torch.Tensor:
    state = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return torch.cat([tensor.flatten() for tensor in state.values()])


WEIGHTED = (
    "data=table", "data.target=kind", "data.split_column=part", "data.batch_size=full", "logger=none",
    "callbacks.figures=null", "trainer.max_epochs=20", "optimizer=momentum", "loss.class_weights=balanced",
    "loss=cross_entropy", "model.dropout=0",
)  # fmt: skip


def test_a_weight_of_two_is_a_row_that_stands_twice(train_run: Any, tmp_path: Path) -> None:
    doubled = factorial(tmp_path / "doubled.csv", repeats=True)
    weighing = factorial(tmp_path / "weighing.csv", repeats=False, weight=lambda product: 1.5 + product / 2)
    drop = "data.drop=[w]"
    twice = train_run(*WEIGHTED, f"data.path={doubled}", drop)
    weighted = train_run(*WEIGHTED, f"data.path={weighing}", "data.weight_column=w")
    unweighted = train_run(*WEIGHTED, f"data.path={weighing}", drop)
    assert torch.allclose(network_of(weighted), network_of(twice), rtol=0, atol=1e-5)
    assert not torch.allclose(network_of(unweighted), network_of(twice), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_equal_weights_change_no_bit(train_run: Any, tmp_path: Path) -> None:
    path = factorial(tmp_path / "cube.csv", repeats=False, weight=lambda product: 3.0)
    one, other = (train_run(*WEIGHTED, f"data.path={path}", w) for w in ("data.weight_column=w", "data.drop=[w]"))
    assert torch.equal(network_of(one), network_of(other))
    assert one.result["test"] == other.result["test"]
    assert "autograd" not in (one.directory / "train.log").read_text(encoding="utf-8")
