"""What tests of callbacks share: a run that is stopped, and goes on."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback
from stopping import StopAt

from mlplab import training
from mlplab.errors import RunStopped


@pytest.fixture
def go_on(train_run: Any, make_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs with a stop at each of these steps, from which the run goes on; gives its directory."""
    from mlplab.training import train

    def run(*overrides: str, stops: tuple[int, ...] = (5,), callbacks: tuple[Callback, ...] = ()) -> Path:
        directory = tmp_path / f"stopped_{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        config = make_config(*overrides, f"paths.run={directory}")
        build = training.build_callbacks
        for count, step in enumerate((*stops, -1)):
            with monkeypatch.context() as patch:
                patch.setattr(training, "build_callbacks", lambda c, s=step: [*build(c), *callbacks, StopAt(s)])
                if step == -1:
                    train(config, resume=count > 0)
                else:
                    with pytest.raises(RunStopped):
                        train(config, resume=count > 0)
        return directory

    return run
