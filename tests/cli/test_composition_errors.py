import shlex
import shutil
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException, OverrideParseException
from parts import needs
from slow_cases import slow

from mlplab.cli.composition_errors import (
    explain_composition_error,
    of_each_choice,
    require_known_flags,
    require_read_options,
    require_single_choices,
)
from mlplab.errors import UserError


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("--foo", "--help"),
        ("--mutirun seed=1,2", "--multirun"),
        ("--optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("--lr 0.1", "optimizer.lr=0.1"),
        ("--epochs --cfg job", "trainer.max_epochs=…"),
        ("--config", "--config-dir"),
        ("--optimizer adam", "optimizer=adam"),
        ("-x", "--help"),
        ("-v", "--version"),
        ("--cfg foo", "--cfg job"),
        ("--cfg", "--cfg job"),
        ("seed=1 --package", "--help"),
        ("seed=1 --resolve optimizer=sgd", "the flags first"),
    ],
)
def test_an_unknown_flag_is_refused_in_a_line_with_the_nearest_option(root: Path, command: str, hint: str) -> None:
    with pytest.raises(UserError) as refused:
        require_known_flags(command.split(), root / "conf")
    assert refused.value.hint == hint


@pytest.mark.parametrize("command", ["", "-m seed=1,2", "--cfg job --resolve seed=3", "seed=3 --info", "~callbacks"])
def test_flags_of_hydra_are_accepted(root: Path, command: str) -> None:
    require_known_flags(command.split(), root / "conf")


@pytest.mark.parametrize(
    "word", ["hydra/sweeper=optuna", "hydra/launcher=stacked", "+sweep.name=x", "sweep.rerun=3", "sweep={rerun:3}"]
)
@needs("sweeps")
def test_an_option_of_a_sweep_needs_its_flag(word: str) -> None:
    with pytest.raises(UserError) as refused:
        require_read_options(["seed=3", word, "hydra.mode=RUN"])
    assert shlex.split(refused.value.hint)[-3:] == ["-m", "seed=3", word]


def test_a_name_that_hydra_lacks_is_refused() -> None:
    require_read_options(["seed=3", "scheduler=none", "hydra.run.dir=x", "+hydra.job.env_set.A=b", "hydra=x"])
    with pytest.raises(UserError, match=r"must be those of Hydra.*try hydra\.job"):
        require_read_options(["+hydra.jobs.name=x"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("optimizer.lr 0.1", "optimizer.lr=0.1"),
        ("optimizer.lr = 0.1", "optimizer.lr=0.1"),
        ("lr: 0.1", "optimizer.lr=0.1"),
        ("optimizer.lr:0.1", "optimizer.lr=0.1"),
        ("optimizer adam", "optimizer=adam"),
        ("list", "train.py --help"),
        ("seed", "seed=…"),
        ("adam", "optimizer=adam"),
        ("help", "train.py --help"),
        ("resume logs/runs/x", "resume=logs/runs/x"),
        ("optimizer.lr==0.1", "optimizer.lr=0.1"),
        ('notes=a:"b"', """'notes="a:\\"b\\""'"""),
        ("seed=3,", "seed=3"),
        ("x" * 300, "train.py --help"),  # longer than the name of a file may be
    ],
)
def test_a_word_that_does_not_parse_is_told_with_what_was_meant(
    root: Path, monkeypatch: pytest.MonkeyPatch, words: str, hint: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *words.split()])
    error = OverrideParseException(override=words.split()[0], message="")
    assert explain_composition_error(error, [], root / "conf").hint.endswith(hint)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (["optimizer=momentum,nesterov", "optimizer.momentum=0.5"], "optimizer.momentum=choice(0.5)"),
        (["model=tabm,tabm_mini", "model.k=4"], "model.k=choice(4)"),
        (["optimizer=sgd,adam", "optimizer.lr=0.1"], "optimizer.lr=0.1"),  # the default choice has it
        (["optimizer=momentum,nesterov", "optimizer.momentum=0.5,0.9"], "optimizer.momentum=0.5,0.9"),
        (["optimizer=momentum", "optimizer.momentum=0.5"], "optimizer.momentum=0.5"),
    ],
)
def test_an_option_of_the_swept_choices_is_one_of_each_job(words: list[str], made: str, root: Path) -> None:
    assert of_each_choice(["-m", *words, "seed=1"], root / "conf") == ["-m", words[0], made, "seed=1"]


@pytest.mark.parametrize("choices", ["adam,momentum", *slow("momentum,adam")])
def test_an_option_that_a_swept_choice_lacks_is_told_with_that_choice(
    choices: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m"])
    words = of_each_choice(["-m", f"optimizer={choices}", "optimizer.momentum=0.5"], root / "conf")
    told = explain_composition_error(HydraException(), words[1:], root / "conf")
    assert str(told).startswith("optimizer.momentum must be an option of each choice, but optimizer=adam has none")


@pytest.mark.parametrize(
    "word", ["experiment=null", "experiment=null,circles", "debug=None", "scheduler=off", "module=null"]
)
def test_a_choice_of_nothing_is_called_none(word: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m"])
    assert explain_composition_error(HydraException(), [word], root / "conf").hint == f"{word.partition('=')[0]}=none"


def test_an_option_that_no_choice_has_is_told_as_it_was_typed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m"])
    words = of_each_choice(["-m", "optimizer=momentum,nesterov", "optimizer.momntum=0.5"], root / "conf")
    told = explain_composition_error(HydraException(), words[1:], root / "conf")
    assert (told.actual, told.hint) == ("optimizer.momntum=0.5", "optimizer.momentum=0.5")


@pytest.mark.parametrize(
    ("word", "hint"),
    [("module.latent=2", "+module.latent=2, if its _target_ takes it"), ("module.widht=2", "module.width=2")],
)
def test_an_option_that_a_file_of_ones_own_does_not_name_may_be_one_of_its_class(
    word: str, hint: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    conf = tmp_path / "conf"
    shutil.copytree(root / "conf", conf)
    (conf / "module" / "own.yaml").write_text("_target_: own_parts.Autoencoder\nwidth: 3\n")
    assert explain_composition_error(HydraException(), ["module=own", word], conf).hint == hint


@pytest.mark.parametrize(
    "words", [["~data", "+data._target_=own_parts.PictureData"], ["~model", "+model={_target_: a.B}"]]
)
def test_a_group_that_is_taken_away_may_be_named_anew(words: list[str]) -> None:
    require_single_choices(words)
    with pytest.raises(UserError, match="must be chosen"):
        require_single_choices(words[:1])
