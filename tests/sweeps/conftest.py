"""Makes the harness beside this file importable, also for the processes that it starts."""

import sys
from pathlib import Path

for folder in (Path(__file__).resolve().parent, Path(__file__).resolve().parents[1] / "resume"):
    sys.path.insert(0, str(folder))
