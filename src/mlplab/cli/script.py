"""Command lines of scripts: parses `name=value` options, runs the script, and reports how it ended."""

import atexit
import contextlib
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlplab.cli.output import show_every_text, tolerate_closed_output, why_unwritten
from mlplab.config.config_rules import nearest
from mlplab.config.env_file import load_env_file
from mlplab.config.paths import latest_run
from mlplab.config.suggestions import nearest_name
from mlplab.errors import RunFailed, RunStopped, UserError, printable
from mlplab.parts import is_there, require_part
from mlplab.rules import Rule
from mlplab.runs.files import as_json
from mlplab.runs.signals import on_termination
from mlplab.runs.trust import PROJECT

# 2 is argparse's status for a wrong command line, 130 the shell's for Ctrl-C: 128 plus the signal's number.
EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Option:
    """An option of a script.

    Attributes:
        kind: `text`, `path`, `paths` (one or more), `switch` (true or false), `count` (from 1), `setting` (a value as
            in train.py), or `flag` (a name with -- and no value).
        default: value if the option is not given.
        example: of a value, for messages.
        is_required: whether the option must be given.
        choices: the allowed values; empty allows all.
        is_first: whether the value may be given without the name, as the first argument.
        rule: of a setting.
        part: of the project, without which the option is refused, and missing in the help; None if it is always there.
    """

    kind: str = "text"
    default: Any = None
    example: str = "…"
    is_required: bool = False
    choices: tuple[str, ...] = ()
    is_first: bool = False
    rule: Rule | None = None
    part: str | None = None

    def read(self, name: str, text: str) -> Any:
        """Converts the typed text to a value.

        Raises:
            UserError: the option has no such value.
        """
        choices = ("true", "false") if self.kind == "switch" else self.choices
        if choices:
            if text not in choices:
                near = nearest_name(text, choices) or choices[0]
                requirement = "true or false" if self.kind == "switch" else f"one of {', '.join(choices)}"
                raise UserError(f"{name} must be {requirement}", f"{name}={text}", f"{name}={near}")
            return text == "true" if self.kind == "switch" else text
        if self.kind == "count":
            if not text.isdecimal() or int(text) < 1:  # int() also takes 1_000 and blanks
                raise UserError(f"{name} must be a positive integer", f"{name}={text}", f"{name}={self.example}")
            return int(text)
        if not text:
            raise UserError(f"{name} must be given a value", f"{name}=", f"{name}={self.example}")
        if self.rule is not None:
            value = _hydra_value(text)
            if not self.rule.holds(value):
                raise UserError(
                    f"{name} must be {self.rule.requirement}", f"{name}={text}", f"{name}={nearest(value, self.rule)}"
                )
            return value
        path = Path(os.path.expanduser(text))  # a shell expands no ~ after "="
        if name == "run" and text == "latest" and not path.exists():
            path = latest_run(PROJECT / "logs" / "runs", name)
        return {"path": path, "paths": [path]}.get(self.kind, text)


JSON = {"--json": Option("flag", False)}
"""Option to print a script's result as JSON, with nothing else on standard output."""


def _options_of_files() -> dict[str, Option]:
    if not is_there("tables"):
        return {}
    from mlplab.data.table.table_rules import OF_ANY_FILE, TABLE_RULES

    rules = {name: TABLE_RULES[name] for name in OF_ANY_FILE}
    return {f"data.{name}": Option("setting", example=rule.example, rule=rule) for name, rule in rules.items()}


WRITTEN = _options_of_files()
"""Options on the format of a table file. Options that are not given are detected."""

ACCEPT_UNKNOWN = {"accept_unknown": Option("switch", False, part="tables")}


def _hydra_value(text: str) -> Any:
    """Parses a value as train.py does: quotes are removed, [a,b] is a list, true and 3 have their types."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # a slow import that most calls do not need
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"value={text}")
        return text if override.is_sweep_override() else override.value()
    except HydraException:
        # A shell has removed the quotes of ";".
        return text


@dataclass(frozen=True)
class Result:
    """The result of a script.

    Attributes:
        text: the result for people.
        content: the same as plain values, for --json.
        status: exit status of the process.
    """

    text: str
    content: Mapping[str, Any]
    status: int = 0


def how_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the given options of `WRITTEN`, by the names of the table reader."""
    return {name.removeprefix("data."): settings[name] for name in WRITTEN if settings[name] is not None}


def parse_options(typed: Sequence[str], options: dict[str, Option]) -> dict[str, Any]:
    """Parses the options; returns name → value, with defaults for those not given.

    Raises:
        UserError: an argument is not name=value, its name is unknown or repeated, or a required option is missing.
    """
    # Flags first, as they may stand anywhere, also before the first option without a name.
    flags = [name for name, option in options.items() if option.kind == "flag"]
    given: dict[str, Any] = {name: True for name in flags if name in typed}
    typed = [text for text in typed if text not in flags]
    first = next((name for name, option in options.items() if option.is_first), None)
    if first is not None and typed and not any(typed[0].startswith(f"{name}=") for name in options):
        typed = [f"{first}={typed[0]}", *typed[1:]]  # a path may hold "=" too
    takes_many = first is not None and options[first].kind == "paths"
    for text in typed:
        name, equals, value = text.partition("=")
        # Paths without a name may stand anywhere. A path may contain "=", but must exist, unlike a mistyped option.
        if takes_many and name not in options and not text.startswith("-") and (not equals or Path(text).exists()):
            name, equals, value = str(first), "=", text
        if not equals or name not in options or name in flags:
            raise _unknown(text, options, given)
        part = options[name].part
        if part is not None:
            require_part(part, text, "the same without it")
        if name in given and options[name].kind == "paths":
            given[name] += options[name].read(name, value)
            continue
        if name in given:
            raise UserError(f"{name} must be given once", "it is there twice", f"{name}={value}")
        given[name] = options[name].read(name, value)
    for name, option in options.items():
        if option.is_required and name not in given:
            raise UserError(f"{name} must be given", f"no {name}=…", f"{name}={option.example}")
    return {name: option.default for name, option in options.items()} | given


