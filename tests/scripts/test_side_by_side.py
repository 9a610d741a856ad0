"""Contestants side by side: the same rows for all, what the page says, and that nothing is measured twice."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from slow_cases import slow

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import side_by_side  # scripts/ is no package of the project
from publishing.comparison import quotients, read_scores, write_comparison
from publishing.contestants import OURS, THEIRS, train_contestant
from publishing.tables import TABLES, Table, split_table


@pytest.fixture(scope="module")
def iris() -> pl.DataFrame:
    return split_table(TABLES["iris"], Path(), 0, 100)


def test_a_split_has_the_rows_that_are_asked_for_and_each_class_in_each_part(iris: pl.DataFrame) -> None:
    assert iris["part"].value_counts(sort=True).rows() == [("train", 64), ("test", 20), ("validation", 16)]
    assert set(iris.group_by("part").agg(pl.col("target").n_unique())["target"]) == {3}
    assert split_table(TABLES["iris"], Path(), 0, 100).equals(iris)
    assert not split_table(TABLES["iris"], Path(), 1, 100).equals(iris)


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("adult", "39, State-gov, 77516, Bachelors, 13, a, b, c, d, e, 2174, 0, 40, US, <=50K\n", 16),
        ("california", "a,MedHouseVal\n1,2\n", 3),
        ("wine_quality", '"fixed acidity";"quality"\n7.4;5\n', 3),
        ("titanic", "PassengerId,Survived,Name,Ticket,Cabin,Age\n1,0,N,T,,22\n", 3),
    ],
)
def test_a_file_of_its_form_becomes_a_table(tmp_path: Path, name: str, text: str, columns: int) -> None:
    table = TABLES[name]
    assert table.file is not None
    (tmp_path / table.file).parent.mkdir()
    head, _, line = text.partition("\n")
    lines = [text] * 20 if name == "adult" else [head, "\n", *[line] * 20]
    (tmp_path / table.file).write_text("".join(lines))
    found = split_table(table, tmp_path, 0, None)
    assert found.shape == (20, columns)
    assert {"target", "part"} <= set(found.columns)


def test_the_ratio_is_the_geometric_mean_over_what_both_have(tmp_path: Path) -> None:
    scores: Any = {
        "diabetes": {"mlp": {"0": (50.0, 8.0), "1": (80.0, 1.0)}, "boosted_trees": {"0": (100.0, 1.0)}},
        "digits": {"mlp": {"0": (0.0, 1.0)}, "boosted_trees": {"0": (4.0, 1.0)}},
        "iris": {"mlp": {"0": (50.0, 1.0)}, "boosted_trees": {"0": (1.0, 1.0)}},
    }
    assert quotients(scores, "mlp", "boosted_trees") == pytest.approx([0.5, 0.5 / 4])
    assert quotients(scores, "mlp", "boosted_trees", of_seconds=True) == [8, 1]
    assert quotients(scores, "mlp", "tabm") == []
    page = tmp_path / "page.md"
    write_comparison(page, 10, scores)
    assert "| 0.250 ± 0.173 (2) |" in page.read_text()


def test_what_is_measured_is_not_measured_again_and_another_number_of_rows_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []

    def train(name: str, table: pl.DataFrame, is_regression: bool, seed: int) -> tuple[float, float]:
        calls.append((name, seed))
        return 10.0 + seed, 0.5

    monkeypatch.setattr(side_by_side, "train_contestant", train)
    page = tmp_path / "page.md"
    settings = {
        "data": tmp_path,
        "contestants": "boosted_trees,mlp",
        "tables": "iris,diabetes",
        "seeds": 2,
        "rows": 90,
        "page": page,
    }
    side_by_side.main(settings)
    # The first training of each contestant is there twice.
    assert len(calls) == 2 * 2 * 2 + 2
    assert "| iris | 10.50 ± 0.71 (2), 0.5 s | 10.50 ± 0.71 (2), 0.5 s |" in page.read_text()
    side_by_side.main(settings)
    assert len(calls) == 10
    side_by_side.main({**settings, "rows": 80, "seeds": 1})
    assert len(calls) == 10 + 2 * 2 + 2
    assert json.loads(page.with_suffix(".json").read_text())["rows"] == 80


def test_the_page_says_what_is_missing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_comparison(page, 10, {"titanic": {"boosted_trees": {"0": (1.0, 1.0)}}, "digits": {"tabm": {"0": (2.0, 1.0)}}})
    assert "| titanic | 1.000 (1), 1.0 s | – |" in page.read_text()
    assert "| **errors ÷ boosted_trees** | 1.000 (1) | – |" in page.read_text()
    assert read_scores(page, 11) == {}


def test_trees_learn_categories_and_missing_numbers() -> None:
    rng = np.random.default_rng(0)
    letters = rng.choice(["a", "b", "c"], 200)
    table = pl.DataFrame(
        {"letter": letters, "x": [None, *rng.normal(size=199)], "target": (letters == "b").astype(int)}
    )
    split = split_table(Table(lambda _: table, False), Path(), 0, None)
    error, seconds = train_contestant("boosted_trees", split, False, 0)
    assert error == 0
    assert seconds > 0


def test_a_network_of_ours_is_scored_on_the_test_part(iris: pl.DataFrame) -> None:
    error, seconds = train_contestant("mlp", iris, False, 0)
    assert error / 5 == pytest.approx(round(error / 5), abs=1e-4)  # of twenty rows
    assert error <= 20
    assert seconds > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of packages that are not ours
@pytest.mark.parametrize("name", [*THEIRS, *OURS])
def test_each_contestant_learns(name: str) -> None:
    pytest.importorskip("pytabkit")
    regression = split_table(TABLES["diabetes"], Path(), 0, 200)
    assert train_contestant(name, regression, True, 0)[0] < 90


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tables=irs"], "try iris"),
        *slow((["contestants=mpl"], "contestants must be among"), (["rows=0"], "rows must be a positive integer")),
    ],
)
def test_a_wrong_name_is_refused(root: Path, tmp_path: Path, words: list[str], message: str) -> None:
    command = [sys.executable, str(root / "scripts" / "side_by_side.py"), *words, f"page={tmp_path / 'page.md'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
