"""What somebody adds where the README says is chosen, checked, named, saved, rebuilt and stacked, or run alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import editing
import pytest
from comparing import difference

from mlplab.config.checks import check
from mlplab.errors import Refusal
from mlplab.objectives.options import SCORES
from mlplab.objectives.scores import regression_scores

ADDED = {
    "activation": [
        ("models/activations.py", '"identity": A', '"hardswish": Activation(functional.hardswish, 1.5),'),
    ],
    "initialization": [
        ("models/initialization.py", '"zeros": lambda w', '"lecun": lambda w, gain, std: w.normal_(0, 0.3),'),
    ],
    "normalization": [
        ("models/options.py", '"layer": "', '"rms": "torch.nn.RMSNorm",'),
    ],
    "option": [
        ("models/options.py", '"residual":', '"gain_factor": Option(NOT_NEGATIVE),'),
        ("models/mlp.py", "residual: bool = False,", "gain_factor: float = 1.0, "),
        ("models/mlp.py", "ACTIVATIONS[activation].gain", "gain_factor * "),
        ("../../conf/model/mlp.yaml", "residual:", "gain_factor: 1.0\n"),
    ],
    "loss": [
        ("objectives/options.py", '),\n}\n"""Task → functions', ', "quartic"'),
        ("objectives/losses.py", "def mse(", "def quartic(made, true):\n    return (made - true).pow(4).mean()\n\n"),
        ("../../conf/loss/quartic.yaml", "", "name: quartic\n"),
    ],
}
"""Kind → (file in src/mlplab, what stands behind the addition, the addition)."""

WORDS = {
    "activation": ["data=iris", "model.activation=hardswish"],
    "initialization": ["data=iris", "model.initialization=lecun"],
    "normalization": ["data=iris", "model.normalization=rms"],
    "option": ["data=iris", "model.gain_factor=0.5"],
    "loss": ["data=diabetes", "loss=quartic"],
}

WRONG = {
    "activation": "model.activation=hardswsh",
    "initialization": "model.initialization=lecn",
    "normalization": "model.normalization=rmsnorm",
    "option": "model.gain_factor=-1",
    "loss": "loss.name=quartik",
}

