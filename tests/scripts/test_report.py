import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from launching import run_program
from sweeps.making import GRID_SPACE, MANY_SPACE, grid, search, write_sweep

from mlplab.report import report_files
from mlplab.runs.files import write_atomically

Script = Callable[..., SimpleNamespace]
Mistake = Callable[..., str]
Process = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep; tests that write take a copy."""
    folder = tmp_path_factory.mktemp("sweeps")
    write_sweep(folder / "lr_study", grid(3), space=GRID_SPACE)
    return folder


@pytest.fixture(autouse=True)
def _drawn_once(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Within this process nothing is rendered, which takes most of the time; other processes render."""
    monkeypatch.setattr(report_files, "render", lambda spec: dict.fromkeys(("svg", "png", "pdf"), b"picture"))
    monkeypatch.setattr(report_files, "browser_bundle", str)
    monkeypatch.setattr(sys, "prefix", str(tmp_path_factory.mktemp("environment")))


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "lr_study", tmp_path / "lr_study")
    return tmp_path / "lr_study"


HEAVY = ("torch", "lightning", "sklearn", "optuna", "scipy", "pandas")

TELLING = f"""
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(*({set(HEAVY)} & set(sys.modules)), file=sys.stderr)
"""
"""Runs a script, and tells which heavy packages it has imported."""


def test_a_report_is_written_from_any_folder_by_a_process_of_its_own(tmp_path: Path, root: Path) -> None:
    """Without repeated seeds and a search, it imports nothing heavy: a report starts in a second, not in four."""
    sweep = write_sweep(tmp_path / "few", grid(1), space=GRID_SPACE)
    command = [sys.executable, "-c", TELLING, str(root / "scripts" / "report.py"), "few"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "\n")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "• optimizer=adam, lr=0.01 is best: val/loss" in done.stdout
    assert done.stdout.endswith(
        "report          few/report.html\nleaderboard.csv few/leaderboard.csv\nleaderboard.tex few/leaderboard.tex\n"
        "leaderboard.md  few/leaderboard.md\nruns.csv        few/runs.csv\nfigures         few/figures\n"
    )
    assert (sweep / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert len((sweep / "leaderboard.csv").read_text(encoding="utf-8").splitlines()) == 9
    drawn = {path.name for path in (sweep / "figures").iterdir()}
    stems = {Path(name).stem for name in drawn}
    assert {"effects", "main", "parallel", "curves_val_loss"} <= stems
    assert drawn == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png", "pdf")}
    assert not list(sweep.rglob(".*.tmp"))


@pytest.mark.slow
def test_within_the_sweeps_own_folder_too(sweep: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweep)
    done = script("report", ".")
    assert done.status == 0
    assert done.output.startswith("lr_study  24 runs of 8 settings")
    assert "report          report.html" in done.output


def test_json_is_all_there_is_on_standard_output(sweep: Path, script: Script) -> None:
    done = script("report", "--json", str(sweep))
    assert (done.status, done.errors) == (0, "")
    content = json.loads(done.output)
    assert content["sweep"] == "lr_study"
    assert len(content["leaderboard"]) == 8
    assert content["leaderboard"][0]["optimizer"] == "adam"
    assert (sweep / "report.html").exists()


@pytest.mark.slow
def test_a_reader_who_has_seen_enough_is_no_failure(sweep: Path, process: Process) -> None:
    done = process("report", "lr_study", folder=sweep.parent)
    assert done.stdout is not None
    done.stdout.close()
    assert done.stderr is not None
    with done.stderr as errors:
        assert errors.read() == ""
    assert done.wait(timeout=60) == 0
    assert (sweep / "report.html").exists()


def test_the_jobs_are_left_as_they_are(sweep: Path, script: Script) -> None:
    def content() -> dict[str, bytes]:
        kept = [sweep / "sweep.json", *sweep.glob("*_job/*")]
        return {str(path): path.read_bytes() for path in kept}

    before = content()
    assert script("report", str(sweep)).status == 0
    assert content() == before


@pytest.mark.slow
def test_again_after_more_jobs_it_tells_of_them(tmp_path: Path, script: Script) -> None:
    jobs = grid(2)
    write_sweep(tmp_path / "s", [{**part, "state": "waiting"} if n > 5 else part for n, part in enumerate(jobs)])
    assert "10 of 16 runs have not ended" in script("report", str(tmp_path / "s")).output
    write_sweep(tmp_path / "s", jobs)
    output = script("report", str(tmp_path / "s")).output
    assert "have not ended" not in output
    assert "16 runs of 8 settings" in output


def test_while_a_job_is_running_it_is_told(sweep: Path, script: Script) -> None:
    import fcntl

    status = sweep / "0_job" / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "running"}))
    with (sweep / "0_job" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "1 running" in script("report", str(sweep)).output


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "sweep must be given"),
        (["{made}/lr_studi"], "there is no"),
        (["{made}/lr_study", "ot=x"], "options must be"),
    ],
)
def test_mistakes_are_one_line(made: Path, mistake: Mistake, words: list[str], part: str) -> None:
    assert part in mistake("report", *(word.format(made=made) for word in words))


def test_a_damaged_sweep_is_one_line(sweep: Path, mistake: Mistake) -> None:
    (sweep / "sweep.json").write_text('{"format": 1, ')
    assert "sweep.json" in mistake("report", str(sweep))
    assert not (sweep / "report.html").exists()


@pytest.mark.slow
def test_a_folder_in_the_way_of_a_file_is_one_line(sweep: Path, mistake: Mistake) -> None:
    (sweep / "report.html").mkdir()
    assert "must be writable" in mistake("report", str(sweep))


