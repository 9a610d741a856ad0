"""Several runs as one model: its predictions, its files, and what cannot be a member."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from inference.small_runs import change_card, houses, predict_file, save_run, table_options, write_houses
from slow_cases import slow, slow_but

from mlplab.errors import UserError
from mlplab.inference.ensembling import make_ensemble
from mlplab.inference.evaluating import evaluate
from mlplab.inference.exporting import export
from mlplab.inference.trained import load_run

KINDS: dict[str, list[dict[str, Any]]] = {
    "kind": [{"hidden_dims": [4]}, {"hidden_dims": [8, 8]}, {"activation": "tanh"}],
    "binary": [{"loss": "binary_cross_entropy"}, {"loss": "cross_entropy", "hidden_dims": [4]}],
    "price": [{"hidden_dims": [4]}, {"loss": "mae"}],
}
"""Target → options of the members."""


@pytest.mark.parametrize("target", slow_but(["kind"], KINDS))
def test_what_it_predicts_is_the_mean_in_every_form(tmp_path: Path, target: str) -> None:
    table = write_houses(tmp_path / "houses.csv")
    members = [
        save_run(tmp_path / str(number), table_options(table, target), **options)
        for number, options in enumerate(KINDS[target])
    ]
    made = make_ensemble(members, tmp_path / "ensemble", "top=3")
    run, others = load_run(tmp_path / "ensemble"), [load_run(member) for member in members]
    houses(40, seed=1).write_csv(tmp_path / "new.csv")
    for number, one in enumerate([run, *others]):
        predict_file(one, tmp_path / "new.csv", tmp_path / f"{number}.parquet", probabilities=target != "price")
    found, *theirs = [pl.read_parquet(tmp_path / f"{number}.parquet") for number in range(len(members) + 1)]
    for name in found.columns:
        if found[name].dtype.is_float():
            mean = sum(one[name] for one in theirs) / len(theirs)
            assert found[name].to_list() == pytest.approx(mean.to_list(), rel=1e-5)
    assert evaluate(run).metrics == made.evaluations["test"].metrics
    result = json.loads((tmp_path / "ensemble" / "result.json").read_text())
    assert result["members"] == [str(member) for member in members]
    assert result["test"]["test/loss"] == made.evaluations["test"].metrics["loss"]
    assert made.has_loss_of_members == (target == "kind")
    exported = export(run, "safetensors", tmp_path / "model.safetensors")
    assert exported.largest_difference == 0
    # Half of the new rows or more are within intervals that hold half.
    predict_file(run, tmp_path / "new.csv", tmp_path / "with.parquet", intervals=0.5)


@pytest.mark.parametrize(
    ("other", "place", "value", "message"),
    [
        ({}, ("data", "split", "split_seed"), 1, r"the same split of the data, but two has another .*\(split_seed\)"),
        ({}, ("preprocessing", "median"), torch.zeros(9), r"the same preprocessing, but two .*\(median\)"),
        *slow(
            ({}, ("data", "fingerprint"), "x", "the same data, but two has another than one"),
            ({}, ("task", "class_names"), ["a", "b", "c"], r"the same target, but two .*\(class_names\)"),
            ({}, ("model", "name"), "lstm", "two.* holds a network of another class"),
            ({}, ("data", "split", "batch_size"), 64, ""),
        ),
    ],
)
def test_members_that_differ_are_refused(
    tmp_path: Path, other: dict[str, Any], place: tuple[str, ...], value: Any, message: str
) -> None:
    table = write_houses(tmp_path / "houses.csv")
    members = [save_run(tmp_path / name, table_options(table)) for name in ("one", "two")]
    change_card(members[1], place, value)
    if not message:  # it decides nothing about the rows
        make_ensemble(members, tmp_path / "ensemble", "seeds")
        return
    with pytest.raises(UserError, match=message) as caught:
        make_ensemble(members, tmp_path / "ensemble", "seeds")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ensemble").exists()


def test_an_ensemble_is_no_member_of_another(tmp_path: Path) -> None:
    table = write_houses(tmp_path / "houses.csv")
    members = [save_run(tmp_path / name, table_options(table)) for name in ("one", "two")]
    make_ensemble(members, tmp_path / "ensemble", "seeds")
    with pytest.raises(UserError, match="holds a network of another class"):
        make_ensemble([members[0], tmp_path / "ensemble"], tmp_path / "nested", "seeds")
    assert not (tmp_path / "nested").exists()
