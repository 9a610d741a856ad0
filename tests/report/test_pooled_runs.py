import csv
import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweeps.making import job, write_sweep

from mlplab.errors import UserError
from mlplab.report.pooled_runs import read_records
from mlplab.report.report_tables import leaderboard_texts, runs_csv
from mlplab.report.sweep_analysis import SweepAnalysis, conclusions
from mlplab.sweeps.reading.sweep_records import SweepRecord

CONFIG: dict[str, Any] = {
    "seed": 0,
    "monitor": "val/loss",
    "mode": "min",
    "data": {"batch_size": 32, "split_seed": 0},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.0},
    "model": {"hidden_dims": [8], "dropout": 0.1},
    "loss": {"name": "auto"},
    "paths": {"logs": "logs"},
}
ADAM = {"_target_": "torch.optim.Adam", "lr": 0.001, "betas": [0.9, 0.999]}


def configure(directory: Path, choices: dict[str, str] | None = None, **changes: Any) -> None:
    """Gives a run a configuration: that of above with some parts replaced."""
    (directory / ".hydra").mkdir(parents=True, exist_ok=True)
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}, sort_keys=False))
    hydra = {"hydra": {"runtime": {"choices": {"optimizer": "sgd", "data": "digits", **(choices or {})}}}}
    (directory / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))


def plain_run(runs: Path, name: str, value: float = 0.1, words: list[str] | None = None, **config: Any) -> Path:
    """A run that no sweep has made."""
    write_sweep(runs, [job(0, {}, value, directory=name)])
    (runs / "sweep.json").unlink()
    configure(runs / name, **config)
    (runs / name / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(words or []))
    return runs / name


def a_sweep(directory: Path, lrs: list[float], **config: Any) -> Path:
    jobs = [job(n, {"optimizer.lr": lr}, 0.1 + lr, directory=f"{n}_lr") for n, lr in enumerate(lrs)]
    asked = {name: config.pop(name) for name in ("monitor", "mode", "target") if name in config}
    write_sweep(directory, jobs, **asked)
    for part in jobs:
        optimizer = {**CONFIG["optimizer"], "lr": part["entry"]["values"]["optimizer.lr"]}
        configure(directory / part["entry"]["directory"], **{"optimizer": optimizer, **config})
    return directory


def pooled(*given: Path, logs: Path = Path("logs"), out: Path | None = None) -> SweepRecord:
    (record,) = read_records(given, logs, out)
    return record


def told(record: SweepRecord) -> str:
    return " ".join(finding.sentence for finding in record.told)


def labels(record: SweepRecord) -> list[str]:
    return [setting.label for setting in conclusions(record).settings]


def test_what_differs_between_sweeps_is_an_option_of_all_their_jobs(tmp_path: Path) -> None:
    a = a_sweep(tmp_path / "sweeps" / "a", [0.1, 0.2])
    b = a_sweep(tmp_path / "sweeps" / "b", [0.1], model={"hidden_dims": [16], "dropout": 0.1}, paths={"logs": "other"})
    record = pooled(a, b)
    assert labels(record) == [
        "lr=0.1, hidden_dims=[8]", "lr=0.1, hidden_dims=[16]", "lr=0.2, hidden_dims=[8]",
    ]  # fmt: skip
    assert record.directory == tmp_path / "reports" / "a_and_b"
    assert [run.entry.directory for run in record.runs] == ["a/0_lr", "a/1_lr", "b/0_lr"]


def test_names_are_those_of_the_logs_folder(tmp_path: Path) -> None:
    a_sweep(tmp_path / "sweeps" / "a", [0.1])
    a_sweep(tmp_path / "sweeps" / "b", [0.2])
    assert len(pooled(Path("a"), Path("b"), logs=tmp_path).runs) == 2
    with pytest.raises(UserError, match=r"there is no aa in .*; try a$"):
        read_records([Path("aa"), Path("b")], tmp_path, None)


@pytest.mark.parametrize("again", ["", "0_lr", "../a"])
def test_what_is_given_twice_counts_once_and_is_told(tmp_path: Path, again: str) -> None:
    a = a_sweep(tmp_path / "sweeps" / "a", [0.1, 0.2])
    record = pooled(a, a / again)
    assert len(record.runs) == 2
    assert "counted once" in told(record)


