"""A sweep as a user runs it: again, further, killed, stopped, by two at once, and over what is damaged."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from comparing import difference
from launching import AFTER_EVERY_EPOCH, SMALL, Done, Signal, launch
from slow_cases import slow

from mlplab.parts import is_there
from mlplab.runs.lock import Lock

WORDS = [*SMALL, AFTER_EVERY_EPOCH, "sweep.name=study", "optimizer=sgd,adam", "seed=0,1"]
NAMES = ["0_optimizer-sgd_seed-0", "1_optimizer-sgd_seed-1", "2_optimizer-adam_seed-0", "3_optimizer-adam_seed-1"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A sweep that was never interrupted: its logs, and what it said."""
    folder = tmp_path_factory.mktemp("never_stopped")
    return folder, launch(WORDS, folder)


@pytest.fixture
def copy(done: tuple[Path, Done], tmp_path: Path) -> Path:
    """The logs of that sweep, to go on with."""
    shutil.copytree(done[0] / "sweeps", tmp_path / "sweeps")
    return tmp_path


def ledger(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "sweeps" / "study" / "sweep.json").read_text())
    return content


def everything(folder: Path) -> dict[str, bytes]:
    """All files of the sweeps, but for the empty file of the lock."""
    paths = sorted(path for path in (folder / "sweeps").rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def runs(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "sweeps" / "study").iterdir() if path.is_dir())


def assert_alike(folder: Path, never_stopped: Path) -> None:
    for name in NAMES:
        assert difference(folder / "sweeps" / "study" / name, never_stopped / "sweeps" / "study" / name) == ""


def test_each_job_is_run_once_and_told_in_one_line(done: tuple[Path, Done]) -> None:
    folder, said = done
    assert said.status == 0, said.stderr
    assert said.stderr == ""
    lines = said.stdout.splitlines()
    assert lines[0] == "sweep   sweeps/study: 4 jobs, 4 to do"
    for number, (line, name) in enumerate(zip(lines[1:5], NAMES, strict=True), 1):
        assert re.match(rf"\[{number}/4\] finished   {name}  val/loss \d", line)
    assert lines[5].startswith("best    val/loss ")
    if is_there("report"):
        assert re.fullmatch(r"report  \S+ \S*scripts/report.py sweeps/study", lines[6])
    assert "\x1b" not in said.stdout
    assert runs(folder) == NAMES


def test_a_dry_run_lists_the_jobs_and_writes_nothing(copy: Path) -> None:
    before = everything(copy)
    said = launch([*WORDS[:-1], "seed=0,2", "--cfg", "job", "--resolve", "-p", "model"], copy)
    assert said.status == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0] == "sweep   sweeps/study: 4 jobs, of which none is run now (sweep.dry_run=true)"
    assert lines[1] == f"finished  sweeps/study/{NAMES[0]}  optimizer=sgd seed=0"
    assert lines[2] == "waiting   sweeps/study/4_optimizer-sgd_seed-2  optimizer=sgd seed=2"
    assert everything(copy) == before


@pytest.mark.slow
def test_an_option_that_conf_has_gained_takes_its_default(copy: Path) -> None:
    path = copy / "sweeps" / "study" / "sweep.json"
    content = json.loads(path.read_text())
    for config in content["configs"].values():  # as if conf/ had had no such option when the sweep began
        del config["model"]["residual"]
    path.write_text(json.dumps(content))
    typed = launch([*WORDS, "model.residual=false"], copy)
    assert "model.residual=false instead of nothing" in typed.stderr
    for told in (True, False):  # once
        again = launch(WORDS, copy)
        assert again.status == 0, again.stderr
        assert ("new     model.residual=false: the sweep began without" in again.stdout) is told
        assert "4 jobs (4 finished), 0 to do" in again.stdout


