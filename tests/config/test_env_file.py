"""The variables of .env: which lines are read, which are refused, and that what is set already counts."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from composing import composed
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from mlplab.cli.command_line import run_command
from mlplab.cli.script import run_script
from mlplab.config import env_file
from mlplab.config.checks import check
from mlplab.config.env_file import describe_env_file, load_env_file, read_env_file
from mlplab.errors import UserError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the .env of a project, and of the commands that are run."""

    def write(text: str) -> Path:
        path = tmp_path / ".env"
        path.write_bytes(text.encode())
        return path

    (tmp_path / "conf" / "local").mkdir(parents=True)
    (tmp_path / "conf" / "local" / "none.yaml").touch()
    monkeypatch.setattr(env_file, "FILE", tmp_path / ".env")
    monkeypatch.setenv("SET", "before")
    return write


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("A=b", "A", "b"),
        ("A=", "A", ""),
        ("  export A = b c  ", "A", "b c"),
        ("A=b # a remark", "A", "b"),
        ("A=b#c", "A", "b#c"),
        ("A='b # c'", "A", "b # c"),
        ('A="it\'s"  # a remark', "A", "it's"),
        ("A=$HOME/x=y", "A", "$HOME/x=y"),
        ("_a1=β", "_a1", "β"),
        ("A=''", "A", ""),
    ],
)
def test_a_line_is_a_name_and_a_value_in_which_nothing_is_replaced(
    write: Write, line: str, name: str, value: str
) -> None:
    assert read_env_file(write(f"\ufeff# first\r\n\r\n{line}\r\nLAST=1")) == {name: value, "LAST": "1"}


@pytest.mark.parametrize(
    "line", ["hidden", "1A=hidden", "A B=hidden", "A='hidden", "A='hidden' b", "A-B=hidden", "=hidden"]
)
def test_another_line_is_refused_by_its_number_and_not_shown(write: Write, line: str) -> None:
    with pytest.raises(
        UserError, match=r"must hold lines KEY=VALUE, but line 2 is none; try # before line 2"
    ) as refusal:
        read_env_file(write(f"A=1\n{line}\n"))
    assert "hidden" not in str(refusal.value)


def test_a_variable_that_is_given_twice_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match="must give a variable once, but line 3 gives A again"):
        read_env_file(write("A=hidden\nB=2\nA=3\n"))


def test_a_file_that_is_no_text_is_refused_and_a_folder_is_none(write: Write, tmp_path: Path) -> None:
    path = write("")
    path.write_bytes(b"A=\xff")
    with pytest.raises(UserError, match="must be text"):
        read_env_file(path)
    path.unlink()
    assert read_env_file(path) == {}
    path.mkdir()
    assert read_env_file(path) == {}


def test_variables_that_are_set_already_count_and_values_are_not_told(write: Write) -> None:
    write("SET=hidden\nNEW=hidden\n")
    load_env_file()
    assert (os.environ["SET"], os.environ["NEW"]) == ("before", "hidden")
    assert describe_env_file() == "env     .env: NEW; SET had other values already, which count"
    write("")
    assert describe_env_file() == ""


def test_a_run_names_them_in_its_log(write: Write, train_run: Callable[..., Any]) -> None:
    write("A_RATE=0.0625\n")
    load_env_file()
    rate = 'optimizer.lr="${oc.decode:${oc.env:A_RATE}}"'
    run = train_run("data=iris", rate, "trainer.max_epochs=1", "callbacks=minimal", "logger=none")
    log = (run.directory / "train.log").read_text()
    assert "env     .env: A_RATE" in log
    assert "0.0625" not in log


@pytest.mark.parametrize("name", ["train.py", "evaluate.py"])
def test_a_command_with_a_wrong_line_ends_with_one(
    write: Write, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = write("A=1\nhidden\n")
    monkeypatch.setattr(sys, "argv", [name])
    status = run_command(pytest.fail, pytest.fail, root) if name == "train.py" else run_script(pytest.fail, {}, "")
    assert status == 2
    assert capsys.readouterr() == (
        "",
        f"{name}: {path} must hold lines KEY=VALUE, but line 2 is none; try # before line 2\n",
    )


def test_this_machines_own_file_of_conf_is_chosen_where_it_exists(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLPLAB_LOCAL")
    assert env_file.local_choice() == "none"
    (tmp_path / "conf" / "local" / "default.yaml").touch()
    assert env_file.local_choice() == "default"
    (tmp_path / "conf" / "local" / "cluster.yaml").touch()
    write("MLPLAB_LOCAL=cluster\n")
    load_env_file()
    assert env_file.local_choice() == "cluster"
    monkeypatch.setenv("MLPLAB_LOCAL", "clutser")
    with pytest.raises(UserError, match="must be one of cluster, default, none, got clutser; try MLPLAB_LOCAL=cluster"):
        load_env_file()


def test_its_values_win_over_those_of_an_experiment_and_lose_to_the_command_line(
    write: Write, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLPLAB_LOCAL")
    shutil.copytree(root / "conf", tmp_path / "conf", dirs_exist_ok=True)
    text = "# @package _global_\npaths:\n  logs: /mine\ntrainer:\n  max_epochs: 3\n  threads: 7\n"
    (tmp_path / "conf" / "local" / "default.yaml").write_text(text)
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        config = compose("config", ["experiment=learning_rate_range_test", "trainer.threads=2"])
        without = compose("config", ["experiment=learning_rate_range_test", "local=none"])
    assert (config.paths.logs, config.trainer.max_epochs, config.trainer.threads) == ("/mine", 3, 2)
    assert without.paths.logs != "/mine"
    assert without.trainer.max_epochs != 3


def test_a_file_of_conf_local_without_its_first_line_is_refused(write: Write) -> None:
    config = composed()
    with open_dict(config):
        config.local = {"trainer": {"threads": 7}}
    with pytest.raises(UserError, match="a file of conf/local must begin with the line `# @package _global_`"):
        check(config)