def test_a_sweep_within_another_is_one_of_its_own(tmp_path: Path) -> None:
    a = a_sweep(tmp_path / "sweeps" / "a", [0.1])
    b = a_sweep(a / "b", [0.2])
    assert labels(pooled(a, b)) == ["lr=0.1", "lr=0.2"]


def test_other_monitors_are_ranked_apart_with_a_word(tmp_path: Path) -> None:
    a = a_sweep(tmp_path / "sweeps" / "a", [0.1, 0.3])
    b = a_sweep(tmp_path / "sweeps" / "b", [0.2], monitor="val/accuracy", mode="max")
    first, second = read_records([a, b], tmp_path, tmp_path / "out")
    assert (len(first.runs), len(second.runs)) == (2, 1)
    assert [record.directory.name for record in (first, second)] == ["val_loss_min", "val_accuracy_max"]
    assert "ranked apart: val/loss min (2 runs); val/accuracy max (1 run)" in told(first)


def test_other_data_are_ranked_apart_and_changed_code_is_told(tmp_path: Path) -> None:
    a = a_sweep(tmp_path / "sweeps" / "a", [0.1])
    b = a_sweep(tmp_path / "sweeps" / "b", [0.1])
    manifest = json.loads((b / "0_lr" / "manifest.json").read_text())
    manifest["data"]["fingerprint"], manifest["git"]["commit"] = "cd" * 32, "d" * 40
    (b / "0_lr" / "manifest.json").write_text(json.dumps(manifest))
    analysis = conclusions(pooled(a, b))
    assert [setting.rank for setting in analysis.settings] == [1, 1]
    kinds = {finding.kind: finding for finding in analysis.findings}
    assert "The data changed between runs" in kinds["data"].sentence
    assert kinds["code"].evidence == "commit cccccccccccc: 1 run; commit dddddddddddd: 1 run."


def test_plain_runs_are_compared_by_the_options_in_which_they_differ(tmp_path: Path) -> None:
    runs = tmp_path / "logs" / "runs"
    plain_run(runs, "one", 0.3)
    plain_run(runs, "two", 0.2, choices={"optimizer": "adam"}, optimizer=ADAM)
    plain_run(runs, "three", 0.1, choices={"optimizer": "adam"}, optimizer=ADAM, seed=1)
    record = pooled(runs)
    # The other options of an optimizer come with its choice.
    assert labels(record) == ["optimizer=adam", "optimizer=sgd"]
    assert record.directory == tmp_path / "logs" / "reports" / "runs"
    assert len(pooled(runs / "one", runs / "two").runs) == 2
    with pytest.raises(UserError, match=r"is one run; try .*/runs, the folder of all runs"):
        read_records([runs / "one"], tmp_path, None)


