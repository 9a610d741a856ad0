"""The heads of experiments, as they are read from the files of conf/experiment/ and shown."""

from pathlib import Path

import pytest
from launching import launch, run_program
from omegaconf import OmegaConf
from parts import needs

from mlplab.config.experiment_heads import as_lines, chosen_heads, read_head

HEAD = """# @package _global_
#
# Why this is tried, in a sentence
# of two lines.
#
# Shows:    a curve, and
#           another.
# Takes:    no time.
model:
  dropout: 0.0 # not part of it
# nor this
"""


def test_a_head_is_its_first_text_and_an_entry_for_each_key(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(HEAD, encoding="utf-8")
    assert read_head(path) == [
        ("about", "Why this is tried, in a sentence of two lines."),
        ("shows", "a curve, and another."),
        ("takes", "no time."),
    ]


@pytest.mark.parametrize("text", ["", "model: {}\n", "# @package _global_\n\nmodel: {}\n"])
def test_a_file_without_a_comment_has_no_head(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_head(path) == []


def test_items_of_a_list_and_further_paragraphs_keep_lines_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("# Mine: one.\n# - first\n# - second\n#\n# Two.\n", encoding="utf-8")
    assert read_head(path) == [("about", "Mine: one."), ("", "- first"), ("", "- second"), ("", "Two.")]


def test_lines_fit_the_terminal_and_are_indented_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = as_lines([("about", "word " * 30), ("shows", "https://" + "x" * 100)])
    assert max(len(line) for line in lines if "://" not in line) <= 60
    assert lines[0].startswith("about   word")
    assert lines[1].startswith("        word")


def hydra(root: Path, choice: object, *words: str) -> object:
    sources = [{"path": str(root / "conf"), "schema": "file"}, {"path": "mlplab.conf", "schema": "pkg"}]
    runtime = {"choices": {"experiment": choice}, "config_sources": sources}
    return OmegaConf.create({"runtime": runtime, "overrides": {"task": list(words)}})


@pytest.mark.parametrize(
    ("choice", "words", "n"),
    [
        (None, (), 0),
        ("hidden_layers", (), 1),  # from the defaults of a config.yaml
        ("hidden_layers", ("experiment=hidden_layers",), 1),
        (None, ("seed=0,1", "experiment=hidden_layers,batch_sizes"), 2),  # of a sweep over both
        ("['hidden_layers','batch_sizes']", ("experiment=[hidden_layers,batch_sizes]",), 2),
        ("published/mnist_plain", ("+experiment=published/mnist_plain",), 1),
    ],
)
@needs("sweeps", "tables")  # of which these are
def test_the_chosen_experiments_are_found(root: Path, choice: object, words: tuple[str, ...], n: int) -> None:
    heads = chosen_heads(hydra(root, choice, *words))  # type: ignore[arg-type]
    assert [key for key, _ in heads].count("about") == n


def test_a_sweep_tells_the_head_once_and_each_job_logs_it(tmp_path: Path) -> None:
    words = ["experiment=hidden_layers", "trainer.max_epochs=1", "logger=none", "callbacks=minimal"]
    done = launch(words, tmp_path)
    assert done.status == 0, done.stdout + done.stderr
    assert done.stdout.startswith("about   What hidden layers are for")
    assert done.stdout.count("What hidden layers are for") == 1
    logs = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("train.log")]
    assert len(logs) == 3
    assert all(log.count("about   What hidden layers are for") == 1 for log in logs)


def test_a_run_tells_the_head_before_its_data(tmp_path: Path) -> None:
    words = ["experiment=learning_rate_range_test", "callbacks.learning_rate_range.n_steps=20", "logger=none"]
    done = run_program("train.py", [*words, f"paths.logs={tmp_path}"], tmp_path)
    assert done.status == 0, done.stdout + done.stderr
    assert done.stdout.index("about   Which learning rate") < done.stdout.index("source  Smith 2017")
    assert done.stdout.index("source  Smith 2017") < done.stdout.index("data    digits")
