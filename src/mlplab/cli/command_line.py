"""Runs train.py's command line through Hydra, and turns mistakes into one message with a suggestion."""

import contextlib
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mlplab.cli.output import tolerate_closed_output, why_unwritten
from mlplab.cli.resume import resumed_config, resumes
from mlplab.cli.script import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from mlplab.config.resolvers import register_resolvers
from mlplab.config.suggestions import nearest_key, nearest_name
from mlplab.config.trainer_flags import CHOSEN_ELSEWHERE, TRAINER_FLAGS
from mlplab.errors import NoRoom, RunFailed, RunStopped, UserError, described, is_disk_full, printable
from mlplab.runs.directory import RunDirectory
from mlplab.runs.signals import on_termination
from mlplab.sweeps import failed_jobs
from mlplab.sweeps.job import begun_before, objective_of_finished
from mlplab.sweeps.states import read_state

OF_EXTRAS = {"hydra/launcher=joblib": "sweeps"}
"""Choice → extra of this package that installs what the choice needs."""

OPTIONAL_GROUPS = ("experiment", "debug")
"""Groups without a required choice."""


def run_command(main: Callable[[], None], resume: Callable[[DictConfig], float], root: Path) -> int:
    """Runs a function that `hydra.main` has decorated; returns the exit status of the process.

    Args:
        main: composes the configuration and runs it.
        resume: resumes the run of a configuration.
        root: the project folder, which contains conf/.
    """
    tolerate_closed_output()
    # For the user HYDRA_FULL_ERROR=1 means "show the traceback". Here it is always set, so that Hydra passes
    # exceptions on. MLPLAB_TRACEBACK keeps the user's choice, also for child processes.
    os.environ.setdefault("MLPLAB_TRACEBACK", os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"
    wants_traceback = _wants_traceback()
    register_resolvers(root)
    _unwind_on_signals()
    is_sweep = bool({"-m", "--multirun"} & set(sys.argv[1:]))
    if is_sweep:  # moved to the front, as argparse requires flags before the first override
        sys.argv[1:] = ["-m", *(word for word in sys.argv[1:] if word not in ("-m", "--multirun"))]
    overrides = [word for word in sys.argv[1:] if word.startswith("~") or ("=" in word and not word.startswith("-"))]
    try:
        if resumes(sys.argv[1:]):
            config = resumed_config(sys.argv[1:], root / "conf")
            if config is not None:
                run_job(resume, config)
            return 0
        main()
    except SystemExit as ended:  # as Hydra ends after its help
        if ended.code or _job_has_begun:
            raise
    except RunStopped as stopped:
        return _report(stopped, stopped.status)
    except KeyboardInterrupt:
        return _report("interrupted", EXIT_INTERRUPTED)
    except (UserError, RunFailed) as error:
        if wants_traceback:
            raise
        return _report(error, _status(error))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        if wants_traceback:
            raise
        return _report(explain(error, overrides, root / "conf"), EXIT_REFUSED)
    except (ValueError, IndexError) as error:
        # Hydra raises these for some command lines. Raised by a job they are bugs.
        if wants_traceback or _job_has_begun:
            raise
        return _report(explain(error, overrides, root / "conf"), EXIT_REFUSED)
    except OSError as error:
        if not wants_traceback and is_disk_full(error):
            remedy = "freeing some space, then the same command"
            return _report(NoRoom("the disk must have free space", str(error), remedy), EXIT_FAILED)
        if wants_traceback or _job_has_begun:
            raise
        return _report(UserError("paths.logs must be a writable folder", str(error), "paths.logs=logs"), EXIT_REFUSED)
    reason = None if _job_has_begun else why_unwritten()  # help, or a configuration; a run goes on without its lines
    if reason is not None:
        mistake = UserError("what is asked for must be written", f"standard output: {reason}", "another file for it")
        return _report(mistake, EXIT_FAILED)
    return EXIT_FAILED if failed_jobs.n_failed else 0


def _unwind_on_signals() -> None:
    """Makes signals raise, as Ctrl-C does, until training handles them: `finally` blocks then clean up."""

    def stop(number: int, frame: object) -> None:
        raise RunStopped(f"stopped by {signal.Signals(number).name} while no run was active", 128 + number)

    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    on_termination(stop)


def run_job(train: Callable[..., float], config: DictConfig) -> float:
    """Runs one job, and reports an error of it in one message.

    In a single run the error ends the process. In a sweep it is written to the job's directory, and the other jobs run.
    """
    global _job_has_begun
    _job_has_begun = True
    directory = Path(HydraConfig.get().runtime.output_dir)
    try:
        try:
            return _train(train, config, directory)
        except OmegaConfBaseException as error:  # an interpolation of a missing value
            reason = " ".join(str(error).split())
            raise UserError(
                "every value of the configuration must resolve", reason, "python train.py --help"
            ) from error
    except (RunStopped, KeyboardInterrupt):
        raise
    except BaseException as error:  # the user's code may raise anything, or call sys.exit
        is_told = isinstance(error, UserError | RunFailed)
        message = str(error) if is_told else _what_failed(error, directory)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            if _wants_traceback():
                traceback.print_exc()
            if is_disk_full(error):  # the next job would fail too; the sweep can be resumed from this one
                raise RunStopped(f"{message.partition('; try ')[0]}; free some room", EXIT_FAILED) from error
            _note_failure(directory, message)  # the sweep's table shows it
            return math.nan
        has_log = (directory / "train.log").is_file()
        if _wants_traceback() or not (is_told or has_log or not isinstance(error, Exception) or is_disk_full(error)):
            raise
        raise SystemExit(_report(message, _status(error))) from None
    finally:
        _remove_if_empty(directory)


def _train(train: Callable[..., float], config: DictConfig, directory: Path) -> float:
    """Trains; in a sweep resumes a job that an earlier launch began, and skips one that has finished."""
    if HydraConfig.get().mode != RunMode.MULTIRUN or not (directory / "status.json").exists():
        return train(config)
    objective = objective_of_finished(directory)
    if objective is not None:
        return objective
    return train(config, resume=True) if begun_before(directory, config) else train(config)


def _what_failed(error: BaseException, directory: Path) -> str:
    """Describes an unexpected error: its class, message and place, and where its traceback is."""
    if error.__cause__ is not None and not isinstance(error.__cause__, Exception):  # which `ending` wrapped
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    place = f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else "nowhere"
    log = directory / "train.log"
    where = f"; its traceback is in {os.path.relpath(log)}" if log.is_file() else "; HYDRA_FULL_ERROR=1 shows more"
    return f"the run failed: {described(error)} ({place}){where}"


def _note_failure(directory: Path, message: str) -> None:
    """Marks a job as failed that was refused before it claimed its directory.

    If a job could not be resumed, its directory stays unchanged, and the message goes to the terminal.
    """
    if (directory / "status.json").exists():
        if not read_state(directory).has_ended:
            _report(f"{directory.name}: {message}", EXIT_FAILED)
        return
    run = RunDirectory(directory)
    try:
        run.claim()
        run.end("failed", message)
    except (UserError, OSError) as error:
        _report(error, EXIT_FAILED)


_job_has_begun = False


def _wants_traceback() -> bool:
    return os.environ.get("MLPLAB_TRACEBACK") == "1"


def _status(error: BaseException) -> int:
    return EXIT_REFUSED if isinstance(error, UserError) else EXIT_FAILED


def _report(message: object, status: int) -> int:
    print(f"{Path(sys.argv[0]).name}: {printable(message)}", file=sys.stderr, flush=True)
    return status


def _remove_if_empty(directory: Path) -> None:
    """Removes the directory that Hydra made for a refused run, and runs/ and logs/ if they are empty."""
    for folder in (directory, *directory.parents[:2]):
        if folder == Path.cwd() or not folder.is_dir() or any(folder.iterdir()):
            return
        with contextlib.suppress(OSError):  # for example a mount point
            folder.rmdir()


def explain(error: Exception, overrides: Sequence[str], conf: Path) -> UserError:
    """Turns a failure to compose the configuration into a message that names the nearest valid choice."""
    if isinstance(error, OverrideParseException):
        key, equals, value = str(error.override).partition("=")
        return UserError(
            "the command line must consist of GROUP=CHOICE and key=value",
            f"{error.override!r} does not parse",
            f"'{key}={_quoted(value)}'" if equals else "optimizer=adam",
        )
    with initialize_config_dir(str(conf), version_base="1.3"):
        try:
            parsed = _parsed(overrides)
            known = _unknown_choice(parsed) or _sweep_without_flag(parsed) or _unknown_key(parsed)
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError):
            known = None
        reason = " ".join(str(error).split()) or type(error).__name__
        return known or UserError("the configuration must compose", reason, "python train.py --help")


