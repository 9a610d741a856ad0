import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.rerun import best_settings


@pytest.mark.parametrize(
    ("search", "best"),
    [
        (None, "0"),
        ({"objectives": [{"metric": "val/loss", "mode": "min"}]}, "0"),
        ({"objectives": [{"metric": "val/accuracy", "mode": "max"}]}, "1"),
        ({"objectives": "what somebody sent"}, "0"),
    ],
)
def test_the_best_is_that_of_the_searchs_objective_else_of_the_monitor(tmp_path: Path, search: Any, best: str) -> None:
    entries = []
    for number, (loss, accuracy) in enumerate([(0.1, 0.8), (0.2, 0.9)]):
        (tmp_path / str(number)).mkdir()
        result = {"monitor": "val/loss", "objective": loss, "validation": {"val/loss": loss, "val/accuracy": accuracy}}
        (tmp_path / str(number) / "result.json").write_text(json.dumps(result))
        entries.append(Entry(number, str(number), {"optimizer.lr": number}, [f"optimizer.lr={number}"]))
    ledger = SimpleNamespace(entries=entries, metadata={"search": search})
    config = SimpleNamespace(monitor="val/loss", mode="min")
    finished = SimpleNamespace(name="finished")
    sweep: Any = SimpleNamespace(ledger=ledger, config=config, directory=tmp_path, state=lambda entry: finished)
    assert [[entry.directory for entry in setting] for setting in best_settings(sweep)] == [[best]]