def _unknown(text: str, options: Mapping[str, Option], given: Mapping[str, Any]) -> UserError:
    """Makes the error for an unknown option, with the nearest name or the first missing required option."""
    if not options:
        return UserError("the script must be called without options", text, "the script alone, or --help")
    name, _, value = text.partition("=")
    options = {known: option for known, option in options.items() if option.part is None or is_there(option.part)}
    missing = [known for known, option in options.items() if option.is_required and known not in given]
    near = nearest_name(name, list(options))
    if near is None:
        hint = f"{missing[0]}={options[missing[0]].example}" if missing else "leaving it out, or --help"
    else:
        hint = near if options[near].kind == "flag" else f"{near}={value or options[near].example}"
    names = ", ".join(known if option.kind == "flag" else f"{known}=…" for known, option in options.items())
    return UserError(f"options must be {names}", text, hint)


def help_for(text: str, options: Mapping[str, Option]) -> str:
    """Leaves out of a help text what is of options that the project lacks: their lines, and commands that give them."""
    lacking = {name for name, option in options.items() if option.part is not None and not is_there(option.part)}
    lines, is_left_out = [], False
    for line in text.strip().splitlines():
        if is_left_out and line.startswith(" " * 5):  # the line before goes on
            continue
        option = re.match(r" {4}([\w.]+)=", line)
        is_left_out = option is not None and (option[1] in lacking or option[1] not in options)
        if not is_left_out and not any(f" {name}=" in line for name in lacking):
            lines.append(line)
    return "\n".join(lines)


def run_script(
    main: Callable[[dict[str, Any]], Result | int | None], options: dict[str, Option], help_text: str | None
) -> int:
    """Parses the command line, runs `main`, and returns the exit status; prints a mistake as one line.

    `main` may return an exit status, None for 0, or a `Result`, which is printed as text. With --json it is printed as
    one document, and all other output goes to standard error.
    """
    show_every_text()
    tolerate_closed_output()  # `| head` is no error
    # SIGTERM and SIGHUP raise, as Ctrl-C does, so that temporary files are removed.
    on_termination(_stop)
    sys.unraisablehook = _unraisable
    # Finds classes beside train.py, as train.py does; last, so that no file there hides a library.
    if str(PROJECT) not in sys.path:
        sys.path.append(str(PROJECT))
    try:
        load_env_file()
        result: Result | int | None = Result(help_for(str(help_text), options), {})
        is_json = False
        if not {"-h", "--help"} & set(sys.argv[1:]):
            settings = parse_options(sys.argv[1:], options)
            is_json = settings.get("--json", False)
            with contextlib.redirect_stdout(sys.stderr) if is_json else contextlib.nullcontext():
                result = main(settings)
        if isinstance(result, Result):
            print(as_json(dict(result.content)) if is_json else result.text)
        reason = why_unwritten()
        if reason is not None:
            # With status 0, a reader of the truncated output would take it for complete.
            message = f"the output of a script must be writable, but standard output: {reason}"
            raise RunFailed(f"{message}; try another file for it")
        return result.status if isinstance(result, Result) else result or 0
    # An OSError is most likely a wrong path, so it needs no traceback.
    except (UserError, OSError) as error:
        return print_error(_explained(error) if isinstance(error, OSError) else error, EXIT_REFUSED)
    except RunFailed as error:
        return print_error(error, EXIT_FAILED)
    except RunStopped as stopped:
        return print_error(stopped, stopped.status)
    except KeyboardInterrupt:
        return print_error("stopped by Ctrl-C", EXIT_INTERRUPTED)


def _stop(number: int, frame: object) -> NoReturn:
    raise RunStopped(f"stopped by {signal.Signals(number).name}", 128 + number)


def print_error(message: object, status: int) -> int:
    """Prints a message with the name of the program on standard error; returns the exit status."""
    print(f"{Path(sys.argv[0]).name}: {printable(message)}", file=sys.stderr, flush=True)
    return status


MISTAKES = {
    errno.ENOSPC: ("the disk must have free space", "freeing some space, or another path"),
    errno.ENOENT: ("files and their folders must exist", "another path"),
    errno.EISDIR: ("a file must not be a folder", "the name of a file in it"),
    errno.ENOTDIR: ("a folder must not be a file", "another path"),
    errno.EACCES: ("you must have the permission to read and write files", "another path"),
    errno.EROFS: ("files must be on a writable disk", "another path"),
    errno.ENAMETOOLONG: ("file names must not be too long for the disk", "a shorter path"),
}
"""The system's error number → requirement, hint."""


def _explained(error: OSError) -> UserError:
    """Converts a file-system error to a `UserError`."""
    other = ("files must exist and be readable and writable", "another path")
    requirement, hint = MISTAKES.get(error.errno or 0, other)
    return UserError(requirement, str(error), hint)


def _unraisable(error: Any) -> None:
    """Ignores the KeyboardInterrupt that polars raises in addition to Python's own."""
    if error.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(error)


def exit_fast(status: int) -> NoReturn:
    """Exits after joining threads, running exit handlers and flushing output, but skips Python's own clean-up.

    With PyTorch imported, Python would free a million objects one by one.
    """
    if "torch" not in sys.modules:
        sys.exit(status)
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, lambda *_: os._exit(status))  # another Ctrl-C: all work is done
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:  # Python's ordinary exit handles any error
        sys.exit(status)
    os._exit(status)
