"""Signs configurations, so that the user's own runs and sweeps resume without trust=true. Imports nothing heavy.

The key is in the user's state directory, outside any folder into which received archives are unpacked. A signature
holds for one text in one directory: a changed, moved or copied run is not trusted.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlplab.config.former_names import NAMES
from mlplab.errors import UserError
from mlplab.runs.files import write_atomically

PROJECT = Path(__file__).resolve().parents[3]

KEY_BYTES = 32

MARK = b"# signature: "
"""Beginning of the first line of a signed config.yaml, a comment for YAML."""

UNSIGNED = "it was not signed when it began"
NOT_AS_SIGNED = "it is not as you began it here: it was changed, moved or copied, or somebody else signed it"


class NoKey(Exception):
    """Error if the user has no key, or others can read it; the message says why."""


def require_trust(path: Path, error: UserError | None, why_not_own: Callable[[], str | None], *, trust: bool) -> None:
    """Refuses code that a run's or sweep's file names, unless the user trusts the file or has signed it.

    Args:
        path: of the file, for messages.
        error: names what the file would execute beyond conf/; None if there is nothing.
        why_not_own: returns why the file is not the user's own, unchanged; None if it is.
        trust: whether the user has given trust=true.

    Raises:
        UserError: `error`, with the reason of `why_not_own`.
    """
    if error is None:
        return
    reason = None if trust else why_not_own()
    if reason is not None:
        raise UserError(error.requirement, f"{error.actual}, and {reason}", error.hint) from None
    why = "you trust it" if trust else "you have begun it here, and it is unchanged"
    print(f"trust   code that {path} names will be executed: {why}")


def signed_text(text: bytes, directory: Path) -> bytes:
    """Puts a signature before the text of a configuration.

    The signature is in the file itself, so that a kill leaves both or neither.

    Raises:
        NoKey: there is no key to sign with.
    """
    return MARK + signature_of(text, directory).encode() + b"\n" + text


def why_text_is_not_own(content: bytes, directory: Path) -> str | None:
    """Returns why the content of a config.yaml is not the user's own and unchanged; None if it is."""
    first, _, text = content.partition(b"\n")
    signature = first.removeprefix(MARK).decode(errors="replace") if first.startswith(MARK) else None
    return why_not_own(signature, text, directory)


def signature_of(text: bytes, directory: Path) -> str:
    """Signs a text for the directory of its run or sweep.

    Raises:
        NoKey: there is no key to sign with.
    """
    return _hmac(text, directory, _key(key_file(), make=True))


def why_not_own(signature: Any, text: bytes, directory: Path) -> str | None:
    """Returns why a signature of this text in this directory is not this user's; None if it is valid.

    Args:
        signature: as read; untrusted.
        text: which the signature must cover.
        directory: of the run or the sweep.
    """
    if signature is None:
        return UNSIGNED
    reasons = []
    for name in reversed(NAMES):  # the project may have had another name at the time
        try:
            expected = _hmac(text, directory, _key(key_file(name)))
        except NoKey as reason:
            reasons.append(str(reason))
            continue
        # Takes equally long for any signature, so that the time reveals nothing about the right one.
        if hmac.compare_digest(expected.encode(), str(signature).encode(errors="replace")):
            return None
        reasons.append(NOT_AS_SIGNED)
    return NOT_AS_SIGNED if NOT_AS_SIGNED in reasons else reasons[0]


def _hmac(text: bytes, directory: Path, key: bytes) -> str:
    # JSON separates path and text, so that no other pair gives the same bytes.
    signed = json.dumps([str(directory.resolve()), hashlib.sha256(text).hexdigest()]).encode()
    return hmac.new(key, signed, hashlib.sha256).hexdigest()


def key_file(project: str = NAMES[-1]) -> Path:
    """Returns the path of the user's key, in $XDG_STATE_HOME or ~/.local/state.

    Args:
        project: whose key it is.

    Raises:
        NoKey: the user has no home, or the path is in the project, where archives may be unpacked.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        # The XDG specification ignores relative paths, which would depend on the current folder.
        folder = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
        path = folder.resolve() / project / "key"
    except (OSError, RuntimeError) as error:
        raise NoKey(f"this user has no state directory ({error})") from None
    if path.is_relative_to(PROJECT):
        raise NoKey(f"{path} lies within the project, where a key could be unpacked")
    return path


def _key(path: Path, *, make: bool = False) -> bytes:
    """Returns the user's key; with `make`, creates it if it is missing.

    Raises:
        NoKey: the key is missing, cannot be created, or other users can read or write it.
    """
    try:
        if make and not path.exists():
            # Readable by the user only, as the key is.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another process created the key meanwhile
                # Linked in place when complete: another process must never read half a key.
                write_atomically(
                    path,
                    lambda temporary: temporary.write_bytes(secrets.token_bytes(KEY_BYTES)),
                    replace=False, now=True, mode=0o600,
                )  # fmt: skip
        with path.open("rb") as file:
            # Checks the open file, as its path may lead elsewhere a moment later. One more byte than a key reveals a
            # file that is too long.
            about, key = os.fstat(file.fileno()), file.read(KEY_BYTES + 1)
    except OSError as error:
        raise NoKey(f"there is no key in {path} ({error.strerror})") from None
    # Windows has no such permissions.
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077):
        raise NoKey(f"{path} belongs to another user, or others can read it")
    if len(key) != KEY_BYTES:
        raise NoKey(f"{path} is no key")
    return key
