"""Errors for people: each message says what is required, what was given, and what to try."""

import errno
import math
import os
import re
import textwrap
import traceback
import unicodedata
from collections.abc import Sequence

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Unicode categories of invisible characters: control, format, surrogate, private use, line and paragraph breaks."""


LONGEST_MESSAGE = 300
"""Maximum number of characters of somebody else's message within one of ours."""

CLAUSE = re.compile(r"\S+ (is|has|holds|leads|lacks) ")
"""Matches the beginning of a statement about a file; the file's name may contain an equals sign."""

EXPANDED = re.compile(r"[+~]*[\w./]+=([^\s'\"]*[][{}()*?][^\s'\"]*|\{[^'\"=]*\})")
"""Matches an override that a shell would expand or refuse if it were typed without quotes."""


class Told:
    """Error with a complete message for people: a notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """Returns the lines that IPython shows; it looks this method up by name."""
        assert isinstance(self, BaseException)
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            return traceback.format_exception(self)
        return [f"{type(self).__name__}: {self}"]


class UserError(Told, ValueError):
    """A user's mistake: shown as one message with a hint, without a traceback.

    Args:
        requirement: what must hold, as a whole clause ("optimizer.lr must be a positive number").
        actual: what was given ("optimizer.lr=-1"), or what was found, as a clause ("there is no houses.csv").
        hint: what to type or do ("optimizer.lr=0.001").
    """

    def __init__(self, requirement: str, actual: str, hint: str) -> None:
        # All three stay in `args`, so that the error survives pickling on its way out of a worker process.
        super().__init__(requirement, actual, hint)
        self.requirement, self.actual, self.hint = requirement, actual, hint

    def __str__(self) -> str:
        name, is_given, value = self.actual.partition("=")
        # The requirement names the option already, so only its value is repeated.
        if is_given and self.requirement.startswith(f"{name} must"):
            found = f"got {value or 'nothing'}"
        elif " " not in self.actual or (is_given and " " not in name and not CLAUSE.match(self.actual)):
            found = f"got {self.actual}"
        else:
            found = f"but {self.actual}"
        hint = f"'{self.hint}'" if EXPANDED.fullmatch(self.hint) else self.hint
        return f"{self.requirement}, {found}; try {hint}"


class NoRoom(UserError):
    """Too little free disk space, noticed before or while something is written."""


def printable(text: object) -> str:
    """Escapes control characters, so that text cannot move the cursor, hide itself or break a line.

    Names of columns and classes come from files that anybody may have written.
    """
    text = str(text)
    if text.isascii() and text.isprintable():  # as nearly all names are
        return text
    return "".join(
        # Python's escape, such as \x1b, without its quotes.
        repr(character)[1:-1] if unicodedata.category(character) in HIDDEN else character
        for character in text
    )


def not_writable(what: str, place: object, error: OSError, hint: str) -> UserError:
    """Makes the error for something that could not be written.

    Args:
        what: the thing to write, as the beginning of a sentence.
        place: its path.
        error: the system's.
        hint: what to try, unless the disk is full.
    """
    found = f"{place}: {error.strerror or error}"
    if is_disk_full(error):
        return NoRoom(f"{what} must fit on the disk", found, "freeing some space, then the same command")
    return UserError(f"{what} must be writable", found, hint)


PLURAL_VERBS = {"is": "are", "has": "have", "does": "do"}


def counted(number: int, noun: str, verb: str = "") -> str:
    """Writes a number with its noun, and perhaps a verb: `1 row`, `12,000 rows`, `1 row has`, `2 rows have`."""
    words = f"{number:,} {noun}{'' if number == 1 else 's'}"
    return f"{words} {agree(number, verb)}" if verb else words


def agree(number: int, verb: str) -> str:
    """Returns a verb, "is", "has" or "does", in the form that a number takes."""
    return verb if number == 1 else PLURAL_VERBS[verb]


def rounded(value: float, digits: int = 4) -> str:
    """Formats a number with some significant digits, a larger one as a whole number: `0.1235`, `50,520`."""
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"


def first_of(names: Sequence[str], most: int) -> str:
    """Lists the first names, with "…" for the others."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def in_megabytes(n_bytes: int) -> str:
    """Formats a size: `12.3 MB`."""
    return f"{n_bytes / 1e6:,.1f} MB"


class RunFailed(Told, RuntimeError):
    """A run that began and failed, without a mistake in its configuration."""


class Diverged(RunFailed):
    """A run whose loss or gradient became NaN or infinite. A search treats its settings as infeasible.

    Args:
        message: what happened, and what to try.
        step: of the skipped update; None if the run diverged elsewhere.
        loss: of its batch.
    """

    def __init__(self, message: str, step: int | None = None, loss: float = math.nan) -> None:
        super().__init__(message)
        self.step, self.loss = step, loss


class DiskFull(RunFailed):
    """A run that filled the disk. It can resume from its last checkpoint."""


# Not every system knows quotas.
FULL_DISK_NUMBERS = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""The system's error numbers for a full disk, the limit on file sizes, and an exhausted quota."""


def is_disk_full(error: BaseException | None) -> bool:
    """Returns whether an error, or one of its causes, is a full disk."""
    # Causes of errors can form a circle.
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, DiskFull | NoRoom) or (
            isinstance(error, OSError) and _number_of(error) in FULL_DISK_NUMBERS
        ):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _number_of(error: OSError) -> int | None:
    """Returns the system's number of an error, which polars gives in the message only."""
    if error.errno is None and (match := re.search(r"\(os error (\d+)\)", str(error))):
        return int(match.group(1))
    return error.errno


def described(error: BaseException) -> str:
    """Describes an error by its class and message, in one line."""
    try:
        # PyTorch lists all signatures of a function, or all shapes of a network.
        message = textwrap.shorten(str(error), LONGEST_MESSAGE, placeholder=" …")
    except Exception:  # a user's class may fail in its own __str__
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


# Not a RunFailed, as the run goes on.
class SkipUpdate(Exception):
    """Skips the current update: raised after its gradient is known, and caught by the learner."""


class RunStopped(Told, BaseException):
    """A run that a signal has stopped.

    Not an `Exception`, so that it ends a sweep too. Not a `KeyboardInterrupt`, as Lightning turns that into an exit.

    Args:
        message: for people.
        status: of the process, by convention 128 plus the signal's number.
    """

    def __init__(self, message: str, status: int) -> None:
        # Both stay in `args`, for the same reason as a UserError's.
        super().__init__(message, status)
        self.message, self.status = message, status

    def __str__(self) -> str:
        return self.message


class ProcessKilled(BaseException):
    """The process of a sweep's job was killed. A launcher runs the job again, from its last checkpoint.

    Not an `Exception`, as Hydra does not pass on those of a job.
    """
