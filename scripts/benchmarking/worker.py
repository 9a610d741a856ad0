"""The process of one contestant: trains one workload as often as it is asked to.

    python scripts/benchmarking/worker.py CONTESTANT FOLDER STARTED

It answers each line of its input with one line of JSON. `STARTED` is when it was started, in seconds since 1970.
"""

import json
import os
import resource
import sys
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


OURS = ("template", "template_plain", "template_own_step", "stacked", "serial", "joblib")
"""They import as `train.py` does, and the others as anybody would."""

MYSELF, CHILDREN = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def main(name: str, folder: Path, started: float) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the contestants print is not part of the answers
    from mlplab.engine.startup import quick_imports

    with quick_imports() if name in OURS else nullcontext():
        from benchmarking.contestants import CONTESTANTS
        from benchmarking.workloads import read_arrays, read_settings

        contestants = CONTESTANTS
        if name not in CONTESTANTS:  # only a project with sweeps has others
            from benchmarking.many import MANY

            contestants = MANY
        settings = read_settings(folder)
        arrays = {} if name.startswith("template") else read_arrays(folder)  # it reads its data itself
        try:
            train = contestants[name][1](settings, arrays)
        except ModuleNotFoundError as error:
            answers.write(json.dumps({"missing": error.name}) + "\n")
            answers.flush()
            return
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(settings["threads"])
    first_step = None

    def begin() -> float:
        nonlocal first_step
        first_step = first_step or time.time() - started
        return time.perf_counter()

    for _ in sys.stdin:
        seconds, steps, accuracy = train(begin)
        answer = {
            "us_per_step": 1e6 * seconds / steps,
            "seconds": seconds,
            "samples_per_second": steps * settings["n_rows"] / settings["steps_per_epoch"] / seconds,
            "accuracy": accuracy,
            "first_step_seconds": first_step,
            "since_start_seconds": time.time() - started,
            "peak_memory_mb": max(resource.getrusage(who).ru_maxrss for who in (MYSELF, CHILDREN)) / 1024,
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
