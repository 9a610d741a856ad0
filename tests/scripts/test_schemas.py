"""The schemas for editors: each file of conf/ keeps its own, and a wrong option does not."""

import json
import runpy
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from parts import needs

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PROGRAM = runpy.run_path(str(ROOT / "scripts" / "schemas.py"), run_name="schemas")


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    made = PROGRAM["schemas"](CONF)
    for schema in made.values():
        Draft202012Validator.check_schema(schema)
    return {name: Draft202012Validator(json.loads(json.dumps(schema))) for name, schema in made.items()}


def group_of(path: Path) -> str:
    group = path.parent.relative_to(CONF).as_posix()
    return "config" if group == "." else "experiment" if group.startswith("experiment/") else group


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.relative_to(CONF).as_posix())
def test_every_file_of_conf_keeps_the_schema_of_its_group(
    validators: dict[str, Draft202012Validator], path: Path
) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    assert [error.message for error in validators[group_of(path)].iter_errors(content)] == []


MLP = "_target_: mlplab.models.MLP"


@pytest.mark.parametrize(
    ("group", "text", "is_right"),
    [
        ("model", f"{MLP}\nactivation: tanh", True),
        ("model", f"{MLP}\nactivation: tahn", False),
        ("model", f"{MLP}\nactivation: {{_target_: torch.nn.Softplus}}", True),
        ("model", f"{MLP}\nactivation: ${{my_activation}}", True),
        ("model", f"{MLP}\nhiden_dims: [3]", False),
        ("model", f"{MLP}\nhidden_dims: [3, 0]", False),
        ("model", f"{MLP}\nhidden_dims: 3", False),
        ("model", f"{MLP}\ndropout: 1.0", False),
        ("model", f"{MLP}\ndropout: 0.999", True),
        ("model", f"{MLP}\nfreeze: [hidden.0]", True),
        ("model", f"{MLP}\nk: 4", False),
        ("model", "_target_: mlplab.models.TabM\nk: 4", True),
        ("model", "_target_: my.Network\nwidth: 3", True),
        ("model", "defaults: [mlp]\ndropout: 0.5", True),
        ("model", "defaults: [mlp]\ndropuot: 0.5", False),
        ("optimizer", "_target_: torch.optim.Adam\n_partial_: true\nlr: 0.1\nbetas: [0.9, 0.99]", True),
        ("optimizer", "_target_: torch.optim.Adam\nlr: 0", False),
        ("optimizer", "_target_: torch.optim.Adam\nbetas: [0.9]", False),
        ("optimizer", "_target_: torch.optim.Adam\nmomentum: 0.9", False),
        ("optimizer", "_target_: torch.optim.SGD\nmomentum: 0.9", True),
        ("data", "_target_: mlplab.data.bundled.bundled\nname: wine\nbatch_size: full", True),
        ("data", "_target_: mlplab.data.bundled.bundled\nname: wine\nbatch_size: 0", False),
        ("data", "_target_: mlplab.data.bundled.bundled\nname: wine\nnoise: 0.1", False),
        pytest.param(
            "data", "_target_: mlplab.data.table.table_source.table\nrare_classes: dop", False, marks=needs("tables")
        ),
        ("loss", "name: huber\ndelta: 2.0", True),
        ("loss", "name: hubert", False),
        ("loss", "name: mse\ndelta: 2.0", False),
        ("loss", "_target_: my.loss\nanything: 1", True),
        ("scheduler", "name: step\nstep_size: 5", True),
        ("scheduler", "name: step\nstep_size: 5.5", False),
        ("scheduler", "name: cosine\ngamma: 0.5", False),
        ("trainer", "max_epochs: 3\nprecision: bf16-mixed", True),
        ("trainer", "max_epoch: 3", False),
        ("trainer", "limit_train_batches: 1.5", False),
        ("trainer", "devices: [0, 1]", True),
        ("engine", "name: slow", False),
        ("callbacks", "early_stopping:\n  patience: 3", True),
        ("callbacks", "early_stopping:\n  patiense: 3", False),
        ("callbacks", "mine: {_target_: my.Callback, anything: 1}", True),
        ("callbacks", "mine: {anything: 1}", False),
        ("callbacks/averaging", "_target_: mlplab.callbacks.ExponentialMovingAverage\ndecay: 2", False),
        ("metrics", "a_metric: {_target_: torchmetrics.CalibrationError, task: multiclass}", True),
        ("metrics", "a_metric: {task: multiclass}", False),
        ("experiment", "defaults: [override /model: tabm]\nmodel: {k: 3}\ntrainer: {max_epochs: 3}", True),
        ("experiment", "defaults: [override /model: tamb]", False),
        ("experiment", "defaults: [override /modle: mlp]", False),
        ("experiment", "model: {dropuot: 0.1}", False),
        ("experiment", "trainer: {max_epoch: 3}", False),
        ("experiment", "on_divergence: contniue", False),
        ("experiment", "modle: {dropout: 0.1}", False),
        pytest.param("experiment", "hydra: {sweeper: {trials: 0}}", False, marks=needs("sweeps")),
        ("local", "paths: {logs: /scratch}\ntrainer: {threads: 8}", True),
        ("local", "paths: {log: /scratch}", False),
        ("config", "seed: -1", False),
    ],
)
def test_a_wrong_option_is_marked_and_a_right_one_is_not(
    validators: dict[str, Draft202012Validator], group: str, text: str, is_right: bool
) -> None:
    assert validators[group].is_valid(yaml.safe_load(text)) == is_right


def test_a_new_choice_and_a_class_of_ones_own_are_known_once_their_file_is_there(tmp_path: Path) -> None:
    for path in CONF.rglob("*.yaml"):
        (tmp_path / path.relative_to(CONF)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path.relative_to(CONF)).write_bytes(path.read_bytes())
    (tmp_path / "callbacks" / "timer.yaml").write_text(
        "defaults: [default]\ntimer: {_target_: lightning.pytorch.callbacks.Timer, duration: '00:12:00:00'}\n"
    )
    made = {name: Draft202012Validator(schema) for name, schema in PROGRAM["schemas"](tmp_path).items()}
    assert made["callbacks"].is_valid({"timer": {"interval": "step"}})
    assert not made["callbacks"].is_valid({"timer": {"intervall": "step"}})
    assert made["experiment"].is_valid({"defaults": [{"override /callbacks": "timer"}]})


def test_the_command_writes_a_file_for_each_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PROGRAM["main"]({"out": tmp_path / "schemas"})
    names = {path.stem for path in (tmp_path / "schemas").iterdir()}
    groups = {group_of(path).replace("/", ".") for path in CONF.rglob("*.yaml")}
    assert names >= groups
    assert capsys.readouterr().out == f"schemas {len(names)} in {tmp_path / 'schemas'}\n"
