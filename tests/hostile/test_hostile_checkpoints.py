"""Runs that somebody sent: nothing in them is executed, and no file appears."""

import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from inference.small_runs import houses, save_run, table_options, train_run, write_houses
from slow_cases import slow, slow_but

from mlplab.errors import UserError
from mlplab.parts import is_there
from mlplab.runs.checkpoint import load_predictor, read_checkpoint

Command = Callable[..., SimpleNamespace]


class Payload:
    """What an attacker would put into a pickle: reading it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.target}'",)


@pytest.fixture(scope="session")
def rows(folder: Path) -> Path:
    houses(10, seed=1).write_csv(folder / "new.csv")
    return folder / "new.csv"


@pytest.fixture(scope="session")
def trained(folder: Path) -> Path:
    """A whole run, as train.py leaves it, that has not finished."""
    train_run(folder / "trained", "data=wine")
    status = folder / "trained" / "status.json"
    status.write_text(status.read_text().replace("finished", "stopped"))
    return folder / "trained"


@pytest.fixture
def victim(tmp_path: Path, trained: Path) -> Path:
    """A copy of it, to be made hostile."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def everywhere(command: Command, run: Path, rows: Path) -> list[SimpleNamespace]:
    """All that reads a run."""
    out = run.parent / "out"
    predicted = [command("predict", f"run={run}", f"data.path={rows}", f"out={out}.csv")] if is_there("tables") else []
    return [
        *predicted,
        command("evaluate", f"run={run}"),
        command("export", f"run={run}", "format=safetensors", f"out={out}.safetensors"),
        command("train", f"resume={run}"),
    ]


def files(folder: Path) -> set[str]:
    """All but what a resume may note in the run's own directory."""
    own = ("manifest.json", "status.json", "train.log", ".lock", "config.yaml", ".damaged")
    return {str(p) for p in folder.rglob("*") if p.is_file() and not p.name.endswith(own)} - {
        str(p) for p in folder.rglob("*.ckpt")
    }


def refused(done: SimpleNamespace) -> bool:
    return (
        done.status == 2 and "Traceback" not in done.err and done.err.count("\n") == 1 and "; try " in done.err
    )  # fmt: skip


def replace_all(run: Path, write: Callable[[Path], object]) -> None:
    for name in ("best", "last"):
        write(run / "checkpoints" / f"{name}.ckpt")
    (run / "checkpoints" / "previous.ckpt").unlink(missing_ok=True)


