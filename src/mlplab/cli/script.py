"""Scripts' command lines: `name=value` words, read as they are typed. Imports nothing heavy."""

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

from mlplab.cli.output import be_patient, show_every_text, why_unwritten
from mlplab.config.suggestions import nearest_name
from mlplab.data.table.dialect import QUOTES
from mlplab.errors import Refusal, RunFailed, RunStopped, printable
from mlplab.runs.files import as_json
from mlplab.runs.signals import on_termination

EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Word:
    """A setting of a script.

    Attributes:
        kind: `text`, `path`, `switch` (true or false), `count` (from 1), `number` (from 0), one of `choices`, or `flag`
            (its name alone, which begins with --).
        default: where it is not given.
        example: of a value, for messages.
        is_required: whether it must be given.
        choices: the values that it can have; none for any.
        is_first: whether it may stand first without its name.
    """

    kind: str = "text"
    default: Any = None
    example: str = "…"
    is_required: bool = False
    choices: tuple[str, ...] = ()
    is_first: bool = False

    def read(self, name: str, text: str) -> Any:
        """The value that was typed.

        Raises:
            Refusal: it is none of this kind.
        """
        if self.choices:
            if text not in self.choices:
                near = nearest_name(text, self.choices) or self.choices[0]
                raise Refusal(f"{name} must be one of {', '.join(self.choices)}", f"{name}={text}", f"{name}={near}")
            return text
        if self.kind == "switch":
            if text not in ("true", "false"):
                raise Refusal(f"{name} must be true or false", f"{name}={text}", f"{name}=true")
            return text == "true"
        if self.kind in ("count", "number"):
            least = 1 if self.kind == "count" else 0
            if not text.isdecimal() or int(text) < least:
                what = "a positive integer" if least else "an integer of 0 or more"
                raise Refusal(f"{name} must be {what}", f"{name}={text}", f"{name}={self.example}")
            return int(text)
        if not text:
            raise Refusal(f"{name} must be given a value", f"{name}=", f"{name}={self.example}")
        if self.kind != "path":
            return text
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise Refusal(
                f"{name} must be in a folder that exists", f"{name}={text}: no such user", f"{name}={self.example}"
            ) from None


JSON = {"--json": Word("flag", False)}
"""For scripts that answer: one document on standard output, and nothing else there."""

WRITTEN = {
    "data.delimiter": Word(example="semicolon"),
    "data.quote": Word(choices=("auto", *QUOTES)),
    "data.header": Word(choices=("auto", "true", "false")),
    "data.encoding": Word(example="latin-1"),
    "data.skip_lines": Word("number", example="1"),
}
"""How a file is written, for scripts that read one; what is not said is detected."""


@dataclass(frozen=True)
class Answer:
    """What a script has to say.

    Attributes:
        text: for people.
        content: the same in plain values, for programs.
        status: of the process.
    """

    text: str
    content: Mapping[str, Any]
    status: int = 0


