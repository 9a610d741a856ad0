import shlex
from pathlib import Path

import pytest
from sweeps.making import job, write_sweep

from mlplab.report.rerun_commands import commands, portable, portable_command
from mlplab.sweeps.reading.ranked_settings import settings_of
from mlplab.sweeps.reading.sweep_reading import read_sweep


def told(tmp_path: Path, jobs: list[dict], constants: list[str]) -> list[str]:
    sweep = read_sweep(write_sweep(tmp_path / "s", jobs, constants=constants))
    return commands(settings_of(sweep)[0], sweep.constants)


def test_all_seeds_of_a_setting_are_one_command(tmp_path: Path) -> None:
    jobs = [job(n, {"optimizer": "adam", "optimizer.lr": 0.1, "seed": n}) for n in range(3)]
    constants = ["sweep.name=s", "paths.logs=/home/me/logs", "hydra/launcher=joblib", "data=wine"]
    constants.append("+callbacks.search_pruning={_target_:mlplab.callbacks.Pruning}")
    assert told(tmp_path, jobs, constants) == [
        "python train.py -m data=wine optimizer=adam optimizer.lr=0.1 seed=0,1,2"
    ]


def test_one_run_needs_no_sweep(tmp_path: Path) -> None:
    jobs = [job(0, {"model.hidden_dims": [64, 64]})]
    (command,) = told(tmp_path, jobs, ["data=wine"])
    assert shlex.split(command) == ["python", "train.py", "data=wine", "model.hidden_dims=[64,64]"]
    assert "'model.hidden_dims=[64,64]'" in command


def test_pairs_of_seeds_that_are_no_product_are_commands_of_their_own(tmp_path: Path) -> None:
    jobs = [job(n, {"lr": 1, "seed": n, "data.split_seed": n}) for n in range(2)]
    assert told(tmp_path, jobs, []) == [
        "python train.py lr=1 seed=0 data.split_seed=0", "python train.py lr=1 seed=1 data.split_seed=1",
    ]  # fmt: skip
    jobs = [job(2 * a + b, {"lr": 1, "seed": a, "data.split_seed": b}) for a in range(2) for b in range(2)]
    assert told(tmp_path, jobs, []) == ["python train.py -m lr=1 seed=0,1 data.split_seed=0,1"]


def test_a_recipe_that_sweeps_by_itself_is_run_as_what_was_asked(tmp_path: Path) -> None:
    assert told(tmp_path, [job(0, {"lr": 1})], ["experiment=wide"]) == [
        "python train.py experiment=wide lr=1 hydra.mode=RUN"
    ]
    jobs = [job(n, {"lr": 1, "seed": n}) for n in range(2)]
    assert told(tmp_path, jobs, ["experiment=wide"]) == [
        "python train.py -m experiment=wide lr=1 seed=0,1 hydra/sweeper=grid sweep.name=again"
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.path=/home/me/a b/table.csv", "data.path=PATH/TO/table.csv"),
        ("data.path=~/tables/t.csv", "data.path=PATH/TO/t.csv"),
        (r"data.path=C:\Users\me\t.csv", "data.path=PATH/TO/t.csv"),
        ("data.files=[/a/b/c.csv,/d/e.csv]", "data.files=[PATH/TO/c.csv,PATH/TO/e.csv]"),
        ("data.path=tables/t.csv", "data.path=tables/t.csv"),
        ("hydra/launcher=joblib", "hydra/launcher=joblib"),
        ("optimizer.lr=1/2", "optimizer.lr=1/2"),
    ],
)
def test_folders_of_one_machine_are_left_out(word: str, expected: str) -> None:
    assert portable(word) == expected


def test_a_command_is_portable_word_by_word() -> None:
    command = "python /x/y/train.py -m 'data.path=/home/J D/t.csv' seed=0,1"
    assert portable_command(command) == "python PATH/TO/train.py -m data.path=PATH/TO/t.csv seed=0,1"
    assert portable_command("python 'unclosed /a/b/c") == "python 'unclosed /a/b/c"


def test_names_with_signs_of_the_shell_are_quoted(tmp_path: Path) -> None:
    (command,) = told(tmp_path, [job(0, {"data.target": "$(rm -rf ~); `x`"})], [])
    assert shlex.split(command)[2:] == ["data.target=$(rm -rf ~); `x`"]