def test_a_default_that_was_changed_in_conf_is_told_with_the_word_that_keeps_it(copy: Path) -> None:
    path = copy / "sweeps" / "study" / "sweep.json"
    content = json.loads(path.read_text())
    for config in content["configs"].values():
        config["regularization"]["l2"] = 0.25
    path.write_text(json.dumps(content))
    said = launch(WORDS, copy).stderr
    assert "regularization.l2=0.0 instead of 0.25, as conf/ has it now" in said
    assert "try regularization.l2=0.25, to go on as it was, or another sweep.name" in said


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(["seed=1", "optimizer=sgd,adam"], id="some of them", marks=pytest.mark.slow),
        pytest.param(
            ["optimizer=adam,sgd,adam", "seed=range(0,2)", "sweep.retry_failed=true", "trainer.threads=2"],
            id="another order and spelling, on other cores",
        ),
    ],
)
def test_what_has_finished_is_left_alone(copy: Path, again: list[str]) -> None:
    before = everything(copy)
    said = launch([*SMALL, AFTER_EVERY_EPOCH, "sweep.name=study", *again], copy)
    assert said.status == 0, said.stderr
    assert "0 to do" in said.stdout
    after = everything(copy)
    assert {path for path in before if before[path] != after.get(path)} == {"sweeps/study/sweep.json"}
    assert set(after) == set(before)
    assert len(ledger(copy)["commands"]) == 2


def test_a_sweep_that_was_killed_before_its_first_job_goes_on(copy: Path) -> None:
    study = copy / "sweeps" / "study"
    for name in NAMES:
        shutil.rmtree(study / name)
    (study / ".lock").write_text(json.dumps({"process": 0, "host": "here"}))
    left = [".sweep.json.0123456789abcdef.tmp", "figures/.regret.svg.0123456789abcdef.tmp"]
    (study / "figures").mkdir()
    for name in left:
        (study / name).touch()
    said = launch([*SMALL, AFTER_EVERY_EPOCH, "sweep.name=study", "optimizer=sgd", "seed=0"], copy)
    assert said.status == 0, said.stderr
    assert "1 to do" in said.stdout
    assert not any((study / name).exists() for name in left)


def test_a_job_that_was_killed_goes_on_and_the_sweep_ends_as_if_it_had_not_been(
    done: tuple[Path, Done], tmp_path: Path
) -> None:
    for updates, cut_off in ((6, NAMES[0]), (18, NAMES[1])):
        assert launch(WORDS, tmp_path, Signal(signal.SIGKILL, updates)).status == -signal.SIGKILL
        status = json.loads((tmp_path / "sweeps" / "study" / cut_off / "status.json").read_text())
        assert status["state"] == "running"  # nobody was left to write anything else
    said = launch(WORDS, tmp_path)
    assert said.status == 0, said.stderr
    assert "(1 finished, 1 cut off), 3 to do" in said.stdout
    assert_alike(tmp_path, done[0])
    resumed = [len(json.loads((tmp_path / "sweeps" / "study" / n / "manifest.json").read_text()).get("resumed", []))
               for n in NAMES]  # fmt: skip
    assert resumed == [1, 1, 0, 0]
    assert len(ledger(tmp_path)["commands"]) == 3


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="SIGINT"),
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, id="SIGHUP", marks=pytest.mark.slow),
    ],
)
def test_a_signal_leaves_a_sweep_that_goes_on(done: tuple[Path, Done], tmp_path: Path, number: signal.Signals) -> None:
    said = launch(WORDS, tmp_path, Signal(number, 22))
    assert said.status == 128 + number
    (line,) = said.stderr.splitlines()
    assert line.endswith("all of it is saved; the same command goes on with the sweep")
    assert runs(tmp_path) == NAMES[:2]  # what was waiting has not begun
    status = json.loads((tmp_path / "sweeps" / "study" / NAMES[1] / "status.json").read_text())
    assert status["state"] == "stopped"
    if number == signal.SIGINT:
        said = launch(WORDS, tmp_path)
        assert said.status == 0, said.stderr
        assert "(1 finished, 1 stopped), 3 to do" in said.stdout
        assert_alike(tmp_path, done[0])


