"""Runs that are killed, for the tests beside this file: real processes, and SIGKILL.

A process that is warmed once is forked for every run, so that a run costs what it computes.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["resume.warmed"])
sys.path.insert(0, str(Path(__file__).resolve().parent))


@dataclass(frozen=True)
class Kill:
    """SIGKILL at the `count`-th time that a process comes to `point`."""

    point: str
    count: int = 1


def fork(target: Callable[..., None], *arguments: Any) -> Any:
    """A process that begins as a copy of the warm one, and does this."""
    process = _context.Process(target=target, args=arguments)
    paths = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "tests"), paths]))
    try:
        process.start()  # the first time this starts the warm one too, which has to find what warms it
    finally:
        os.environ.pop("PYTHONPATH") if paths is None else os.environ.update(PYTHONPATH=paths)
    return process


def start(
    overrides: Sequence[str], directory: Path, kill: Kill | None = None, without: str = "", also: str = ""
) -> Any:
    """A process that trains in `directory`, or goes on there; it kills itself as `kill` says.

    Args:
        overrides: of the configuration.
        directory: of the run.
        kill: where it dies.
        without: a part of what makes going on exact, to be taken out: a negative control.
        also: a word for the command line where it goes on.
    """
    return fork(_run, list(overrides), directory, kill, without, also)


def run(overrides: Sequence[str], directory: Path, kill: Kill | None = None, without: str = "", also: str = "") -> int:
    """Runs `start` to its end, and returns the exit status: -9 where it was killed."""
    process = start(overrides, directory, kill, without, also)
    process.join()
    status: int = process.exitcode
    if status not in (0, -signal.SIGKILL):
        raise AssertionError((directory.parent / "output.txt").read_text())
    return status


def _run(overrides: list[str], directory: Path, kill: Kill | None, without: str, also: str) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    output = os.open(directory.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        _train(overrides, directory, kill, without, also)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(getattr(error, "status", 3))  # of a signal that was answered
    sys.stdout.flush()
    os._exit(0)  # nothing is left to a clean exit


def _train(overrides: list[str], directory: Path, kill: Kill | None, without: str, also: str) -> None:
    import torch
    from composing import composed

    from mlplab.cli.resume import resumed_config
    from mlplab.config.resolvers import register_resolvers
    from mlplab.training import train

    torch.set_num_threads(1)
    sys.argv = ["train.py"]
    register_resolvers(ROOT)
    if kill is not None:
        POINTS[kill.point](_Countdown(kill.count))
    if without:
        TAKEN_OUT[without]()
    if (directory / ".hydra" / "config.yaml").exists():
        config = resumed_config([f"resume={directory}", *also.split()], ROOT / "conf")
        if config is not None:
            train(config, resume=True)
        return
    if (directory / "status.json").exists():  # it died before its configuration was written: begun again
        for path in (directory / "status.json", directory / "train.log"):
            path.unlink(missing_ok=True)
        for folder in ("checkpoints", "figures"):
            if (directory / folder).exists():
                (directory / folder).rmdir()
    train(composed(*overrides, f"paths.run={directory}"))


class _Countdown:
    """Called each time that a process comes to a point; the last time kills it."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> None:
        self.count -= 1
        if self.count == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: Any, name: str, before: Callable[..., None], after: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        before(*args)
        result = original(*args, **options)
        after(*args)
        return result

    setattr(owner, name, wrapped)


def _nothing(*args: Any) -> None:
    pass


def _learner(name: str, *, is_after: bool = False) -> Callable[[_Countdown], None]:
    def install(countdown: _Countdown) -> None:
        from mlplab.learner import Learner

        def come(*args: Any) -> None:
            countdown()

        _around(Learner, name, _nothing if is_after else come, come if is_after else _nothing)

    return install


def _step(*, is_after: bool) -> Callable[[_Countdown], None]:
    """Around a step, by either engine. What replaces a method of the learner keeps it from being fused."""

    def install(countdown: _Countdown) -> None:
        from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization

        from mlplab.engine.epoch_loop import FastEpochLoop

        def come(*args: Any) -> None:
            countdown()

        for owner, name in ((FastEpochLoop, "_optimize"), (_AutomaticOptimization, "run")):
            _around(owner, name, _nothing if is_after else come, come if is_after else _nothing)

    return install


