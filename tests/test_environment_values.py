"""A value that comes from the environment, a password for example, is used and written nowhere."""

from pathlib import Path

from launching import run_program

from mlplab.config.resolvers import without_secrets

SECRET = "0.0123456"


def test_it_is_in_no_file_of_a_run_or_a_sweep(tmp_path: Path) -> None:
    quick = [
        "data=wine",
        "trainer.max_epochs=1",
        "logger=many",
        "callbacks.figures=null",
        "callbacks.training_curves=null",
    ]
    for words in ([], ["-m", "seed=0"]):
        rate = 'optimizer.lr="${oc.decode:${oc.env:A_SECRET}}"'
        done = run_program("train.py", [*words, *quick, f"paths.logs={tmp_path}", rate], tmp_path, A_SECRET=SECRET)
        assert done.status == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    # The curve of the learning rate and the checkpoint's optimizer hold it as a number: there it is what is learned.
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert not [path for path in tmp_path.rglob("*") if SECRET in path.name]
    assert any(b"oc.env" in path.read_bytes() for path in files if path.name == "config.yaml")


def test_a_refusal_shows_where_it_comes_from_and_not_what_it_is(tmp_path: Path) -> None:
    for words in ([], ["-m", "seed=0,1"]):
        rate = 'optimizer.lr="${oc.decode:${oc.env:A_SECRET}}"'
        logs = f"paths.logs={tmp_path / 'logs'}"
        done = run_program("train.py", [*words, rate, logs], tmp_path, A_SECRET=f"-{SECRET}")
        assert done.status == 2
        assert SECRET not in done.stdout + done.stderr
        assert "optimizer.lr must be a positive number, got ${oc.decode:${oc.env:A_SECRET}};" in done.stderr


def test_what_is_made_of_it_stays_as_it_stands_and_all_else_is_resolved(make_config, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("A_SECRET", SECRET)
    config = make_config("+token=${oc.env:A_SECRET}", '+address="https://${token}@host"', "+again=${address}")
    told = without_secrets(config)
    assert told["token"] == "${oc.env:A_SECRET}"
    assert told["address"] == "https://${token}@host"
    assert told["again"] == "${address}"
    assert told["callbacks"]["early_stopping"]["monitor"] == "val/loss"
    assert told["model"]["hidden_dims"] == [128, 64]
    assert without_secrets(config, ("again", "model")) == {"again": "${address}", "model": told["model"]}
    assert config.token == SECRET
