"""train.py as a person types it: a process for every command."""

import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from launching import Done, run_program
from slow_cases import slow

from mlplab.cli.command_line import with_home, with_quotes
from mlplab.parts import is_there


@pytest.fixture
def type_command(tmp_path: Path) -> Any:
    """Runs `python train.py …` with logs in a folder of the test, from a folder that is not the project."""

    def run(*words: str, **environment: str) -> Done:
        logs = [] if any(word.startswith("--") for word in words) else [f"paths.logs={tmp_path / 'logs'}"]
        return run_program("train.py", [*words, *logs], tmp_path, **environment)

    return run


REFUSED = [
    ("optimizr=adam", "try optimizer=adam"),
    ("optimizer=adm", "try optimizer=adam"),
    ("optimizer=3", "optimizer must be one of adadelta"),
    ("model.hiden_dims=[8]", "try model.hidden_dims=[8]"),
    ("optimizer.lr=-1", "optimizer.lr must be a positive number"),
    ("optimizer.lr=abc", "optimizer.lr must be a positive number"),
    ("model.dropout=1.5", "model.dropout must be"),
    ("data.batch_size=0", "data.batch_size must be"),
    ("model.activation=rellu", "try model.activation=relu"),
    ("loss=mse", "try loss=cross_entropy"),
    ("trainer.max_epochs=-5", "trainer.max_epochs must be"),
    ("experiment=nothing", "experiment must be one of"),
    ("trainer.logger=true", "trainer.logger must be chosen by another option"),
    ("lr=0.1", "try optimizer.lr=0.1"),
    ("loss.delta=2", "try loss=huber loss.delta=2"),
    ("averaging=ema", "try callbacks/averaging=ema"),
    ("callbacks.averaging=ema", "try callbacks/averaging=ema"),
    ("callbacks.averaging.decay=0.9", "try callbacks/averaging=ema callbacks.averaging.decay=0.9"),
    ("optimizer.momentum=0.5", "try optimizer=momentum optimizer.momentum=0.5"),
    ("model.hidden_dims=[8", "does not parse"),
    ("adam", "must consist of GROUP=CHOICE and key=value"),
    ("", "must consist of GROUP=CHOICE and key=value"),
    ("=3", "must compose"),
    ("optimizer=SGD", "try optimizer=sgd"),
    ("optimizer=null", "optimizer must be one of"),
    ("~optimizer", "optimizer must be chosen"),
    ("~data", "data must be chosen, got ~data; try data=digits"),
    ("optimizer=[adam,sgd]", "train.py -m optimizer=adam,sgd" if is_there("sweeps") else "try optimizer=adam"),
    ("+trainer.barebones=true", "try callbacks=minimal logger=none"),
    ("seed=1,2", "train.py -m seed=1,2" if is_there("sweeps") else "try seed=1"),
    ("model.hidden_dims=64,32", "try model.hidden_dims=[64,32]"),
    ("+optimizer.fused=true", "+ must only be used for names that are not in the configuration"),
    ("seed=${oc.env:NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
    ("epochs=5", "try trainer.max_epochs=5"),
    ("+lr=0.1", "try optimizer.lr=0.1"),
    ("+optmizer.lr=0.1", "got +optmizer.lr=0.1; try optimizer.lr=0.1"),
    ("+paths.data=x", "be used by other values as ${paths.data}, got +paths.data=x"),
    ("++ckpt_path=x", "try resume=logs/runs/NAME"),
    ("+foo=1", "be used by other values as ${foo}, got +foo=1; try leaving it out"),
    ("name=///", "name must be null, or a name with a letter"),
    ("sweep.rerun=3", "train.py -m sweep.rerun=3"),
    ("hydra.sweeper.trials=3", "try hydra/sweeper=optuna hydra.sweeper.trials=3"),
    ("hydra.launcher.n_jobs=3", "try hydra/launcher=joblib hydra.launcher.n_jobs=3"),
]


OFTEN = {
    "optimizr=adam", "optimizer.lr=-1", "loss=mse", "model.hidden_dims=[8", "seed=1,2", "+lr=0.1",
}  # fmt: skip
"""One of each kind of mistake, in the gate; every rule is tested where the configuration is checked."""


@pytest.mark.parametrize(
    ("word", "substance"),
    [pytest.param(*case, marks=[] if case[0] in OFTEN else pytest.mark.slow) for case in REFUSED],
)
def test_a_mistake_gets_one_message_and_leaves_nothing_behind(
    type_command: Any, tmp_path: Path, word: str, substance: str
) -> None:
    done = type_command(word)
    assert done.status == 2
    assert substance in done.stderr
    assert done.stderr.startswith("train.py: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("seed=0,", "seed=0"),
        ("seed=0,1 hydra/launcher=stacked hydra.launcher.proceses=2", "hydra.launcher.processes=2"),
        pytest.param("optimizer.lr=0.1,-1", "optimizer.lr=", marks=pytest.mark.slow),
        pytest.param("seed=0,1 data.batch_size=1,0", "data.batch_size=", marks=pytest.mark.slow),
        pytest.param("seed=range(0,0)", "seed='range(0,3)'", marks=pytest.mark.slow),
        ("optimizer.momentum=tag(optimizer:momentm,choice(0.5,0.9))", "optimizer:momentum"),
        *slow(
            ("optimizer=adam,sdg", "optimizer=sgd"),
            ("experiment=spirals,batch_size_study", "experiment=batch_size_study without others"),
            ("experiment=optimizers_compared,spirals", "experiment=optimizers_compared without others"),
            ("optimizer.momentum=tag(optimizr:momentum,choice(0.5,0.9))", "optimizer"),
        ),
    ],
)
def test_a_mistake_in_a_sweep_is_refused_before_its_first_job(
    type_command: Any, tmp_path: Path, word: str, remedy: str
) -> None:
    done = type_command("-m", *word.split())
    assert done.status == 2
    assert f"try {remedy}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Launching" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there_is_said(type_command: Any, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = type_command("trainer=gpu")
    assert done.status == 2
    assert "must find a GPU" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_traceback_is_there_for_who_asks(type_command: Any) -> None:
    done = type_command("optimizer.lr=-1", HYDRA_FULL_ERROR="1")
    assert done.status != 0
    assert "Traceback" in done.stderr


def test_help_shows_every_group_with_its_choices_and_five_commands(type_command: Any, root: Path) -> None:
    done = type_command("--help")
    assert done.status == 0
    for group in (root / "conf").iterdir():
        if group.is_dir() and group.name != "hydra":
            choices = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
            assert f"{group.name}: {choices}" in done.stdout
    lines = takewhile(str.strip, done.stdout.partition("Useful commands")[2].splitlines()[1:])
    commands = [line.split("  ")[1] for line in lines]
    assert len(commands) >= 4
    assert all(command.startswith(("python train.py", "tensorboard")) for command in commands)


@pytest.mark.parametrize(
    "words",
    [["--help"], *(pytest.param(words, marks=pytest.mark.slow) for words in (["--cfg", "job"], ["optimizer.lr=-1"]))],
)
def test_help_configuration_and_refusals_import_nothing_heavy(root: Path, words: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['train.py', *{words!r}]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'lightning', 'numpy', 'sklearn', 'rich') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_sweep_is_a_directory_of_ordinary_runs(type_command: Any, tmp_path: Path) -> None:
    quick = ["trainer.max_epochs=1", "callbacks=minimal", "logger=csv", "sweep.name=study"]
    done = type_command("-m", "optimizer=sgd,adam", "seed=0,1", *quick)
    assert done.status == 0, done.stderr
    jobs = sorted(path.name for path in (tmp_path / "logs" / "sweeps" / "study").iterdir() if path.is_dir())
    assert jobs == [
        "0_optimizer-sgd_seed-0",
        "1_optimizer-sgd_seed-1",
        "2_optimizer-adam_seed-0",
        "3_optimizer-adam_seed-1",
    ]
    for job in jobs:
        directory = tmp_path / "logs" / "sweeps" / "study" / job
        assert '"state": "finished"' in (directory / "status.json").read_text()
        assert (directory / "checkpoints" / "best.ckpt").is_file()
        assert {path.name for path in (directory / ".hydra").iterdir()} == {
            "config.yaml",
            "hydra.yaml",
            "overrides.yaml",
        }


def test_a_job_that_diverges_does_not_stop_the_sweep(type_command: Any, tmp_path: Path) -> None:
    quick = ["trainer.max_epochs=1", "callbacks=minimal", "logger=none", "sweep.name=study", "optimizer=sgd"]
    done = type_command("-m", "optimizer.lr=1e6,0.1", *quick)
    assert done.status == 1, done.stderr
    assert "1 of 2 jobs failed" in done.stdout
    assert "infeasible" in done.stdout
    states = [
        '"state": "failed"' in path.read_text()
        for path in sorted((tmp_path / "logs" / "sweeps" / "study").glob("*/status.json"))
    ]
    assert states == [True, False]


@pytest.mark.slow
def test_the_flag_of_a_sweep_may_stand_anywhere(type_command: Any, tmp_path: Path) -> None:
    quick = ["trainer.max_epochs=1", "callbacks=minimal", "logger=none"]
    done = type_command("data=iris", *quick, "-m", "seed=0,1")
    assert done.status == 0, done.stderr
    assert done.stdout.count("] finished ") == 2


@pytest.mark.parametrize("value", ["null", pytest.param("3", marks=pytest.mark.slow)])
def test_a_folder_for_the_logs_without_a_name_is_refused(tmp_path: Path, value: str) -> None:
    done = run_program("train.py", [f"paths.logs={value}"], tmp_path)
    assert done.status == 2
    assert "paths.logs must be the name of a folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(root: Path) -> None:
    shell = f"{sys.executable} {root / 'train.py'} --help | head -1"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("data.path=~/a.csv", "data.path=/home/me/a.csv"),
        ("data.path=~/a.csv,~/b.csv", "data.path=/home/me/a.csv,/home/me/b.csv"),
        ("paths.logs=~", "paths.logs=/home/me"),
        ("paths.logs='~/my runs'", "paths.logs='/home/me/my runs'"),
        ("data.path='~/a.csv'", "data.path='~/a.csv'"),  # expanded where it is read
        ("data.path=a~b", "data.path=a~b"),
        ("data.target='a,~b'", "data.target='a,~b'"),
        ("~data", "~data"),
        ("--config-dir=~/a", "--config-dir=~/a"),
    ],
)
def test_a_home_directory_may_begin_any_value(word: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert with_home(word) == expanded


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("data.target=цена", 'data.target="цена"'),
        ("data.path=/tmp/Мои данные/таблица.csv", 'data.path="/tmp/Мои данные/таблица.csv"'),
        ("data.drop=[a,größe, été]", 'data.drop=[a,"größe","été"]'),
        ("data.target=価格,b", 'data.target="価格",b'),
        ('data.target="цена"', 'data.target="цена"'),
        ("data.keep_values={größe: [NA]}", "data.keep_values={größe: [NA]}"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),
        ("größe", "größe"),
    ],
)
def test_names_in_other_alphabets_need_no_quotes(word: str, quoted: str) -> None:
    assert with_quotes(word) == quoted
    if "=" in word and "{" not in word:
        OverridesParser.create().parse_override(quoted)
