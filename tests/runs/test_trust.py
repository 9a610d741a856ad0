"""One's own run is trusted, and a received, changed or copied one is not: each line of docs/security.md on trust."""

import base64
import functools
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import SMALL, launch

from mlplab.cli.resume import resumed_config
from mlplab.config.former_names import NAMES
from mlplab.errors import UserError
from mlplab.runs import trust, untrusted_config
from mlplab.runs.trust import NOT_AS_SIGNED, UNSIGNED, NoKey, key_file, signed_text, why_text_is_not_own
from mlplab.runs.untrusted_config import read_config
from mlplab.training import train

CONF = Path(__file__).resolve().parents[2] / "conf"
OWN_CODE = "+callbacks.mine={_target_: lightning.pytorch.callbacks.LearningRateMonitor}"
CONFIG = "callbacks: {mine: {_target_: somebody.Callback}}\npaths: {logs: logs}\n"


TEXTS = functools.cache(untrusted_config._texts_of)


@pytest.fixture(autouse=True)
def _conf_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted_config, "_texts_of", TEXTS)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that nobody has written to yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def write(run: Path) -> None:
    """Writes a signed configuration, as a run does."""
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    (run / ".hydra" / "config.yaml").write_bytes(signed_text(CONFIG.encode(), run))


@pytest.fixture
def run(tmp_path: Path, state: Path) -> Path:
    """A run of this user's, which names code that conf/ does not."""
    write(tmp_path / "logs" / "runs" / "own")
    return tmp_path / "logs" / "runs" / "own"


def why(run: Path) -> str | None:
    """Says why a run is not trusted, as read_config has decided it; None where it is."""
    try:
        read_config(run, CONF, trust=False)
    except UserError as error:
        return error.actual.partition("callbacks.mine._target_='somebody.Callback', and ")[2]
    return None


# --- one's own ----------------------------------------------------------------------------------------------------


def test_a_run_with_code_of_ones_own_goes_on_without_trust(
    train_run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["data=wine", "callbacks=minimal", "logger=csv", OWN_CODE]
    directory = train_run(*quick, "trainer.max_epochs=1").directory
    for epochs in (2, 3):  # it is signed again when it goes on with another configuration
        config = resumed_config([f"resume={directory}", f"trainer.max_epochs={epochs}"], CONF)
        assert config is not None
        said = capsys.readouterr().out
        assert f"trust   code that {directory}/.hydra/config.yaml names will be executed: you have begun it" in said
        train(config, resume=True)
        assert json.loads((directory / "status.json").read_text())["epoch"] == epochs


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param([], marks=pytest.mark.slow),
        ["hydra/launcher=stacked"],
        pytest.param(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], marks=pytest.mark.slow),
    ],
)
def test_the_jobs_of_every_launcher_are_ones_own(tmp_path: Path, launcher: list[str]) -> None:
    done = launch([*SMALL, *launcher, "logger=none", "sweep.name=study", "seed=0,1"], tmp_path)
    assert done.status == 0, done.stderr
    for job in (tmp_path / "sweeps" / "study").glob("*/.hydra/config.yaml"):
        assert why_text_is_not_own(job.read_bytes(), job.parents[1]) is None
    assert len(list((tmp_path / "sweeps" / "study").glob("*/.hydra/config.yaml"))) == 2


def test_it_stays_ones_own_through_a_link_to_its_folder(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.parent)
    assert why(tmp_path / "link" / "own") is None


# --- changed, moved, copied, received -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"# no more than this\n",
        lambda content: content.replace(b"somebody.Callback", b"somebody.Callback  "),
        lambda content: content.replace(b"# signature: ", b"# signature:  "),
        lambda content: b"# signature: " + b"0" * 64 + content[content.index(b"\n") :],
        lambda content: b"# signature: \xff\n" + CONFIG.encode(),
        lambda content: b"# signature: \n" + CONFIG.encode(),
        lambda content: b"\n" + content,
        lambda content: CONFIG.encode(),
    ],
)
def test_a_changed_configuration_is_not_trusted(run: Path, change: Callable[[bytes], bytes]) -> None:
    path = run / ".hydra" / "config.yaml"
    path.write_bytes(change(path.read_bytes()))
    assert why(run) in (NOT_AS_SIGNED, UNSIGNED, "")  # "": it cannot even be read


@pytest.mark.parametrize(
    "moved",
    [
        shutil.copytree,
        lambda run, copy: shutil.copytree(run, copy, copy_function=os.link),
        lambda run, copy: run.rename(copy),
    ],
    ids=["copied", "linked", "moved"],
)
def test_what_is_in_another_place_is_not_trusted(run: Path, moved: Callable[[Path, Path], Any]) -> None:
    moved(run, run.with_name("other"))
    assert why(run.with_name("other")) == NOT_AS_SIGNED
    assert read_config(run.with_name("other"), CONF, trust=True).callbacks.mine._target_ == "somebody.Callback"


