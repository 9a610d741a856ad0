"""One's own run is trusted, and a received, changed or copied one is not: each line of docs/security.md on trust."""

import base64
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
from mlplab.errors import UserError
from mlplab.runs import trust
from mlplab.runs.trust import NoKey, key_file, sign_changed_run, sign_run, why_run_is_not_own
from mlplab.runs.untrusted_config import read_config
from mlplab.training import train

CONF = Path(__file__).resolve().parents[2] / "conf"
OWN_CODE = "+callbacks.mine={_target_: lightning.pytorch.callbacks.LearningRateMonitor}"
CONFIG = "callbacks: {mine: {_target_: somebody.Callback}}\npaths: {logs: logs}\n"
TEXTS = {"hydra.yaml": "hydra: {}\n", "overrides.yaml": "- seed=1\n", "config.yaml": CONFIG}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that nobody has written to yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def write(run: Path) -> None:
    """Writes what a run is asked, as a run does."""
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    sign_run(run / ".hydra", TEXTS)
    for name, text in TEXTS.items():
        (run / ".hydra" / name).write_text(text)


@pytest.fixture
def run(tmp_path: Path, state: Path) -> Path:
    """A run of this user's, which names code that conf/ does not."""
    write(tmp_path / "logs" / "runs" / "own")
    return tmp_path / "logs" / "runs" / "own"


def why(run: Path) -> str | None:
    """Says why a run is not trusted, as read_config has decided it; None where it is."""
    try:
        read_config(run, CONF, trust=False)
    except UserError as refusal:
        return refusal.actual.partition("callbacks.mine._target_='somebody.Callback', and ")[2]
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
        [],
        ["hydra/launcher=stacked"],
        pytest.param(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], marks=pytest.mark.slow),
    ],
)
def test_the_jobs_of_every_launcher_are_ones_own(tmp_path: Path, launcher: list[str]) -> None:
    done = launch([*SMALL, *launcher, "logger=none", "sweep.name=study", "seed=0,1"], tmp_path)
    assert done.status == 0, done.stderr
    jobs = sorted((tmp_path / "sweeps" / "study").glob("*/"))
    assert [why_run_is_not_own(job / ".hydra") for job in jobs] == [None, None]


def test_it_stays_ones_own_where_its_directory_is_moved(run: Path) -> None:
    assert why(run.rename(run.with_name("renamed"))) is None
    assert why(run.parents[1].rename(run.parents[2] / "elsewhere") / "runs" / "renamed") is None


@pytest.mark.parametrize("is_killed", [False, True])
def test_it_stays_ones_own_where_it_goes_on_and_is_killed_meanwhile(run: Path, is_killed: bool) -> None:
    for seed in (1, 2):
        text = f"{CONFIG}seed: {seed}\n"
        sign_changed_run(run / ".hydra", text)
        if not is_killed:
            (run / ".hydra" / "config.yaml").write_text(text)
        assert why(run) is None


# --- changed, copied, received ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_a_change_of_a_signed_file_ends_the_trust_and_is_told(run: Path, name: str) -> None:
    path = run / ".hydra" / name
    path.write_text(path.read_text() + "# no more than this\n")
    assert why(run) == f"{name} has been changed since it was signed"


@pytest.mark.parametrize("name", ["hydra.yaml", "overrides.yaml"])
def test_so_does_a_file_that_is_gone(run: Path, name: str) -> None:
    (run / ".hydra" / name).unlink()
    assert why(run) == f"{name} has been changed since it was signed"


def test_so_does_a_file_that_is_added(run: Path) -> None:
    (run / ".hydra" / "more.yaml").write_text("a: 1\n")
    assert why(run) == "more.yaml has been changed since it was signed"


def test_so_does_a_file_in_the_place_of_another(run: Path) -> None:
    one, other = (run / ".hydra" / name for name in ("hydra.yaml", "overrides.yaml"))
    text = one.read_text()
    one.write_text(other.read_text())
    other.write_text(text)
    assert why(run) == "hydra.yaml, overrides.yaml has been changed since it was signed"


def _linked(run: Path, copy: Path) -> None:
    shutil.copytree(run, copy, copy_function=os.link)