def how_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of `WRITTEN` is said, under the names that the reader has for it."""
    said = {name.removeprefix("data."): settings[name] for name in WRITTEN if settings[name] is not None}
    if said.get("header") in ("true", "false"):
        said["header"] = said["header"] == "true"
    return said


def read_words(typed: Sequence[str], words: dict[str, Word]) -> dict[str, Any]:
    """The settings: what was typed, or the defaults.

    Raises:
        Refusal: a word is not of the form name=value, names no setting or names one twice, or a required one lacks.
    """
    settings = {name: word.default for name, word in words.items()}
    seen = set()
    flags = [name for name, word in words.items() if word.kind == "flag"]
    settings |= {name: True for name in flags if name in typed}
    typed = [text for text in typed if text not in flags]
    first = next((name for name, word in words.items() if word.is_first), None)
    if first is not None and typed and not any(typed[0].startswith(f"{name}=") for name in words):
        typed = [f"{first}={typed[0]}", *typed[1:]]
    for text in typed:
        name, equals, value = text.partition("=")
        if not equals or name not in words or name in flags:
            if not words:
                raise Refusal("nothing must follow the script's name", text, "the script alone, or --help")
            near = nearest_name(name, list(words)) or next(iter(words))
            raise Refusal(
                f"words on the command line must be {', '.join(k if k in flags else f'{k}=…' for k in words)}",
                text,
                near if near in flags else f"{near}={value or words[near].example}",
            )
        if name in seen:
            raise Refusal(f"{name} must be given once", f"{name}=… is there twice", f"{name}={value}")
        seen.add(name)
        settings[name] = words[name].read(name, value)
    for name, word in words.items():
        if word.is_required and name not in seen:
            raise Refusal(f"{name} must be given", f"no {name}=…", f"{name}={word.example}")
    return settings


def leave(status: int) -> NoReturn:
    """Ends the process with an exit status, once what was registered for its end has been done.

    Where PyTorch is there, Python would take a million objects apart, one by one, before all goes at once.
    """
    if "torch" not in sys.modules:
        sys.exit(status)
    with contextlib.suppress(ValueError):  # elsewhere than in the main thread
        signal.signal(signal.SIGINT, lambda *_: os._exit(status))  # a Ctrl-C more: all is done that matters
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:  # whatever it is, Python's own way deals with it
        sys.exit(status)
    os._exit(status)


def run_script(
    main: Callable[[dict[str, Any]], Answer | int | None], words: dict[str, Word], help_text: str | None
) -> int:
    """Reads the command line, runs `main`, and returns the exit status; a mistake is one line, not a traceback.

    `main` may return a status of its own, None for 0, or an `Answer`: it is printed as text, or with --json as one
    document; what else is said on the way then goes to standard error.
    """
    show_every_text()
    name = Path(sys.argv[0]).name
    be_patient()
    # As Ctrl-C does, a termination or a closed terminal unwinds, so that no half-written file stays.
    on_termination(lambda received, frame: sys.exit(128 + received))
    sys.unraisablehook = _unraisable
    try:
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(str(help_text).strip())
            return _status_of_output(name, 0)
        settings = read_words(sys.argv[1:], words)
        is_json = settings.get("--json", False)
        with contextlib.redirect_stdout(sys.stderr) if is_json else contextlib.nullcontext():
            answer = main(settings)
        if not isinstance(answer, Answer):
            return _status_of_output(name, answer or 0)
        print(as_json(dict(answer.content)) if is_json else answer.text)
        return _status_of_output(name, answer.status)
    except (Refusal, OSError) as error:
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
    errno.ENOSPC: ("the disk must have room for what is written", "freeing some, or another path"),
    errno.ENOENT: ("files and their folders must be there", "another path"),
    errno.EISDIR: ("a file must not be a folder", "the name of a file in it"),
    errno.ENOTDIR: ("a folder must not be a file", "another path"),
    errno.EACCES: ("files must be readable and writable for you", "another path"),
    errno.EROFS: ("files must be on a disk that can be written to", "another path"),
    errno.ENAMETOOLONG: ("names of files must be short enough for the disk", "a shorter path"),
}
"""What must hold, and what to try, by what the system says."""


def _told(error: OSError) -> Refusal:
    """Tells of a file that cannot be read or written."""
    must, remedy = MISTAKES.get(error.errno or 0, ("files must be there, readable and writable", "another path"))
    return Refusal(must, str(error), remedy)


def _status_of_output(name: str, status: int) -> int:
    """Returns the exit status, once all that was printed has been written."""
    reason = why_unwritten()
    if reason is None:
        return status
    mistake = Refusal("what a script prints must be written", f"standard output: {reason}", "another file for it")
    print(f"{name}: {mistake}", file=sys.stderr, flush=True)
    return EXIT_FAILED


def _unraisable(error: Any) -> None:
    """Passes over a second interruption: polars notices Ctrl-C too, and then the first one is being dealt with."""
    if error.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(error)
