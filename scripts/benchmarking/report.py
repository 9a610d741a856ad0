"""The figures as a table on the terminal, and as a page with a picture."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarking.contestants import CONTESTANTS
from benchmarking.workloads import WORKLOADS
from mlplab.errors import UserError, printable
from mlplab.parts import is_there
from mlplab.runs.files import write_bytes

if is_there("sweeps"):
    from benchmarking.many import MANY, PAGE
else:
    MANY, PAGE = {}, ""

TITLES = {name: title for name, (title, _) in {**CONTESTANTS, **MANY}.items()}
OURS = ("template", "template_plain", "template_own_step", "stacked")

PACKAGES = ("torch", "lightning", "scikit-learn", "numpy", "skorch", "keras", "jax")

COLUMNS = ("µs per step", "to the best loop", "samples/s", "first step", "command", "memory", "accuracy")

WIDTH = 140
"""Columns where standard output is no terminal."""

HEAD = """# Measured side by side

```bash
{command}
```

wrote this page; with `'workloads=[S128,M]'` it measures those again, and the others stay. Below each title stands when,
where and in how many minutes that was. Machines differ, and a shared one is never quiet: the ratio is what to look at.

![Time per step against the best hand-written loop](figures/{picture})

Each contestant has a process of its own. They train the same network on the same rows with the same batch size, Adam
and number of epochs, one after the other, `rounds` (5) times over after a round that is not counted (S and S128,
which take a fraction of a second, three times as often). "This template" is `python train.py` as it comes: TensorBoard,
checkpoints, early stopping, validation with its scores after every epoch, and progress, all on and all counted.
"Lightning in the usual style" does as much: torchmetrics and `self.log` at every step, Rich's bar, PyTorch's own
collating. The loops, scikit-learn, skorch and Keras only train. The best loop has its tensors in memory, takes rows by
`index_select`, uses the fused Adam and logs nothing.

µs per step: the median. To the best loop: the median of the ratios in the same round, with the least and the most.
First step: seconds from the start of the process until the first step is about to be made. Command: seconds from there
until the result is known; for the template those of `python train.py`, to its end. Memory: the most the process had.
Accuracy: on the test part.
"""


def print_table(figures: dict[str, dict[str, float]]) -> None:
    """Prints a workload, with a contestant in each line."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("", *COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for name, row in figures.items():
        table.add_row(TITLES[name], *_cells(row))
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(table)


def write_page(
    path: Path, workload: str, figures: dict[str, dict[str, float]], settings: dict[str, Any], seconds: float
) -> None:
    """Adds a workload to the page, to its picture in figures/ and to its figures in a .json beside it.

    Other workloads of the page stay.
    """
    measured = figures_of(path)
    measured[workload] = {"measured": _circumstances(settings, seconds), "figures": figures}
    write_bytes(path.with_suffix(".json"), (json.dumps(measured, indent=1) + "\n").encode())
    render(path)


