"""The files for containers, continuous integration, pre-commit and editors: what they name is there."""

import fnmatch
import json
import re
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlplab.parts import is_there

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8"))
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
LAUNCH = json.loads((ROOT / ".vscode" / "launch.json").read_text(encoding="utf-8"))
SETTINGS = json.loads((ROOT / ".vscode" / "settings.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["Dockerfile", ".devcontainer/devcontainer.json", ".github/workflows/check.yml"])
def test_make_has_the_targets_that_are_named(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").replace('", "', " ").splitlines()
    text = "\n".join(line for line in lines if "install --yes" not in line)
    targets = set(re.findall(r"\bmake ([a-z./-]+)", text))
    assert targets
    for target in targets:
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_image_copies_what_is_there_and_runs_as_an_ordinary_user() -> None:
    copied = [name for line in re.findall(r"^COPY \S+ (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert "pyproject.toml" in copied
    assert all((ROOT / name).exists() for name in copied)
    users = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["researcher"]
    # Whatever needs root comes before; all that is copied and installed afterwards belongs to the user.
    assert DOCKERFILE.index("apt-get") < DOCKERFILE.index("USER ") < DOCKERFILE.index("COPY ")
    assert DEVCONTAINER["remoteUser"] in users
    stages = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert DEVCONTAINER["build"]["target"] in stages
    assert (ROOT / ".devcontainer" / DEVCONTAINER["build"]["dockerfile"]).is_file()
    versions = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert versions[0] in WORKFLOW["jobs"]["check"]["strategy"]["matrix"]["python"]


def test_secrets_and_runs_stay_out_of_images_and_commits() -> None:
    for name in (".dockerignore", ".gitignore"):
        lines = (ROOT / name).read_text(encoding="utf-8").split()
        assert {".env", ".venv", "conf/local/*", "!conf/local/none.yaml"} <= {*lines}
        assert {"logs", "logs/"} & {*lines}


def test_the_workflow_checks_every_python_that_the_project_says_it_runs_on() -> None:
    least, above = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    matrix = WORKFLOW["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert matrix == [f"3.{minor}" for minor in range(int(least), int(above))]
    setup = next(step["with"] for step in WORKFLOW["jobs"]["check"]["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["cache"] == "pip"
    assert all((ROOT / path).is_file() for path in setup["cache-dependency-path"].split())
    assert any(step.get("run") == "make check" for step in WORKFLOW["jobs"]["check"]["steps"])


def test_hooks_are_the_tools_of_the_environment() -> None:
    commands = [hook["entry"] for repo in HOOKS["repos"] for hook in repo["hooks"]]
    # Only local ones: others would have versions of their own.
    assert {repo["repo"] for repo in HOOKS["repos"]} == {"local"}
    gate = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    for command in commands:
        place, tool, *_ = re.split(r"(?<=bin)/| ", command)
        assert place == ".venv/bin"
        assert f"$(BIN)/{tool}" in gate
    assert {re.split("[/ ]", command)[2] for command in commands} == {"ruff", "mypy", "lint-imports"}


def test_an_editor_starts_what_is_there() -> None:
    programs = [one["program"] for one in LAUNCH["configurations"] if "program" in one]
    assert programs == ["${workspaceFolder}/train.py"]
    assert any("engine=plain" in one["args"] for one in LAUNCH["configurations"])
    for one in LAUNCH["configurations"]:
        assert one["type"] == "debugpy"
        assert one["justMyCode"] is True


def test_an_editor_finds_a_schema_for_each_file_of_the_groups_that_the_project_has() -> None:
    schemas = runpy.run_path(str(ROOT / "scripts" / "schemas.py"), run_name="schemas")
    made = {f"./.vscode/schemas/{name.replace('/', '.')}.json": name for name in schemas["schemas"](ROOT / "conf")}
    patterns: dict[str, str] = SETTINGS["yaml.schemas"]
    if not is_there("sweeps"):
        patterns = {schema: pattern for schema, pattern in patterns.items() if "hydra" not in schema}
    assert patterns.keys() <= made.keys()
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")]
    for pattern in patterns.values():
        assert fnmatch.filter(files, pattern.replace("**/", "*")), pattern
    for name in ("conf/config.yaml", "conf/model/mlp.yaml", "conf/experiment/published/adult_mlp.yaml"):
        assert any(fnmatch.fnmatch(name, pattern.replace("**/", "*")) for pattern in patterns.values())