def _quoted(value: str) -> str:
    """Quotes a value, or each value of a list, so that Hydra accepts any text."""
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_quoted(part.strip()) for part in value[1:-1].split(','))}]"
    return '"{}"'.format(value.strip("'\"").replace('"', r"\""))


def _parsed(overrides: Sequence[str]) -> list[Override]:
    loader = GlobalHydra.instance().config_loader()
    return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))


def _sweep_without_flag(overrides: Sequence[Override]) -> UserError | None:
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        return None
    for override in overrides:
        if override.is_sweep_override():
            given = override.input_line or override.key_or_group
            remedy = f"python train.py -m {given}"
            if override.key_or_group.endswith(("dims", "betas", "applies_to", "class_weights")):
                remedy = f"{override.key_or_group}=[{given.partition('=')[2]}]"
            return UserError("a single run must be given one value for each name; several need -m", given, remedy)
    return None


def _group_choices(group: str) -> list[str]:
    choices: list[str] = GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG)
    return sorted(choices)


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    return [override.value()]


def _unknown_choice(overrides: Sequence[Override]) -> UserError | None:
    for override in overrides:
        group = override.key_or_group
        choices = _group_choices(group) if group else []
        for value in _values(override) if choices else []:
            if value is None and group in OPTIONAL_GROUPS:
                continue
            if f"{group}={value}" in OF_EXTRAS and str(value) not in choices:
                extra = OF_EXTRAS[f"{group}={value}"]
                return UserError(
                    f"{group}={value} must have its package installed", "there is none",
                    f'pip install -c constraints.txt -e ".[{extra}]"',
                )  # fmt: skip
            if not isinstance(value, list) and str(value) not in choices:
                example = nearest_name(str(value), choices) or choices[0]
                return UserError(
                    f"{group} must be one of {', '.join(choices)}", f"{group}={value}", f"{group}={example}"
                )
    return None


