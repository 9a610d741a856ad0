"""Payloads in every file of a received run and sweep, through every script: what executes makes a file.

Run by `make test-full`. Each script is a process of its own, forked from one that has imported what it needs. A payload
has executed if the marker is there afterwards; it has escaped if anything outside the received directory has changed;
and it has hung if the process did not end.
"""

import itertools
import json
import os
import pickle
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from launching import Running, run_program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here"),
    pytest.mark.filterwarnings("ignore"),
]

EVERY = int(os.environ.get("MLPLAB_PAYLOADS_EVERY", "13"))
"""Of the files of each script times the kinds of payloads, every such one is tried; 1 tries all, in an hour or two."""

SECONDS = 120
"""That a script may take; one that reads a pipe takes for ever."""

QUICK = ["data=wine", "trainer.max_epochs=1", "callbacks=minimal", "logger=many", "trainer.log_every_n_steps=1"]


@dataclass
class Place:
    """What somebody has sent, beside what is the user's.

    Attributes:
        folder: of one attempt; it holds `logs`, which was received, and `home`, which was not.
        pristine: what was sent, before it is made hostile.
    """

    folder: Path
    pristine: Path
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def marker(self) -> Path:
        return self.folder / "executed"

    @property
    def pickle(self) -> Path:
        return self.folder / "logs" / "payload.pickle"

    @property
    def target(self) -> dict[str, Any]:
        """What makes the marker where it is instantiated; Hydra itself refuses os.system and its like."""
        return {"_target_": "joblib.load", "filename": str(self.pickle)}

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def run(self) -> Path:
        return self.folder / "logs" / "runs" / "sent"

    @property
    def sweep(self) -> Path:
        return self.folder / "logs" / "sweeps" / "sent"

    @property
    def search(self) -> Path:
        return self.folder / "logs" / "sweeps" / "searched"

    def prepare(self) -> None:
        """Puts everything back."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.home.mkdir(parents=True)
        for name in ("file", "conf.yaml", ".x.tmp", "last.ckpt"):
            (self.home / name).write_text("secret: of the user\n")
        (self.home / "out").mkdir()
        shutil.copytree(self.pristine, self.folder / "logs", symlinks=True)
        self.pickle.write_bytes(pickle.dumps(Reduced(self.marker)))

    def attempt(self, name: str, script: str, words: Sequence[str], cwd: Path | None = None, **also: str) -> str:
        """Runs a script on what has been made hostile, and notes what it did; returns what it said."""
        self.tried += 1
        known = len(self.failures)
        before = contents(self.home)
        output = self.folder / "home" / "out"
        process = Running(script, words, cwd or output, None, PYTHONPATH="", **also)
        process.process.join(SECONDS)
        if process.process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            self.failures.append(f"hung: {name}")
        done = process.end()
        if self.marker.exists():
            self.failures.append(f"executed: {name}")
        for path in [*output.iterdir()]:
            if path.name not in ("predictions.csv", "model.onnx", "model.onnx.json"):
                self.failures.append(f"wrote {path.name}: {name}")
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        if {k: v for k, v in contents(self.home).items() if k != "out"} != {
            k: v for k, v in before.items() if k != "out"
        }:
            self.failures.append(f"escaped: {name}")
        if "Traceback" in done.stderr:
            self.failures.append(f"traceback: {name}: {done.stderr.splitlines()[-1]}")
        for failure in self.failures[known:]:
            print(failure, flush=True)
        return done.stdout + done.stderr

    def report(self) -> None:
        kinds = [failure.partition(":")[0].partition(" ")[0] for failure in self.failures]
        counts = ", ".join(
            f"{kinds.count(kind)} {kind}" for kind in ("executed", "escaped", "wrote", "hung", "traceback")
        )
        print(f"\npayloads tried: {self.tried}; {counts}")
        assert self.failures == []


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a grid and a search as somebody else has made them, with a key that is not the user's."""
    folder = tmp_path_factory.mktemp("sent")
    other = {"XDG_STATE_HOME": str(folder / "state")}
    for words in (
        [*QUICK, f"hydra.run.dir={folder}/logs/runs/sent"],
        ["-m", *QUICK[:3], "logger=none", "optimizer.lr=0.01,0.02", "sweep.name=sent"],
        ["-m", *QUICK[:3], "logger=none", "hydra/sweeper=optuna", "hydra.sweeper.trials=2",
         "hydra.sweeper.sampler=cmaes", "optimizer.lr=interval(0.01,0.02)",
         "optimizer.weight_decay=interval(0.01,0.02)",
         "sweep.name=searched"],
    ):  # fmt: skip
        done = run_program("train.py", [*words, f"paths.logs={folder}/logs"], folder, None, **other)
        assert done.status == 0, done.stderr
    run = folder / "logs" / "runs" / "sent"
    done = run_program("scripts/export.py", [f"run={run}", "format=safetensors"], folder, None, **other)
    assert done.status == 0, done.stderr
    return folder / "logs"


