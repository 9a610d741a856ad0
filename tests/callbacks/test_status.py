import json
from pathlib import Path
from typing import Any

import pytest

from mlplab.callbacks import status


def test_the_status_follows_the_epochs(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "EVERY_SECONDS", 0.0)
    seen: list[tuple[int, int, str]] = []
    update = status.Status.on_train_epoch_end

    def note(self: status.Status, trainer: Any, module: Any) -> None:
        update(self, trainer, module)
        content = json.loads(Path(self._update.__self__.path, "status.json").read_text())
        seen.append((content["epoch"], content["step"], content["state"]))

    monkeypatch.setattr(status.Status, "on_train_epoch_end", note)
    train_run("data=wine", "trainer.max_epochs=3", "callbacks=minimal", "logger=none")
    assert seen == [(1, 4, "running"), (2, 8, "running"), (3, 12, "running")]
