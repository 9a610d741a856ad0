"""Makes the harness beside this file importable, also for the processes that it starts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