def test_a_grown_grid_keeps_its_numbers(copy: Path) -> None:
    path = copy / "sweeps" / "study" / "sweep.json"
    path.write_text(json.dumps({**ledger(copy), "seconds": 1000.0}))
    before = everything(copy)
    said = launch([*WORDS[:-2], "seed=2,1,0", "optimizer=adam", "optimizer.lr=0.1,1e-3"], copy)
    assert said.status == 0, said.stderr
    assert ledger(copy)["seconds"] > 1000.0  # of all launches
    assert "6 jobs (2 finished), 4 to do" in said.stdout
    after = everything(copy)
    assert all(after[path] == content for path, content in before.items() if not path.endswith("sweep.json"))
    jobs = ledger(copy)["jobs"]
    assert [job["number"] for job in jobs] == list(range(8))
    assert [job["values"]["optimizer.lr"] for job in jobs[:4]] == [0.1, 0.1, 0.001, 0.001]  # as conf/optimizer has them
    assert all(set(job["values"]) == {"optimizer", "seed", "optimizer.lr"} for job in jobs)
    assert len({tuple(sorted(map(str, job["values"].items()))) for job in jobs}) == 8
    space = ledger(copy)["space"]
    assert {name: part["values"] for name, part in space.items()} == {
        "optimizer": ["sgd", "adam"], "seed": [0, 1, 2], "optimizer.lr": [0.1, 0.001],
    }  # fmt: skip


@pytest.mark.slow
def test_what_all_jobs_shared_may_be_swept_later(copy: Path) -> None:
    words = [word for word in WORDS if not word.startswith("data=")]
    said = launch([*words[:-1], "data=iris,wine", "seed=0"], copy)
    assert said.status == 0, said.stderr
    assert "4 jobs (2 finished), 2 to do" in said.stdout
    assert [job["values"]["data"] for job in ledger(copy)["jobs"]] == ["wine"] * 4 + ["iris"] * 2
    assert "data=wine" not in ledger(copy)["constants"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["trainer.max_epochs=5"], "trainer.max_epochs=5 instead of 4", marks=pytest.mark.slow),
        pytest.param(["data=iris"], "data.name=iris instead of wine", marks=pytest.mark.slow),
        (["monitor=val/accuracy", "mode=max"], "monitor=val/accuracy instead of val/loss, mode=max instead of min"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_another_configuration_under_the_same_name_is_refused_and_nothing_touched(
    copy: Path, words: list[str], says: str
) -> None:
    before = everything(copy)
    said = launch([*WORDS, *words], copy)
    assert said.status == 2
    (line,) = said.stderr.splitlines()
    assert line.startswith(f"train.py: a sweep that goes on must keep what it was begun with, but {NAMES[0]}: ")
    assert says in line
    assert line.endswith("; try another sweep.name")
    assert everything(copy) == before


def test_a_job_of_another_configuration_is_refused_even_where_the_ledger_agrees(copy: Path) -> None:
    job = copy / "sweeps" / "study" / NAMES[1]
    (job / "status.json").write_text(json.dumps({"state": "stopped"}))
    config = job / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("l2: 0.0", "l2: 0.5"))
    said = launch(WORDS, copy)
    assert said.status == 1
    assert "regularization.l2=0.0 instead of 0.5" in said.stderr


