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
from mlplab.errors import UserError
from mlplab.objectives.options import SCORES
from mlplab.objectives.scores import regression_scores

ADDED = (
    ("models/activations.py", '"identity": A', '"hardswish": Activation(functional.hardswish, 1.5),'),
    ("models/initialization.py", '"zeros": lambda w', '"lecun": lambda w, gain, std: w.normal_(0, 0.3),'),
    ("models/mlp.py", '"layer": nn.LayerNorm', '"rms": nn.RMSNorm,'),
    ("models/options.py", '"residual":', '"gain_factor": Option(NOT_NEGATIVE),'),
    ("models/mlp.py", "residual: bool = False,", "gain_factor: float = 1.0, "),
    ("models/mlp.py", "ACTIVATIONS[activation].gain", "gain_factor * "),
    ("../../conf/model/mlp.yaml", "residual:", "gain_factor: 1.0\n"),
    ("objectives/options.py", '),\n}\n"""Task → functions', ', "quartic"'),
    ("objectives/losses.py", "def mse(", "def quartic(made, true):\n    return (made - true).pow(4).mean()\n\n"),
    ("../../conf/loss/quartic.yaml", "", "name: quartic\n"),
)
"""File in src/mlplab, what stands behind the addition, the addition."""

CASES: dict[str, tuple[str, str, str, dict[str, int]]] = {
    "model.activation=hardswish": (
        "model.activation=hardswsh", "; try model.activation=hardswish", "iris",
        {"the activation hardswish has no stacked form": 2},
    ),
    "model.initialization=lecun": ("model.initialization=lecn", "; try model.initialization=lecun", "iris", {}),
    "model.normalization=rms": (
        "model.normalization=rmsnorm", "; try model.normalization=rms", "iris", {"its layers have been changed": 2},
    ),
    "model.gain_factor=0.5": ("model.gain_factor=-1", "gain_factor must be a number of 0 or more", "iris", {}),
    "loss=quartic": ("loss.name=quartik", "; try loss=quartic", "diabetes", {}),
}  # fmt: skip
"""A choice → what is refused, with which words; the data; how many jobs are run alone, and why."""

PROGRAM = """
import json, sys
from pathlib import Path
project, folder, cases = (json.loads(word) for word in sys.argv[1:])
sys.argv = ["train.py"]
from hydra import compose, initialize_config_dir
from mlplab.config.checks import check
from mlplab.config.resolvers import register_resolvers
from mlplab.errors import UserError

register_resolvers(Path(project))
said = {}
for choice, (wrong, _, data, _) in cases.items():
    with initialize_config_dir(f"{project}/conf", version_base="1.3"):
        check(compose("config", [f"data={data}", choice]))
        try:
            check(compose("config", [f"data={data}", choice, wrong]))
        except UserError as refusal:
            said[choice] = {"refused": str(refusal)}
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
for choice, (_, _, data, _) in cases.items():
    plain, fast = (lab.alone(f"data={data}", choice, f"engine={engine}") for engine in ("plain", "fast"))
    checkpoint = fast / "checkpoints" / "best.ckpt"
    predictor, card = load_predictor(checkpoint), read_card(checkpoint)
    loss = build_objective(card["loss"]["name"], predictor.task).function.__name__
    members, alone = lab.stacked(f"data={data}", choice)
    said[choice] |= {
        "saved": card["model"]["architecture"] | {"loss": card["loss"]["name"]},
        "rebuilt": predictor.model.architecture | {"loss": loss},
        "differing": difference(plain, fast) + ("" if alone else difference(fast, members[0], 1e-3)),
        "alone": alone,
    }
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the project with all these additions makes of them."""
    copy, runs = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("runs")
    for name in ("conf", "src"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name, behind, addition in ADDED:
        file = copy / "src" / "mlplab" / name
        text = file.read_text(encoding="utf-8") if behind else ""
        assert text.count(behind) == 1, (name, behind)
        file.write_text(text.replace(behind, addition + behind), encoding="utf-8")
    words = [sys.executable, "-c", PROGRAM, *(json.dumps(value) for value in (str(copy), str(runs), CASES))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([f"{copy}/src", f"{root}/tests"])}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=copy)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("choice", CASES)
def test_an_addition_is_known_everywhere_once_it_is_written(said: dict[str, Any], choice: str) -> None:
    _, refused, _, alone = CASES[choice]
    name, value = choice.removeprefix("model.").split("=")
    assert refused in said[choice]["refused"]
    assert str(said[choice]["saved"][name]) == str(said[choice]["rebuilt"][name]) == value
    assert said[choice]["differing"] == ""
    assert said[choice]["alone"] == alone


def test_a_score_is_an_entry_with_its_direction(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_config: Any
) -> None:
    lab, words = editing.Lab(tmp_path), ["data=diabetes", "monitor=val/worst", "mode=min"]
    monkeypatch.setattr(editing, "SMALL", [word for word in editing.SMALL if word != "data=iris"])
    editing.edit(monkeypatch, regression_scores, '"r2": r2}', '"r2": r2, "worst": error.abs().amax(dim=-1)}')
    with pytest.raises(UserError, match="monitor must be one of"):
        check(make_config(*words))
    monkeypatch.setitem(SCORES["regression"], "worst", "min")
    with pytest.raises(UserError, match="try monitor=val/worst"):
        check(make_config(*words, "monitor=val/wors"))
    with pytest.raises(UserError, match="mode must be min for monitor=val/worst"):
        check(make_config(*words, "mode=max"))
    plain, fast = (lab.alone(*words, f"engine={engine}") for engine in ("plain", "fast"))
    assert difference(plain, fast) == ""
    result = editing.result_of(fast)
    assert result["objective"] == result["validation"]["val/worst"] > result["validation"]["val/mae"]
    assert lab.stacked(*words)[1] == {"regression_scores was edited": 2}