def change_all(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    def write(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    replace_all(run, write)


PICKLES: dict[str, Callable[[Path, Path], object]] = {
    "a pickle": lambda path, target: path.write_bytes(pickle.dumps(Payload(target), protocol=2)),
    "torch.save": lambda path, target: torch.save(Payload(target), path),
    "torch.save, old format": lambda path, target: torch.save(
        {"state_dict": Payload(target)}, path, _use_new_zipfile_serialization=False
    ),
    "inside hyper-parameters": lambda path, target: torch.save(
        {**torch.load(path, weights_only=True), "hyper_parameters": {"_instantiator": Payload(target)}}, path
    ),
    "inside the state of a callback": lambda path, target: torch.save(
        {**torch.load(path, weights_only=True), "callbacks": {"EarlyStopping": Payload(target)}}, path
    ),
}


@pytest.mark.parametrize("kind", slow_but(["a pickle", "inside hyper-parameters"], PICKLES))
def test_no_pickle_is_executed(victim: Path, rows: Path, command: Command, kind: str) -> None:
    touched = victim.parent / "touched"
    replace_all(victim, lambda path: PICKLES[kind](path, touched))
    before = files(victim.parent)
    for done in everywhere(command, victim, rows):
        assert refused(done), done
    assert files(victim.parent) == before
    assert not touched.exists()


def test_the_payload_of_these_tests_does_run_where_nothing_guards_against_it(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "touched"), tmp_path / "evil.ckpt")
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert (tmp_path / "touched").exists()


CALLS = ["_target_", "_instantiator", "_class_path", "class_path", "_partial_"]


def test_no_name_of_code_is_followed_wherever_it_stands(victim: Path, rows: Path, command: Command) -> None:
    touched = victim.parent / "touched"
    call: dict[str, Any] = {"command": f"touch '{touched}'", "_args_": [f"touch '{touched}'"]}
    call |= dict.fromkeys(CALLS, "os.system")

    def change(content: dict[str, Any]) -> None:
        card = content["card"]
        content["hyper_parameters"] = content["datamodule_hyper_parameters"] = dict(call)
        content["hparams_name"] = "_instantiator"
        card["model"]["architecture"].update(call)
        card["preprocessing"].update(call)
        card["task"].update(call)
        card["loss"]["options"] = dict(call)
        card["data"]["options"] = dict(call)
        card["data"]["source"] = "os.system"
        card["data"]["reading"] = dict(call)

    change_all(victim, change)
    *judged, resumed = everywhere(command, victim, rows)
    assert all(map(refused, judged)), judged
    # A resumed run builds itself from its configuration, and takes numbers alone from its checkpoint.
    assert resumed.status == 0, resumed
    assert not touched.exists()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("model.name", "os.system"),
        ("model.name", "../../mlp"),
        ("preprocessing.name", "os.system"),
        ("loss.name", "os.system"),
        ("loss.name", "../cross_entropy"),
        ("data.source", "os.system"),
        ("data.source", "mlplab.data.bundled.__builtins__"),
        ("data.options", {"name": "../../../etc/passwd"}),
        ("data.split", {"batch_size": 32, "validation_fraction": "x"}),
        ("task.kind", "os.system"),
    ],
)
def test_names_outside_the_tables_are_refused(
    victim: Path, rows: Path, command: Command, part: str, value: object
) -> None:
    def change(content: dict[str, Any]) -> None:
        group, name = part.split(".")
        content["card"][group][name] = value

    change_all(victim, change)
    done = command("evaluate", f"run={victim}")
    assert refused(done), done


@pytest.mark.parametrize("path", ["/dev/zero", "fifo", *slow("/proc/self/environ", "/nowhere/../etc", ".")])
def test_a_path_of_the_data_is_read_as_data_or_refused(tmp_path: Path, command: Command, path: str) -> None:
    run = save_run(tmp_path / "run", table_options(write_houses(tmp_path / "houses.csv")))
    if path == "fifo":
        os.mkfifo(tmp_path / "fifo")
        path = str(tmp_path / "fifo")

    def change(content: dict[str, Any]) -> None:
        content["card"]["data"]["options"]["path"] = path

    checkpoint = run / "checkpoints" / "best.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, checkpoint)
    done = command("evaluate", f"run={run}")
    assert refused(done), done
    assert not (run / "evaluations").exists()


def claiming_tensor(content: dict[str, Any]) -> None:
    content["state_dict"]["model.output.weight"] = torch.zeros(1).expand(1_000_000, 1_000_000)


def claiming_mean(content: dict[str, Any]) -> None:
    content["card"]["preprocessing"]["mean"] = torch.zeros(1).expand(10**10)


def wide(content: dict[str, Any]) -> None:
    content["card"]["model"]["architecture"]["hidden_dims"] = [1_000_000, 1_000_000]


def deep(content: dict[str, Any]) -> None:
    content["card"]["model"]["architecture"]["hidden_dims"] = [1] * 50_000


def many_inputs(content: dict[str, Any]) -> None:
    content["card"]["model"]["architecture"]["in_features"] = 10**12


@pytest.mark.parametrize("change", [claiming_tensor, claiming_mean, wide, deep, many_inputs])
def test_a_small_file_cannot_ask_for_all_of_memory(
    victim: Path, rows: Path, command: Command, change: Callable[[dict[str, Any]], None]
) -> None:
    change_all(victim, change)
    first = "predict" if is_there("tables") else "evaluate"
    for name in (first, "evaluate", "export") if change is wide else (first,):  # which all read it alike
        words = {"predict": [f"data.path={rows}", f"out={victim.parent}/out.csv"], "export": ["format=safetensors"]}
        done = command(name, f"run={victim}", *words.get(name, []))
        assert refused(done), done


