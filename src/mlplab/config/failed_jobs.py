"""What a sweep says at its end about the jobs that failed. Imports nothing heavy until one has."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mlplab.errors import counted, printable

n_failed = 0
"""Jobs of the sweep of this process that failed; known once it has ended."""

MOST_SHOWN = 20
"""Failed jobs in the table; of a search there may be hundreds."""


class FailedJobs(Callback):
    """Reads what the jobs' directories say, wherever the jobs have run, and shows which failed and why."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        global n_failed
        jobs = statuses(Path(config.hydra.sweep.dir))
        # A search tries what may diverge, and learns from it that it does.
        is_search = not str(config.hydra.sweeper.get("_target_")).endswith("GridSweeper")
        failed = {
            name: status
            for name, status in jobs.items()
            if status.get("state") != "finished" and not (is_search and status.get("infeasible"))
        }
        n_failed = len(failed)
        if failed:
            print(f"\n{len(failed)} of {counted(len(jobs), 'job')} failed\n{_table(failed)}", flush=True)


def statuses(sweep: Path) -> dict[str, dict[str, Any]]:
    """What status.json says of each job of a sweep, in the order of their numbers."""
    found = {}
    for path in sweep.glob("*/status.json"):
        try:
            status = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            status = None
        found[path.parent.name] = status if isinstance(status, dict) else {"state": "unknown"}
    return dict(sorted(found.items(), key=lambda item: (_number(item[0]), item[0])))


def _number(name: str) -> int:
    number = name.partition("_")[0]
    return int(number) if number.isdecimal() else 0


def _table(failed: dict[str, dict[str, Any]]) -> str:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = dict(list(failed.items())[:MOST_SHOWN])
    table = Table(caption=f"and {len(failed) - MOST_SHOWN:,} more" if len(failed) > MOST_SHOWN else None)
    table.add_column("job", overflow="fold")
    table.add_column("state")
    table.add_column("why", overflow="fold")
    for name, status in shown.items():
        state = "infeasible" if status.get("infeasible") else str(status.get("state"))
        table.add_row(escape(name), escape(state), escape(printable(status.get("reason") or "it says nothing")))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    console = Console(width=min(width, 120), emoji=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()