def _unknown_key(overrides: Sequence[Override]) -> UserError | None:
    groups = [f"{o.key_or_group}={_values(o)[0]}" for o in overrides if _group_choices(o.key_or_group) and _values(o)]
    keys = _keys_with(groups)
    for override in overrides:
        key = override.key_or_group
        if key.startswith(("hydra.sweeper.", "hydra.launcher.")) and not override.is_add():
            unknown = _unknown_setting_of_a_sweep(override, groups)
            if unknown is not None:
                return unknown
        if override.is_add() and key in keys:
            plain = override.input_line[1:] if override.input_line else key
            return UserError("+ must only be used for names that are not in the configuration", f"+{plain}", plain)
        if key in keys or override.is_add() or override.is_force_add() or key.startswith("hydra"):
            continue
        given = override.input_line or key
        value = given.partition("=")[2]
        flag = key.removeprefix("trainer.")
        if flag in CHOSEN_ELSEWHERE and flag != key:
            return UserError(f"{key} must be chosen by another option", given, CHOSEN_ELSEWHERE[flag])
        remedy = _other_choice_with(key, value)
        if remedy is None and flag in TRAINER_FLAGS and flag != key:
            remedy = f"+{given}"
        if remedy is None:
            near = nearest_key(key, keys)
            remedy = f"{near}={value}" if near else "python train.py --help, which lists them all"
        return UserError("names on the command line must exist in the configuration", given, remedy)
    return None


def _unknown_setting_of_a_sweep(override: Override, groups: list[str]) -> UserError | None:
    _, part, name = override.key_or_group.split(".")[:3]
    known = _settings_of(part, groups)
    if name in known:
        return None
    given = override.input_line or override.key_or_group
    setting = f"={given.partition('=')[2]}"
    choices = [choice for choice in _group_choices(f"hydra/{part}") if choice not in ("basic", "grid")]
    others = [choice for choice in choices if name in _settings_of(part, [f"hydra/{part}={choice}"])]
    near = nearest_name(name, known) or ("" if others or not known else known[0])
    remedy = f"hydra.{part}.{near}{setting}" if near else f"hydra/{part}={(others or choices)[-1]} {given}"
    if known:
        return UserError(f"an option of the {part} must be one of {', '.join(known)}", given, remedy)
    return UserError(f"the {part} must be one that has options", given, remedy)


def _settings_of(part: str, groups: list[str]) -> list[str]:
    """Returns the option names of the chosen sweeper or launcher."""
    config = compose("config", overrides=groups, return_hydra_config=True)
    return [str(name) for name in config.hydra[part] if not str(name).startswith("_")]


def _keys_with(groups: list[str]) -> list[str]:
    """Returns all group names and dotted keys of the configuration with these choices."""
    try:
        config = compose("config", overrides=groups)
    except (HydraException, OmegaConfBaseException):
        config = compose("config")
    names: list[str] = GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP)
    return [*names, *_dotted_keys(OmegaConf.to_container(config, resolve=False))]


def _other_choice_with(key: str, value: str) -> str | None:
    """Suggests another choice of the group that has the key: `loss=cross_entropy loss.label_smoothing=0.1`."""
    group, _, last = key.partition(".")
    fitting = [
        choice
        for choice in _group_choices(group)
        if key in _dotted_keys(OmegaConf.to_container(compose("config", [f"{group}={choice}"]), resolve=False))
    ]
    if not fitting:
        return None
    return f"{group}={nearest_name(last, fitting) or min(fitting, key=len)} {key}={value}"


def _dotted_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = []
    for name, value in node.items():
        keys += [f"{prefix}{name}", *_dotted_keys(value, f"{prefix}{name}.")]
    return keys
