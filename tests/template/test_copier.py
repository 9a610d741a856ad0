"""Projects that copier makes of this one: without any of its parts, the tests of the rest pass."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from slow_cases import slow

pytest.importorskip("copier", reason="comes with the extra `template`")

ROOT = Path(__file__).resolve().parents[2]


def run(command: Sequence[object], folder: Path, **environment: str) -> str:
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-20_000:]}"
    return done.stdout


def git(folder: Path, *words: str) -> str:
    return run(
        ["git", "-c", "user.name=somebody", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", *words], folder
    )


def copier(command: str, *words: object, folder: Path) -> None:
    run([sys.executable, "-m", "copier", command, "--quiet", "--trust", *words], folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this project, with some that git ignores, in a folder that is no repository."""
    folder = tmp_path_factory.mktemp("template") / "project"
    is_other = shutil.ignore_patterns(
        "__pycache__", ".git", ".venv", "logs", "shared", "*_cache", ".hypothesis", "*.egg-info", "build", "dist"
    )
    shutil.copytree(ROOT, folder, ignore=is_other)
    for name in (
        "logs/runs/one/result.json",
        ".venv/bin/python",
        "src/mlplab/__pycache__/training.pyc",
        ".env",
        "conf/local/default.yaml",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of this machine")
    return folder


def without(template: Path, folder: Path, *parts: str, name: str = "mlplab") -> Path:
    """Makes a project without some parts."""
    answers = ["-d", f"project_name={name}", *(word for part in parts for word in ("-d", f"{part}=false"))]
    copier("copy", "--defaults", *answers, template, folder, folder=template)
    return folder


def python_of(project: Path) -> Path:
    """Makes an environment for a project that has what this one has, and imports the project's own code."""
    venv.create(project / ".venv", with_pip=False)
    (packages,) = (project / ".venv").glob("lib/python*/site-packages")
    # No .pth file of that folder is read, and so this project is not found.
    (packages / "project.pth").write_text(f"{project / 'src'}\n{sysconfig.get_paths()['purelib']}\n")
    return project / ".venv" / "bin" / "python"


@pytest.fixture(scope="module")
def bare(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a name of its own and without most parts."""
    return without(template, tmp_path_factory.mktemp("bare") / "new", "tables", "sweeps", name="my_networks")


def test_a_project_has_its_answers_its_name_and_nothing_of_this_machine(template: Path, bare: Path) -> None:
    answers = yaml.safe_load((bare / ".copier-answers.yml").read_text())
    assert (answers["tables"], answers["sweeps"], answers["project_name"]) == (False, False, "my_networks")
    names = {path.name for path in bare.iterdir()} - {".ruff_cache"}  # renaming leaves it, and git ignores it
    assert names == {path.name for path in template.iterdir()} - {"copier.yaml", "logs", ".venv", ".env"} | {
        ".copier-answers.yml"
    }
    gone = ("*.pyc", "tests/template", "src/my_networks/sweeps", "conf/local/default.yaml")
    assert not [path for pattern in gone for path in bare.rglob(pattern)]
    assert (bare / "conf" / "local" / "none.yaml").is_file()
    assert {path.name for path in (bare / "src").iterdir()} == {"my_networks"}
    assert (bare / "src" / "my_networks" / "training.py").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["tables", "sweeps", "stacked", "report", "tables sweeps", "stacked report", ""])
def test_the_rest_of_a_project_passes_its_checks_and_tests(template: Path, tmp_path: Path, parts: str) -> None:
    project = without(template, tmp_path / "new", *parts.split())
    git(project, "init", "--quiet")
    git(project, "add", "-A")
    git(project, "commit", "--quiet", "-m", "A new project")
    python = python_of(project)
    code = "from importlinter.cli import lint_imports_command as main; main()"
    for command in (["-m", "ruff", "check"], ["-m", "ruff", "format", "--check"], ["-c", code], ["-m", "mypy"]):
        run([python, *command], project)
    said = run([python, "train.py", "trainer.max_epochs=1", f"paths.logs={tmp_path}/logs"], project)
    (directory,) = (tmp_path / "logs" / "runs").iterdir()
    assert directory.name in said
    run([python, "scripts/evaluate.py", f"run={directory}"], project)
    # The gate of that project; its slow tests are those of this one.
    run([python, "-m", "pytest", "--numprocesses", "2", "--dist", "loadfile", "-p", "no:cacheprovider"], project)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train.py", "-m", "seed=0,1"], "must have its part 'sweeps'"),
        *slow(
            (["train.py", "data=table"], "data must be one of"),
            (["train.py", "seed=0,1"], "must be given one value for each name, got seed=0,1; try seed=0"),
            (["scripts/evaluate.py", "run=houses", "data.path=train.py"], "must have its part 'tables'"),
        ),
    ],
)
def test_what_was_left_out_is_told_in_a_line(trained: tuple[Path, Path], words: list[str], told: str) -> None:
    project, python = trained
    command = [str(python), *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert told in line


@pytest.fixture(scope="module")
def trained(bare: Path) -> tuple[Path, Path]:
    """That project with a run that was trained on a table, and its Python."""
    shutil.copytree(ROOT / "tests" / "releases" / "0.5.0" / "runs" / "houses", bare / "houses")
    return bare, python_of(bare)


@pytest.mark.slow
def test_a_project_under_its_own_name_trains(trained: tuple[Path, Path], tmp_path: Path) -> None:
    project, python = trained
    run([python, "train.py", "trainer.max_epochs=1", f"paths.logs={tmp_path}/logs"], project)


@pytest.mark.slow
def test_a_project_takes_over_what_its_template_has_gained(template: Path, tmp_path: Path) -> None:
    source = tmp_path / "template"
    shutil.copytree(template, source)
    git(source, "init", "--quiet")
    git(source, "add", "-A")
    git(source, "commit", "--quiet", "-m", "one")
    git(source, "tag", "1.0.0")
    project = without(source, tmp_path / "new", "report")
    git(project, "init", "--quiet")
    readme = project / "README.md"
    readme.write_text(readme.read_text().replace("mlplab is a research template.", "Mine."))
    git(project, "add", "-A")
    git(project, "commit", "--quiet", "-m", "mine")
    (source / "docs" / "news.md").write_text("# News\n")
    (source / "src" / "mlplab" / "report" / "news.py").write_text('"""News."""\n')
    git(source, "add", "-A")
    git(source, "commit", "--quiet", "-m", "two")
    git(source, "tag", "1.1.0")
    copier("update", "--defaults", folder=project)
    assert (project / "docs" / "news.md").is_file()
    assert "Mine." in readme.read_text()
    assert not (project / "src" / "mlplab" / "report").exists()
    changed = {line[3:] for line in git(project, "status", "--porcelain").splitlines()}
    assert changed == {"docs/news.md", ".copier-answers.yml"}