def test_an_option_of_a_choice_that_was_given_is_shown(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    plain_run(runs, "one", 0.3)
    plain_run(runs, "two", 0.2, ["optimizer=adam", "optimizer.lr=0.001"], choices={"optimizer": "adam"}, optimizer=ADAM)
    assert labels(pooled(runs)) == ["optimizer=adam, lr=0.001", "optimizer=sgd, lr=0.1"]


def test_a_part_that_is_null_in_some_runs_is_one_option(tmp_path: Path) -> None:
    runs, stopping = tmp_path / "runs", {"_target_": "a.Stop", "patience": 15, "monitor": "${monitor}"}
    pictures = {"learned_function": {"_target_": "a.Picture", "directory": "${paths.run}/figures"}}
    plain_run(runs, "one", 0.3, callbacks={"early_stopping": None, **pictures})
    plain_run(runs, "two", 0.2, callbacks={"early_stopping": stopping})
    assert labels(pooled(runs)) == ["the one setting", "early_stopping=null"]
    plain_run(runs, "three", 0.1, callbacks={"early_stopping": {**stopping, "patience": 5}})
    assert labels(pooled(runs)) == ["patience=5", "patience=15", "early_stopping=null"]


def test_a_repeated_run_counts_once_and_a_run_that_never_began_is_left_out(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    plain_run(runs, "one", 0.3)
    plain_run(runs, "two", 0.3, notes="the same", tags=["again"])
    plain_run(runs, "three", 0.3, seed=2)
    shutil.rmtree(plain_run(runs, "four", 0.3) / ".hydra")
    record = pooled(runs)
    (setting,) = conclusions(record).settings
    assert len(setting.runs) == 2
    assert "1 run failed before it began, and is left out." in told(record)
    assert "1 run repeated another one" in told(record)


def test_an_option_that_an_earlier_release_lacked_is_no_difference(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    plain_run(runs, "old", 0.3)
    plain_run(runs, "new", 0.2, loss={"name": "auto", "class_weights": None}, seed=1, tags=[])
    assert labels(pooled(runs)) == ["the one setting"]


@pytest.mark.parametrize(
    "text", ["a: [", "\0", "[1, 2]", "optimizer: 3\n", "a: &a [*a]", "a: " + "[" * 300, "a: " + "[" * 60 + "]" * 60]
)
def test_no_configuration_makes_it_fail(tmp_path: Path, text: str) -> None:
    runs = tmp_path / "runs"
    plain_run(runs, "one", 0.3)
    plain_run(runs, "two", 0.2, seed=1)
    path = plain_run(runs, "three", 0.1) / ".hydra"
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (path / name).write_text(text)
    conclusions(pooled(runs))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_every_run_is_a_row(told_grid: SweepAnalysis, told_comparison: SweepAnalysis) -> None:
    rows = read(runs_csv(told_grid))
    assert len(rows) == 40
    first, last_of_sgd = rows[0], rows[19]
    assert (first["directory"], first["status"], first["optimizer"], first["seed"]) == ("0_job", "finished", "sgd", "0")
    run = told_grid.sweep.runs[0]
    assert float(first["val/loss best"]) == run.measured["val/loss"]
    assert float(first["val/loss last"]) == pytest.approx(run.measured["val/loss"] + 3 * 0.002)
    assert (first["best epoch"], first["epochs"], first["steps"], first["reason"]) == ("9", "12", "120", "epoch limit")
    assert (last_of_sgd["status"], last_of_sgd["reason"]) == ("diverged", "diverged: loss nan")
    assert {row["arm"] for row in read(runs_csv(told_comparison))} == {"sgd", "adam"}


def test_name_and_tags_of_a_run_are_in_its_row(tmp_path: Path) -> None:
    path = plain_run(tmp_path / "runs", "one", 0.3)
    plain_run(tmp_path / "runs", "two", 0.2, seed=1)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "name": "=base", "tags": ["a", "b"]}))
    rows = {row["directory"]: row for row in read(runs_csv(conclusions(pooled(tmp_path / "runs"))))}
    assert (rows["one"]["name"], rows["one"]["tags"], rows["two"]["name"]) == ("'=base", "a, b", "")


def test_what_a_run_has_found_for_itself_is_in_its_row(tmp_path: Path) -> None:
    path = plain_run(tmp_path / "runs", "one", 0.3)
    plain_run(tmp_path / "runs", "two", 0.2, seed=1)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "found": {"module.lr": 0.02}}))
    rows = {row["directory"]: row for row in read(runs_csv(conclusions(pooled(tmp_path / "runs"))))}
    assert (rows["one"]["module.lr"], rows["two"]["module.lr"]) == ("0.02", "")


@pytest.mark.parametrize(("seeds", "is_bold"), [(10, True), (3, False)])
def test_the_best_is_bold_where_seeds_support_it(tmp_path: Path, seeds: int, is_bold: bool) -> None:
    values = [(lr, seed, lr + 0.001 * seed) for lr in (0.1, 0.2) for seed in range(seeds)]
    jobs = [job(n, {"a_b": lr, "seed": seed}, value) for n, (lr, seed, value) in enumerate(values)]
    (record,) = read_records([write_sweep(tmp_path / "s", jobs)], tmp_path, None)
    analysis = conclusions(record)
    latex, markdown = leaderboard_texts(analysis)
    assert latex.count(r"\textbf{") == markdown.count("**") / 2 == is_bold
    assert r"rank & a\_b & val/loss & n &" in latex
    assert f" & {seeds} & " in latex
    assert markdown.startswith("| rank | a\\_b | val/loss | n |")


