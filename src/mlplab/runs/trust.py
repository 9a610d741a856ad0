"""Signs what a run or a sweep executes, so that one's own goes on without trust=true. Imports nothing heavy.

The key lies in the user's state directory, outside all that somebody could send and have unpacked. A signature holds
for the one file that it stands in: a copy of it is not trusted.
"""

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlplab.errors import Refusal
from mlplab.runs.files import put_in_place, write_atomically

log = logging.getLogger("mlplab")

PROJECT = Path(__file__).resolve().parents[3]

SIGNATURE = "signature.json"
"""In .hydra/ of a run; a sweep has its signature in sweep.json."""

KEY_BYTES = 32

LARGEST = 1_000_000
"""Bytes of a file that is read here; those that a run writes have 20,000."""


class NoKey(Exception):
    """There is no key that only this user can have used; the message says why."""


def require_trust(path: Path, refusal: Refusal | None, why_not_own: Callable[[], str | None], *, trust: bool) -> None:
    """Decides, for every command, whether it executes what a file of a run or a sweep names.

    Args:
        path: of the file, for messages.
        refusal: of what the file names beyond conf/; None where it names nothing else.
        why_not_own: says why the file is not one that this user has begun and nobody has changed; None where it is.
        trust: whether the user has said trust=true.

    Raises:
        Refusal: the given one, with the reason why the file is not the user's own.
    """
    if refusal is None:
        return
    if not trust:
        reason = why_not_own()
        if reason is not None:
            raise Refusal(refusal.must, f"{refusal.given}, and {reason}", refusal.remedy) from None
    why = "you trust it" if trust else "you have begun it here, and it is unchanged"
    print(f"trust   code that {path} names will be executed: {why}")


# --- runs ---------------------------------------------------------------------------------------------------------


def sign_run(folder: Path, texts: Mapping[str, str]) -> None:
    """Signs the configuration of a new run, before it is written; where there is no key, train.log says why.

    Args:
        folder: `.hydra` of the run.
        texts: name of each of its files → what will stand in it.
    """
    _write_signature(folder, {name: [digest(text.encode())] for name, text in texts.items()})


def sign_changed_run(folder: Path, config: str) -> None:
    """Signs the configuration with which a run goes on, before it is written, if the run has been the user's own."""
    if why_run_is_not_own(folder) is not None:
        return
    digests = {name: [digest(content)] for name, content in _texts_of(folder).items()}
    # Both are the user's own. A kill before config.yaml has been replaced leaves the old one.
    digests["config.yaml"].append(digest(config.encode()))
    _write_signature(folder, digests)


def why_run_is_not_own(folder: Path, config: bytes | None = None) -> str | None:
    """Says why a run is not one that this user has begun and nobody has changed; None where it is.

    Args:
        folder: `.hydra` of the run.
        config: its config.yaml, where it has been read: what is executed is then what is compared.
    """
    path = folder / SIGNATURE
    try:
        if folder.is_symlink():
            return COPIED
        if not _is_small(path):  # a pipe would be waited for
            return UNSIGNED
        signature = json.loads(path.read_bytes())
        texts = _texts_of(folder) | ({} if config is None else {"config.yaml": config})
    except (OSError, ValueError, RecursionError):
        return UNREADABLE
    return why_not_own(signature, texts, path)


def _write_signature(folder: Path, digests: Mapping[str, list[str]]) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps(signature_of(digests, temporary), indent=2) + "\n", encoding="utf-8")

    try:
        write_atomically(folder / SIGNATURE, write)
    except NoKey as reason:
        log.warning(f"not signed: {reason}; code that conf/ does not name needs trust=true when the run goes on")


def _texts_of(folder: Path) -> dict[str, bytes]:
    """Reads the files that may decide what is executed."""
    return {path.name: path.read_bytes() if _is_small(path) else b"" for path in folder.glob("*.yaml")}


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST


# --- signatures ---------------------------------------------------------------------------------------------------

UNSIGNED = "it was not signed when it began"
UNREADABLE = "its signature cannot be read"
COPIED = "it is a copy of what you have begun"


def signature_of(digests: Mapping[str, list[str]], file: Path) -> dict[str, Any]:
    """Returns a signature for a file to hold.

    Args:
        digests: name of what is signed → the digests that it may have.
        file: that the signature will stand in, also where it is renamed later.

    Raises:
        NoKey: there is none to sign with.
    """
    # The number that the file system has given the file stays when its directory is moved. A copy has another.
    content = {"digests": dict(digests), "file": file.stat().st_ino}
    return {**content, "hmac": _hmac(content, _key(make=True))}


def why_not_own(signature: Any, texts: Mapping[str, bytes], file: Path) -> str | None:
    """Says why a signature is not this user's, of these texts, in this file; None where it is.

    Args:
        signature: as it was read; anybody may have written it.
        texts: name → content of all that it must be of.
        file: in which it stands.
    """
    if signature is None:
        return UNSIGNED
    try:
        key = _key()
        content = {name: signature[name] for name in ("digests", "file")}
        if not hmac.compare_digest(_hmac(content, key).encode(), str(signature["hmac"]).encode()):
            return "it was signed by somebody else"
    except NoKey as reason:
        return str(reason)
    except (TypeError, LookupError, ValueError, RecursionError):
        return UNREADABLE
    digests = content["digests"]
    names = sorted({*digests, *texts})
    changed = [name for name in names if name not in texts or digest(texts[name]) not in digests.get(name, ())]
    if changed:
        return f"{', '.join(changed)} has been changed since it was signed"
    about = file.lstat()  # of a link, its own number; an archive can hold both kinds of links
    return None if (about.st_ino, about.st_nlink) == (content["file"], 1) else COPIED


def digest(content: bytes) -> str:
    """Returns what stands for a text in a signature."""
    return hashlib.sha256(content).hexdigest()


def _hmac(content: Mapping[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()


# --- the key ------------------------------------------------------------------------------------------------------


def key_file() -> Path:
    """Returns where the user's key lies: in $XDG_STATE_HOME, or else in ~/.local/state.

    Raises:
        NoKey: the user has no home, or it lies where what is received is unpacked.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        # A relative one is invalid by the XDG specification: it would be another in every folder.
        folder = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
        path = folder.resolve() / "mlplab" / "key"
    except (OSError, RuntimeError) as error:
        raise NoKey(f"this user has no state directory ({error})") from None
    if path.is_relative_to(PROJECT):
        raise NoKey(f"{path} lies within the project, where a key could be unpacked")
    return path


def _key(*, make: bool = False) -> bytes:
    """Returns the user's key; on its first use, makes it.

    Raises:
        NoKey: there is none, it cannot be made, or others may have read or written it.
    """
    path = key_file()
    try:
        if make and not path.exists():
            _make_key(path)
        with path.open("rb") as file:
            about, key = os.fstat(file.fileno()), file.read(KEY_BYTES + 1)
    except OSError as error:
        raise NoKey(f"there is no key in {path} ({error.strerror})") from None
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077):
        raise NoKey(f"{path} can be read by others, or is theirs")
    if len(key) != KEY_BYTES:
        raise NoKey(f"{path} is no key")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Not by `write_atomically`: the key is secret, and it is needed before the other files of a stack are flushed.
    temporary = path.with_name(f".key.{secrets.token_hex(8)}.tmp")
    try:
        with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was quicker: its key is the user's
            put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
