"""The one form in which a mistake is told to the person who can mend it."""

import errno
import unicodedata

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Unicode's categories of characters that are no letters, signs or blanks: control, direction, private, line."""


class Refusal(ValueError):
    """A request that cannot be carried out, with the remedy: shown as one message, without a traceback.

    Args:
        must: what must hold, as a whole clause ("optimizer.lr must be a positive number").
        given: what was given instead ("optimizer.lr=-1").
        remedy: what to type or do ("optimizer.lr=0.001").
    """

    def __init__(self, must: str, given: str, remedy: str) -> None:
        # All three stay in `args`, so that the error survives pickling on its way out of a worker process.
        super().__init__(must, given, remedy)
        self.must, self.given, self.remedy = must, given, remedy

    def __str__(self) -> str:
        return f"{self.must}, however: {self.given}; try: {self.remedy}"


class NoRoom(Refusal):
    """A disk without room for what is to be written, seen before it is begun."""


def printable(text: object) -> str:
    """Text for a terminal or a log: what would move the cursor, hide or begin a line is shown as its code.

    Names of columns and classes come from files, which anybody may have written.
    """
    return "".join(
        repr(character)[1:-1] if unicodedata.category(character) in HIDDEN else character for character in str(text)
    )


def not_writable(what: str, place: object, error: OSError, remedy: str) -> Refusal:
    """Returns what to say where something could not be written.

    Args:
        what: it was, as the beginning of a sentence.
        place: where it was to be.
        error: of the system.
        remedy: what to try, but on a full disk.
    """
    given = f"{place}: {error.strerror or error}"
    if is_disk_full(error):
        return NoRoom(f"{what} must find room on the disk", given, "freeing some, then the same command")
    return Refusal(f"{what} must be writable", given, remedy)


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`, `12,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class RunFailed(RuntimeError):
    """A run that began and did not reach its end, through no mistake of the configuration (it diverged, say)."""


class Diverged(RunFailed):
    """A run whose loss or gradient was no longer a number. In a search such a point is infeasible."""


class DiskFull(RunFailed):
    """A run for which the disk had no more room. What it had saved is there, and it goes on from that later."""


NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""The system's numbers for a full disk, a limit on the size of files, and a quota that is used up."""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that the disk is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, DiskFull | NoRoom) or (isinstance(error, OSError) and error.errno in NO_ROOM):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def described(error: BaseException) -> str:
    """The class of an error and what it says, in one line."""
    try:
        said = " ".join(str(error).split())
    except Exception:  # of a class of one's own, which cannot say what it is
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class SkipUpdate(Exception):
    """The update in hand is not to be made: raised between its gradient and itself, and caught around it."""


class RunStopped(BaseException):
    """A run that ended early because it was asked to, by a signal.

    No `Exception`, so that a sweep ends with it; no `KeyboardInterrupt`, which Lightning turns into an exit of its own.

    Args:
        message: for people.
        status: of the process, by convention 128 plus the signal's number.
    """

    def __init__(self, message: str, status: int) -> None:
        # Both stay in `args`, for the same reason as a Refusal's.
        super().__init__(message, status)
        self.message, self.status = message, status

    def __str__(self) -> str:
        return self.message