PROGRAM = """
import json, sys
from pathlib import Path
project, folder, words, wrong = (json.loads(word) for word in sys.argv[1:])
sys.argv = ["train.py"]
from hydra import compose, initialize_config_dir
from mlplab.config.checks import check
from mlplab.config.resolvers import register_resolvers
from mlplab.errors import Refusal

register_resolvers(Path(project))
said = {kind: {} for kind in words}
for kind in words:
    with initialize_config_dir(f"{project}/conf", version_base="1.3"):
        check(compose("config", words[kind]))
        try:
            check(compose("config", [*words[kind], wrong[kind]]))
        except Refusal as refusal:
            said[kind]["refused"] = str(refusal)
assert "torch" not in sys.modules

from mlplab.engine.startup import quick_imports
with quick_imports():
    import composing, editing
    from comparing import difference
    from mlplab.objectives.objective import build_objective
    from mlplab.runs.checkpoint import load_predictor, read_card
composing.CONF = Path(project) / "conf"
editing.SMALL.remove("data=iris")
lab = editing.Lab(Path(folder))
for kind, own in words.items():
    plain, fast = (lab.alone(*own, f"engine={engine}") for engine in ("plain", "fast"))
    checkpoint = fast / "checkpoints" / "best.ckpt"
    predictor, card = load_predictor(checkpoint), read_card(checkpoint)
    members, reasons = lab.stacked(*own)
    said[kind] |= {
        "card": card["model"]["architecture"] | {"loss": card["loss"]["name"]},
        "rebuilt": predictor.model.architecture,
        "loss": build_objective(card["loss"]["name"], predictor.task).function.__name__,
        "engines": difference(plain, fast),
        "alone": reasons,
        "stacked": "" if reasons else difference(fast, members[0], 1e-3),
    }
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the project with all these additions makes of them."""
    copy, runs = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("runs")
    for name in ("conf", "src"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name, behind, addition in (addition for additions in ADDED.values() for addition in additions):
        file = copy / "src" / "mlplab" / name
        text = file.read_text() if behind else ""
        assert text.count(behind) == 1, (name, behind)
        file.write_text(text.replace(behind, addition + behind))
    arguments = [json.dumps(value) for value in (str(copy), str(runs), WORDS, WRONG)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([f"{copy}/src", f"{root}/tests"])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, env=environment, cwd=copy
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_an_activation_is_one_line_and_stacks_leave_it_to_autograd(said: dict[str, Any]) -> None:
    answer = said["activation"]
    assert answer["refused"].endswith("try: model.activation=hardswish")
    assert answer["card"]["activation"] == answer["rebuilt"]["activation"] == "hardswish"
    assert answer["engines"] == ""
    assert answer["alone"] == {"the activation hardswish has no stacked form": 2}


def test_an_initialization_is_one_entry_and_is_stacked(said: dict[str, Any]) -> None:
    answer = said["initialization"]
    assert answer["refused"].endswith("try: model.initialization=lecun")
    assert answer["card"]["initialization"] == answer["rebuilt"]["initialization"] == "lecun"
    assert (answer["engines"], answer["alone"], answer["stacked"]) == ("", {}, "")


def test_a_normalization_is_one_line_and_stacks_leave_it_to_autograd(said: dict[str, Any]) -> None:
    answer = said["normalization"]
    assert answer["refused"].endswith("try: model.normalization=rms")
    assert answer["card"]["normalization"] == answer["rebuilt"]["normalization"] == "rms"
    assert answer["engines"] == ""
    assert answer["alone"] == {"its layers have been changed": 2}


def test_an_option_is_an_argument_a_rule_and_a_value(said: dict[str, Any]) -> None:
    answer = said["option"]
    assert answer["refused"].startswith("model.gain_factor must be a number of 0 or more")
    assert answer["card"]["gain_factor"] == answer["rebuilt"]["gain_factor"] == 0.5
    assert (answer["engines"], answer["alone"], answer["stacked"]) == ("", {}, "")


def test_a_loss_is_a_function_with_its_task_and_its_file(said: dict[str, Any]) -> None:
    answer = said["loss"]
    assert answer["refused"].endswith("try: loss=quartic")
    assert answer["card"]["loss"] == answer["loss"] == "quartic"
    assert (answer["engines"], answer["alone"], answer["stacked"]) == ("", {}, "")


def test_a_score_is_an_entry_with_its_direction(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_config: Any
) -> None:
    lab, words = editing.Lab(tmp_path), ["data=diabetes", "monitor=val/worst", "mode=min"]
    monkeypatch.setattr(editing, "SMALL", [word for word in editing.SMALL if word != "data=iris"])
    editing.edit(monkeypatch, regression_scores, '"r2": r2}', '"r2": r2, "worst": error.abs().amax(dim=-1)}')
    with pytest.raises(Refusal, match="monitor must be one of"):
        check(make_config(*words))
    monkeypatch.setitem(SCORES["regression"], "worst", "min")
    with pytest.raises(Refusal, match="try: monitor=val/worst"):
        check(make_config(*words, "monitor=val/wors"))
    with pytest.raises(Refusal, match="mode must be min for monitor=val/worst"):
        check(make_config(*words, "mode=max"))
    plain, fast = (lab.alone(*words, f"engine={engine}") for engine in ("plain", "fast"))
    assert difference(plain, fast) == ""
    result = json.loads((fast / "result.json").read_text())
    assert result["objective"] == result["validation"]["val/worst"] > result["validation"]["val/mae"]
    assert lab.stacked(*words)[1] == {"regression_scores was edited": 2}
