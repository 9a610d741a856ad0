"""What a sweep shows: a line for each job that ends, and on a terminal a bar below them."""

import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlplab.runs.lock import Lock
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.sweep_progress import SweepProgress, duration

LONG = "a_name_that_is_much_too_long_for_a_table_of_eighty_columns_and_goes_on_and_on"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def entries(n: int, name: str = "seed", swept: str = "seed") -> list[Entry]:
    return [Entry(number, f"{number}_{name}", {swept: number}, [f"{swept}={number}"]) for number in range(n)]


def write(directory: Path, status: dict[str, Any], objective: float | None = None) -> None:
    directory.mkdir(exist_ok=True)
    if objective is not None:
        (directory / "result.json").write_text(json.dumps({"objective": objective, "epochs": 7}))
    (directory / "status.json").write_text(json.dumps(status))


def finish(directory: Path, objective: float) -> None:
    write(directory, {"state": "finished", "seconds": {"fit": 1.25, "test": 0.25}}, objective)


def watching(directory: Path, jobs: list[Entry], mode: str = "min") -> SweepProgress:
    progress = SweepProgress(directory, monitor="val/loss", mode=mode)
    progress.extend(jobs)
    return progress


def test_when_piped_each_job_that_ends_is_a_plain_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = entries(4)
    finish(tmp_path / jobs[0].directory, 0.1)  # by an earlier launch
    with watching(tmp_path, jobs[1:]):
        finish(tmp_path / jobs[2].directory, 0.25)
        write(tmp_path / jobs[1].directory, {"state": "failed", "infeasible": True, "reason": "diverged; try less\n"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert {line.partition("] ")[2].partition(";")[0] for line in lines} == {
        "infeasible 1_seed  diverged", "finished   2_seed  val/loss 0.25, 1.5 s",
    }  # fmt: skip
    assert re.fullmatch(r"\[2/3\] .*; about \d+ s left", lines[1])


def test_a_job_that_ended_in_an_earlier_launch_is_told_when_it_ends_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (job,) = entries(1)
    write(tmp_path / job.directory, {"state": "failed", "reason": "memory"})
    with watching(tmp_path, [job]) as progress:
        progress._look()
        assert capsys.readouterr().out == ""
        finish(tmp_path / job.directory, 0.5)
    assert capsys.readouterr().out == "[1/1] finished   0_seed  val/loss 0.5, 1.5 s\n"


def test_names_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = Entry(0, "0_\x1b[2Jx", {}, [])
    with watching(tmp_path, [job]):
        finish(tmp_path / job.directory, 0.5)
    assert "\x1b" not in capsys.readouterr().out


def test_on_a_terminal_a_bar_counts_what_runs_and_tells_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    jobs = entries(20, LONG, swept="optimizer.lr")
    progress = watching(tmp_path, jobs, mode="max")
    locks = []
    with progress:
        for job in jobs[:12]:
            finish(tmp_path / job.directory, job.number / 10)
        write(tmp_path / jobs[12].directory, {"state": "failed", "reason": "memory"})
        for job in jobs[13:15]:
            write(tmp_path / job.directory, {"state": "running", "epoch": 3})
            locks.append(Lock(tmp_path / job.directory / ".lock"))
            locks[-1].acquire()
        progress._look()
        summary = progress._summary()
        for lock in locks:
            lock.release()
    assert re.fullmatch(rf"\[13/20\] 2 running, 1 failed; about \d+ s left; best 1\.1 of 11_{LONG}", summary)
    assert out.getvalue().count("] finished ") == 12


def test_the_cursor_comes_back_even_when_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    progress = watching(tmp_path, entries(1))
    progress.__enter__()
    assert "\x1b[?25l" in out.getvalue()

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "_look", interrupted)
    progress._stop.set()
    with pytest.raises(KeyboardInterrupt):
        progress.__exit__(None, None, None)
    assert "\x1b[?25h" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (89.4, "89 s"), (90, "2 min"), (5339, "89 min"), (5400, "1 h 30 min"), (86_400, "24 h 0 min")],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_seeds_data_and_losses_have_no_best_single_run(tmp_path: Path) -> None:
    for swept in ("seed", "data", "data.path", "loss", "loss.label_smoothing"):
        progress = watching(tmp_path, entries(2, swept=swept))
        with progress:
            finish(tmp_path / "0_seed", 0.1)
        assert "best" not in progress._summary()


def test_what_earlier_launches_have_ended_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = entries(4)
    for job in jobs[:2]:
        finish(tmp_path / job.directory, 0.1)
    write(tmp_path / jobs[2].directory, {"state": "failed", "reason": "memory"})
    progress = SweepProgress(tmp_path, monitor="val/loss", mode="min", n_ended=3)
    progress.extend(jobs[2:])  # the failed one runs once more
    with progress:
        finish(tmp_path / jobs[2].directory, 0.2)
        finish(tmp_path / jobs[3].directory, 0.2)
    assert [line[:5] for line in capsys.readouterr().out.splitlines()] == ["[3/4]", "[4/4]"]


def test_jobs_that_end_early_say_nothing_of_the_time_left(tmp_path: Path) -> None:
    """Thirty networks of a stack diverge at once; the others train for minutes."""
    jobs = entries(32)
    progress = SweepProgress(tmp_path, monitor="val/loss", mode="min", max_epochs=100)
    progress.extend(jobs)
    with progress:
        for job in jobs[:30]:
            write(tmp_path / job.directory, {"state": "failed", "infeasible": True, "reason": "diverged"})
        progress._look()
        assert "left" not in progress._summary()
        finish(tmp_path / jobs[30].directory, 0.1)
        started = (datetime.now(UTC) - timedelta(seconds=10)).isoformat()
        lock = Lock(tmp_path / jobs[31].directory / ".lock")
        write(tmp_path / jobs[31].directory, {"state": "running", "epoch": 4, "started": started})
        lock.acquire()
        progress._look()
        assert "about 4 min left" in progress._summary()
        lock.release()
