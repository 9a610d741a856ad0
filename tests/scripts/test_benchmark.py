"""The benchmark: its words, its figures and its page, with the two contestants that need no extra."""

import json
import re
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def benchmark(script: Any, monkeypatch: pytest.MonkeyPatch, root: Path) -> Any:
    monkeypatch.syspath_prepend(str(root / "scripts"))
    return lambda *words: script("benchmark", *words)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("workloads=[S,Q]", ", got [S,Q]; try 'workloads=[S]'"),
        ("workloads=[]", "workloads must name at least one"),
        ("contestants=[templat]", "try 'contestants=[template]'"),
        ("rounds=0", "rounds must be a positive integer"),
        ("json=nowhere/figures.json", "files must be written to a folder that exists"),
    ],
)
def test_wrong_words_are_refused_in_one_line(benchmark: Any, word: str, message: str) -> None:
    done = benchmark(word)
    assert done.status == 2
    assert message in done.errors
    assert done.errors.count("\n") == 1


def test_the_figures_of_a_page_are_not_written_over(benchmark: Any, tmp_path: Path) -> None:
    done = benchmark("workloads=[S]", f"json={tmp_path / 'page.json'}", f"page={tmp_path / 'page.md'}")
    assert done.status == 2
    assert "json must be another file" in done.errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{", "[]", '{"S": 1}', '{"S": {"figures": {}}}', "\xff"])
def test_a_page_whose_figures_are_broken_is_refused_before_anything_is_measured(
    benchmark: Any, tmp_path: Path, content: str
) -> None:
    (tmp_path / "page.json").write_bytes(content.encode("latin-1"))
    done = benchmark("workloads=[S]", f"page={tmp_path / 'page.md'}")
    assert done.status == 2
    assert "the file beside a page must hold its figures" in done.errors
    assert (tmp_path / "page.json").read_bytes() == content.encode("latin-1")


FIGURES = (
    "us_per_step", "ratio", "ratio_least", "ratio_most", "samples_per_second", "first_step_seconds", "command_seconds",
    "peak_memory_mb", "accuracy",
)  # fmt: skip


@pytest.mark.slow
def test_figures_and_page(benchmark: Any, tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    words = ["workloads=[S]", "contestants=[template,scikit_learn]", "rounds=1", f"json={figures}", f"page={page}"]
    of_another_day = {"template": dict.fromkeys(FIGURES, 0.75)}
    page.with_suffix(".json").write_text(json.dumps({"L": {"measured": "once", "figures": of_another_day}}))
    done = benchmark(*words)
    assert done.status == 0, done.errors
    rows = json.loads(figures.read_text())["S"]
    assert list(rows) == ["best_loop", "template", "scikit_learn"]
    assert rows["best_loop"]["ratio"] == 1
    assert all(row["us_per_step"] > 20 for row in rows.values())
    assert all(row["accuracy"] > 0.9 for row in rows.values())
    assert min(rows["template"][f"{name}_seconds"] for name in ("command", "first_step")) > 0
    assert "json=" not in page.read_text()  # a page is read on other machines
    of_s, of_l = page.read_text().split("\n## ")[1:]
    assert len(re.findall(r"^\| (?:this template|best|scikit)", of_s, re.MULTILINE)) == 3
    assert "once" in of_l
    assert "0.75 (0.75 to 0.75)" in of_l
    kept = json.loads(page.with_suffix(".json").read_text())
    assert kept["S"]["figures"] == rows
    assert kept["L"]["figures"] == of_another_day
    assert (tmp_path / "figures" / "page.png").stat().st_size > 5000
