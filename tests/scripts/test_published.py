"""Published results: which recipes run, what their rows say, and that each recipe takes files of its form."""

import gzip
import json
import math
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from publishing.page import verdict, write_page  # scripts/ is no package of the project
from publishing.recipes import RECIPES

Script = Callable[..., SimpleNamespace]


def row(mean: float, sd: float = math.nan, n: int = 1) -> dict[str, Any]:
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
    first, second = page.read_text(encoding="utf-8").splitlines()[-2:]
    assert "| 0.5000 | 1 | no | 12 | `python scripts/published.py california_mlp data=FOLDER seeds=1` |" in first
    assert "| 0.8579 ± 0.0003 | 3 | yes | 12 |" in second


def test_errors_of_images_are_shown_in_percent() -> None:
    assert RECIPES["mnist_plain"].shown(0.984) == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["californa_mlp"], "NAME must be one of california_mlp, california_tabm"),
        (["adult_mlp", "data=nowhere"], "without adult/adult-train.csv; try data=FOLDER"),
        (["seeds=0"], "seeds must be a positive integer"),
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


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_on_files_of_its_form(root: Path, tmp_path: Path, name: str) -> None:
    make_data(tmp_path)
    files = [f"{option}={tmp_path / file}" for option, file in RECIPES[name].files.items()]
    command = [sys.executable, str(root / "train.py"), f"experiment=published/{name}", *files, "trainer.max_epochs=1"]
    done = subprocess.run(
        [*command, f"paths.logs={tmp_path / 'logs'}"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "logs").rglob("result.json")
    assert RECIPES[name].measure in json.loads(result.read_text())["test"]
    head = (root / "conf" / "experiment" / "published" / f"{name}.yaml").read_text(encoding="utf-8")
    for word in ("Shows:", "Reaches:", "Takes:", "Source:", f"# Command:  python scripts/published.py {name} data="):
        assert word in head
