from pathlib import Path

import pytest

from mlplab.cli.composition_errors import require_flag_of_sweep, require_known_flags
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
        ("-x", "--help"),
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


@pytest.mark.parametrize("word", ["hydra/sweeper=optuna", "hydra/launcher=stacked", "+sweep.name=x", "sweep.rerun=3"])
def test_an_option_of_a_sweep_needs_its_flag(word: str) -> None:
    with pytest.raises(UserError, match=r"must be given with -m, .*try python train.py -m"):
        require_flag_of_sweep(["seed=3", word])
    require_flag_of_sweep(["seed=3", "scheduler=none", "hydra.run.dir=x"])
