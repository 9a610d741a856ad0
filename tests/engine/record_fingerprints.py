"""Writes src/mlplab/engine/fingerprints.py anew.

    python tests/engine/record_fingerprints.py

For those who change a function that the engine or the stacks compute in the place of, once kernels and stacks follow.
"""

import runpy
from pathlib import Path

import mlplab.engine.fingerprints as table
from mlplab.engine.recognition import fingerprint, full_name, functions_of_watchers
from mlplab.stacked.same_step import mirrored_functions

if __name__ == "__main__":
    program = runpy.run_path(str(Path(__file__).resolve().parents[2] / "train.py"), run_name="train")
    task = program["main"].__wrapped__  # what Hydra gives to a launcher
    functions = sorted({*mirrored_functions(), *functions_of_watchers(), task}, key=full_name)
    lines = [f'    "{full_name(f)}": "{fingerprint(f)}",' for f in functions]
    path = Path(table.__file__)
    before, begin, _ = path.read_text(encoding="utf-8").partition("FINGERPRINTS: dict[str, str] = {")
    path.write_text("\n".join([before + begin, *lines, "}"]) + "\n", encoding="utf-8")
