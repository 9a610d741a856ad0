"""Published results: which recipes run, what their rows say, and that each recipe takes files of its form."""

import gzip
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from slow_cases import slow

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from published import notes_of, words_of  # scripts/ is no package of the project
from publishing.forms import FORMS, arrays, digest, indexed, one_split
from publishing.page import verdict, write_page
from publishing.recipes import RECIPES

from mlplab.errors import UserError

Script = Callable[..., SimpleNamespace]


def row(mean: float, sd: float | None = None, n: int = 1) -> dict[str, Any]:
    return {"mean": mean, "sd": sd, "n": n, "seconds": 12.0}


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("california_mlp", row(0.4948), "yes"),
        ("california_mlp", row(0.4960), "1 of 2"),
        ("california_mlp", row(0.4960, 0.002, 5), "yes"),
        ("california_mlp", row(0.5100, 0.002, 5), "no"),
        ("adult_mlp", row(0.8600), "yes"),
        ("adult_mlp", row(0.8500), "no"),
        ("mnist_plain", row(1.5), "yes"),
        ("mnist_plain", row(1.7), "no"),
    ],
)
def test_a_figure_is_reached_within_one_standard_deviation(name: str, found: dict[str, Any], expected: str) -> None:
    assert verdict(RECIPES[name], found) == expected


