"""Command lines of scripts: parses `name=value` options. Imports nothing heavy."""

import atexit
import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlplab.cli.output import show_every_text, tolerate_closed_output, why_unwritten
from mlplab.config.suggestions import nearest_name
from mlplab.data.table.text_layout import QUOTES
from mlplab.errors import RunFailed, RunStopped, UserError, printable
from mlplab.runs.files import as_json
from mlplab.runs.signals import on_termination

EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Option:
    """An option of a script.

    Attributes:
        kind: `text`, `path`, `switch` (true or false), `count` (from 1), `number` (from 0), or `flag` (a name with --
            and no value).
        default: value if the option is not given.
        example: of a value, for messages.
        is_required: whether the option must be given.
        choices: the allowed values; empty allows all.
        is_first: whether the value may be the first argument, without the name.
    """

    kind: str = "text"
    default: Any = None
    example: str = "…"
    is_required: bool = False
    choices: tuple[str, ...] = ()
    is_first: bool = False

    def read(self, name: str, text: str) -> Any:
        """Converts the typed text to a value.

        Raises:
            UserError: the text is no value of this kind.
        """
        if self.choices:
            if text not in self.choices:
                near = nearest_name(text, self.choices) or self.choices[0]
                raise UserError(f"{name} must be one of {', '.join(self.choices)}", f"{name}={text}", f"{name}={near}")
            return text
        if self.kind == "switch":
            if text not in ("true", "false"):
                raise UserError(f"{name} must be true or false", f"{name}={text}", f"{name}=true")
            return text == "true"
        if self.kind in ("count", "number"):
            least = 1 if self.kind == "count" else 0
            if not text.isdecimal() or int(text) < least:
                what = "a positive integer" if least else "an integer of 0 or more"
                raise UserError(f"{name} must be {what}", f"{name}={text}", f"{name}={self.example}")
            return int(text)
        if not text:
            raise UserError(f"{name} must be given a value", f"{name}=", f"{name}={self.example}")
        if self.kind != "path":
            return text
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise UserError(
                f"{name} must name an existing user after ~", f"{name}={text}: no such user", f"{name}={self.example}"
            ) from None


JSON = {"--json": Option("flag", False)}
"""Option of scripts that can print their result as JSON, with nothing else on standard output."""

WRITTEN = {
    "data.delimiter": Option(example="semicolon"),
    "data.quote": Option(choices=("auto", *QUOTES)),
    "data.header": Option(choices=("auto", "true", "false")),
    "data.encoding": Option(example="latin-1"),
    "data.skip_lines": Option("number", example="1"),
}
"""Options on the format of a table file, for scripts that read one. What is not given is detected."""


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
    """Returns the given options of `WRITTEN`, under the names that the table reader uses."""
    said = {name.removeprefix("data."): settings[name] for name in WRITTEN if settings[name] is not None}
    if said.get("header") in ("true", "false"):
        said["header"] = said["header"] == "true"
    return said


def parse_options(typed: Sequence[str], options: dict[str, Option]) -> dict[str, Any]:
    """Parses the options; returns name → value, with defaults for those not given.

    Raises:
        UserError: an argument is not name=value, its name is unknown or repeated, or a required option is missing.
    """
    settings = {name: option.default for name, option in options.items()}
    seen = set()
    flags = [name for name, option in options.items() if option.kind == "flag"]
    settings |= {name: True for name in flags if name in typed}
    typed = [text for text in typed if text not in flags]
    first = next((name for name, option in options.items() if option.is_first), None)
    if first is not None and typed and not any(typed[0].startswith(f"{name}=") for name in options):
        typed = [f"{first}={typed[0]}", *typed[1:]]
    for text in typed:
        name, equals, value = text.partition("=")
        if not equals or name not in options or name in flags:
            if not options:
                raise UserError("the script must be called without options", text, "the script alone, or --help")
            near = nearest_name(name, list(options)) or next(iter(options))
            raise UserError(
                f"options must be {', '.join(k if k in flags else f'{k}=…' for k in options)}",
                text,
                near if near in flags else f"{near}={value or options[near].example}",
            )
        if name in seen:
            raise UserError(f"{name} must be given once", f"{name}=… is there twice", f"{name}={value}")
        seen.add(name)
        settings[name] = options[name].read(name, value)
    for name, option in options.items():
        if option.is_required and name not in seen:
            raise UserError(f"{name} must be given", f"no {name}=…", f"{name}={option.example}")
    return settings