def _with_a_link_to_the_folder(run: Path, copy: Path) -> None:
    copy.mkdir()
    (copy / ".hydra").symlink_to(run / ".hydra")


def _with_links_to_the_files(run: Path, copy: Path) -> None:
    (copy / ".hydra").mkdir(parents=True)
    for path in (run / ".hydra").iterdir():
        (copy / ".hydra" / path.name).symlink_to(path)


@pytest.mark.parametrize("copied", [shutil.copytree, _linked, _with_a_link_to_the_folder])
def test_a_copy_is_not_trusted_however_it_is_made(run: Path, copied: Callable[[Path, Path], Any]) -> None:
    copy = run.with_name("copy")
    copied(run, copy)
    assert why(copy) == "it is a copy of what you have begun"


def test_links_to_the_files_of_a_run_are_not_read(run: Path) -> None:
    copy = run.with_name("copy")
    _with_links_to_the_files(run, copy)
    with pytest.raises(UserError, match=r"config\.yaml: it is a link"):
        read_config(copy, CONF, trust=False)
    assert why_run_is_not_own(copy / ".hydra") == "it is a copy of what you have begun"


def test_the_signature_of_one_run_is_none_of_another(run: Path) -> None:
    other = run.with_name("other")
    (other / ".hydra").mkdir(parents=True)
    (other / ".hydra" / "config.yaml").write_text(CONFIG)
    (run / ".hydra" / "signature.json").rename(other / ".hydra" / "signature.json")
    assert why(other) == "hydra.yaml, overrides.yaml has been changed since it was signed"


def test_what_somebody_else_has_signed_is_not_trusted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of_the_receiver"))
    write(run.with_name("of_the_receiver"))
    assert why(run.with_name("of_the_receiver")) is None
    assert why(run) == "it was signed by somebody else"


FORGED: list[Any] = [
    {"hmac": "0" * 64}, {"hmac": ""}, {"hmac": "ü"}, {"hmac": None}, {"hmac": ["a"]}, {"file": 0}, {"file": 1.5},
    {"digests": {}}, {"digests": None}, {"digests": {"config.yaml": 3}}, {"digests": [["config.yaml"]]},
]  # fmt: skip


@pytest.mark.parametrize("change", FORGED, ids=str)
def test_a_forged_signature_is_not_trusted(run: Path, change: dict[str, Any]) -> None:
    path = run / ".hydra" / "signature.json"
    with path.open("r+") as file:  # the file keeps its number
        content = json.load(file) | change
        file.seek(0)
        file.truncate()
        json.dump(content, file)
    assert why(run) == "it was signed by somebody else"


@pytest.mark.parametrize("content", ["", "{", "3", "[]", "{}", "null", "\xff", "[" * 50_000, '{"digests": {}}'])
def test_what_is_no_signature_is_not_trusted(run: Path, content: str) -> None:
    (run / ".hydra" / "signature.json").write_text(content, encoding="latin-1")
    assert why(run) in ("its signature cannot be read", "it was not signed when it began")


def test_a_pipe_or_an_endless_file_is_not_waited_for(run: Path) -> None:
    path = run / ".hydra" / "signature.json"
    path.unlink()
    os.mkfifo(path)
    assert why(run) == "it was not signed when it began"
    path.unlink()
    path.symlink_to("/dev/zero")
    assert why(run) == "it was not signed when it began"


def test_a_run_of_an_earlier_release_needs_trust_as_before(run: Path) -> None:
    (run / ".hydra" / "signature.json").unlink()
    assert why(run) == "it was not signed when it began"
    assert read_config(run, CONF, trust=True).callbacks.mine._target_ == "somebody.Callback"


def test_a_received_run_is_not_signed_where_it_goes_on(run: Path) -> None:
    (run / ".hydra" / "signature.json").unlink()
    sign_changed_run(run / ".hydra", CONFIG)
    assert why(run) == "it was not signed when it began"


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
    original = trust.put_in_place

    def after_another(temporary: Path, path: Path) -> None:
        monkeypatch.setattr(trust, "put_in_place", original)
        write(run)
        original(temporary, path)

    monkeypatch.setattr(trust, "put_in_place", after_another)
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
    assert not (run.directory / ".hydra" / "signature.json").exists()
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