def test_the_page_keeps_the_rows_of_other_recipes_in_the_order_of_the_table(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    write_page(page, "adult_mlp", row(0.8578, 0.0002, 2))
    write_page(page, "california_mlp", row(0.5))
    write_page(page, "adult_mlp", row(0.8579, 0.0003, 3))
    measured, _, others = page.read_text(encoding="utf-8").partition("## Not measured")
    first, second = measured.splitlines()[-3:-1]
    assert "| 0.5000 | 1 | no | 12 | `python scripts/published.py california_mlp data=FOLDER seeds=1` |" in first
    assert "| 0.8579 ± 0.0003 | 3 | yes | 12 |" in second
    assert "adult_mlp" not in others
    assert "| concrete/data | `python scripts/published.py concrete data=FOLDER` |" in others


def test_errors_of_images_are_shown_in_percent() -> None:
    assert RECIPES["mnist_plain"].shown(0.984) == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adult_mlp", "data=nowhere"], "without adult/adult-train.csv; try data=FOLDER"),
        *slow(
            (["californa_mlp"], "NAME must be one of california_mlp, california_tabm"),
            (["seeds=0"], "seeds must be a positive integer"),
        ),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(root: Path, tmp_path: Path, words: list[str], message: str) -> None:
    command = [sys.executable, str(root / "scripts" / "published.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def make_data(folder: Path, rows: int = 300) -> None:
    """Writes small files of the same form as the real ones."""
    rng = np.random.default_rng(0)
    for name in ("california_housing", "adult", "mnist"):
        (folder / name).mkdir()
    for recipe in RECIPES.values():
        if recipe.form == "arrays":
            is_regression = recipe.measure == "test/rmse"
            make_arrays(folder / recipe.files["data.path"], rng, is_regression)
        elif recipe.form == "indexed":
            make_indexed(folder / recipe.files["data.path"], rng)
    names = "MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude,MedHouseVal"
    numbers = "\n".join(",".join(f"{value:.4f}" for value in rng.uniform(1, 9, 9)) for _ in range(rows))
    (folder / "california_housing" / "california_sklearn_form.csv").write_text(f"{names}\n{numbers}\n")
    for part, end, head in (("train", "", ""), ("test", ".", "|1x3 Cross validator\n")):
        people = (
            f"{rng.integers(17, 90)}, {rng.choice(['Private', '?'])}, {rng.integers(10**4, 10**6)}, "
            f"{rng.choice(['HS-grad', 'Masters'])}, {rng.integers(1, 16)}, Divorced, Sales, Husband, White, Male, "
            f"{rng.integers(0, 9999)}, 0, {rng.integers(1, 99)}, United-States, {rng.choice(['<=50K', '>50K'])}{end}"
            for _ in range(rows)
        )
        (folder / "adult" / f"adult-{part}.csv").write_text(head + "\n".join(people) + "\n")
    for part, n in (("train", rows), ("t10k", 50)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        for kind, header, content in (
            ("images-idx3", struct.pack(">IIII", 0x803, n, 28, 28), images.tobytes()),
            ("labels-idx1", struct.pack(">II", 0x801, n), (np.arange(n) % 10).astype(np.uint8).tobytes()),
        ):
            (folder / "mnist" / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + content))


def make_arrays(folder: Path, rng: np.random.Generator, is_regression: bool) -> None:
    """Writes a small data set in the form of the TabM paper."""
    folder.mkdir(exist_ok=True)
    for part, n in (("train", 80), ("val", 20), ("test", 30)):
        np.save(folder / f"X_num_{part}.npy", rng.normal(size=(n, 3)).astype(np.float32))
        np.save(folder / f"X_bin_{part}.npy", rng.integers(0, 2, (n, 1)).astype(np.float32))
        np.save(folder / f"X_cat_{part}.npy", rng.integers(0, 4, (n, 2)).astype(str))
        target = rng.normal(size=n).astype(np.float32) if is_regression else np.arange(n) % 3
        np.save(folder / f"Y_{part}.npy", target)


def make_indexed(folder: Path, rng: np.random.Generator, n: int = 60, splits: int = 2) -> None:
    """Writes a small data set in the form of the dropout-uncertainty experiments."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "data.txt", rng.normal(size=(n, 5)))
    np.savetxt(folder / "index_features.txt", range(4))
    np.savetxt(folder / "index_target.txt", [4])
    for split in range(splits):
        rows = rng.permutation(n)
        np.savetxt(folder / f"index_train_{split}.txt", rows[6:])
        np.savetxt(folder / f"index_test_{split}.txt", rows[:6])


def test_arrays_keep_their_parts_and_categories_are_text(tmp_path: Path) -> None:
    make_arrays(tmp_path, np.random.default_rng(0), is_regression=True)
    table = arrays(tmp_path, 0)
    assert table["split"].value_counts(sort=True).rows() == [("train", 80), ("test", 30), ("validation", 20)]
    assert table["cat_1"][80:100].to_list() == np.load(tmp_path / "X_cat_val.npy")[:, 1].tolist()
    assert table["target"][100:].to_list() == np.load(tmp_path / "Y_test.npy").tolist()


def test_arrays_of_python_objects_are_not_unpickled(tmp_path: Path) -> None:
    make_arrays(tmp_path, np.random.default_rng(0), is_regression=True)
    np.save(tmp_path / "X_cat_val.npy", np.array([["a", 1]] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"X_cat_val\.npy must be a NumPy array of numbers or texts"):
        arrays(tmp_path, 0)


def test_arrays_of_other_lengths_are_refused(tmp_path: Path) -> None:
    make_arrays(tmp_path, np.random.default_rng(0), is_regression=True)
    np.save(tmp_path / "Y_val.npy", np.zeros(7))
    with pytest.raises(UserError, match="7 targets and 20 rows of features in val"):
        arrays(tmp_path, 0)


def test_an_indexed_split_is_that_of_its_files_with_the_last_fifth_for_validation(tmp_path: Path) -> None:
    make_indexed(tmp_path, np.random.default_rng(0))
    data, train = np.loadtxt(tmp_path / "data.txt"), np.loadtxt(tmp_path / "index_train_1.txt").astype(int)
    table = indexed(tmp_path, 1)
    validation = table.filter(table["split"] == "validation")
    assert sorted(validation["target"]) == pytest.approx(sorted(data[train[43:], 4]))
    assert table["split"].value_counts(sort=True).rows() == [("train", 43), ("validation", 11), ("test", 6)]


def test_an_index_beyond_the_data_is_refused(tmp_path: Path) -> None:
    make_indexed(tmp_path, np.random.default_rng(0))
    np.savetxt(tmp_path / "index_test_0.txt", [60])
    with pytest.raises(UserError, match="must have the rows that its index files name, but 60, and an index of 60"):
        indexed(tmp_path, 0)


def test_the_papers_have_one_split_of_california(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("x\n" + "\n".join(map(str, range(20640))))
    table = one_split(tmp_path / "table.csv", 0)
    assert table["split"].value_counts(sort=True).rows() == [("train", 13209), ("test", 4128), ("validation", 3303)]
    assert one_split(tmp_path / "table.csv", 1).equals(table)


def test_a_digest_of_a_folder_changes_with_a_file_and_with_its_name(tmp_path: Path) -> None:
    make_indexed(tmp_path, np.random.default_rng(0))
    before = digest(tmp_path)
    (tmp_path / "index_test_1.txt").rename(tmp_path / "index_test_2.txt")
    renamed = digest(tmp_path)
    (tmp_path / "data.txt").write_text("1\n")
    assert len({before, renamed, digest(tmp_path)}) == 3


def test_each_form_is_one_that_is_known() -> None:
    assert {recipe.form for recipe in RECIPES.values()} == {None, *FORMS}


@pytest.mark.parametrize("name", RECIPES)
def test_the_head_of_a_recipe_says_what_it_takes(root: Path, name: str) -> None:
    head = (root / "conf" / "experiment" / "published" / f"{name}.yaml").read_text(encoding="utf-8")
    for word in (
        "Shows:",
        "Reaches:",
        "Takes:",
        "# File",
        "Source:",
        f"# Command:  python scripts/published.py {name} data=",
    ):
        assert word in head


SMALLER = {"mnist": "model.hidden_dims=[16,16,16]", "_tabm": "model.k=2", "": "data.batch_size=32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_on_files_of_its_form(root: Path, tmp_path: Path, name: str) -> None:
    make_data(tmp_path)
    words = words_of(name, RECIPES[name], tmp_path, tmp_path / "tables", seeds=2)
    smaller = next(word for part, word in SMALLER.items() if part in name)
    command = [sys.executable, str(root / "train.py"), f"experiment=published/{name}", *words, "trainer.max_epochs=1"]
    done = subprocess.run(
        [*command, smaller, "seed=1", f"paths.logs={tmp_path / 'logs'}"], capture_output=True, text=True, cwd=tmp_path,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "logs").rglob("result.json")
    assert RECIPES[name].measure in json.loads(result.read_text())["test"]


def test_a_checksum_that_nobody_knows_is_recorded_and_another_file_is_told() -> None:
    assert notes_of({"a": "1", "b": "2"}, {"a": "1", "b": "2"}) == []
    assert notes_of({"a": "1"}, {}) == ["a: its SHA-256 was not known; 1 is recorded"]
    assert notes_of({"a": "1"}, {"a": "2"}) == ["a is not the file of the recipe: its SHA-256 is another"]
