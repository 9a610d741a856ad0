"""What the README tells people to type does what it says."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from composing import composed
from launching import run_program
from parts import needs

from mlplab.config.checks import check
from mlplab.parts import is_there

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
LINES = [
    line.partition("  #")[0].strip() for language, _, text in BLOCKS if language == "bash" for line in text.splitlines()
]
ON_SWEEPS = [line for line in LINES if "logs/sweeps/lr_study" in line]
AFTER = [
    line
    for line in LINES
    if line.startswith(("python scripts/", "python train.py resume="))
    and line not in ON_SWEEPS
    and "leave_out" not in line  # which would delete what is tested
]
SWEEP = next((line for line in LINES if "sweep.name=lr_study" in line), "")
TRAININGS = [line for line in LINES if line.startswith("python train.py") and line not in (SWEEP, *AFTER)]
MAKES = [line for line in LINES if line.startswith("make ")]
QUICK = ["trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
FEW = {
    "experiment=compare_": ["hydra.sweeper.only=[sgd,adam]", "hydra.sweeper.trials=1", "hydra.sweeper.seeds=[7]"],
    "hydra/sweeper=optuna": ["hydra.sweeper.trials=2"],
    "hydra/launcher=stacked": ["seed=0,1"],
    "seed=0,1,2": ["seed=0"],
}
"""What a command is given besides, so that its test takes seconds."""


def test_the_readme_has_what_it_promises() -> None:
    ten = README.partition("## Useful commands")[2].partition("```bash\n")[2].partition("```")[0]
    assert len(ten.splitlines()) == 10 or not is_there("sweeps")


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_commands_are_quoted_so_that_zsh_takes_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash.*?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    options = re.findall(r"`(\w+\.[\w.]+=[^`…\n]+)`", text)
    for line in [*"".join(blocks).splitlines(), *options]:
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", re.split(r"(?:^|\s)#", line)[0])
        assert not re.search(r"[][(){}*?]", bare), line


def write_houses(path: Path) -> None:
    """A file of the form that the README speaks of."""
    rows = [f"{n % 17},{n * 7 % 23},{'coast' if n % 3 else 'inland'},{1000 * (n % 17) + 5000.5}" for n in range(120)]
    path.write_text("\n".join(["rooms,age,place,median_house_value", *rows]) + "\n", encoding="utf-8")


def start(folder: Path, program: list[str]) -> None:
    """Runs a program of the project that must succeed."""
    done = run_program(program[0], program[1:], folder)
    assert done.status == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README speaks of, and the run that it trains on one of them."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("housing.csv", "other.csv", "new.csv"):
        write_houses(folder / name)
    training = next((line for line in TRAININGS if "data=table" in line), "python train.py data=wine").split()[2:]
    start(folder, ["train.py", *training, *QUICK, f"paths.logs={folder}/logs"])
    return folder


@pytest.mark.parametrize(
    "line", [pytest.param(line, marks=[] if "predict" in line else pytest.mark.slow) for line in AFTER]
)
def test_what_is_done_with_a_run_works_on_that_of_the_command_before(trained: Path, line: str) -> None:
    (run,) = (path for path in (trained / "logs" / "runs").iterdir() if "again" not in path.name)
    script, *words = line.replace("NAME", run.name).split()[1:]
    start(trained, [script, *words])
    if "predict" in line:
        assert len((trained / "predictions.csv").read_text().splitlines()) == 121
    if "export" in line:
        assert (run / "exports" / "model.safetensors").is_file()


OFTEN = ("--", "scheduler=", "stacked", "optuna")
"""In the commands that the gate runs: the first of each kind that no other test here runs."""

IS_OFTEN = {command: any(word in command for word in OFTEN) for command in TRAININGS}


@pytest.mark.parametrize(
    "command", [command for command, is_often in IS_OFTEN.items() if not is_often and " -m " not in command]
)
def test_every_other_training_command_composes_to_what_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    write_houses(tmp_path / "housing.csv")
    monkeypatch.chdir(tmp_path)
    check(composed(*shlex.split(command)[2:]))


@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=() if is_often else pytest.mark.slow) for c, is_often in IS_OFTEN.items()]
)
def test_every_training_command_runs(tmp_path: Path, command: str) -> None:
    few = [word for part, words in FEW.items() if part in command for word in words]
    words = [*shlex.split(command)[2:], *few]
    shows = [word for word in words if word.startswith("--")]
    write_houses(tmp_path / "housing.csv")
    start(tmp_path, ["train.py", *words, *([] if shows else [*QUICK, f"paths.logs={tmp_path}"])])
    if not shows:
        states = [path.read_text() for path in tmp_path.rglob("status.json")]
        assert states
        assert all('"state": "finished"' in state for state in states)


@needs("sweeps")
def test_the_sweep_and_what_is_done_with_it_work(tmp_path: Path) -> None:
    def run(command: str, *more: str) -> None:
        start(tmp_path, [*shlex.split(command)[1:], *more])

    few = ["optimizer.lr=0.01", "seed=0,1", "callbacks=minimal", "logger=none"]
    run(SWEEP, *few, "trainer.max_epochs=1", f"paths.logs={tmp_path}/logs")
    for line in ON_SWEEPS:
        run(line.replace("seeds=10", "seeds=2"))
    sweep = tmp_path / "logs" / "sweeps" / "lr_study"
    assert len(list(sweep.glob("*/result.json"))) == 2 * 1 * 2 + 2
    assert (sweep / "report.html").is_file() or not is_there("report")


IN_DOCS = {
    line
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if page.name != "change-anything.md"  # its commands need what it adds
    for block in re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in re.split(r"\n(?! )", re.sub(r"\\\n\s*", "", block).partition("  #")[0])
}


@pytest.mark.parametrize(
    "command", sorted(line for line in IN_DOCS if line.startswith("python train.py") and " -m " not in line)
)
def test_every_training_command_of_the_docs_composes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    write_houses(tmp_path / "cards.csv")
    monkeypatch.chdir(tmp_path)
    check(composed(*shlex.split(command.partition("  #")[0])[2:]))


@pytest.mark.parametrize("command", sorted(line for line in IN_DOCS if line.startswith("python scripts/")))
def test_every_script_that_the_docs_name_exists(command: str) -> None:
    assert (ROOT / command.split()[1]).is_file()


@pytest.mark.parametrize("command", MAKES)
def test_every_make_target_exists(command: str) -> None:
    done = subprocess.run([*command.split(), "--dry-run"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_every_file_that_the_readme_and_the_docs_link_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert link.startswith("https:") or (page.parent / link).exists(), f"{page.name}: {link}"
    steps = README.partition("## Where each step of the algorithm is")[2].partition("The files lie")[0]
    for name in re.findall(r"`(\w+(?:/\w*)?(?:/\w+)?(?:\.py|\.yaml|/))`", steps):
        assert (ROOT / name).exists() or (ROOT / "src" / "mlplab" / name).exists(), name
    tree = next(text for language, _, text in BLOCKS if language == "text" and "train.py  " in text)
    folders = [ROOT]  # the folders that the line stands in, one for each two blanks
    for line in filter(str.strip, tree.splitlines()):
        name = line.split()[0]
        folders = folders[: 1 + (len(line) - len(line.lstrip())) // 2]
        assert (folders[-1] / name).exists(), name
        folders.append(folders[-1] / name)


OPENING = ("Shows:", "Reaches:", "Takes:", "Command:")
"""Begins the lines with which each experiment of the project opens."""


def test_the_readme_lists_choices_that_exist_and_the_projects_experiments() -> None:
    table = README.partition("## What can be chosen")[2].partition("\n## ")[0]
    rows = {match[1]: match[2] for match in re.finditer(r"^\| `(\w+)` \| (.*) \|$", table, flags=re.MULTILINE)}
    listed = {group: re.findall(r"[^,;]+", re.sub(r"\([^)]*\)", "", row)) for group, row in rows.items()}
    # Somebody's own choices need no line here. A part of several words is a remark.
    for group in (
        path for path in (ROOT / "conf").iterdir() if path.name in rows and path.name not in ("model", "local")
    ):
        named = {part.strip() for part in listed[group.name] if re.fullmatch(r"\w+", part.strip())}
        assert named
        assert named <= {choice.stem for choice in group.glob("*.yaml")}
    for choice in (ROOT / "conf" / "experiment").glob("*.yaml"):
        if all(word in choice.read_text(encoding="utf-8") for word in OPENING):
            assert re.search(rf"\b{choice.stem}\b", rows["experiment"]) or f"`experiment={choice.stem}`" in table
