"""What docs/change-anything.md tells people to write is checked, learned, saved, rebuilt, and stacked or run alone."""

import functools
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Start, programs_of
from slow_cases import slow_but

from mlplab.parts import is_there

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "change-anything.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, _, text in BLOCKS if language == "bash" for line in text.splitlines()]
STEP = "src/mlplab/learner.py"
"""The file that is edited last, in the process: until then, stacks train what they know."""

QUICK = ["trainer.max_epochs=1", "callbacks.figures=null"]
FEW = {"sign_descent": ["optimizer.lr=0.001", "optimizer=sign_descent"], "wide_or_deep": ["seed=0"]}

CASES: dict[str, tuple[str, str, str, str]] = {
    "model.activation=hardswish": (
        "model.activation=hardswsh", "; try model.activation=hardswish", "iris",
        "the activation hardswish has no kernel",
    ),
    "model.initialization=lecun": ("model.initialization=lecn", "; try model.initialization=lecun", "iris", ""),
    "model.normalization=rms": (
        "model.normalization=rmsnorm", "; try model.normalization=rms", "iris", "RMSNorm is not a normalisation of MLP",
    ),
    "model.gain_factor=0.5": ("model.gain_factor=-1", "gain_factor must be a number of 0 or more", "iris", ""),
    "loss=quartic": ("loss.name=quartik", "; try loss=quartic", "diabetes", ""),
    "scheduler=inverse_root": (
        "+scheduler.gamma=0.5", "scheduler=inverse_root must be given one of epochs", "iris", "",
    ),
    "monitor=val/worst": (
        "mode=max", "mode must be min for monitor=val/worst", "diabetes", "",
    ),
}  # fmt: skip
"""A choice → what is refused, with which words; the data; why jobs are run alone, if they are."""

PROGRAM = """
import json, runpy, sys
from pathlib import Path
import composing, editing, pytest
from comparing import difference
from mlplab.building import build_data, build_learner
from mlplab.config.checks import check
from mlplab.engine import fingerprints
from mlplab.errors import UserError
from mlplab.learner import Learner
from mlplab.objectives.objective import build_objective
from mlplab.parts import is_there
from mlplab.runs.checkpoint import load_predictor, read_card

folder, cases, step = (json.loads(word) for word in sys.argv[1:])
editing.SMALL.remove("data=iris")
lab, patch, said = editing.Lab(Path(folder)), pytest.MonkeyPatch(), {}
record = Path(editing.__file__).parent / "engine" / "record_fingerprints.py"
runpy.run_path(str(record), run_name="__main__")
fingerprints.FINGERPRINTS.update(runpy.run_path(fingerprints.__file__)["FINGERPRINTS"])
for choice, (wrong, _, data, _) in cases.items():
    words = [f"data={data}", choice]
    try:
        config = composing.composed(*words, wrong, f"paths.run={folder}")
        check(config)
        data = build_data(config)
        data.setup()
        build_learner(config, data)
    except UserError as refusal:
        said[choice] = {"refused": str(refusal)}
    plain, fast = (lab.alone(*words, f"engine={engine}") for engine in ("plain", "fast"))
    checkpoint = fast / "checkpoints" / "best.ckpt"
    predictor, card = load_predictor(checkpoint), read_card(checkpoint)
    loss = build_objective(card["loss"]["name"], predictor.task).function.__name__
    members, alone = lab.stacked(*words) if is_there("stacked") else ([], {})
    said[choice] |= {
        "saved": card["model"]["architecture"] | {"loss": card["loss"]["name"]},
        "rebuilt": predictor.model.architecture | {"loss": loss},
        "differing": difference(plain, fast) + (difference(fast, members[0], 1e-3) if members and not alone else ""),
        "alone": "".join(alone),
        "result": editing.result_of(fast),
    }
if step:
    before = lab.alone("data=iris")
    editing.edit(patch, Learner.training_step, *step)
    plain, fast = (lab.alone("data=iris", f"engine={engine}") for engine in ("plain", "fast"))
    said["step"] = {"heeded": difference(before, plain) != "", "differing": difference(plain, fast)}
print(json.dumps(said))
"""


def sides(diff: str) -> tuple[str, str]:
    """The lines of a diff before and after it."""
    lines = diff.splitlines(keepends=True)
    return "".join(line[1:] for line in lines if line[0] in " -"), "".join(
        line[1:] for line in lines if line[0] in " +"
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project with all that the page adds to it."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "train.py", folder)
    for name in ("conf", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for language, name, text in BLOCKS:
        if language == "diff" and name != STEP:
            before, after = sides(text)
            content = (folder / name).read_text(encoding="utf-8")
            assert content.count(before) == 1, (name, before)
            (folder / name).write_text(content.replace(before, after), encoding="utf-8")
        elif language in ("python", "yaml"):
            assert not (folder / name).exists()
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    (folder / "program.py").write_text(PROGRAM)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def start(copy: Path) -> Iterator[Start]:
    with programs_of(copy) as run:
        yield run


Ask = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def ask(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Tells what the copy makes of an addition, or of the edited step."""
    (diff,) = (text for language, name, text in BLOCKS if (language, name) == ("diff", STEP))
    # `editing` has the text of a method without the indentation of its class.
    edit = [re.sub("^    ", "", side, flags=re.MULTILINE) for side in sides(diff)]

    @functools.cache
    def said(of: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("runs")
        cases, step = ({}, edit) if of == "step" else ({of: CASES[of]}, [])
        output = start(folder, ["program.py", *(json.dumps(value) for value in (str(folder), cases, step))])
        return json.loads(output.splitlines()[-1])[of]  # type: ignore[no-any-return]

    return said


@pytest.mark.parametrize("choice", slow_but({"model.activation=hardswish", "loss=quartic", "monitor=val/worst"}, CASES))
def test_an_addition_is_known_everywhere_once_it_is_written(ask: Ask, choice: str) -> None:
    _, refused, _, alone = CASES[choice]
    name, value = choice.removeprefix("model.").split("=")
    said = ask(choice)
    assert refused in said["refused"]
    if name in said["saved"]:
        assert str(said["saved"][name]) == str(said["rebuilt"][name]) == value
    assert said["differing"] == ""
    assert said["alone"] == alone or not is_there("stacked")


def test_a_metric_is_monitored(ask: Ask) -> None:
    result = ask("monitor=val/worst")["result"]
    assert result["objective"] == result["validation"]["val/worst"] > result["validation"]["val/mae"]


def test_an_edited_step_is_what_is_learned(ask: Ask) -> None:
    assert ask("step") == {"heeded": True, "differing": ""}


OFTEN = ("model=bottleneck", "optimizer=sign_descent", "loss=focal", "noisy_pictures module", "with_weight_norm")
"""In the commands that the gate runs; each brings a file of another group."""


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, marks=[] if any(word in line for word in OFTEN) else pytest.mark.slow)
        for line in COMMANDS
        if line != "python train.py"
    ],
)
def test_every_command_runs(start: Start, tmp_path: Path, command: str) -> None:
    few = [word for part, words in FEW.items() if part in command for word in words]
    start(tmp_path, ["train.py", *shlex.split(command)[2:], *QUICK, *few, f"paths.logs={tmp_path}"])
    states = [path.read_text() for path in tmp_path.rglob("status.json")]
    assert states
    assert all('"state": "finished"' in state for state in states)


def test_every_block_names_its_file() -> None:
    for language, name, _ in BLOCKS:
        assert (language in ("bash",)) == (name == "")
        assert not name or f"`{name}`:\n\n```" in PAGE
