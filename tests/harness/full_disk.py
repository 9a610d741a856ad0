"""Lets the disk of a command run full at every moment in turn, frees it, and gives the command once more.

    PYTHONPATH=tests python -m harness.full_disk [CASE …] [--every N]

prints, for each case, the moments that were tried and what was wrong at which.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import yaml
from harness.outcomes import STACKED, ended_otherwise
from launching import Done, run_program
from PIL import Image

SITE = Path(__file__).parent / "site"

SMALL = ["data=wine", "trainer.max_epochs=2", "callbacks.checkpoints.every_n_epochs=1", "trainer.log_every_n_steps=1"]
SEARCH = ["hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "hydra.sweeper.trials=3"]
ARMS = "hydra.sweeper.arms={a:{optimizer:adam,optimizer.lr:'interval(1e-4,1e-2)'},b:{optimizer:sgd}}"
COMPARISON = ["hydra/sweeper=comparison", ARMS, "hydra.sweeper.trials=2", "hydra.sweeper.seeds=[7]"]


@dataclass(frozen=True)
class Case:
    """A command whose disk runs full.

    Attributes:
        script: of the project.
        words: of its command line; `{disk}` stands for the folder.
        is_run: whether it is a single run, which `resume=` lets go on.
        needs: what must be there before: `run` or `sweep`.
    """

    script: str
    words: list[str]
    is_run: bool = False
    needs: str = ""


def _sweep(*words: str) -> Case:
    return Case("train.py", ["-m", *SMALL, "paths.logs={disk}/logs", "sweep.name=s", *words])


def _of_run(script: str, *words: str) -> Case:
    return Case(f"scripts/{script}.py", ["run={disk}/logs/r", *words], needs="run")


CASES = {
    "run": Case("train.py", [*SMALL, "logger=many", "hydra.run.dir={disk}/logs/r"], is_run=True),
    "grid": _sweep("seed=0,1", "callbacks=minimal"),
    "stacked": _sweep("seed=0,1,2", *STACKED, "callbacks=minimal"),
    "optuna": _sweep(*SEARCH, "callbacks=minimal"),
    "comparison": _sweep(*COMPARISON, "callbacks=minimal"),
    "joblib": _sweep("seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "callbacks=minimal"),
    "predict csv": _of_run("predict", "data.path={disk}/rows.csv", "out={disk}/out.csv"),
    "predict parquet": _of_run("predict", "data.path={disk}/rows.csv", "out={disk}/out.parquet"),
    "predict json": _of_run("predict", "data.path={disk}/rows.csv", "out={disk}/out.tsv", "--json"),
    "evaluate": _of_run("evaluate", "out={disk}/evaluation"),
    "safetensors": _of_run("export", "format=safetensors", "out={disk}/model.safetensors"),
    "torch_export": _of_run("export", "format=torch_export", "out={disk}/model.pt2"),
    "onnx": _of_run("export", "format=onnx", "out={disk}/model.onnx"),
    "report": Case("scripts/report.py", ["{disk}/logs/sweeps/s"], needs="sweep"),
    "range": Case(
        "train.py",
        ["experiment=learning_rate_range_test", "data=wine", "callbacks.learning_rate_range.n_steps=30",
         "hydra.run.dir={disk}/logs/r"],
        is_run=True,
    ),
}  # fmt: skip


@dataclass
class Tried:
    """What came of a case: how many moments were tried, how many were noticed, and all that was wrong."""

    moments: int = 0
    noticed: int = 0
    wrong: list[str] = field(default_factory=list)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own on a folder.

    Raises:
        PermissionError: mounting is not permitted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True).returncode:
        raise PermissionError("mounting is not permitted")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def try_case(
    case: Case,
    disk: Path,
    scratch: Path,
    *,
    every: int = 1,
    most: int = sys.maxsize,
    kinds: Sequence[str] = ("full", "refused"),
    said: Callable[[str], None] = lambda line: None,
) -> Tried:
    """Tries a case at every `every`-th moment, or at `most` moments that are as far apart as can be."""
    counter = scratch / "counter"
    scratch.mkdir(parents=True, exist_ok=True)
    words = [word.replace("{disk}", str(disk)) for word in case.words]
    tried = Tried()

    def prepare() -> None:
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if case.needs:
            shutil.copytree(scratch / "there", disk, dirs_exist_ok=True, symlinks=True)
        counter.write_bytes(bytes(8))

    def run(case: Case, words: Sequence[str], kind: str = "", moment: int = 0) -> Done:
        fault = {"FULL_DISK": f"{disk}:{counter}:{kind}:{moment}", "PYTHONPATH": str(SITE)} if kind else {}
        return run_program(case.script, words, scratch, None, XDG_STATE_HOME=str(scratch / "state"), **fault)

    if case.needs:
        shutil.rmtree(scratch / "there", ignore_errors=True)
        needed = (case.needs == "run" and CASES["run"]) or CASES["grid"]
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (disk / "rows.csv").write_text(_rows())
        done = run(needed, [word.replace("{disk}", str(disk)) for word in needed.words])
        assert done.status == 0, done
        shutil.copytree(disk, scratch / "there", symlinks=True)
    prepare()
    straight = run(case, words, "none")
    assert straight.status == 0, straight
    n_moments = int.from_bytes(counter.read_bytes(), "little")
    shutil.rmtree(scratch / "straight", ignore_errors=True)
    shutil.copytree(disk, scratch / "straight", symlinks=True)
    every = max(every, -(-n_moments // most))
    for kind in kinds:
        for moment in range(1 + every // 2, n_moments + 1, every):
            prepare()
            before = {path.relative_to(disk): path.read_bytes() for path in disk.rglob("*") if path.is_file()}
            done = run(case, words, kind, moment)
            (disk / "ballast").unlink(missing_ok=True)
            wrong = [*_wrong_in(done), *broken(disk), *_lost(disk, before, case)]
            tried.moments += 1
            tried.noticed += done.status != 0
            again = words
            if case.is_run and done.status != 0:
                again = [f"resume={disk}/logs/r"]
                if not (disk / "logs/r/.hydra/config.yaml").exists():
                    again = words
                    shutil.rmtree(disk / "logs", ignore_errors=True)
            if done.status != 0:
                then = run(case, again)
                if then.status != 0:
                    wrong.append(f"the same command does not go on: {then.stderr or then.stdout}")
                wrong += _traceback_in(then)
            wrong += [f"left {path}" for path in disk.rglob(".*.tmp")]
            if not wrong:
                wrong += ended_otherwise(words, scratch / "straight", disk)
            tried.wrong += [f"{kind} {moment}/{n_moments}: {what}" for what in wrong]
            for what in wrong:
                said(f"  {kind} {moment}/{n_moments}: {what}")
    return tried


def _rows() -> str:
    from sklearn.datasets import load_wine

    data = load_wine()
    lines = [data.feature_names, *data.data[:40].tolist()]
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def _traceback_in(done: Done) -> list[str]:
    said = done.stderr + done.stdout
    return [f"a traceback: {said[-1500:]}"] if "Traceback" in said or "Error in " in said else []


def _wrong_in(done: Done) -> list[str]:
    wrong = _traceback_in(done)
    if done.status < 0:
        wrong.append(f"signal {-done.status}")
    if done.status != 0 and not wrong:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        if len(lines) != 1:
            wrong.append(f"{len(lines)} lines: {lines} {done.stdout[-300:]}")
        elif "No space left" not in lines[0] and "full" not in lines[0] and "free" not in lines[0]:
            wrong.append(f"the line does not say so: {lines[0]}")
    return wrong


def broken(folder: Path) -> list[str]:
    """Files that are not whole."""
    wrong = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.endswith(".tmp"):
            try:
                _read(path)
            except Exception as error:
                wrong.append(f"{path.relative_to(folder)} is broken: {error!r}")
    return wrong


def _read(path: Path) -> None:
    if path.suffix == ".json":
        if path.name != "status.json" or path.stat().st_size:  # empty until it is claimed
            json.loads(path.read_text())
    elif path.suffix == ".yaml":
        yaml.compose(path.read_text())
    elif path.suffix in (".ckpt", ".pt2"):
        assert zipfile.ZipFile(path).testzip() is None
    elif path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".parquet":
        pl.read_parquet(path)
    elif path.suffix in (".html", ".svg"):
        assert path.read_text().rstrip().endswith(("</html>", "</svg>"))


def _lost(disk: Path, before: dict[Path, bytes], case: Case) -> list[str]:
    """Files that were there before, and are gone."""
    return [f"{path} is gone" for path in before if not (disk / path).exists()]


def main(words: Sequence[str]) -> None:
    every = int(words[words.index("--every") + 1]) if "--every" in words else 1
    names = [word for word in words if word in CASES] or list(CASES)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder) / "disk"):
        for name in names:
            tried = try_case(CASES[name], Path(folder) / "disk", Path(folder) / "scratch", every=every, said=print)
            print(f"{name}: {tried.moments} moments, {tried.noticed} noticed, {len(tried.wrong)} wrong", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
