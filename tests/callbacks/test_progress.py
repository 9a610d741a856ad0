import re
import sys
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from mlplab.callbacks import progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def sit_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # In the test itself: pytest puts its own stream in place when the set-up is over.
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


QUICK = ["data=wine", "trainer.max_epochs=3", "callbacks=minimal", "logger=none"]


def test_on_a_terminal_the_line_is_drawn_over_and_taken_away(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = sit_at_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "ON_TERMINAL_SECONDS", 0.0)
    train_run(*QUICK)
    text = screen.getvalue()
    assert "epoch 2/3" in text
    assert "val/accuracy" in text
    assert "\n" not in text
    assert text.endswith("\r\033[K")


def test_the_line_fits_a_terminal_also_one_that_becomes_narrower(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = sit_at_a_terminal(monkeypatch)
    widths = iter([40, 12])
    monkeypatch.setattr(progress, "ON_TERMINAL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_columns", lambda: next(widths, 12))
    train_run(*QUICK, "trainer.max_epochs=1")
    # 28 characters lie in three rows of 12: the line goes back by two, and clears what is below.
    lines = re.match(r"\r\x1b\[K(.{25,36})\x1b\[2A\r\x1b\[J(.{11})\r\x1b\[K(.{11})\r", screen.getvalue())
    assert lines is not None
    assert re.fullmatch(r"epoch 1/1  25%  \d+ s  step 1", lines[1])
    assert [lines[2], lines[3]] == ["epoch 1/1  ", "epoch 1/1  "]


def drawn(
    patch: pytest.MonkeyPatch,
    *,
    max_epochs: int = 3,
    max_steps: int = -1,
    n_batches: float = 4,
    columns: int = 80,
) -> str:
    """Returns the line after the sixth step, in the second epoch."""
    metrics = {"train/loss": 0.12341, "val/loss": 0.23451, "val/accuracy": 0.9615}
    limits = {"max_epochs": max_epochs, "max_steps": max_steps}
    at: Any = SimpleNamespace(
        **limits, current_epoch=1, global_step=6, num_training_batches=n_batches, callback_metrics=metrics
    )
    screen = sit_at_a_terminal(patch)
    patch.setattr(progress, "ON_TERMINAL_SECONDS", 0.0)
    patch.setattr(progress, "_columns", lambda: columns)
    progress.ProgressLine().on_train_batch_end(at, SimpleNamespace(), None, None, 1)  # type: ignore[arg-type]
    return screen.getvalue().removeprefix("\r\033[K")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (99, "epoch 2/3  50%  0 s  val/loss 0.2345  val/accuracy 0.9615  train/loss 0.1234  step 6"),
        (80, "epoch 2/3  50%  0 s  val/loss 0.2345  val/accuracy 0.9615  train/loss 0.1234"),
        (40, "epoch 2/3  50%  0 s  val/loss 0.2345"),
        (12, "epoch 2/3  "),
    ],
)
def test_what_does_not_fit_is_left_out(columns: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, columns=columns) == shown


@pytest.mark.parametrize(
    ("limits", "begin"),
    [
        ({"max_steps": 8}, "epoch 2/3  75%  0 s"),
        ({"max_steps": 8, "max_epochs": -1}, "epoch 2  75%  0 s"),
        ({"max_epochs": -1}, "epoch 2  0 s"),
        ({"n_batches": float("inf")}, "epoch 2/3  33%  0 s"),
    ],
)
def test_the_percent_is_that_of_the_run(limits: dict[str, Any], begin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, **limits).startswith(begin)


def test_it_is_drawn_by_the_clock_not_by_the_step(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = sit_at_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "ON_TERMINAL_SECONDS", 1e9)
    train_run(*QUICK)
    assert screen.getvalue() == "\r\033[K"


def test_elsewhere_it_is_quiet_in_a_short_run(train_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    train_run(*QUICK)
    assert capsys.readouterr().err == ""


def test_it_can_be_turned_off_by_the_trainers_flag(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = sit_at_a_terminal(monkeypatch)
    train_run(*QUICK, "+trainer.enable_progress_bar=false", "~callbacks.progress")
    assert screen.getvalue() == ""


def test_in_a_notebook_one_line_of_the_cell_is_updated(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[list[str]] = []

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> SimpleNamespace:
        assert raw
        assert display_id
        cell = [data["text/plain"]]
        shown.append(cell)
        return SimpleNamespace(update=lambda data, raw: cell.append(data["text/plain"]))

    kernel = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))  # type: ignore[arg-type]
    monkeypatch.setattr(progress, "IN_NOTEBOOK_SECONDS", 0.0)
    train_run(*QUICK)
    (lines,) = shown
    assert lines[0].startswith("epoch 1/3   8%")
    assert re.fullmatch(r"epoch 3/3 100%  \d+ s  val/loss .*  step 12", lines[-1])
    assert capsys.readouterr().err == ""


def test_a_run_can_be_silent(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = sit_at_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "ON_TERMINAL_SECONDS", 0.0)
    run = train_run(*QUICK, "verbose=false")
    assert (capsys.readouterr().out, screen.getvalue()) == ("", "")
    assert "epoch limit" in (run.directory / "train.log").read_text()