@pytest.mark.slow
def test_interrupted_it_leaves_no_half_of_a_file(sweep: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    write = report_files.write_bytes
    written: list[Path] = []

    def interrupted(path: Path, content: bytes) -> None:
        def fill_half(temporary: Path) -> None:
            temporary.write_bytes(content[: len(content) // 2])
            signal.raise_signal(signal.SIGINT)

        if len(written) == 3:
            write_atomically(path, fill_half)
        write(path, content)
        written.append(path)

    monkeypatch.setattr(report_files, "write_bytes", interrupted)
    done = script("report", str(sweep))
    assert done.status == 130
    assert done.errors.count("\n") == 1
    assert sorted((sweep / "figures").iterdir()) == sorted(written)
    assert not list(sweep.rglob(".*.tmp"))
    assert not (sweep / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "most", "are_files"),
    [([], 2_000, True), ([], 10, False), (["figures=true"], 10, True), (["figures=false"], 2_000, False)],
)
def test_figures_are_files_unless_there_are_many_runs(
    sweep: Path, script: Script, monkeypatch: pytest.MonkeyPatch, words: list[str], most: int, are_files: bool
) -> None:
    monkeypatch.setattr(report_files, "MOST_WITH_FILES", most)
    done = script("report", str(sweep), *words)
    assert (done.status, done.errors) == (0, "")
    assert ("figures=true writes them as files" in done.output) != are_files
    assert (sweep / "figures").exists() == are_files
    page = (sweep / "report.html").read_text(encoding="utf-8")
    assert ('<a href="figures/' in page) == are_files
    assert page.count('class="chart"') > 3


def test_the_script_of_figures_is_made_once(
    sweep: Path, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []
    monkeypatch.setattr(report_files, "browser_bundle", lambda: made.append("") or "/* the script */")
    for environment in ("one", "one", "two"):
        monkeypatch.setattr(sys, "prefix", str(tmp_path / environment))
        assert script("report", str(sweep)).status == 0
        assert "/* the script */" in (sweep / "report.html").read_text(encoding="utf-8")
    assert len(made) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "file"))  # nothing can be kept there
    assert script("report", str(sweep)).status == 0
    assert len(made) == 3


def train(folder: Path, *words: str) -> None:
    done = run_program("train.py", [*words, f"paths.logs={folder}", "callbacks=minimal"], folder)
    assert done.status == 0, done.stderr


@pytest.fixture(scope="module")
def real_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that train.py has made."""
    folder = tmp_path_factory.mktemp("real")
    train(folder, "-m", "sweep.name=real", "data=iris", "trainer.max_epochs=3", "optimizer.lr=0.01,0.1", "seed=0,1")
    return folder / "sweeps" / "real"


def test_of_a_real_sweep_everything_is_found(real_sweep: Path, script: Script) -> None:
    content = json.loads(script("report", str(real_sweep), "--json").output)
    assert content["states"] == {"finished": 4}
    best = content["leaderboard"][0]
    assert best["finished"] == 2
    assert best["test/accuracy mean"] is not None
    assert best["seconds mean"] > 0
    assert best["command"].split()[:4] == ["python", "train.py", "-m", "data=iris"]
    page = (real_sweep / "report.html").read_text(encoding="utf-8")
    assert "Validation and training loss" in page
    assert "data.name: iris (conf/: digits)" in page


@pytest.mark.slow
def test_a_command_of_the_leaderboard_gives_the_same_result(real_sweep: Path, script: Script, tmp_path: Path) -> None:
    best = json.loads(script("report", str(real_sweep), "--json").output)["leaderboard"][0]
    train(tmp_path, *best["command"].split()[2:], "sweep.name=again")
    results = [json.loads(path.read_text()) for path in (tmp_path / "sweeps" / "again").glob("*/result.json")]
    assert sum(result["objective"] for result in results) / 2 == pytest.approx(best["val/loss mean"], rel=1e-12)


MEASURED = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(used.ru_utime + used.ru_stime, most, others.ru_utime + others.ru_stime, others.ru_maxrss, file=sys.stderr)
"""
"""Runs a script, and tells its seconds of the processor and the most memory that it had, in KiB; then those of its
processes: the memory is that of the largest.

Its own not by `ru_maxrss`, which counts what pytest had when it began the process.
"""


@pytest.mark.slow
def test_ten_thousand_runs_take_little_time_memory_and_space(tmp_path: Path, root: Path) -> None:
    """Run with -s, it gives the figures of docs/reports.md."""
    write_sweep(tmp_path / "many", search(10_000, epochs=50), space=MANY_SPACE, sweeper="optuna")
    script = [sys.executable, "-c", MEASURED, str(root / "scripts" / "report.py"), str(tmp_path / "many")]
    began = time.monotonic()
    done = subprocess.run(script, check=True, capture_output=True, text=True, timeout=300)
    wall = time.monotonic() - began
    seconds, kibibytes, seconds_of_others, kibibytes_of_others = map(float, done.stderr.split())
    page = tmp_path / "many" / "report.html"
    size = page.stat().st_size
    told = f"{seconds:.1f} s of the processor ({wall:.1f} s by the clock), {kibibytes / 1024:.0f} MiB"
    others = f"{seconds_of_others:.1f} s and {kibibytes_of_others / 1024:.0f} MiB in processes of its own"
    print(f"{told}; {others}; a page of {size / 1e6:.1f} MB")
    assert seconds < 60
    assert max(kibibytes, kibibytes_of_others) < 3e8 / 1024
    assert size < 5e6
    assert page.read_text(encoding="utf-8").count("<tr data-s=") == 10_000
