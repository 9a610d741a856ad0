"""Prints at the end of a sweep which jobs failed. Imports nothing heavy unless one has."""

import shutil
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mlplab.errors import counted, printable
from mlplab.runs.files import read_json
from mlplab.runs.run_reading import State, read_state

n_failed = 0
"""Failed jobs of the sweep of this process; known once it has ended."""

MOST_SHOWN = 20
"""Failed jobs in the table; of a search there may be hundreds."""

REASONS = {
    "cut off": "its process died: it goes on with the sweep",
    "running": "another process runs it",
    "stopped": "it goes on with the sweep",
    "waiting": "it has not begun: its folder holds other files",
}
"""Reasons of states that record none."""


class FailedJobs(Callback):
    """Prints a table of the jobs that failed, from their directories, wherever the jobs have run."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        global n_failed  # the exit status of the process depends on it, and Hydra returns nothing
        jobs = states(Path(config.hydra.sweep.dir))
        # A search tries settings that may diverge, and learns from them.
        is_search = not str(config.hydra.sweeper.get("_target_")).endswith("GridSweeper")
        fine = ("finished", "pruned", "infeasible") if is_search else ("finished", "pruned")
        failed = {name: state for name, state in jobs.items() if state.name not in fine}
        n_failed = len(failed)
        if failed:
            said = (
                "failed"
                if all(state.name in ("failed", "infeasible") for state in failed.values())
                else f"{'has' if len(failed) == 1 else 'have'} not finished"
            )
            print(f"\n{len(failed)} of {counted(len(jobs), 'job')} {said}\n{_table(failed)}", flush=True)


def states(sweep: Path) -> dict[str, State]:
    """Reads the state of each job of a sweep, in the order of their numbers."""
    # Also of a sweep by Hydra's own sweeper, without sweep.json.
    found = {path.parent.name: read_state(path.parent) for path in sweep.glob("*/status.json")}
    jobs = read_json(sweep / "sweep.json").get("jobs")
    named = [str(job.get("directory")) for job in jobs if isinstance(job, dict)] if isinstance(jobs, list) else []
    found |= {name: State("waiting") for name in named if name not in found and (sweep / name).is_dir()}
    return dict(sorted(found.items(), key=lambda item: (_number(item[0]), item[0])))


def _number(name: str) -> int:
    number = name.partition("_")[0]
    return int(number) if number.isdecimal() else 0


def _table(failed: dict[str, State]) -> str:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = dict(list(failed.items())[:MOST_SHOWN])
    table = Table(caption=f"and {len(failed) - MOST_SHOWN:,} more" if len(failed) > MOST_SHOWN else None)
    table.add_column("job", overflow="fold")
    table.add_column("state")
    table.add_column("why", overflow="fold")
    for name, state in shown.items():
        why = state.reason or REASONS.get(state.name, "no reason is recorded")
        table.add_row(escape(name), escape(state.name), escape(printable(why)))  # an exception may hold any text
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    console = Console(width=min(width, 120), emoji=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()