def test_links_to_the_files_of_a_run_are_not_read(run: Path) -> None:
    copy = run.with_name("copy")
    (copy / ".hydra").mkdir(parents=True)
    (copy / ".hydra" / "config.yaml").symlink_to(run / ".hydra" / "config.yaml")
    with pytest.raises(UserError, match=r"config\.yaml: it is a link"):
        read_config(copy, CONF, trust=False)


def test_what_somebody_else_has_signed_is_not_trusted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of_the_receiver"))
    write(run.with_name("of_the_receiver"))
    assert why(run.with_name("of_the_receiver")) is None
    assert why(run) == NOT_AS_SIGNED


def test_a_received_run_is_not_signed_where_it_goes_on(train_run: Callable[..., Any]) -> None:
    directory = train_run("data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=1").directory
    path = directory / ".hydra" / "config.yaml"
    path.write_bytes(path.read_bytes().partition(b"\n")[2])  # as releases wrote it that did not sign
    config = resumed_config([f"resume={directory}", "trainer.max_epochs=2"], CONF)
    assert config is not None
    train(config, resume=True)
    assert why_text_is_not_own(path.read_bytes(), directory) == UNSIGNED


# --- the key ------------------------------------------------------------------------------------------------------


def test_the_key_is_this_users_alone(run: Path, state: Path) -> None:
    assert key_file() == state / "mlplab" / "key"
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file().parent.stat().st_mode) == 0o700
    assert [path.name for path in key_file().parent.iterdir()] == ["key"]


def test_the_key_is_in_no_file_of_a_run_and_not_printed(
    train_run: Callable[..., Any], state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = train_run("data=wine", "callbacks=minimal", "logger=many", "trainer.max_epochs=1").directory
    key = key_file().read_bytes()
    said = capfd.readouterr()
    contents = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    assert len(contents) > 8
    for spelt in (key, key.hex().encode(), base64.b64encode(key).rstrip(b"=")):
        assert not any(spelt in content for content in [*contents, said.out.encode(), said.err.encode()])


def test_the_key_of_the_projects_former_name_counts_and_is_not_signed_with(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = key_file()
    monkeypatch.setattr(trust, "NAMES", ("former", NAMES[-1]))
    now.parent.rename(key_file("former").parent)
    assert why(run) is None
    write(tmp_path / "logs" / "runs" / "new")
    assert now.is_file()
    assert why(tmp_path / "logs" / "runs" / "new") is None
    key_file("former").unlink()
    assert why(run) == NOT_AS_SIGNED


def test_verifying_makes_no_key(run: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "none"))
    assert f"there is no key in {tmp_path / 'none'}" in str(why(run))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.chmod(0o640), "or others can read it"),
        (lambda path: path.chmod(0o602), "or others can read it"),
        (lambda path: path.write_bytes(b""), "is no key"),
        (lambda path: path.write_bytes(bytes(64)), "is no key"),
    ],
)
def test_a_key_that_others_may_have_is_none(run: Path, change: Callable[[Path], Any], reason: str) -> None:
    change(key_file())
    assert reason in str(why(run))


def test_of_two_processes_at_once_the_second_takes_the_key_of_the_first(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file().unlink()
    original = trust.write_atomically

    def after_another(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(trust, "write_atomically", original)
        write(run)
        original(*arguments, **options)

    monkeypatch.setattr(trust, "write_atomically", after_another)
    write(run.with_name("second"))
    assert [why(run), why(run.with_name("second"))] == [None, None]
    assert [path.name for path in key_file().parent.iterdir()] == ["key"]


def test_a_run_trains_and_says_so_where_no_key_can_be_made(
    train_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    run = train_run("data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=1")
    assert run.status["state"] == "finished"
    assert not (run.directory / ".hydra" / "config.yaml").read_text().startswith("#")
    assert f"not signed: there is no key in {tmp_path / 'file'}" in (run.directory / "train.log").read_text()


@pytest.mark.parametrize("value", ["", "relative/state"])
def test_without_a_state_directory_it_lies_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_file() == tmp_path / ".local" / "state" / "mlplab" / "key"


def test_it_never_lies_where_what_is_received_is_unpacked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home within the checkout, or a state directory that is a link into it."""
    (tmp_path / "checkout" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "checkout" / "logs")
    monkeypatch.setattr(trust, "PROJECT", tmp_path / "checkout")
    for place in ("checkout", "checkout/logs", "link"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / place))
        with pytest.raises(NoKey, match="lies within the project"):
            key_file()
        assert "lies within the project" in str(why(run))


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(NoKey, match="no state directory"):
        key_file()