@pytest.fixture
def place(tmp_path: Path, pristine: Path) -> Place:
    place = Place(tmp_path / "attempt", pristine)
    place.prepare()
    return place


# --- payloads of a single file --------------------------------------------------------------------------------------


class Reduced:
    """What an attacker would put into a pickle."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def a_pickle(path: Path, place: Place) -> None:
    path.write_bytes(pickle.dumps(Reduced(place.marker)))


def a_checkpoint(path: Path, place: Place) -> None:
    whole = torch.load(place.run / "checkpoints" / "best.ckpt", weights_only=True)
    whole["card"]["model"]["architecture"] = whole["state_dict"]["evil"] = Reduced(place.marker)
    with path.open("wb") as file:  # under any name, which torch.save does not take
        torch.save(whole, file)


def a_card_with_targets(path: Path, place: Place) -> None:
    whole = torch.load(place.run / "checkpoints" / "best.ckpt", weights_only=True)
    evil = {**place.target, "_args_": [str(place.pickle)], "_instantiator": "joblib.load", "_class_path": "joblib.load"}
    evil |= {"name": "joblib.load", "source": "joblib.load"}
    whole["card"] = {name: {**part, **evil} if isinstance(part, dict) else part for name, part in whole["card"].items()}
    whole["hyper_parameters"] = evil
    with path.open("wb") as file:  # under any name, which torch.save does not take
        torch.save(whole, file)


def a_program(path: Path, place: Place) -> None:
    path.write_text(f"import os\nos.system(\"touch '{place.marker}'\")\n")


def a_yaml_tag(path: Path, place: Place) -> None:
    path.write_text(f"a: !!python/object/apply:os.system [\"touch '{place.marker}'\"]\n")


def targets_in_json(path: Path, place: Place) -> None:
    """Every object of it names code, and every text reads the environment."""
    evil = {**place.target, "_partial_": False}

    def planted(node: Any) -> Any:
        if isinstance(node, dict):
            return {**{name: planted(part) for name, part in node.items()}, **evil}
        return [planted(part) for part in node] if isinstance(node, list) else node

    try:
        content = (
            json.loads(path.read_text().splitlines()[0]) if path.suffix == ".jsonl" else json.loads(path.read_text())
        )
    except (OSError, ValueError, IndexError):
        content = {}
    path.write_text(json.dumps(planted(content)))


def interpolations(path: Path, place: Place) -> None:
    evil = {"a": "${oc.env:HOME}", "b": "${oc.decode:${oc.env:HOME}}", **place.target}
    path.write_text(yaml.safe_dump({"hydra": evil, "model": evil, "data": evil, "callbacks": {"x": evil}, **evil}))


def a_pipe(path: Path, place: Place) -> None:
    os.mkfifo(path)


def a_link(path: Path, place: Place) -> None:
    path.symlink_to(place.home / "file")


def a_link_to_a_folder(path: Path, place: Place) -> None:
    path.symlink_to(place.home)


def a_link_to_nothing(path: Path, place: Place) -> None:
    path.symlink_to(place.home / "none")


def a_link_to_a_device(path: Path, place: Place) -> None:
    path.symlink_to("/dev/zero")


def a_huge_file(path: Path, place: Place) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)


def a_folder(path: Path, place: Place) -> None:
    path.mkdir()


def nothing(path: Path, place: Place) -> None:
    path.touch()


def hostile_text(path: Path, place: Place) -> None:
    path.write_text(
        "-rf\x1b[2J<script>alert(1)</script>\n=cmd|' /C calc'!A0\n$(touch executed)\n`touch executed`\n" * 3
    )


KINDS = [
    a_pickle, a_checkpoint, a_card_with_targets, a_program, a_yaml_tag, targets_in_json, interpolations, a_pipe, a_link,
    a_link_to_a_folder, a_link_to_nothing, a_link_to_a_device, a_huge_file, a_folder, nothing, hostile_text,
]  # fmt: skip

OF_A_RUN = [
    ".hydra", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml",
    ".hydra/more.yaml", ".lock", "status.json", "result.json", "manifest.json", "history.jsonl", "train.log", "csv",
    "csv/metrics.csv", "csv/hparams.yaml", "tensorboard", "tensorboard/EVENTS", "checkpoints", "checkpoints/best.ckpt",
    "checkpoints/last.ckpt", "checkpoints/previous.ckpt", "figures", "figures/curves.png", "evaluations", "exports",
    "exports/model.onnx", "exports/model.onnx.json", "exports/model.safetensors", "data.json",
]  # fmt: skip
OF_A_SWEEP = [
    "sweep.json", "optuna.log", "optuna.log.lock", ".lock", ".stopping", "report.html", "leaderboard.csv", "figures",
    "JOB", "JOB/.lock", "JOB/status.json", "JOB/result.json", "JOB/manifest.json", "JOB/history.jsonl", "JOB/train.log",
    "JOB/.hydra", "JOB/.hydra/config.yaml", "JOB/.hydra/hydra.yaml", "JOB/.hydra/overrides.yaml", "JOB/checkpoints",
    "JOB/checkpoints/last.ckpt", "JOB/checkpoints/best.ckpt", "JOB/figures",
]  # fmt: skip

Script = Callable[[Place], tuple[str, list[str]]]
ON_A_RUN: dict[str, Script] = {
    "resume": lambda place: ("train.py", [f"resume={place.run}", "trainer.max_epochs=2"]),
    "evaluate": lambda place: ("scripts/evaluate.py", [f"run={place.run}"]),
    "predict": lambda place: (
        "scripts/predict.py", [f"run={place.run}", f"data.path={place.run}/csv/metrics.csv", "out=predictions.csv"]
    ),
    "export": lambda place: ("scripts/export.py", [f"run={place.run}", "format=onnx"]),
    "reproduce": lambda place: ("scripts/reproduce.py", [f"run={place.run}"]),
}  # fmt: skip
GRID = ["-m", *QUICK[:3], "logger=none", "optimizer.lr=0.01,0.02,0.03"]
SEARCH = [
    "-m", *QUICK[:3], "logger=none", "hydra/sweeper=optuna", "hydra.sweeper.trials=3", "hydra.sweeper.sampler=cmaes",
    "optimizer.lr=interval(0.01,0.02)", "optimizer.weight_decay=interval(0.01,0.02)",
]  # fmt: skip
ON_A_SWEEP: dict[str, Script] = {
    "grid": lambda place: ("train.py", [*GRID, f"paths.logs={place.folder}/logs", "sweep.name=sent"]),
    "retried": lambda place: (
        "train.py", [*GRID, f"hydra.sweep.dir={place.sweep}", "sweep.retry_failed=true", "hydra/launcher=stacked"]
    ),
    "search": lambda place: ("train.py", [*SEARCH, f"paths.logs={place.folder}/logs", "sweep.name=searched"]),
    "report": lambda place: ("scripts/report.py", [str(place.sweep)]),
    "rerun": lambda place: ("scripts/rerun_best.py", [str(place.sweep), "seeds=1"]),
}  # fmt: skip


def path_of(directory: Path, name: str) -> Path:
    """The file that a name of the lists above stands for."""
    first, _, rest = name.partition("/")
    if first == "JOB":
        return min(path for path in directory.iterdir() if path.name[0].isdigit()) / rest
    if name.endswith("EVENTS"):
        return next((directory / "tensorboard").glob("events.*"))
    return directory / name


def plant(path: Path, kind: Callable[[Path, Place], None], place: Place) -> None:
    if kind is not targets_in_json or not path.is_file():
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind(path, place)


def chosen(script: str, names: Sequence[str]) -> Iterator[tuple[str, Callable[[Path, Place], None]]]:
    """Files with payloads; each script begins elsewhere, so that together they try each several times."""
    return itertools.islice(itertools.product(names, KINDS), len(script) % EVERY, None, EVERY)


@pytest.mark.parametrize("script", ON_A_RUN)
def test_no_file_of_a_run_is_executed(place: Place, script: str) -> None:
    for name, kind in chosen(script, OF_A_RUN):
        place.prepare()
        plant(path_of(place.run, name), kind, place)
        place.attempt(f"{script}, {name}, {kind.__name__}", *ON_A_RUN[script](place))
    place.report()


@pytest.mark.parametrize("script", ON_A_SWEEP)
def test_no_file_of_a_sweep_is_executed(place: Place, script: str) -> None:
    for name, kind in chosen(script, OF_A_SWEEP):
        place.prepare()
        plant(path_of(place.search if script == "search" else place.sweep, name), kind, place)
        place.attempt(f"{script}, {name}, {kind.__name__}", *ON_A_SWEEP[script](place))
    place.report()


# --- words and values that name code --------------------------------------------------------------------------------


def words_that_execute(place: Place) -> list[list[str]]:
    """Words of a command line, each list of which could make the marker where it is composed and run."""
    touch = f"touch {place.marker}"
    evil = f"{{_target_: joblib.load, filename: '{place.pickle}'}}"
    opened = f"{{_target_: zipfile.ZipFile, file: '{place.marker}', mode: w}}"
    up = os.path.relpath(place.sweep, Path(__file__).resolve().parents[2] / "conf" / "callbacks")
    dotted = up.replace("..", "${a}${a}").replace("callbacks", "experiment")
    alone = [
        f"+callbacks.x={evil}", f"++callbacks.x={opened}", f"model={evil}", f"+logger.x={opened}", f"+x={evil}",
        "model._target_=joblib.load", f"callbacks={up}/payload", f"callbacks={place.sweep}/payload",
        f"data='{up}/direct'", f"model={up}/direct", f"+experiment={up}/payload", f"experiment={up}/payload",
        f"+callbacks@logger={up}/payload",
        f"+hydra.job.env_set={{PATH: {place.sweep}/bin}}", f"hydra.job.env_set.PATH={place.sweep}/bin",
        f"hydra.searchpath=[file://{place.sweep}]", f"--config-dir={place.sweep}", f"--config-path={place.sweep}",
        f"--experimental-rerun={place.sweep}/job.pickle", f"+hydra.callbacks.x={opened}",
        f"hydra.callbacks.failed_jobs={evil}",
        f"hydra/job_logging={up}/payload", f"hydra.job_logging.handlers.x={{(): os.system, command: '{touch}'}}",
        f"hydra.sweeper.params={{+callbacks.x: \"{evil}\"}}", f"hydra.sweeper.params={{model: '{up}/payload'}}",
        "hydra.sweeper.params={model: '${a}${b}'}", "hydra.sweeper._target_=joblib.load", "hydra/sweeper=basic",
        "hydra/launcher=joblib hydra.launcher.n_jobs=2",
        f"hydra.launcher.pre_dispatch=__import__('os').system('{touch}')",
        f"resume={place.run}", "trust=true", "++trust=true", f"paths.run={place.home}", f"hydra.run.dir={place.home}/x",
        f"hydra.sweep.subdir={place.home}/x", f"+trainer.default_root_dir={place.home}", "sweep.name=${oc.env:HOME}",
        f"callbacks.checkpoints.directory={place.home}", f"+logger.csv.directory={place.home}", "optimizer={lr: 1}",
        "hydra.mode=RUN", "+env=${oc.env:PATH}", "optimizer.lr=${oc.decode:'${oc.env:HOME}'}", "hydra.verbose=true",
        f"seed=1;{touch}", f"seed=$({touch})", "-c job", "--cfg=job", "--hydra-help", "--info=all", "-rf",
    ]  # fmt: skip
    together = [
        ["+a=.", f"hydra.sweeper.params={{experiment: '{dotted}/whole'}}"],
        ["+a='{_tar'", f"+b='get_: joblib.load, filename: {place.pickle}}}'",
         "hydra.sweeper.params={model.activation: '${a}${b}'}"],
    ]  # fmt: skip
    return [[word] for word in alone] + together


def payload_beside(place: Place) -> None:
    """Files of the sweep that words, folders and modules could lead to."""
    shutil.copy(place.pickle, place.sweep / "job.pickle")
    other = {"_target_": "torch.load", "f": str(place.pickle), "weights_only": False}
    for folder in ("", "callbacks", "model", "conf"):
        (place.sweep / folder).mkdir(exist_ok=True)
        (place.sweep / folder / "payload.yaml").write_text(yaml.safe_dump({"x": place.target, "y": other}))
        (place.sweep / folder / "direct.yaml").write_text(yaml.safe_dump(place.target))
        whole = yaml.safe_dump({"callbacks": {"x": place.target}})
        (place.sweep / folder / "whole.yaml").write_text(f"# @package _global_\n{whole}")
    modules(place, place.sweep)


def modules(place: Place, folder: Path) -> None:
    """Modules and programs that a process in this folder, or with it in PATH, might take for others."""
    program = f"#!/bin/sh\ntouch '{place.marker}'\n"
    (folder / "bin").mkdir(exist_ok=True)
    for name in ("git", "uname", "lscpu", "sh", "ldconfig", "gcc", "python", "env", "nvidia-smi"):
        (folder / "bin" / name).write_text(program)
        (folder / "bin" / name).chmod(0o755)
    text = f"import os\nos.system(\"touch '{place.marker}'\")\n"
    for name in (
        "sitecustomize",
        "usercustomize",
        "torch",
        "joblib",
        "mlplab",
        "multiprocessing",
        "hydra",
        "numpy",
        "json",
        "runpy",
    ):
        (folder / f"{name}.py").write_text(text)
    (folder / "hydra_plugins").mkdir(exist_ok=True)
    (folder / "hydra_plugins" / "evil.py").write_text(text)
    git = folder / ".git"
    (git / "objects").mkdir(parents=True, exist_ok=True)
    (git / "refs").mkdir(exist_ok=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "config").write_text(f"[core]\n\tfsmonitor = {folder}/bin/git\n\tsshCommand = {folder}/bin/git\n")


def change(path: Path, **parts: Any) -> None:
    """Changes sweep.json, and takes out the configurations by which a sweep would notice it."""
    content = json.loads(path.read_text())
    content["configs"] = {}
    content.update({name: part(content) if callable(part) else part for name, part in parts.items()})
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("where", ["command", "constants", "jobs", "configs"])
def test_no_word_of_a_sweep_is_executed(place: Place, where: str) -> None:
    numbers = range(len(words_that_execute(place)))
    for number, script in itertools.product(numbers, ("rerun", "grid", "report")):
        # Only a rerun follows the command, and a report composes nothing.
        if number % {"rerun": 1, "grid": 1 if where != "command" else 8, "report": 8}[script]:
            continue
        place.prepare()
        payload_beside(place)
        words = words_that_execute(place)[number]
        path = place.sweep / "sweep.json"
        if where == "command":
            change(path, commands=lambda c, words=words: [f"{c['commands'][-1]} {shlex.join(words)}"])
        elif where == "constants":
            change(path, constants=lambda c, words=words: [*c["constants"], *words])
        elif where == "jobs":
            change(
                path,
                jobs=lambda c, words=words: [{**job, "overrides": [*job["overrides"], *words]} for job in c["jobs"]],
            )
        else:
            evil = {**place.target, "words": words}
            change(path, configs={"0": {"model": evil, "callbacks": {"x": evil}}}, folder=str(place.sweep))
        command = ON_A_SWEEP[script](place)
        place.attempt(f"{script}, {where}, {words}", *command, cwd=place.sweep if script == "report" else None)
    place.report()


@pytest.mark.parametrize("launcher", ["basic", "joblib", "stacked"])
def test_no_module_of_a_folder_that_a_sweep_names_is_imported(place: Place, launcher: str) -> None:
    n_jobs = " hydra.launcher.n_jobs=2" if launcher == "joblib" else ""
    for cwd in (None, place.sweep):
        place.prepare()
        payload_beside(place)
        change(
            place.sweep / "sweep.json",
            folder=str(place.sweep),
            commands=lambda c: [f"{c['commands'][-1]} hydra/launcher={launcher}{n_jobs}"],
        )
        shutil.rmtree(place.sweep / ".git")  # in which a `git` of the user's own may be run
        said = place.attempt(
            f"rerun in {cwd} by {launcher}", "scripts/rerun_best.py", [str(place.sweep), "seeds=2"], cwd
        )
        assert "rerun   on 2 new seeds" in said
    place.report()


@pytest.mark.parametrize("script", ON_A_RUN)
def test_no_module_of_a_run_is_imported(place: Place, script: str) -> None:
    place.prepare()
    modules(place, place.run)
    place.attempt(f"{script} in its run", *ON_A_RUN[script](place), cwd=place.run)
    place.failures = [f for f in place.failures if not f.startswith("wrote")]
    place.report()


@pytest.mark.parametrize("what", ["a target", "a word", "a choice", "parts", "PATH"])
def test_the_harness_notices_what_executes(place: Place, what: str) -> None:
    """The negative control: with trust=true it does, but for git, which is not looked for in PATH."""
    payload_beside(place)
    if what == "a target":
        path = place.run / ".hydra" / "config.yaml"
        config = yaml.safe_load(path.read_text())
        config["callbacks"]["x"] = place.target
        path.write_text(yaml.safe_dump(config))
        script, words = ON_A_RUN["resume"](place)
        place.attempt(what, script, [*words, "trust=true"])
    else:
        words = words_that_execute(place)
        by_name = {
            "a word": words[0],
            "a choice": next(one for one in words if one[0].startswith("callbacks=..")),
            "parts": words[-2],
            "PATH": [f"+hydra.job.env_set={{PATH: {place.sweep}/bin}}"],
        }
        change(place.sweep / "sweep.json", commands=lambda c: [f"{c['commands'][-1]} {shlex.join(by_name[what])}"])
        script, words = ON_A_SWEEP["rerun"](place)
        place.attempt(what, script, [*words, "trust=true"])
    assert any(failure.startswith("executed") for failure in place.failures) == (what != "PATH")
