"""Configurations that somebody else has written: read as data, and followed only where conf/ names the same code."""

import copy
import functools
import itertools
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from drawn import examples
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from mlplab.config.checks import check
from mlplab.errors import UserError
from mlplab.instantiation import accepted_options
from mlplab.runs import untrusted_config as module
from mlplab.runs.untrusted_config import LARGEST, MOST_VALUES, read_config, require_run

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(autouse=True)
def _conf_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_texts_of", TEXTS)


TEXTS = functools.cache(module._texts_of)


@pytest.fixture
def received(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """The directory of a run with this configuration."""

    def write(content: str | bytes) -> Path:
        directory = tmp_path / "logs" / "runs" / "name"
        (directory / ".hydra").mkdir(parents=True, exist_ok=True)
        content = content.encode() if isinstance(content, str) else content
        (directory / ".hydra" / "config.yaml").write_bytes(content)
        return directory

    return write


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    """What a run has saved, as plain values."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", ["data=wine"]), resolve=False)
    return {**config, "trainer": {"max_epochs": 1}}  # of which nothing below is about


@pytest.fixture
def own(saved: dict[str, Any]) -> dict[str, Any]:
    """The same, to be changed."""
    return copy.deepcopy(saved)


def refusal_of(directory: Path) -> UserError:
    with pytest.raises(UserError) as refusal:
        read_config(directory, CONF, trust=False)
    message = str(refusal.value)
    assert "\n" not in message
    assert str(directory / ".hydra" / "config.yaml") in message
    return refusal.value


# --- what a run saves ------------------------------------------------------------------------------------------

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
CHOSEN = [
    f"{group}={path.stem}"
    for group in ("callbacks", "data", "debug", "logger", "loss", "model", "optimizer", "scheduler", "trainer")
    for path in sorted((CONF / group).glob("*.yaml"))
]


@pytest.mark.parametrize(
    "choice",
    [pytest.param(c, marks=pytest.mark.slow if number % 12 else []) for number, c in enumerate(CHOSEN)]
    + [
        pytest.param(f"experiment={n}", marks=pytest.mark.slow if number % 9 else [])
        for number, n in enumerate(EXPERIMENTS)
    ],
)
def test_every_choice_of_conf_is_read_back_without_trust(
    make_config: Callable[..., DictConfig], received: Callable[[str], Path], choice: str
) -> None:
    config = make_config(choice)
    if not choice.startswith(("data", "loss", "experiment")):  # some of which lack a path, or want other data
        check(config)
    directory = received(OmegaConf.to_yaml(config))
    read = read_config(directory, CONF, trust=False)
    assert read.paths == {"logs": str(directory.parents[1]), "run": str(directory)}
    for part in (config, read):
        OmegaConf.set_struct(part, False)
        del part["paths"]
    assert OmegaConf.to_container(read, resolve=False) == OmegaConf.to_container(config, resolve=False)


def test_what_a_run_has_really_written_is_read_back(train_run: Callable[..., Any]) -> None:
    directory = train_run("data=wine", "trainer.max_epochs=1", "callbacks=minimal", "logger=csv").directory
    config = read_config(directory, CONF, trust=False)
    assert config.callbacks.checkpoints.directory == str(directory / "checkpoints")
    assert config.logger.csv.directory == str(directory / "csv")


def test_files_go_where_the_run_is_and_not_where_it_says(own: dict[str, Any], received: Callable[[str], Path]) -> None:
    own["paths"] = {"logs": "/elsewhere", "run": "/elsewhere/run"}
    directory = received(yaml.dump(own))
    config = read_config(directory, CONF, trust=False)
    assert (config.paths.logs, config.paths.run) == (str(directory.parents[1]), str(directory))
    assert read_config(directory, CONF, trust=True).paths.run == str(directory)


# --- code ------------------------------------------------------------------------------------------------------

EVIL = "os.system"


def planted(*place: str | int) -> Callable[[dict[str, Any], Any], None]:
    """Puts a value in a place, and makes what leads there."""

    def plant(config: dict[str, Any], value: Any) -> None:
        node: Any = config
        for name, following in itertools.pairwise(place):
            if isinstance(name, int):
                node.insert(name, {} if isinstance(following, str) else [])
            elif not isinstance(node.get(name), dict | list):
                node[name] = {} if isinstance(following, str) else []
            node = node[name]
        node[place[-1]] = value

    return plant


PLACES = [
    planted("_target_"),
    *(planted(group, "_target_") for group in ("data", "model", "optimizer", "loss", "scheduler", "trainer")),
    planted("callbacks", "checkpoints", "_target_"),
    planted("callbacks", "new", "_target_"),
    planted("callbacks", "new", "deep", "deeper", "_target_"),
    planted("callbacks", "new", "list", 0, "_target_"),
    planted("logger", "new", "_target_"),
    planted("model", "hidden_dims", 0, "_target_"),
    planted("model", "network", 0, 0, "_target_"),
    planted("optimizer", "lr", "_target_"),
    planted("hydra", "callbacks", "mine", "_target_"),
    planted("never_heard_of", "_target_"),
    planted("paths", "logs", "_target_"),
    planted("sweep", "name", "_target_"),
]


@pytest.mark.parametrize("plant", PLACES)
def test_code_that_conf_does_not_name_is_refused_wherever_it_stands(
    own: dict[str, Any], received: Callable[[str], Path], plant: Callable[[dict[str, Any], Any], None]
) -> None:
    plant(own, EVIL)
    assert refusal_of(received(yaml.safe_dump(own))).hint.startswith("trust=true")


@pytest.mark.parametrize(
    "target",
    ["builtins.eval", "hydra.utils.instantiate", "${monitor}", "${evil}", "mlplab.models.MLP ", "", 3, 2.5, None,
     True, b"os.system"],
    ids=repr,
)  # fmt: skip
def test_whatever_is_no_name_of_conf_is_refused_as_code(
    own: dict[str, Any], received: Callable[[str], Path], target: Any
) -> None:
    for plant in (planted("model", "_target_"), planted("callbacks", "new", "list", 0, "_target_")):
        plant(own, target)
        refusal_of(received(yaml.safe_dump(own)))


def test_a_container_instead_of_a_name_is_code_that_nothing_builds(
    own: dict[str, Any], received: Callable[[str], Path]
) -> None:
    own["model"]["_target_"] = [EVIL]
    config = read_config(received(yaml.dump(own)), CONF, trust=False)
    with pytest.raises(UserError):
        accepted_options("model", config.model)


def test_code_that_conf_names_in_another_place_is_refused(own: dict[str, Any], received: Callable[[str], Path]) -> None:
    own["model"]["_target_"] = own["data"]["_target_"]
    refusal = refusal_of(received(yaml.dump(own)))
    assert refusal.requirement == "the configuration of a run must name only code that conf/ names in the same place"
    assert "model._target_='mlplab.data.bundled.bundled', and it was not signed" in refusal.actual


def test_code_that_conf_named_in_an_earlier_version_is_read_by_its_present_name(
    own: dict[str, Any], received: Callable[[str], Path]
) -> None:
    former, present = "mlplab.callbacks.EarlyStopping", "lightning.pytorch.callbacks.EarlyStopping"
    own["callbacks"]["early_stopping"]["_target_"] = former
    for trust in (False, True):
        config = read_config(received(yaml.dump(own)), CONF, trust=trust)
        assert config.callbacks.early_stopping._target_ == present
    own["model"]["_target_"] = former
    assert "model._target_" in refusal_of(received(yaml.dump(own))).actual


def test_code_is_accepted_with_trust(own: dict[str, Any], received: Callable[[str], Path]) -> None:
    own["model"] = {"_target_": "my.Network", "width": "${oc.env:WIDTH}"}
    own["callbacks"]["mine"] = {"_target_": "my.Callback", "directory": "/elsewhere"}
    config = read_config(received(yaml.dump(own)), CONF, trust=True)
    assert OmegaConf.to_container(config.model, resolve=False) == own["model"]
    assert config.callbacks.mine == own["callbacks"]["mine"]


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system ['touch planted']", "!!python/object/new:os.system ['touch planted']",
     "!!python/name:os.system", "!!python/module:os", "!!python/object:mlplab.models.MLP {}", "!!python/tuple [1]",
     "!!python/object/apply:pathlib.PosixPath ['/elsewhere']", "!mine {}"],
)  # fmt: skip
@pytest.mark.parametrize("trust", [False, True])
def test_objects_of_yaml_are_refused_with_trust_too(
    received: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, trust: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = received(f"seed: 0\nmodel: {tag}\n")
    with pytest.raises(UserError, match="could not determine a constructor"):
        read_config(directory, CONF, trust=trust)
    assert not (tmp_path / "planted").exists()


# --- what is read, and where is written --------------------------------------------------------------------------

READING = [
    "${oc.env:HOME}",
    "${oc.env:HOME,none}",
    "${ oc.env : HOME}",
    "before ${oc.env:HOME} after",
    "${oc.decode:${oc.env:HOME}}",
    "${oc.select:paths.logs}",
    "${oc.create:${seed}}",
    "${oc.dict.values:paths}",
    "${oc.deprecated:seed}",
    "${${monitor}:HOME}",
    "${oc.${monitor}:HOME}",
    "${monitor.${seed}:HOME}",
    "${hydra:${oc.env:HOME}}",
    "${run_name:${oc.env:HOME}}",
    "${project_root:}${oc.env:HOME}",
    "$${seed}{oc.env:HOME}",
    "${oc${seed}.env:HOME}",
    "${never_heard_of:1}",
    "${",
    "${\noc.env:HOME}",
]


@pytest.mark.parametrize("text", READING)
def test_what_reads_more_than_the_configuration_is_refused(
    own: dict[str, Any], received: Callable[[str], Path], text: str
) -> None:
    own["data"]["name"] = text
    refusal_of(received(yaml.dump(own)))


@pytest.mark.parametrize("place", ["seed", "model.hidden_dims", "callbacks.new", "key", "deep key"])
def test_reading_the_environment_is_refused_in_every_place(
    own: dict[str, Any], received: Callable[[str], Path], place: str
) -> None:
    text = "${oc.env:HOME}"
    if place == "seed":
        own["seed"] = text
    elif place == "model.hidden_dims":
        own["model"]["hidden_dims"].append([text])
    elif place == "callbacks.new":
        own["callbacks"]["new"] = {"text": text}
    else:
        (own if place == "key" else own["model"])[text] = 1
    refusal_of(received(yaml.dump(own)))


@pytest.mark.parametrize("text", ["${seed}", "${ seed }", "${data.batch_size}", "${.name}", "${..seed}", "$", "{}",
                                  "${run_name:}", "${project_root:}/logs", "${hydra:job.num}"])  # fmt: skip
def test_what_reads_the_configuration_itself_is_accepted(
    own: dict[str, Any], received: Callable[[str], Path], text: str
) -> None:
    own["data"]["name"] = text
    config = read_config(received(yaml.dump(own)), CONF, trust=False)
    assert OmegaConf.to_container(config, resolve=False)["data"]["name"] == text  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("callbacks", "checkpoints", "directory"), "/elsewhere"),
        (("callbacks", "checkpoints", "directory"), "${paths.run}/../../elsewhere"),
        (("callbacks", "figures", "directory"), "${monitor}"),
        (("callbacks", "mine", "path"), "elsewhere"),
        (("logger", "tensorboard", "directory"), "/elsewhere"),
        (("logger", "mlflow", "tracking_uri"), "http://elsewhere"),
        (("logger", "tensorboard", "list", 0), "elsewhere"),
        (("callbacks",), "elsewhere"),
        (("logger",), "${data}"),
    ],
)
def test_other_places_to_write_to_are_refused(
    own: dict[str, Any], received: Callable[[str], Path], place: tuple[Any, ...], value: str
) -> None:
    if place[-1] == 0:
        own["logger"]["tensorboard"]["list"] = [value]
    else:
        planted(*place)(own, value)
    refusal = refusal_of(received(yaml.dump(own)))
    assert (
        refusal.requirement == "the configuration of a run must name only files, folders and servers that conf/ names"
    )


def test_bytes_are_no_way_around(own: dict[str, Any], received: Callable[[str], Path]) -> None:
    own["callbacks"]["checkpoints"]["directory"] = b"/elsewhere"
    refusal_of(received(yaml.safe_dump(own)))


# --- what is no configuration ------------------------------------------------------------------------------------


def bomb(seed: str) -> str:
    """A few hundred bytes that stand for nine to the power of nine values."""
    lines = [f"a0: &a0 {seed}"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(lines)


NO_CONFIGURATION = {
    "empty": b"",
    "a text": b"hello",
    "a number": b"3",
    "a list": b"- 1\n- 2",
    "null": b"null",
    "two documents": b"a: 1\n---\na: 2\n",
    "unfinished": b"a: [1",
    "a tab": b"\ta: 1",
    "a name twice": b"a: 1\na: 2\n",
    "binary": bytes(range(256)) * 10,
    "random": random.Random(0).randbytes(1000),
    "no UTF-8": b"a: \xff\xfe",
    "null bytes": b"a: \x00",
    "an archive": b"PK\x03\x04" + bytes(100),
    "too large": b"a: " + b"x" * LARGEST,
    "too many values": b"a: [" + b"1," * (MOST_VALUES + 1) + b"]",
    "a bomb": bomb("[1,1,1,1,1,1,1,1,1]").encode(),
    "a bomb of nothing": bomb("[]").encode(),
    "a bomb of empty mappings": bomb("{}").encode(),
    "itself": b"a: &a [*a]",
    "itself in a mapping": b"a: &a {b: *a}",
    "deep": b"a: " + b"[" * 2000 + b"]" * 2000,
    "a set": b"a: !!set {1, 2}",
    "no date": b"a: 2026-13-45",
    "no truth value": b"a: !!bool perhaps",
    "no integer": b"a: !!int ''",
    "no number": b"a: !!float ''",
    "no time": b"a: !!timestamp soon",
    "an unknown alias": b"a: *b",
    "a mapping as a name": b"? {a: 1}\n: 2",
    "no dots": b"a: '${'",
}


@pytest.mark.parametrize("kind", NO_CONFIGURATION)
def test_what_is_no_configuration_is_refused_at_once(received: Callable[[bytes], Path], kind: str) -> None:
    directory = received(NO_CONFIGURATION[kind])
    began = time.process_time()
    refusal_of(directory)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("paths", [3, "text", "${seed}", "${data}", [1], None, {"logs": {"a": 1}}, {"run": ["a"]}])
def test_paths_of_any_kind_are_replaced_or_refused(
    own: dict[str, Any], received: Callable[[str], Path], paths: Any
) -> None:
    own["paths"] = paths
    directory = received(yaml.dump(own))
    try:
        config = read_config(directory, CONF, trust=False)
    except UserError:
        return
    assert (config.paths.logs, config.paths.run) == (str(directory.parents[1]), str(directory))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=20), st.dates(),
    st.sampled_from([*READING, EVIL, "mlplab.models.MLP", "${paths.run}", "_target_", "!!bool x"]),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(["_target_", "_args_", "model", "callbacks", "logger", "data", "paths", "logs", "run", "seed"]),
    st.text(max_size=8),
    st.integers(),
)
NODES = st.recursive(
    SCALARS,
    lambda parts: st.one_of(st.lists(parts, max_size=4), st.dictionaries(NAMES, parts, max_size=4)),
    max_leaves=15,
)
QUICK = settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read_or_refused(directory: Path) -> DictConfig | None:
    """The configuration; None where it was refused, as a mistake must be."""
    try:
        return read_config(directory, CONF, trust=False)
    except UserError as refusal:
        message = str(refusal)
    assert "\n" not in message
    return None


def targets(node: Any, place: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        found = [(place[0] if place else "", node["_target_"])] if "_target_" in node else []
        return found + [target for name, part in node.items() for target in targets(part, (*place, str(name)))]
    if isinstance(node, list):
        return [target for part in node for target in targets(part, (*place, "0"))]
    return []


@QUICK
@given(st.dictionaries(NAMES, NODES, max_size=5))
def test_whatever_a_configuration_says_it_is_harmless_or_refused(
    received: Callable[[str], Path], content: dict[Any, Any]
) -> None:
    directory = received(yaml.safe_dump(content))
    config = read_or_refused(directory)
    if config is None:
        return
    plain = OmegaConf.to_container(config, resolve=False)
    for group, target in targets(plain):
        assert (group, target) == ("model", "mlplab.models.MLP") or isinstance(target, dict | list)
    assert "${oc." not in str(plain)
    assert config.paths.run == str(directory)


@QUICK
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_any_bytes_are_a_configuration_or_refused(
    received: Callable[[str | bytes], Path], content: str | bytes
) -> None:
    if isinstance(content, str):
        content = content.encode(errors="replace")
    read_or_refused(received(content))


@QUICK
@given(st.data())
def test_a_configuration_with_some_bytes_changed_is_one_or_is_refused(
    own: dict[str, Any], received: Callable[[bytes], Path], data: st.DataObject
) -> None:
    content = bytearray(yaml.dump(own).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.sampled_from(b"\x00:-&*!{}[]'\"\n ?|>%@`#,\xff")
        )
    read_or_refused(received(bytes(content)))


# --- the directory -----------------------------------------------------------------------------------------------


def test_the_directory_of_a_run_is_given_back_absolute(
    received: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = received("seed: 0")
    monkeypatch.chdir(directory.parent)
    assert require_run(Path("name"), "run") == directory


def test_a_name_with_a_mistake_gets_the_nearest(received: Callable[[str], Path]) -> None:
    directory = received("seed: 0")
    with pytest.raises(UserError) as refusal:
        require_run(directory.with_name("nmae"), "resume")
    assert refusal.value.requirement == "resume must be the directory of a run"
    assert refusal.value.actual == f"there is no {directory.with_name('nmae')}"
    assert refusal.value.hint == f"resume={directory}"


def test_a_file_a_folder_that_is_no_run_and_a_run_that_never_began_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / "status.json").write_text("{}")
    for name, what in {
        "file": f"{tmp_path / 'file'} is a file",
        "folder": f"{tmp_path / 'folder'} has no .hydra/config.yaml",
        "refused": f"{tmp_path / 'refused'} has no .hydra/config.yaml, as the run failed before it began",
        "no/such/folder": f"there is no {tmp_path / 'no/such/folder'}",
    }.items():
        with pytest.raises(UserError) as refusal:
            require_run(tmp_path / name, "run")
        assert (refusal.value.requirement, refusal.value.actual) == ("run must be the directory of a run", what)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_configuration_that_is_no_ordinary_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    os.mkfifo(tmp_path / ".hydra" / "config.yaml")
    with pytest.raises(UserError, match=r"has no \.hydra/config\.yaml"):
        require_run(tmp_path, "run")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_data_that_come_out_of_a_pipe_are_refused(
    received: Callable[[str | bytes], Path], own: dict[str, Any], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    own["data"]["path"] = str(tmp_path / "pipe")
    refusal = refusal_of(received(json.dumps(own)))
    assert refusal.requirement == "the configuration of a run must read its data from a file"