def test_a_million_million_made_rows_are_refused(tmp_path: Path, command: Command) -> None:
    run = save_run(
        tmp_path / "run", {"name": "xor", "n_samples": 100, "noise": 0.1, "seed": 0},
        source="mlplab.data.synthetic.synthetic",
    )  # fmt: skip
    for count in (10**12, "many", -1):
        content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
        content["card"]["data"]["options"]["n_samples"] = count
        torch.save(content, run / "checkpoints" / "best.ckpt")
        done = command("evaluate", f"run={run}")
        assert refused(done), done


def test_a_compressed_file_is_refused_before_it_is_unpacked(victim: Path) -> None:
    path = victim / "checkpoints" / "best.ckpt"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/99", bytes(10_000_000))
    with pytest.raises(UserError, match="compressed"):
        read_checkpoint(path)


def test_a_flipped_bit_anywhere_is_refused_or_without_effect(tmp_path: Path, victim: Path) -> None:
    whole = (victim / "checkpoints" / "best.ckpt").read_bytes()
    expected = read_checkpoint(victim / "checkpoints" / "best.ckpt")
    generator = random.Random(0)
    path = tmp_path / "flipped.ckpt"
    n_refused = 0
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        try:
            found = read_checkpoint(path)
        except UserError:
            n_refused += 1
            continue
        assert found.keys() == expected.keys()
        for name, weight in expected["state_dict"].items():
            assert torch.equal(found["state_dict"][name], weight)
        assert str(found["card"]) == str(expected["card"])
    assert n_refused > 250  # the rest fell between the contents


def makes_a_file(path: Path) -> dict[str, str]:
    """Code that Hydra itself would not block, as it does `os.system`."""
    return {"_target_": "zipfile.ZipFile", "file": str(path), "mode": "w"}


TARGETS = [
    ("model", "_target_"),
    ("callbacks", "early_stopping", "_target_"),
    ("callbacks", "mine", "_target_"),
    ("data", "_target_"),
    ("optimizer", "_target_"),
    ("loss", "_target_"),
    ("trainer", "plugins", "_target_"),
    ("logger", "mine", "_target_"),
    ("paths", "_target_"),
    ("seed", "_target_"),
]


@pytest.mark.parametrize("place", TARGETS, ids=".".join)
@pytest.mark.parametrize("name", ["train", pytest.param("reproduce", marks=pytest.mark.slow)])
def test_no_code_that_a_received_configuration_names_is_executed(
    victim: Path, command: Command, place: tuple[str, ...], name: str
) -> None:
    touched = victim.parent / "touched"
    path = victim / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    node = config
    for key in place[:-1]:
        node[key] = node[key] if isinstance(node.get(key), dict) else {}
        node = node[key]
    node.update(makes_a_file(touched))
    path.write_text(yaml.safe_dump(config))
    (victim / "status.json").write_text('{"state": "finished", "reason": "epoch limit"}')
    words = [f"resume={victim}", "trainer.max_epochs=9"] if name == "train" else [f"run={victim}"]
    done = command(name, *words)
    assert refused(done), done
    assert "trust=true" in done.err
    assert not touched.exists()


def test_a_trusted_configuration_is_followed(victim: Path, command: Command) -> None:
    """The negative control: with trust=true the code that it names does run."""
    touched = victim.parent / "touched"
    path = victim / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["callbacks"]["mine"] = makes_a_file(touched)
    path.write_text(yaml.safe_dump(config))
    command("train", f"resume={victim}", "trust=true")
    assert touched.exists()


def test_load_predictor_refuses_what_the_scripts_refuse(victim: Path) -> None:
    change_all(victim, wide)
    with pytest.raises(UserError, match="must describe its network"):
        load_predictor(victim / "checkpoints" / "best.ckpt")