def _half_written(countdown: _Countdown) -> None:
    import torch

    def cut(content: Any, path: Path) -> None:
        if ".last.ckpt" in str(path):
            if countdown.count == 1:
                os.truncate(path, Path(path).stat().st_size // 2)
            countdown()

    _around(torch, "save", _nothing, cut)


def _renamed(name: str, *, is_after: bool) -> Callable[[_Countdown], None]:
    def install(countdown: _Countdown) -> None:
        def come(temporary: Path, target: Any) -> None:
            if Path(target).name == name:
                countdown()

        _around(Path, "replace", _nothing if is_after else come, come if is_after else _nothing)

    return install


def _between_epochs(countdown: _Countdown) -> None:
    from mlplab.engine.resumable_loops import ResumableFitLoop

    _around(ResumableFitLoop, "on_advance_start", lambda *args: countdown(), _nothing)


def _at_the_end(countdown: _Countdown) -> None:
    from mlplab.callbacks import Checkpoints

    _around(Checkpoints, "on_train_end", _nothing, lambda *args: countdown())


POINTS: dict[str, Callable[[_Countdown], None]] = {
    "before forward": _step(is_after=False),
    "after backward": _learner("on_after_backward"),
    "after the update": _step(is_after=True),
    "in the middle of writing a checkpoint": _half_written,
    "before its rename": _renamed("last.ckpt", is_after=False),
    "after its rename": _renamed("last.ckpt", is_after=True),
    "after the one before is kept": _renamed("previous.ckpt", is_after=True),
    "after the best is written": _renamed("best.ckpt", is_after=True),
    "in validation": _learner("validation_step"),
    "after validation": _learner("on_validation_epoch_end", is_after=True),
    "between epochs": _between_epochs,
    "after training": _at_the_end,
    "in the test": _learner("test_step"),
    "after the result": _renamed("result.json", is_after=True),
}
"""Where a process can be killed."""


def _without_the_place_in_the_epoch() -> None:
    from mlplab.data.batches import Batches

    Batches.first_batch = property(lambda self: 0, lambda self, value: None)  # type: ignore[assignment]


def _without_seeds_of_steps() -> None:
    from mlplab.learner import Learner

    Learner._seed_step = lambda self, epoch, batch_idx: None  # type: ignore[method-assign]


def _without_the_state_of(kind: str) -> Callable[[], None]:
    def take_out() -> None:
        import lightning.pytorch.callbacks as theirs

        import mlplab.callbacks as ours

        owner = getattr(ours, kind, None) or getattr(theirs, kind)
        name = "on_load_checkpoint" if kind == "Checkpoints" else "load_state_dict"
        setattr(owner, name, lambda *args: None)

    return take_out


def _without_rewinding() -> None:
    from mlplab.runs import resuming

    resuming.rewind_logs = lambda loggers, saved: None


def _without_atomic_writing() -> None:
    import torch

    from mlplab.runs import checkpoint

    def write(path: Path, fill: Callable[[Path], object], **options: Any) -> None:
        fill(path)

    checkpoint.write_atomically = write
    original = torch.save

    def save(content: Any, path: Path) -> None:
        original(content, path)
        if path.name == "last.ckpt" and content["global_step"] == 6:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


TAKEN_OUT: dict[str, Callable[[], None]] = {
    "the place in the epoch": _without_the_place_in_the_epoch,
    "the seeds of steps": _without_seeds_of_steps,
    "the state of early stopping": _without_the_state_of("EarlyStopping"),
    "the state of the curves": _without_the_state_of("TrainingCurves"),
    "the best state": _without_the_state_of("Checkpoints"),
    "rewinding the logs": _without_rewinding,
    "writing atomically": _without_atomic_writing,
}
"""What makes going on exact, and can be taken out to see that the tests would notice."""
