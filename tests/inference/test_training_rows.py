import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slow_cases import slow

from mlplab.data.module import DataModule
from mlplab.errors import UserError
from mlplab.inference import training_rows
from mlplab.inference.trained import TrainedRun
from mlplab.inference.training_rows import rows_of_training, source_named


def refused_rows(run: TrainedRun) -> UserError:
    with pytest.raises(UserError) as refusal:
        list(rows_of_training(run, "test"))
    return refusal.value


@pytest.mark.parametrize("part", ["test", *slow("train", "val")])
@pytest.mark.parametrize("name", ["run", "diabetes", "pixels"])
def test_parts_are_those_that_training_had(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str, part: Any
) -> None:
    run: TrainedRun = request.getfixturevalue(name)
    data = run.card["data"]
    source = source_named(data["source"])
    assert source is not None
    module = DataModule(lambda: source(**data["options"]), **data["split"])
    module.setup()
    monkeypatch.setattr(training_rows, "BLOCK_ROWS", 16)
    blocks = list(rows_of_training(run, part))
    assert max(len(targets) for _, targets, _ in blocks) == 16
    features = torch.cat([run.predictor.preprocessing(*taken) for taken, *_ in blocks])
    targets = np.concatenate([targets for _, targets, _ in blocks])
    expected_features, expected_targets = module.part(part)
    assert torch.equal(features, expected_features)
    if run.task.kind == "classification":
        assert targets.tolist() == expected_targets.tolist()
    else:
        scaled = (targets - run.task.target_mean) / run.task.target_std
        np.testing.assert_allclose(scaled, expected_targets.squeeze(1).numpy(), rtol=1e-6, atol=1e-7)


def test_a_file_that_has_changed_since_is_refused(own_run: Callable[..., TrainedRun], tmp_path: Path) -> None:
    run = own_run()
    assert list(rows_of_training(run, "test"))
    path = tmp_path / "houses.csv"
    path.write_text(path.read_text().replace("medium", "small", 1))
    assert refused_rows(run).actual == "houses.csv has changed"


def test_a_file_that_is_gone_is_refused_and_no_other_is_proposed_in_its_place(
    own_run: Callable[..., TrainedRun], tmp_path: Path
) -> None:
    run = own_run()
    (tmp_path / "houses.csv").rename(tmp_path / "houses2.csv")
    refusal = refused_rows(run)
    assert str(tmp_path / "houses.csv") in refusal.actual
    assert "houses2.csv" not in refusal.hint


@pytest.mark.parametrize(
    "source",
    ["os.system", "canary.touch", ["os.system"], *slow("my.data.make", "posix.system", "builtins.eval", "", None, {})],
)
def test_no_source_outside_the_table_is_imported_or_called(
    own_run: Callable[..., TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any
) -> None:
    touched = tmp_path / "touched"
    text = f"from pathlib import Path\ndef touch(*_, **__): Path({str(touched)!r}).touch()\ntouch()\n"
    (tmp_path / "canary.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    called: list[object] = []
    monkeypatch.setattr(os, "system", called.append)
    refusal = refused_rows(own_run(("data", "source"), source))
    assert refusal.requirement.startswith("data that are read again must come from a source that mlplab brings")
    assert "data.path=rows.csv" in refusal.hint
    assert not touched.exists()
    assert called == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("data", "options"), {"_target_": "os.system", "command": "true"}),
        (("data", "split", "_target_"), "os.system"),
        (("data", "fingerprint"), ...),
        *slow(
            (("data", "options"), ...),
            (("data", "options", "_target_"), "os.system"),
            (("data", "options", "path"), ...),
            (("data", "options"), None),
            (("data", "split"), ...),
            (("data", "split", "colour"), "red"),
            (("data", "fingerprint"), None),
        ),
    ],
)
def test_a_card_whose_data_are_not_described_is_refused(
    own_run: Callable[..., TrainedRun], monkeypatch: pytest.MonkeyPatch, place: tuple[str, ...], value: Any
) -> None:
    called: list[object] = []
    monkeypatch.setattr(os, "system", called.append)
    refused_rows(own_run(place, value))
    assert called == []


def test_a_source_is_found_by_the_name_that_it_had_in_an_earlier_release(own_run: Callable[..., TrainedRun]) -> None:
    run = own_run(("data", "source"), "mlplab.data.table.source.table")
    inputs, targets, _ = next(rows_of_training(run, "test"))
    assert len(inputs[0]) == len(targets) == 30