def exit_fast(status: int) -> NoReturn:
    """Ends the process after its threads, exit handlers and output buffers, but skips Python's own clean-up.

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
    except BaseException:  # leave any error to Python's ordinary exit
        sys.exit(status)
    os._exit(status)


def run_script(
    main: Callable[[dict[str, Any]], Result | int | None], options: dict[str, Option], help_text: str | None
) -> int:
    """Parses the command line, runs `main`, and returns the exit status; prints a mistake as one line.

    `main` may return an exit status, None for 0, or a `Result`. A result is printed as text, or with --json as one
    document; all other output then goes to standard error.
    """
    show_every_text()
    name = Path(sys.argv[0]).name
    tolerate_closed_output()
    # SIGTERM and SIGHUP raise, as Ctrl-C does, so that temporary files are removed.
    on_termination(lambda received, frame: sys.exit(128 + received))
    sys.unraisablehook = _unraisable
    try:
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(str(help_text).strip())
            return _status_of_output(name, 0)
        settings = parse_options(sys.argv[1:], options)
        is_json = settings.get("--json", False)
        with contextlib.redirect_stdout(sys.stderr) if is_json else contextlib.nullcontext():
            result = main(settings)
        if not isinstance(result, Result):
            return _status_of_output(name, result or 0)
        print(as_json(dict(result.content)) if is_json else result.text)
        return _status_of_output(name, result.status)
    except (UserError, OSError) as error:
        mistake = _told(error) if isinstance(error, OSError) else error
        print(f"{name}: {printable(mistake)}", file=sys.stderr, flush=True)
        return EXIT_REFUSED
    except RunFailed as failed:
        print(f"{name}: {printable(failed)}", file=sys.stderr, flush=True)
        return EXIT_FAILED
    except RunStopped as stopped:
        print(f"{name}: {stopped}", file=sys.stderr, flush=True)
        return stopped.status
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing was written", file=sys.stderr, flush=True)
        return EXIT_INTERRUPTED


MISTAKES = {
    errno.ENOSPC: ("the disk must have free space", "freeing some, or another path"),
    errno.ENOENT: ("files and their folders must exist", "another path"),
    errno.EISDIR: ("a file must not be a folder", "the name of a file in it"),
    errno.ENOTDIR: ("a folder must not be a file", "another path"),
    errno.EACCES: ("you must have the permission to read and write files", "another path"),
    errno.EROFS: ("files must be on a writable disk", "another path"),
    errno.ENAMETOOLONG: ("file names must not be too long for the disk", "a shorter path"),
}
"""Error number of the system → requirement, what to try."""


def _told(error: OSError) -> UserError:
    """Converts an error of the file system to a refusal."""
    must, remedy = MISTAKES.get(error.errno or 0, ("files must exist and be readable and writable", "another path"))
    return UserError(must, str(error), remedy)


def _status_of_output(name: str, status: int) -> int:
    """Returns the exit status, or EXIT_FAILED if standard output could not be written."""
    reason = why_unwritten()
    if reason is None:
        return status
    mistake = UserError("the output of a script must be writable", f"standard output: {reason}", "another file for it")
    print(f"{name}: {mistake}", file=sys.stderr, flush=True)
    return EXIT_FAILED


def _unraisable(error: Any) -> None:
    """Ignores the KeyboardInterrupt that polars raises in addition to Python's own."""
    if error.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(error)
