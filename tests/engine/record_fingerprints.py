"""Writes src/mlplab/engine/fingerprints.py anew.

    python tests/engine/record_fingerprints.py

For those who change a function that the engine or the stacks compute in the place of, once kernels and stacks follow.
"""

from pathlib import Path

import mlplab.engine.fingerprints as table
from mlplab.engine.recognition import fingerprint, functions_of_watchers
from mlplab.stacked.same_step import mirrored_functions

if __name__ == "__main__":
    functions = sorted({*mirrored_functions(), *functions_of_watchers()}, key=lambda f: (f.__module__, f.__qualname__))
    lines = [f'    "{f.__module__}.{f.__qualname__}": "{fingerprint(f)}",' for f in functions]
    path = Path(table.__file__)
    before, begin, _ = path.read_text(encoding="utf-8").partition("FINGERPRINTS: dict[str, str] = {")
    path.write_text("\n".join([before + begin, *lines, "}"]) + "\n", encoding="utf-8")
