"""Bad input of every kind to train.py and all scripts: each is told in a line, none by a traceback.

What was tried is counted and printed; `pytest -m slow -s tests/harness` shows it.
"""

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from composing import composed
from inference.small_runs import ROOT, save_run, table_options, write_houses
from launching import Done, start_program
from omegaconf import OmegaConf
from parts import skip_without

from mlplab.config.differing import flat

SCRIPTS = [
    name
    for name in ("evaluate", "export", "predict", "report", "reproduce", "rerun_best", "benchmark")
    if (ROOT / "scripts" / f"{name}.py").is_file()
]

LONGEST = 120
"""Seconds that a command may take."""

QUICK = ["data=iris", "trainer.fast_dev_run=true", "callbacks=minimal", "logger=none"]

ODD_VALUES = ("null", "-1", "1e999", "abc", "[]", "{a: 1}", "true", "''", "[1,[2]]", "../..", "é", "0.5")

ODD_WORDS = (
    "", "=", "a", "=1", "+", "~", "~x", "++", "--", "--nonsense", "-m", "a=b=c", "x" * 5000, "a\nb=1", "a=\x1b[31m",
    "optimizer=", "+optimizer=x", "~optimizer.lr", "optimizer=[adam]", "model.hidden_dims=[8", "seed=${seed}",
    "seed=${nothing}", "seed=${oc.env:HOME}", "resume=", "resume=/", "resume=nothing", "resume=train.py", "trust=maybe",
    "data=table", "data=table data.path=/", "data=table data.path=/dev/null data.target=a", "data=mnist",
    "data=table data.path=nothing.csv data.target=a", "paths.logs=/dev/null", "paths.logs=/proc", "paths.run=/",
    "paths.run=/dev/full", "hydra.run.dir=/dev/null", "hydra.nonsense=1", "hydra/launcher=x", "+trainer.callbacks=[x]",
    "+trainer.plugins=x", "+trainer.logger=true", "+callbacks.x={_target_: nothing}", "+callbacks.x=1",
    "+callbacks.x={_target_: os.getcwd}", "model._target_=os.getcwd", "data._target_=x.y", "optimizer._target_=1",
    "trainer.strategy=fsdp", "trainer.strategy=ddp_spawn", "trainer.devices=0", "trainer.devices=abc", "monitor=1",
    "experiment=x", "debug=x", "engine=x", "engine.name=x", "loss=mse", "callbacks=null", "callbacks.checkpoints=null",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a sweep, tables, and files that are none of these."""
    folder = tmp_path_factory.mktemp("harness")
    skip_without("tables", "sweeps")  # the run and the sweep that scripts are given
    from sweeps.making import grid, write_sweep

    write_houses(folder / "houses.csv")
    save_run(folder / "run", table_options(folder / "houses.csv"))
    (folder / "runs").mkdir()
    write_sweep(folder / "sweep", grid())
    for name, content in {
        "empty": b"",
        "zeros": bytes(10_000),
        "random.ckpt": bytes(range(256)) * 40,
        "text.csv": b"a,b\n1,2\n3\n\xff\xfe,4,5\n",
        "open.csv": b'length,gap\n"1,2\n',
        "wide.csv": b",".join(b"c%d" % n for n in range(3000)) + b"\n",
        "table.parquet": b"PAR1" + bytes(100) + b"PAR1",
        "table.csv.gz": b"\x1f\x8b\x08" + bytes(40),
        "sweep.json": b'{"jobs": 3}',
    }.items():
        (folder / name).write_bytes(content)
    (folder / "unreadable.csv").write_text("a\n1\n")
    (folder / "loop").symlink_to("loop")
    for name, text in (("no_list", "[1, 2]"), ("no_json", "{"), ("deep", "[" * 100_000), ("wrong", '{"jobs": [1]}')):
        (folder / name).mkdir()
        for file in ("sweep.json", "status.json", "manifest.json"):
            (folder / name / file).write_text(text)
    return folder


@pytest.fixture(scope="module")
def odd_paths(folder: Path) -> list[str]:
    return [
        *sorted(path.name for path in folder.iterdir()), "", ".", "/", "/dev/null", "/dev/full", "/proc/self/mem",
        "nothing", "nothing/here", "run/nothing", "a" * 300, "~nobody/x", "\x7f", "é\u202e", "-1", "nan", "true", "*",
        "$(id)", "run/checkpoints/best.ckpt", "run/checkpoints", "houses.csv/x",
    ]  # fmt: skip


def tried(script: str, inputs: Sequence[Sequence[str]], folder: Path) -> Iterator[tuple[Sequence[str], Done]]:
    """Gives a program these words, a few at a time side by side; with what it said."""
    waiting = list(inputs)
    while waiting:
        words, waiting = waiting[:4], waiting[4:]
        for given, process in [(one, start_program(script, one, folder)) for one in words]:
            process.process.join(LONGEST)
            process.process.kill()
            yield given, process.end()


def require_told(script: str, inputs: Sequence[Sequence[str]], folder: Path) -> None:
    """Requires that no command ends by a traceback, in silence or never."""
    bad = []
    count = 0
    for given, done in tried(script, inputs, folder):
        count += 1
        said = done.stdout + done.stderr
        if "Traceback" in said or done.status == -signal.SIGKILL:
            bad.append(f"{shlex.join(given)}: {said.strip().splitlines()[-1:] or 'it did not end'}")
        elif done.status not in (0, 1, 2) or (done.status and not done.stderr.strip()):
            bad.append(f"{shlex.join(given)}: status {done.status}, {done.stderr!r}")
    print(f"\n{script}: {count} inputs tried, {len(bad)} not told in a line")
    assert not bad, "\n".join(bad)


def first_words(script: str) -> dict[str, list[str]]:
    """The words that a script must be given, by which setting is odd."""
    needed = {
        "evaluate": ["run=run"],
        "export": ["run=run", "format=safetensors", "out=x.safetensors"],
        "predict": ["run=run", "data.path=houses.csv", "out=x.csv", "overwrite=true"],
        "report": ["sweep=sweep"],
        "reproduce": ["run=run"],
        "rerun_best": ["sweep=sweep"],
    }[script]
    return {word.partition("=")[0]: [other for other in needed if other != word] for word in needed}


@pytest.mark.slow
@pytest.mark.parametrize("script", [script for script in SCRIPTS if script != "benchmark"])
def test_odd_words_and_paths_to_a_script(folder: Path, odd_paths: list[str], script: str) -> None:
    places = first_words(script)
    # A sweep that is none too odd would be run once more.
    every = [f"{name}={path}" for name in places for path in odd_paths if (script, path) != ("rerun_best", "sweep")]
    inputs = [[word, *places[word.partition("=")[0]]] for word in every]
    whole = [word for words in list(places.values())[-1:] for word in words] + [f"{list(places)[-1]}=run"]
    inputs += [[], ["--json"], ["-m"], ["x"], ["run"], ["run="], ["=run"], ["a" * 5000], ["\x1b[31m"], ["run=run"] * 2]
    inputs += [[*whole, f"{name}={value}"] for name in ("data.delimiter", "data.encoding", "data.header", "part", "id",
               "data.skip_lines", "proba", "trust") for value in ("", "x", "-1", "é", "1")]  # fmt: skip
    require_told(f"scripts/{script}.py", inputs, folder)


@pytest.mark.slow
def test_odd_words_to_train(folder: Path) -> None:
    logs = [f"paths.logs={folder}/logs"]
    inputs = []
    for text in ODD_WORDS:
        words = [text] if " " not in text or "{" in text else text.split(" ")
        is_alone = text.startswith(("paths.", "hydra.run", "resume"))
        inputs.append([*([] if "data=" in text or is_alone else QUICK), *words, *([] if is_alone else logs)])
    require_told("train.py", inputs, folder)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_odd_values_of_every_setting_of_train(folder: Path, part: int) -> None:
    config: Any = OmegaConf.to_container(composed("scheduler=warmup_cosine", *QUICK), resolve=False)
    keys = sorted(str(key) for key in flat(config) if not str(key).startswith(("paths", "hydra", "sweep")))
    values = [ODD_VALUES[(place + n) % len(ODD_VALUES)] for place in range(len(keys)) for n in (0, 5, 9)]
    pairs = [f"{key}={value}" for key, value in zip([key for key in keys for _ in range(3)], values, strict=True)]
    inputs = [["scheduler=warmup_cosine", *QUICK, pair, f"paths.logs={folder}/logs"] for pair in pairs[part::4]]
    require_told("train.py", inputs, folder)


OUTPUTS = [">&-", "| head -1", ">/dev/full", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full", "2>/dev/full"]

COMMANDS = {
    "evaluate": "run=run out={new}",
    "export": "run=run format=safetensors out={new}.safetensors",
    "predict": "run=run data.path=houses.csv out={new}.csv",
    "report": "sweep",
    "reproduce": "run=run",
    "rerun_best": "nothing",
    "benchmark": "--help",
}


@pytest.mark.slow
@pytest.mark.parametrize("redirected", OUTPUTS)
def test_outputs_that_cannot_be_written(folder: Path, redirected: str) -> None:
    bad = []
    commands = {f"scripts/{script}.py": COMMANDS[script] for script in SCRIPTS}
    commands["train.py"] = f"{shlex.join(QUICK)} paths.logs={folder}/logs"
    for script, words in commands.items():
        new = f"new_{script.partition('/')[2]}_{OUTPUTS.index(redirected)}"
        command = f"{sys.executable} {ROOT / script} {words.format(new=new)} {redirected}"
        done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=folder, capture_output=True, text=True)
        said = done.stdout + done.stderr
        is_full = redirected.startswith(">/dev/full") and "scripts" in script
        is_mistake = script in ("scripts/reproduce.py", "scripts/rerun_best.py")
        expected = {2} if is_mistake else {1} if is_full else {0}
        if "Traceback" in said or "Exception ignored" in said or done.returncode not in expected:
            bad.append(f"{command}: {done.returncode}: {said.strip().splitlines()[-1:]}")
        elif is_full and not is_mistake and redirected == ">/dev/full":
            (line,) = done.stderr.splitlines()
            assert line.endswith("standard output: No space left on device; try another file for it")
    print(f"\n{redirected}: {len(commands)} commands tried, {len(bad)} not as they should be")
    assert not bad, "\n".join(bad)


@pytest.mark.slow
@pytest.mark.parametrize("out", ["/dev/full", "/dev/full.csv", ".", "/", "runs", "nothing/x.csv", "/proc/x.csv"])
def test_files_that_cannot_be_written(folder: Path, out: str) -> None:
    inputs = [
        ("predict", ["run=run", "data.path=houses.csv", f"out={out}", "overwrite=true"]),
        ("export", ["run=run", "format=safetensors", f"out={out}", "overwrite=true"]),
        ("evaluate", ["run=run", f"out={out}"]),
        ("reproduce", ["run=run", f"out={out}"]),
    ]
    for script, words in inputs:
        require_told(f"scripts/{script}.py", [words], folder)