@pytest.mark.slow
def test_failed_jobs_are_retried_when_asked(tmp_path: Path) -> None:
    words = [*SMALL, "sweep.name=study", "optimizer=sgd", "optimizer.lr=0.1,1e20"]
    study = tmp_path / "sweeps" / "study"
    first = launch(words, tmp_path)
    assert first.status == 1
    assert "1 of 2 jobs failed" in first.stdout
    assert re.search(r"\[2/2\] infeasible 1_lr-1e20  diverged: loss ", first.stdout)
    again = launch(words, tmp_path)
    assert again.status == 1
    assert "(1 finished, 1 infeasible), 0 to do" in again.stdout
    assert "1 job failed before; sweep.retry_failed=true runs them again" in again.stdout
    written = (study / "0_lr-0.1" / "result.json").stat().st_mtime_ns
    retried = launch([*words, "sweep.retry_failed=true"], tmp_path)
    assert "(1 finished, 1 infeasible), 1 to do" in retried.stdout
    assert json.loads((study / "1_lr-1e20" / "status.json").read_text())["resumed"] == 1
    assert (study / "0_lr-0.1" / "result.json").stat().st_mtime_ns == written
    assert not any("retry_failed" in word for word in json.loads((study / "sweep.json").read_text())["constants"])


def test_two_at_once_are_refused(copy: Path) -> None:
    before = everything(copy)
    lock = Lock(copy / "sweeps" / "study" / ".lock")
    lock.acquire()
    said = launch([*WORDS, "seed=0,1,2"], copy)
    assert said.status == 2
    (line,) = said.stderr.splitlines()
    assert "a sweep must be run by one process at a time" in line
    assert said.stdout == ""
    lock.release()
    assert everything(copy) == before


def test_a_job_that_runs_elsewhere_is_left_to_it(copy: Path) -> None:
    job = copy / "sweeps" / "study" / NAMES[2]
    (job / "status.json").write_text(json.dumps({"state": "running"}))
    lock = Lock(job / ".lock")
    lock.acquire()
    said = launch(WORDS, copy)
    lock.release()
    assert said.stdout.splitlines()[0] == f"running elsewhere, and left to it: {NAMES[2]}"
    assert "0 to do" in said.stdout
    assert json.loads((job / "status.json").read_text()) == {"state": "running"}


@pytest.mark.slow
def test_its_seconds_are_those_of_all_launches(copy: Path) -> None:
    first = ledger(copy)["seconds"]
    assert first > 0
    launch([*WORDS, "trainer.max_epochs=5"], copy)
    assert ledger(copy)["seconds"] == first  # of one that was refused there are none
    assert launch([*WORDS[:-1], "seed=0,1,2"], copy).status == 0
    second = ledger(copy)["seconds"]
    assert second > first
    assert launch([*WORDS[:-1], "seed=3,4"], copy, Signal(signal.SIGKILL, 20)).status == -signal.SIGKILL
    jobs = [copy / "sweeps" / "study" / job["directory"] / "status.json" for job in ledger(copy)["jobs"][6:]]
    saved = (copy / "sweeps" / "study" / "sweep.json").stat().st_mtime
    killed = max(path.stat().st_mtime for path in jobs if path.exists()) - saved
    before = ledger(copy)["seconds"]
    said = launch([*WORDS[:-1], "seed=0"], copy)
    assert said.status == 1
    assert "1 of 8 jobs has not finished" in said.stdout
    assert said.stdout.count("│ cut off │ its process died: it goes on") == 1
    assert killed > 0
    assert ledger(copy)["seconds"] > before + killed - 0.1  # they are written with one digit


@pytest.mark.parametrize(
    ("name", "must"),
    [
        ("a/b", "the name of a folder"),
        *(
            pytest.param(name, "the name of a folder", marks=pytest.mark.slow)
            for name in ("", "..", ".hidden", "x" * 200)
        ),
    ],
)
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str, must: str) -> None:
    said = launch([*SMALL, f"sweep.name={name}", "seed=0,1"], tmp_path)
    assert said.status == 2
    (line,) = said.stderr.splitlines()
    assert f"sweep.name must be {must}" in line
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.slow
def test_a_name_that_a_file_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "study").write_text("mine")
    said = launch(WORDS, tmp_path)
    assert said.status == 2
    assert "a sweep must have a folder, but sweeps/study is a file" in said.stderr
    assert (tmp_path / "sweeps" / "study").read_text() == "mine"


