"""Makes what the tests of runs that are killed compare by importable, also for the processes that are started."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "resume"))