def figures_of(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the figures of a page: workload → `measured`, in words, and `figures`; empty if there is no page.

    Raises:
        UserError: the file is not one that a benchmark wrote.
    """
    kept = path.with_suffix(".json")
    if not kept.exists():
        return {}
    try:
        measured = json.loads(kept.read_text(encoding="utf-8"))
        is_known = all({"measured", "figures"} <= part.keys() for part in measured.values())
    except (OSError, ValueError, AttributeError, RecursionError):
        is_known = False
    if not is_known:
        raise UserError(
            "the file beside a page must hold its figures",
            f"{printable(str(kept))} is not what a benchmark wrote",
            "page=another.md",
        )
    return dict(measured)


def render(path: Path) -> None:
    """Writes the page and its picture from the figures beside it."""
    kept = figures_of(path)
    measured = {name: kept[name] for name in WORKLOADS if name in kept}
    picture = path.with_suffix(".png").name
    text = HEAD.format(command=f"python scripts/benchmark.py page={shlex.quote(str(path))}", picture=picture)
    text += _marked(PAGE, "sweeps") if PAGE else ""
    for name, part in measured.items():
        section = f"\n## {name}: {WORKLOADS[name].title}\n\n{part['measured']}\n\n"
        section += f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}\n"
        figures = part["figures"].items()
        section += "".join(f"| {TITLES[who]} | {' | '.join(_cells(row))} |\n" for who, row in figures if who in TITLES)
        text += _marked(section, WORKLOADS[name].part)
    (path.parent / "figures").mkdir(exist_ok=True)
    draw(path.parent / "figures" / picture, {name: part["figures"] for name, part in measured.items()})
    write_bytes(path, text.encode())


def _marked(text: str, part: str | None) -> str:
    """Puts text of a part between the marks by which scripts/leave_out.py takes it away."""
    return text if part is None else f"\n<!-- begin {part} -->\n{text.lstrip()}<!-- end {part} -->\n"


def _circumstances(settings: dict[str, Any], seconds: float) -> str:
    from mlplab.runs.manifest import _processor

    threads = "one thread" if settings["threads"] == 1 else f"{settings['threads']} threads"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.datetime.now(datetime.UTC).date()}, {seconds / 60:.0f} minutes, {settings['rounds']} rounds: "
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB, {threads} each; "
        f"Python {platform.python_version()}, {_versions()}."
    )


def _cells(row: dict[str, float]) -> tuple[str, ...]:
    """Formats the figures of a contestant, a text for each of `COLUMNS`."""
    return (
        f"{row['us_per_step']:,.0f}",
        f"{row['ratio']:.2f} ({row['ratio_least']:.2f} to {row['ratio_most']:.2f})",
        f"{row['samples_per_second']:,.0f}",
        f"{row['first_step_seconds']:.1f} s",
        f"{row['command_seconds']:.1f} s",
        f"{row['peak_memory_mb']:,.0f} MB",
        f"{row['accuracy']:.3f}",
    )


def draw(path: Path, figures: dict[str, dict[str, dict[str, float]]]) -> None:
    """Draws a bar for each contestant in each workload; the template's own are blue."""
    from matplotlib.figure import Figure

    lines = [
        {name: rows for name, rows in figures.items() if bool(WORKLOADS[name].networks) is of_many}
        for of_many in (False, True)
    ]
    lines = [line for line in lines if line]  # single runs above, sweeps below: their contestants are others
    width = max(map(len, lines))
    figure = Figure(figsize=(2.6 * width + 1.6, 3.6 * len(lines)), layout="constrained")
    grid = figure.subplots(len(lines), width, squeeze=False)
    for line, row_of_axes in zip(lines, grid, strict=True):
        for axes in row_of_axes[len(line) :]:
            axes.set_axis_off()
        # One place for each contestant of the line, as only its first workload has the names beside it.
        names = [name for name in reversed(TITLES) if any(name in rows for rows in line.values())]
        for index, (axes, (workload, rows)) in enumerate(zip(row_of_axes, line.items(), strict=False)):
            _draw_bars(axes, workload, rows, names)
            if index:
                axes.set_yticklabels([])
    figure.supxlabel("time per step, relative to the best hand-written loop (shorter is faster)", fontsize=10)
    figure.savefig(path, dpi=120)


def _draw_bars(axes: Any, workload: str, rows: dict[str, dict[str, float]], names: list[str]) -> None:
    there = [(place, name) for place, name in enumerate(names) if name in rows]
    ratios = [rows[name]["ratio"] for _, name in there]
    colours = ["#4477aa" if name in OURS else "#bbbbbb" for _, name in there]
    bars = axes.barh([place for place, _ in there], ratios, color=colours)
    axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.axvline(1, color="black", linewidth=0.8)
    on_white = {
        "facecolor": "white",
        "edgecolor": "none",
        "pad": 0.5,
    }  # of bars that end before 1 the line goes through
    axes.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3, fontsize=8, bbox=on_white, zorder=3)
    axes.set_title(workload)
    axes.margins(x=0.2)
    axes.spines[["top", "right"]].set_visible(False)


def _versions() -> str:
    known = []
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # an optional contestant
            known.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(known)