def test_what_cannot_be_run_is_refused_before_anything_is(tmp_path: Path) -> None:
    for words, says in (
        (["seed=0,1,-1"], "seed must be an integer from 0"),
        (["optimizer.lr=interval(0.1,1)"], "a grid must have values that can be counted"),
    ):
        said = launch([*SMALL, "sweep.name=study", *words], tmp_path)
        assert said.status == 2, words
        (line,) = said.stderr.splitlines()
        assert says in line
    assert not (tmp_path / "sweeps").exists()


def test_a_damaged_ledger_is_told_and_kept(copy: Path) -> None:
    path = copy / "sweeps" / "study" / "sweep.json"
    path.write_text(path.read_text()[:-100])
    before = everything(copy)
    said = launch(WORDS, copy)
    assert said.status == 2
    (line,) = said.stderr.splitlines()
    assert "a sweep's sweep.json must be readable" in line
    assert f"its jobs are still in {path.parent}" in line
    assert everything(copy) == before


@pytest.mark.slow
def test_damaged_jobs_are_told_and_the_others_run(copy: Path) -> None:
    study = copy / "sweeps" / "study"
    (study / NAMES[0] / "status.json").write_text("{")
    (study / NAMES[1] / "status.json").write_text("")
    (study / NAMES[1] / "manifest.json").unlink()
    shutil.rmtree(study / NAMES[2])
    (study / NAMES[2]).mkdir()
    shutil.rmtree(study / NAMES[3])
    kept = {path: content for path, content in everything(copy).items() if NAMES[0] in path or NAMES[1] in path}
    said = launch(WORDS, copy)
    assert said.status == 1
    assert "(2 cut off), 4 to do" in said.stdout
    assert said.stdout.count("] finished ") == 2
    told = said.stderr.splitlines()
    assert len(told) == 2
    assert "must have its status.json" in told[0]
    assert f"rm -r sweeps/study/{NAMES[1]}, to let it begin again" in told[1]
    after = everything(copy)
    assert {path: after[path] for path in kept} == kept
    shutil.rmtree(study / NAMES[3])
    (study / NAMES[3]).write_text("a file")
    said = launch(WORDS, copy)
    assert said.status == 2
    assert f"a job must have a folder, but sweeps/study/{NAMES[3]} is a file" in said.stderr


def test_words_of_a_received_ledger_are_not_run(copy: Path) -> None:
    """Of a job that is there its values count; what it is given are the words typed now."""
    path = copy / "sweeps" / "study" / "sweep.json"
    content = ledger(copy)
    job = content["jobs"][3]
    job["overrides"].append("+callbacks.mine={_target_: builtins.open, file: planted, mode: w}")
    path.write_text(json.dumps(content))
    shutil.rmtree(copy / "sweeps" / "study" / NAMES[3])
    said = launch(WORDS, copy)
    assert said.status == 0, said.stderr
    assert not list(copy.rglob("planted"))
    assert ledger(copy)["jobs"][3]["overrides"] == ["optimizer=adam", "seed=1"]


def test_words_by_which_a_job_of_a_received_ledger_is_known_again_must_be_plain(copy: Path) -> None:
    path = copy / "sweeps" / "study" / "sweep.json"
    content = ledger(copy)
    content["jobs"][0]["overrides"].append("+note=${oc.env:HOME}")
    path.write_text(json.dumps(content))
    said = launch(WORDS, copy)
    assert (said.status, said.stderr.count("\n")) == (2, 1), said.stderr
    assert "+note=${oc.env:HOME} in " in said.stderr


@pytest.mark.parametrize(
    "word",
    [
        "sweep.name=a,b",
        *slow("paths.run=a,b", "paths.run=a", "hydra.sweep.subdir=mine"),
    ],
)
def test_jobs_must_lie_where_the_sweep_looks_for_them(word: str, tmp_path: Path) -> None:
    done = launch([*(w for w in SMALL if not w.startswith("sweep.name")), "seed=0,1", word], tmp_path)
    assert done.status == 2
    assert "must be" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.rglob("sweep.json")] == []