@pytest.mark.parametrize("place", [0, 1], ids=["latex", "markdown"])
def test_no_name_is_markup(told_hostile: SweepAnalysis, place: int) -> None:
    text = leaderboard_texts(told_hostile)[place]
    assert "\x1b" not in text
    assert "\u202e" not in text
    cells = {line.count("&") - line.count(r"\&") for line in text.splitlines() if line.endswith(r"\\")}
    bars = {line.count("|") - line.count(r"\|") for line in text.splitlines() if line.startswith("|")}
    assert len(cells | bars) == 1  # every line has the same columns
    assert not {"<script>", "$x^2$"} & {part for part in ("<script>", "$x^2$") if part in text}


def test_the_constraints_of_a_search_hold_among_others_too(tmp_path: Path) -> None:
    accuracies = [0.95, 0.8, 0.97, 0.85]  # of two trials on two seeds each, whose means decide
    for name, constraints in (("bound", [{"metric": "val/accuracy", "mode": "max", "value": 0.9}]), ("free", [])):
        jobs = [
            job(n, {"optimizer.lr": 0.1 * (n // 2 + 1), "seed": n % 2}, 0.1 + n, trial=n // 2, directory=f"{n}_lr",
                also={"val/accuracy": accuracy})
            for n, accuracy in enumerate(accuracies)
        ]  # fmt: skip
        write_sweep(tmp_path / name, jobs, sweeper="optuna", search={"constraints": constraints})
        for part in jobs:
            lr = part["entry"]["values"]["optimizer.lr"]
            optimizer, dropout = {**CONFIG["optimizer"], "lr": lr}, 0.1 if name == "free" else 0.2
            model, seed = {"hidden_dims": [8], "dropout": dropout}, part["entry"]["values"]["seed"]
            configure(tmp_path / name / part["entry"]["directory"], optimizer=optimizer, model=model, seed=seed)
    record = pooled(tmp_path / "bound", tmp_path / "free")
    states = {run.entry.directory: run.state for run in record.runs}
    assert [states[f"bound/{n}_lr"] for n in range(4)] == ["infeasible", "infeasible", "finished", "finished"]
    assert {states[f"free/{n}_lr"] for n in range(4)} == {"finished"}
    analysis = conclusions(record)
    assert analysis.settings[0].label == "lr=0.1, dropout=0.1"
    assert analysis.settings[-1].label == "lr=0.1, dropout=0.2"
    assert "2 of 8 runs violate a constraint" in " ".join(finding.sentence for finding in analysis.findings)


def test_a_report_elsewhere_is_of_the_same_sweep(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "lr_study", [job(n, {"a": n}, 0.1 + n) for n in range(2)])
    (record,) = read_records([sweep], tmp_path, tmp_path / "elsewhere")
    assert (record.name, record.report_folder) == ("lr_study", tmp_path / "elsewhere")
    (noise,) = [finding for finding in conclusions(record).findings if finding.kind == "noise"]
    assert "rerun_best.py logs/sweeps/lr_study seeds" in noise.evidence


def test_runs_that_all_failed_have_no_page_of_their_own(tmp_path: Path) -> None:
    for n, (monitor, state) in enumerate([("val/loss", "finished"), ("val/loss", "finished"), ("nowhere", "failed")]):
        write_sweep(tmp_path / "runs", [job(n, {}, 0.1 + n, state=state, directory=f"{n}_run")])
        configure(tmp_path / "runs" / f"{n}_run", seed=n, monitor=monitor)
    (tmp_path / "runs" / "sweep.json").unlink()
    (record,) = read_records([tmp_path / "runs"], tmp_path, None)
    assert [finding.sentence for finding in record.told] == ["1 run judged by nowhere min failed, and is left out."]
    assert len(record.runs) == 2
