"""A sweep goes on over the data that it was begun with, and no others."""

from pathlib import Path

import pytest
from launching import SMALL, launch
from omegaconf import OmegaConf
from own_data import pixels
from slow_cases import slow

from mlplab.sweeps.data_changes import fingerprint_now

WORDS = [*SMALL[1:], "sweep.name=study", "data=table", "data.target=y", "trainer.max_epochs=1"]


def write_table(path: Path, n_rows: int) -> None:
    rows = [f"{n},{n * n % 7},{'ab'[n % 2]}" for n in range(n_rows)]
    path.write_text("\n".join(["x,z,y", *rows]) + "\n")


@pytest.mark.parametrize("swept", [["data.path=b.csv,a.csv"], *slow(["data.path=a.csv", "seed=0"])])
def test_other_rows_under_the_same_name_are_refused(tmp_path: Path, swept: list[str]) -> None:
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / name, 300)
    assert launch([*WORDS, *swept], tmp_path).status == 0
    assert "0 to do" in launch([*WORDS, *swept], tmp_path).stdout
    write_table(tmp_path / "a.csv", 150)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweeps").rglob("*.json")}
    more = [word.replace("seed=0", "seed=0,1") for word in swept]
    said = launch([*WORDS, *more], tmp_path)
    assert said.status == 2
    (line,) = said.stderr.splitlines()
    assert "must keep the data it was begun with, but a.csv has changed since" in line
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_source_of_ones_own_is_read_again(tmp_path: Path) -> None:
    options = {"batch_size": 8, "validation_fraction": 0.1, "test_fraction": 0.1, "split_seed": 0}
    own = OmegaConf.create({"seed": 0, "data": {"_target_": "own_data.pixels", "name": "p", **options}})
    assert fingerprint_now(own) == pixels("p").fingerprint
    missing = OmegaConf.create({"data": {"_target_": "mlplab.data.idx.idx_images", "directory": str(tmp_path)}})
    assert fingerprint_now(missing) is None  # the job says what is missing
    built_in = OmegaConf.create({"data": {"_target_": "mlplab.data.bundled.bundled", "name": "wine", **options}})
    assert fingerprint_now(built_in) is None
