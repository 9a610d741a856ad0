"""Runs train.py's command line through Hydra, and turns mistakes into one message with a suggestion."""

import contextlib
import errno
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mlplab.cli.composition_errors import (
    explain_composition_error,
    of_each_choice,
    require_known_flags,
    require_read_options,
    require_single_choices,
)
from mlplab.cli.output import tolerate_closed_output, why_unwritten
from mlplab.cli.resume import resumed_config, resumes
from mlplab.cli.script import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, print_error
from mlplab.config.commands import command
from mlplab.config.env_file import load_env_file
from mlplab.config.resolvers import register_resolvers
from mlplab.errors import NoRoom, ProcessKilled, RunFailed, RunStopped, UserError, described, is_disk_full
from mlplab.parts import is_there, require_part
from mlplab.runs.directory import RunDirectory
from mlplab.runs.earlier_launch import HOW, begun_before, objective_of_finished
from mlplab.runs.run_reading import read_state
from mlplab.runs.signals import on_termination
from mlplab.slurm import is_repetition, is_requeued, requeue


def run_command(main: Callable[[], None], resume: Callable[[DictConfig], float], root: Path) -> int:
    """Runs a function that `hydra.main` has decorated; returns the exit status of the process.

    Args:
        main: composes the configuration and runs it.
        resume: resumes the run of a configuration.
        root: the project folder, which contains conf/.
    """
    tolerate_closed_output()
    try:
        load_env_file()
    except UserError as error:
        return print_error(error, EXIT_REFUSED)
    # HYDRA_FULL_ERROR=1 is always set here, so that Hydra passes exceptions on. MLPLAB_TRACEBACK keeps the user's
    # choice to show tracebacks, also for child processes.
    os.environ.setdefault("MLPLAB_TRACEBACK", os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_resolvers(root)  # before Hydra composes
    _unwind_on_signals()
    sys.argv[1:] = [with_quotes(with_home(word)) for word in sys.argv[1:]]
    is_sweep = bool({"-m", "--multirun"} & set(sys.argv[1:]))
    if is_sweep:  # moved to the front, as argparse requires flags before the first override
        sys.argv[1:] = ["-m", *(word for word in sys.argv[1:] if word not in ("-m", "--multirun"))]
        sys.argv[1:] = of_each_choice(_with_dry_run(sys.argv[1:]), root / "conf")
    overrides = [word for word in sys.argv[1:] if word.startswith("~") or ("=" in word and not word.startswith("-"))]
    if "--version" in sys.argv[1:]:  # Hydra would show its own
        print(", ".join(f"{name} {version(name)}" for name in ("mlplab", "torch", "lightning", "hydra-core")))
        return 0
    try:
        if resumes(sys.argv[1:]):
            config = resumed_config(sys.argv[1:], root / "conf")
            if config is not None:
                run_job(resume, config)
            return 0  # also if nothing was left to do
        require_known_flags(sys.argv[1:], root / "conf")
        if is_sweep:
            require_part("sweeps", "-m", "a single run, with one value for each name")
        require_single_choices(overrides)
        if HOW not in os.environ:
            main()
        else:  # a sweep's job
            from mlplab.sweeps.job import become_worker, with_a_job

            become_worker()
            # The job's other processes simply end with the first.
            with with_a_job() if "LOCAL_RANK" not in os.environ else contextlib.nullcontext():
                main()
    except SystemExit as ended:  # Hydra exits after its help
        if ended.code or _job_has_begun:
            raise
    except BaseException as error:
        is_wanted = _wants_traceback() and not isinstance(error, RunStopped | KeyboardInterrupt)
        end = None if is_wanted else _explained(error, overrides, root / "conf")
        if end is None:
            raise
        status = print_error(*end)
        # Last, as SLURM then ends the process.
        requeued = requeue(error.status - 128) if isinstance(error, RunStopped) else None
        if requeued:
            print(requeued, flush=True)
        return status
    reason = None if _job_has_begun else why_unwritten()  # help, or a configuration; a run goes on without its lines
    if reason is not None:
        mistake = UserError("standard output must be writable", f"it is not: {reason}", "another file for it")
        return print_error(mistake, EXIT_FAILED)
    return EXIT_FAILED if _n_failed_jobs() else 0  # or a shell would take the sweep for complete


def _n_failed_jobs() -> int:
    """Counts the failed jobs of the sweep that this process has run."""
    if not is_there("sweeps"):
        return 0
    from mlplab.sweeps import failed_jobs

    return int(failed_jobs.n_failed)


def _with_dry_run(words: Sequence[str]) -> list[str]:
    """Replaces `--cfg job`, which Hydra does not take with -m, by sweep.dry_run=true."""
    text, n_found = re.subn(r"\0(--cfg|-c)[\0=]job(?=\0)", "", "\0".join(["", *words, ""]))
    # These flags go with --cfg alone.
    text = re.sub(r"\0(--resolve|(--package|-p)[\0=][^\0]*)(?=\0)", "", text)
    return [*text[1:-1].split("\0"), "sweep.dry_run=true"] if n_found else list(words)


def with_home(word: str) -> str:
    """Expands a ~ at the beginning of a value, which a shell does not expand and Hydra refuses."""
    key, equals, value = word.partition("=")
    if not equals or word.startswith(("-", "~")):
        return word
    # Quoted data paths are recorded as typed, and expanded when the data are read.
    quote = "" if key.startswith("data.") else "['\"]?"
    home = rf"(^{quote}|[,\[]{quote})(~[\w.-]*)(?=[/,\]]|$)"
    return f"{key}={re.sub(home, lambda match: match[1] + os.path.expanduser(match[2]), value)}"


def with_quotes(word: str) -> str:
    """Quotes names and paths in other alphabets, which Hydra only accepts in quotes: data.target=цена."""
    key, equals, value = word.partition("=")
    # Values with quotes, function calls or references are left as they are.
    if not equals or value.isascii() or re.search(r"[\"'\\(){}$]", value):
        return word
    bare = r"[^,\[\]]*[^\x00-\x7f,\[\]][^,\[\]]*"
    return f"{key}=" + re.sub(bare, lambda match: f'"{match[0].strip()}"', value)


def _explained(error: BaseException, overrides: Sequence[str], conf: Path) -> tuple[object, int] | None:
    """Returns the message and the exit status for an error; None for a bug, whose traceback is printed."""
    match error:
        case RunStopped():
            return error, error.status
        case KeyboardInterrupt():
            return "interrupted", EXIT_INTERRUPTED
        case UserError() | RunFailed():
            return error, _status(error)
        case HydraException() | OmegaConfBaseException() | YAMLError():
            return explain_composition_error(error, overrides, conf), EXIT_REFUSED
        case OSError() if is_disk_full(error):
            hint = "freeing some space, then the same command"
            return NoRoom("the disk must have free space", str(error), hint), EXIT_FAILED
        case OSError(errno=errno.ENAMETOOLONG) if overrides:  # Hydra looks for a file of each name
            longest = max(overrides, key=len)
            requirement = "names and paths must not be too long for the disk"
            shown = f"{longest[:50]}… with {len(longest)} characters"
            return UserError(requirement, shown, "a shorter one"), EXIT_REFUSED
        case OSError() if not _job_has_begun:
            return UserError("paths.logs must be a writable folder", str(error), "paths.logs=logs"), EXIT_REFUSED
        case ValueError() | IndexError() if not _job_has_begun:  # Hydra raises this for some command lines
            return explain_composition_error(error, overrides, conf), EXIT_REFUSED
    return None


def _unwind_on_signals() -> None:
    """Makes signals raise, as Ctrl-C does, until training handles them, so that `finally` blocks clean up."""

    def stop(number: int, frame: object) -> None:
        # While a run trains, `Interruption` handles signals instead.
        if not is_repetition(number):
            raise RunStopped(f"stopped by {signal.Signals(number).name} while no run was active", 128 + number)

    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    on_termination(stop)


def run_job(train: Callable[..., float], config: DictConfig) -> float:
    """Runs one job, and reports its error in one message.

    In a single run the error ends the process. In a sweep it is written to the job's directory, and the other jobs run.
    """
    global _job_has_begun
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        require_part("sweeps", "hydra.mode=MULTIRUN", "a single run, with one value for each name")
    _job_has_begun = True
    directory = Path(hydra.runtime.output_dir)
    try:
        # Only here, as an experiment may turn the command into a sweep.
        if hydra.mode != RunMode.MULTIRUN and HOW not in os.environ:  # a sweep has passed on its overrides
            require_read_options(sys.argv[1:])
        try:
            return _train(train, config, directory)
        except OmegaConfBaseException as error:  # an interpolation refers to a missing value
            reason = " ".join(str(error).split())
            raise UserError(
                "every value of the configuration must resolve", reason, command("train.py", "--help")
            ) from error
    except (RunStopped, KeyboardInterrupt, ProcessKilled):
        raise
    except BaseException as error:  # user code may raise anything, or call sys.exit
        is_told = isinstance(error, UserError | RunFailed)
        message = str(error) if is_told else _what_failed(error, directory)
        if hydra.mode == RunMode.MULTIRUN:
            if _wants_traceback():
                traceback.print_exc()  # at once, as the table will show the message
            if is_disk_full(error):  # the next job would fail too; the sweep can be resumed from this one
                raise RunStopped(f"{message.partition('; try ')[0]}; try freeing some space", EXIT_FAILED) from error
            _note_failure(directory, message)  # the sweep's table shows it
            return math.nan  # Hydra goes on with the next job
        has_log = (directory / "train.log").is_file()
        if _wants_traceback() or not (is_told or has_log or not isinstance(error, Exception) or is_disk_full(error)):
            raise
        raise SystemExit(print_error(message, _status(error))) from None
    finally:
        _remove_if_empty(directory)


def _train(train: Callable[..., float], config: DictConfig, directory: Path) -> float:
    """Trains; resumes what an earlier launch of the sweep or the job of SLURM began, and skips what has finished."""
    is_of_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if HOW in os.environ and not is_of_sweep:  # a sweep's job in its own process
        return train(config, resume=True) if os.environ[HOW] == "resume" else train(config)
    if is_of_sweep:
        from mlplab.sweeps.own_process import needs_own_process, train_in_own_process

        train = train_in_own_process if needs_own_process(config) else train
    if not (is_of_sweep or is_requeued()) or not (directory / "status.json").exists():
        return train(config)
    objective = objective_of_finished(directory)
    if objective is not None:
        print(f"{directory} has finished: nothing to do")
        return objective
    # A job that has begun resumes from its checkpoint; leftovers of one that never began are removed.
    return train(config, resume=True) if begun_before(directory, config) else train(config)


def _what_failed(error: BaseException, directory: Path) -> str:
    """Describes an unexpected error: class, message, place, and where its traceback is."""
    if error.__cause__ is not None and not isinstance(error.__cause__, Exception):  # `ending` wrapped it
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames  # where a reader can change it
    place = f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else "nowhere"
    log = directory / "train.log"
    where = f"; its traceback is in {os.path.relpath(log)}" if log.is_file() else "; HYDRA_FULL_ERROR=1 shows more"
    return f"the run failed: {described(error)} ({place}){where}"


def _note_failure(directory: Path, message: str) -> None:
    """Marks a refused job as failed, if it had not yet claimed its directory.

    If a job could not be resumed, its directory stays unchanged, and the message goes to the terminal.
    """
    if (directory / "status.json").exists():
        if not read_state(directory).has_ended:
            print_error(f"{directory.name}: {message}", EXIT_FAILED)
        return
    run = RunDirectory(directory)
    try:
        run.claim()  # like any run, so that reports and retries find it
        run.end("failed", message)
    except (UserError, OSError) as error:
        print_error(error, EXIT_FAILED)


_job_has_begun = False


def _wants_traceback() -> bool:
    return os.environ.get("MLPLAB_TRACEBACK") == "1"


def _status(error: BaseException) -> int:
    return EXIT_REFUSED if isinstance(error, UserError) else EXIT_FAILED


def _remove_if_empty(directory: Path) -> None:
    """Removes the directory that Hydra made for a refused run, and runs/ and logs/ if they are empty."""
    for folder in (directory, *directory.parents[:2]):
        if folder == Path.cwd() or not folder.is_dir() or any(folder.iterdir()):
            return
        with contextlib.suppress(OSError):  # for example a mount point
            folder.rmdir()
