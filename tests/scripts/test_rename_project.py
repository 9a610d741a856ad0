"""The project under another name: what it refuses, what is left of the old one, and that runs of before still open."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from parts import skip_without

from mlplab.config.former_names import NAMES

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = NAMES[-1], "perceptra"

pytestmark = pytest.mark.skipif(len(NAMES) > 1, reason="a project is renamed once")


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def rename(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "scripts" / "rename_project.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def committed(folder: Path) -> Path:
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "as it is")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As much of the project as a renaming looks at, and a file of history; not in git."""
    skip_without("sweeps")  # whose plug-ins are renamed too
    for name in (
        "scripts/rename_project.py", "pyproject.toml", "constraints.txt", "README.md", "CHANGELOG.md", "train.py",
        "conf/config.yaml", f"conf/hydra/help/{OLD}.yaml", f"src/{OLD}/config/former_names.py",
        f"src/hydra_plugins/{OLD}_plugins.py", f"src/{OLD}/engine/startup.py", "tests/launching.py",
        "docs/notebook.ipynb", "docs/figures/optimizers.png",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests" / "releases" / "0").mkdir(parents=True)
    (tmp_path / "tests" / "releases" / "0" / "config.yaml").write_text(f"_target_: {OLD}.models.MLP\n")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    files = (
        path for path in sorted(folder.rglob("*")) if path.is_file() and not {".git", ".ruff_cache"} & {*path.parts}
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one new name must be given, got nothing; try python scripts/rename_project.py mynet"),
        (["a", "b"], "one new name must be given, got a b"),
        (["--name"], "one new name must be given, got --name"),
        (["My-Net 2"], "between them, got My-Net 2; try my_net_2"),
        (["2fast"], "got 2fast; try fast"),
        (["net_"], "got net_; try net"),
        (["нет"], "got нет; try mynet"),
        (["class"], "class is a word of Python; try my_class"),
        (["match"], "match is a word of Python"),
        (["json"], "json is a word of Python"),
        (["torch"], "torch is a module that the project uses; try my_torch"),
        (["lightning"], "lightning is a module that the project uses"),
        (["wandb"], "wandb is a module that the project uses"),
        (["conf"], "conf is a file or folder of the project"),
        (["launching"], "launching is a file or folder of the project"),
        (["setuptools"], "setuptools is a module that the project uses"),
        (["pip"], "a module pip is installed; try my_pip"),
        ([OLD], f"a new name must be another one, got {OLD}"),
    ],
)
def test_a_name_that_something_else_has_is_refused_and_nothing_is_changed(
    project: Path, words: list[str], message: str
) -> None:
    before = contents(project)
    done = rename(project, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rename_project.py: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(project) == before


def test_it_helps(project: Path) -> None:
    done = rename(project, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "python scripts/rename_project.py mynet" in done.stdout


def test_changes_that_are_not_committed_are_not_put_at_risk(project: Path) -> None:
    committed(project)
    (project / "notes.txt").write_text("mine")
    (project / "README.md").write_text("mine, too")
    done = rename(project, NEW)
    assert done.returncode == 2
    assert "all changes must be committed, so that nothing is lost, but README.md, notes.txt differ" in done.stderr
    assert (project / "src" / OLD).is_dir()


@pytest.mark.parametrize("is_checkout", [True, False])
def test_the_old_name_is_left_in_history_alone(project: Path, is_checkout: bool) -> None:
    (project / "logs").mkdir()
    (project / "logs" / "run.yaml").write_text(f"_target_: {OLD}.models.MLP\n")
    if is_checkout:
        (project / ".gitignore").write_text("logs/\nconf/local/\n.env\n")
        committed(project)
        git(project, "rm", "--quiet", "-r", "--cached", "logs")
        git(project, "commit", "--quiet", "--message", "without runs")
    (project / "conf" / "local").mkdir()
    (project / "conf" / "local" / "default.yaml").write_text(f"_target_: {OLD}.data.mine\n")
    (project / ".env").write_text(f"{OLD.upper()}_PLAIN_IMPORTS=1\n")
    before = contents(project)
    done = rename(project, NEW)
    assert done.returncode == 0, done.stderr
    assert f"renamed {OLD} to {NEW}" in done.stdout
    after = contents(project)
    assert set(after) == {name.replace(OLD, NEW) for name in before}
    left = {name for name, content in after.items() if OLD.encode() in content.lower()}
    history = {"CHANGELOG.md", "tests/releases/0/config.yaml", "logs/run.yaml"}
    assert left == {*history, f"src/{NEW}/config/former_names.py"}
    names = [line for line in after[f"src/{NEW}/config/former_names.py"].decode().splitlines() if OLD in line]
    assert names == [f'NAMES: tuple[str, ...] = ("{OLD}", "{NEW}")']
    assert all(after[name] == before[name] for name in (*history, "docs/figures/optimizers.png"))
    assert after[".env"].startswith(NEW.upper().encode())
    if is_checkout:
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message", "renamed")
    again = rename(project, "another")
    assert again.returncode == 2
    assert f"must not be renamed twice, but this one was {OLD} before" in again.stderr


TELLING = (
    "tests/config", "tests/runs", "tests/releases", "tests/engine/test_recognition.py", "tests/engine/test_startup.py",
    "tests/scripts/test_predict.py", "tests/scripts/test_rename_project.py", "tests/stacked/test_eligibility.py",
    "tests/sweeps/test_launchers.py", "tests/test_change_anything.py", "tests/test_notebook.py", "tests/test_readme.py",
)  # fmt: skip


@pytest.mark.slow
def test_a_renamed_project_passes_its_checks_and_opens_what_was_made_before(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")[:-1]:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    committed(copy)
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "XDG_STATE_HOME": str(tmp_path / "state")}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    # Code that conf/ does not name: it is executed again only as the run was begun here.
    own = f"+callbacks.flat={{_target_: {OLD}.callbacks.FlatCosine}}"
    quick = ["trainer.max_epochs=2", f"paths.logs={tmp_path}/logs"]
    run("train.py", own, *quick)
    run("train.py", "-m", "sweep.name=two", "seed=0,1", *quick)
    (directory,) = (tmp_path / "logs" / "runs").iterdir()
    assert rename(copy, NEW).returncode == 0
    left = git(copy, "grep", "--untracked", "--files-with-matches", "--ignore-case", OLD).splitlines()
    assert {name for name in left if not name.startswith("tests/releases/0.5.0/")} == {
        "CHANGELOG.md", f"src/{NEW}/config/former_names.py",
    }  # fmt: skip

    run("train.py", f"resume={directory}", "trainer.max_epochs=4")
    assert json.loads((directory / "status.json").read_text())["epoch"] == 4
    run("scripts/evaluate.py", f"run={directory}")
    run("scripts/reproduce.py", f"run={directory}")
    run("train.py", f"start_from={directory}", "trainer.max_epochs=1")
    assert "2" in run("train.py", "-m", "sweep.name=two", "seed=0,1,2", *quick)
    assert len(list((tmp_path / "logs" / "sweeps" / "two").glob("*/result.json"))) == 3
    run("scripts/report.py", f"{tmp_path}/logs/sweeps/two")

    for words in (["-m", "ruff", "check", "."], ["-m", "ruff", "format", "--check", "."], ["-m", "mypy"]):
        run(*words)
    run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    run("-m", "pytest", "-p", "no:cacheprovider", *TELLING)
