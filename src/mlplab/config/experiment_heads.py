"""Reads the head comment of a file in conf/experiment/: what the experiment shows, and what to expect."""

import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from mlplab.errors import printable

WIDEST = 120
"""Maximum width of the text in columns."""

INDENT = 8
"""Columns before the text, as in a run's other lines: `data    …`, `model   …`."""

KEY = re.compile(rf"([A-Z][a-z]{{1,{INDENT - 2}}}):\s{{2,}}")
"""Matches the beginning of an entry, `Shows:    …`, with at least two blanks; further lines are indented."""

Entries = list[tuple[str, str]]
"""Key (`shows`, or `about` for the text before the first key) and text without line breaks."""


def read_head(path: Path) -> Entries:
    """Reads the comment lines at the head of a file, without the `@package` line; empty if there are none."""
    entries: Entries = []
    is_new = True
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = printable(line[1:].removeprefix(" "))
        key = KEY.match(text)
        if key is not None:
            entries.append((key[1].lower(), text[key.end() :]))
        elif not text.strip() or text.startswith("@package"):
            is_new = True
            continue
        elif is_new or re.match(r"\s*[-*] ", text):  # list items keep their own lines
            entries.append(("" if entries else "about", text.strip()))
        else:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {text.strip()}")
        is_new = False
    return entries


def chosen_heads(hydra: HydraConf | DictConfig) -> Entries:
    """Reads the head comments of the experiments that a command chooses, one after the other.

    Args:
        hydra: Hydra's own part of the configuration, of a run, a job, or a sweep, which may cover several experiments.
    """
    files = [
        Path(source.path) / "experiment" / f"{name}.yaml"
        for name in _chosen(hydra)
        for source in hydra.runtime.config_sources
        if source.schema == "file"
    ]
    return [entry for path in files if path.is_file() for entry in read_head(path)]


def _chosen(hydra: HydraConf | DictConfig) -> list[str]:
    """Lists the names of the chosen experiments, each once."""
    typed = [word for word in hydra.overrides.task if re.match(r"\+?experiment=", word)]
    chosen = [hydra.runtime.choices.get("experiment")]
    if typed:
        override = OverridesParser.create().parse_override(typed[-1])
        # Hydra composes a sweep without its swept overrides.
        chosen = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    names = [name for one in chosen for name in (one if isinstance(one, list) else [one])]
    return list(dict.fromkeys(str(name) for name in names if name is not None))


def as_lines(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Formats a head for the terminal, wrapped to its width: `shows   …`, a text for each key."""
    width = max(40, min(shutil.get_terminal_size().columns, WIDEST))
    return [
        line
        for key, text in entries
        for line in textwrap.wrap(
            text, width, initial_indent=key.ljust(INDENT), subsequent_indent=" " * INDENT,
            break_long_words=False, break_on_hyphens=False,
        )
    ]  # fmt: skip
