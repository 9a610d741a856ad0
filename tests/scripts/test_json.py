"""--json: one document on standard output, whatever the script; errors stay on standard error. 80 columns otherwise."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inference.small_runs import ROOT
from slow_cases import slow

Script = Callable[..., SimpleNamespace]


def is_script(name: str) -> bool:
    return (ROOT / "scripts" / f"{name}.py").is_file()


def words_of(name: str, runs: Path, out: Path) -> list[str]:
    return {
        "evaluate": [f"run={runs / 'classes'}", f"out={out}"],
        "predict": [f"run={runs / 'classes'}", f"data.path={runs / 'new.csv'}", f"out={out}.csv"],
        "export": [f"run={runs / 'classes'}", "format=safetensors", f"out={out}.safetensors"],
    }[name]


def document(done: SimpleNamespace) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(done.output, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return content


@pytest.mark.parametrize("name", ["export", *slow("evaluate", "predict")])
def test_the_document_says_what_the_text_says(script: Script, runs: Path, tmp_path: Path, name: str) -> None:
    said = script(name, *words_of(name, runs, tmp_path / "text"))
    told = script(name, *words_of(name, runs, tmp_path / "json"), "--json")
    assert (said.status, told.status) == (0, 0)
    content = document(told)
    paths = [Path(content[key]) for key in ("figure", "out", "path", "card") if key in content]
    assert paths
    assert all(path.exists() for path in paths)
    assert all(len(line) <= 80 for line in said.output.splitlines() if "│" in line or "━" in line)
    if name == "evaluate":
        for metric, value in content["metrics"].items():
            assert re.search(rf"│ {metric} +│ +{value:.4f} │", said.output)
    elif name == "predict":
        assert content["n_rows"] == 30
        assert "30 rows" in said.output
    else:
        assert content["largest_difference"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["evaluate", "predict", "export"])
def test_a_mistake_is_one_line_all_the_same(mistake: Callable[..., str], runs: Path, tmp_path: Path, name: str) -> None:
    words = [word for word in words_of(name, runs, tmp_path / "x") if not word.startswith("run=")]
    assert "run must be" in mistake(name, *words, "run=nowhere", "--json")


@pytest.mark.parametrize("name", [n for n in ("evaluate", "predict", "export", "reproduce", "report") if is_script(n)])
def test_the_help_names_it(script: Script, name: str) -> None:
    assert "--json" in script(name, "--help").output
