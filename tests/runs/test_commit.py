"""Asking git for the commit runs no program that a repository's configuration or the environment names."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlplab.runs.commit import describe_commit, find_git

pytestmark = pytest.mark.skipif(find_git() is None, reason="there is no git")
FILE = "a.txt"


def git(folder: Path, *words: str, check: bool = True, **environment: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | environment
    words = ("-c", "user.name=N", "-c", "user.email=n@example.org", *words)
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(
        command, env=environment, check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20
    ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With one commit, of one file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / FILE).write_text("one\n")
    git(folder, "add", FILE)
    git(folder, "commit", "--quiet", "--message", "one")
    describe_commit.cache_clear()
    return folder


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that leaves a trace, beside it."""
    path = tmp_path / "bin" / "git"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\ntouch '{tmp_path}/executed'\ncat\n")
    path.chmod(0o755)
    return path


def test_the_commit_and_whether_files_differ_from_it(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert describe_commit(repository) == {"commit": commit, "dirty": False}
    (repository / FILE).write_text("two\n")
    describe_commit.cache_clear()
    assert describe_commit(repository) == {"commit": commit, "dirty": True}
    (repository / FILE).write_text("one\n")
    (repository / "São Paulo\n").touch()
    describe_commit.cache_clear()
    assert describe_commit(repository) == {"commit": commit, "dirty": True}


def by_fsmonitor(repository: Path, program: Path) -> None:
    git(repository, "config", "core.fsmonitor", str(program))


def by_an_included_file(repository: Path, program: Path) -> None:
    (repository / ".git" / "more").write_text(f"[core]\n\tfsmonitor = {program}\n")
    git(repository, "config", "include.path", "more")


def by_hooks(repository: Path, program: Path) -> None:
    git(repository, "config", "core.hooksPath", str(program.parent))
    shutil.copy(program, program.with_name("post-index-change"))
    os.utime(repository / FILE, (1, 1))


def by_a_filter(repository: Path, program: Path) -> None:
    (repository / ".git" / "info" / "attributes").write_text("* filter=e.v\n")
    git(repository, "config", "filter.e.v.clean", str(program))
    os.utime(repository / FILE, (1, 1))  # its content has to be compared


def by_a_filter_of_the_worktree(repository: Path, program: Path) -> None:
    (repository / ".git" / "info" / "attributes").write_text("* filter=evil\n")
    git(repository, "config", "extensions.worktreeConfig", "true")
    git(repository, "config", "--worktree", "filter.evil.process", str(program))
    os.utime(repository / FILE, (1, 1))


def by_a_submodule(repository: Path, program: Path) -> None:
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "within")
    git(repository, "commit", "--quiet", "--message", "two")
    git(repository / "within", "config", "core.fsmonitor", str(program))


def by_what_a_partial_clone_lacks(repository: Path, program: Path) -> None:
    tree = git(repository, "rev-parse", "HEAD^{tree}").strip()
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    program.write_text(program.read_text().replace("cat\n", ""))  # it need not talk to git
    url = f"ext::{program}"
    for name, value in {
        "extensions.partialClone": "origin", "remote.origin.promisor": "true", "remote.origin.url": url,
        "protocol.ext.allow": "always", "core.repositoryFormatVersion": "1",
    }.items():  # fmt: skip
        git(repository, "config", name, value)


@pytest.mark.parametrize(
    "plant",
    [by_fsmonitor, by_an_included_file, by_hooks, by_a_filter, by_a_filter_of_the_worktree, by_a_submodule,
     by_what_a_partial_clone_lacks],
)  # fmt: skip
def test_nothing_is_executed_that_a_repository_names(
    repository: Path, program: Path, plant: Callable[[Path, Path], None]
) -> None:
    plant(repository, program)
    marker = program.parents[1] / "executed"
    marker.unlink(missing_ok=True)
    describe_commit(repository)
    assert not marker.exists()
    git(repository, "status", check=False)  # the negative control
    assert marker.exists()


@pytest.mark.parametrize(
    "name", ["PATH", "GIT_DIR", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_COUNT", "HOME", "XDG_CONFIG_HOME"]
)
def test_nothing_is_executed_that_the_environment_names(
    repository: Path, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    marker, config = tmp_path / "executed", tmp_path / "home" / ".gitconfig"
    (config.parent / "git").mkdir(parents=True)
    for path in (config, config.parent / "git" / "config"):
        path.write_text(f"[core]\n\tfsmonitor = {program}\n")
    shutil.copytree(repository / ".git", tmp_path / "other")
    git(tmp_path / "other", "config", "core.fsmonitor", str(program))
    value = {
        "PATH": f"{program.parent}:{os.environ['PATH']}", "GIT_DIR": str(tmp_path / "other"),
        "GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_COUNT": "1",
    }  # fmt: skip
    monkeypatch.setenv(name, value.get(name, str(config.parent)))
    if name == "XDG_CONFIG_HOME":
        monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(program))
    found = describe_commit(repository)
    assert found is not None
    assert found["dirty"] is False
    assert not marker.exists()
    subprocess.run(
        ["git", "-C", str(repository), "status"], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=20
    )  # the negative control
    assert marker.exists()


def test_a_filter_whose_name_cannot_be_given_leaves_the_commit_out(repository: Path, program: Path) -> None:
    git(repository, "config", "filter.a=b.clean", str(program))
    assert describe_commit(repository) is None


def test_without_a_repository_or_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe_commit.cache_clear()
    assert describe_commit(tmp_path) is None
    monkeypatch.setattr("mlplab.runs.commit.FOLDERS", ("relative", str(tmp_path)))
    assert find_git() is None
    assert describe_commit(tmp_path / "other") is None
