"""Writes src/mlplab/engine/fingerprints.py anew.

    python tests/engine/record_fingerprints.py

For those who change a function that the engine or the stacks compute in the place of, once kernels and stacks follow.
"""

import runpy
import textwrap
from itertools import groupby
from pathlib import Path

import mlplab.engine.fingerprints as table
from mlplab.engine.edited_functions import fingerprint, owner_and_name
from mlplab.engine.recognition import functions_of_watchers
from mlplab.parts import is_there

if is_there("stacked"):
    from mlplab.stacked.same_step import mirrored_functions as functions_of_steps
else:
    from mlplab.engine.recognition import functions_of_step as functions_of_steps

BEGIN = "FINGERPRINTS = {"


def entry(owner: str, digests: list[str]) -> list[str]:
    """Formats the digests of one class or module, in lines of at most 120 characters."""
    lines = textwrap.wrap(" ".join(digests), 109)
    if len(lines) == 1 and len(owner) + len(lines[0]) < 108:
        return [f'    "{owner}": "{lines[0]}",']
    return [f'    "{owner}": (', *(f'        "{line} "' for line in lines), "    ),"]


if __name__ == "__main__":
    program = runpy.run_path(str(Path(__file__).resolve().parents[2] / "train.py"), run_name="train")
    task = program["main"].__wrapped__  # what Hydra gives to a launcher
    functions = sorted({*functions_of_steps(), *functions_of_watchers(), task}, key=owner_and_name)
    named = [(*owner_and_name(function), fingerprint(function)) for function in functions]
    lines = [
        line
        for owner, own in groupby(named, key=lambda item: item[0])
        for line in entry(owner, [f"{name}:{digest}" for _, name, digest in own])
    ]
    path = Path(table.__file__)
    before, begin, _ = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text("\n".join([before + begin, *lines, "}"]) + "\n", encoding="utf-8")
