"""Signs configurations of runs and sweeps, so that the user's own resume without trust=true. Imports nothing heavy.

The key is in the user's state directory, outside any folder into which received archives are unpacked. A signature is
valid for one file only: a copy of that file is not trusted.
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

from mlplab.errors import UserError
from mlplab.runs.files import put_in_place, write_atomically

log = logging.getLogger("mlplab")

PROJECT = Path(__file__).resolve().parents[3]

SIGNATURE = "signature.json"
"""File in .hydra/ of a run; a sweep has its signature in sweep.json."""

KEY_BYTES = 32

LARGEST = 1_000_000
"""Most bytes of a file to read here; a run writes about 20,000."""


class NoKey(Exception):
    """The user has no key, or not a secret one; the message says why."""


def require_trust(path: Path, refusal: UserError | None, why_not_own: Callable[[], str | None], *, trust: bool) -> None:
    """Refuses to execute what a file of a run or a sweep names, unless the user trusts it or has signed it.

    Args:
        path: of the file, for messages.
        refusal: of what the file names beyond conf/; None if there is nothing.
        why_not_own: returns why the file is not the user's own, unchanged; None if it is.
        trust: whether the user has given trust=true.

    Raises:
        UserError: `refusal`, with the reason of `why_not_own`.
    """
    if refusal is None:
        return
    if not trust:
        reason = why_not_own()
        if reason is not None:
            raise UserError(refusal.requirement, f"{refusal.actual}, and {reason}", refusal.hint) from None
    why = "you trust it" if trust else "you have begun it here, and it is unchanged"
    print(f"trust   code that {path} names will be executed: {why}")


# --- runs ---------------------------------------------------------------------------------------------------------


def sign_run(folder: Path, texts: Mapping[str, str]) -> None:
    """Signs the configuration of a new run before it is written. Without a key, it warns in train.log.

    Args:
        folder: `.hydra` of the run.
        texts: name of each of its files → content.
    """
    _write_signature(folder, {name: [digest(text.encode())] for name, text in texts.items()})


def sign_changed_run(folder: Path, config: str) -> None:
    """Signs the changed configuration of a resumed run before it is written, if the run is the user's own."""
    if why_run_is_not_own(folder) is not None:
        return
    digests = {name: [digest(content)] for name, content in _texts_of(folder).items()}
    # Old and new content are both valid, as a kill before config.yaml is replaced leaves the old one.
    digests["config.yaml"].append(digest(config.encode()))
    _write_signature(folder, digests)


def why_run_is_not_own(folder: Path, config: bytes | None = None) -> str | None:
    """Returns why a run is not the user's own and unchanged; None if it is.

    Args:
        folder: `.hydra` of the run.
        config: content of its config.yaml if it has been read, so that the executed content is the verified one.
    """
    path = folder / SIGNATURE
    try:
        if folder.is_symlink():
            return COPIED
        if not _is_small(path):  # reading a pipe would block
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
        log.warning(f"not signed: {reason}; code that conf/ does not name will need trust=true to resume")


def _texts_of(folder: Path) -> dict[str, bytes]:
    """Reads the YAML files of a folder, which may name code; too large ones as empty."""
    return {path.name: path.read_bytes() if _is_small(path) else b"" for path in folder.glob("*.yaml")}


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST


# --- signatures ---------------------------------------------------------------------------------------------------

UNSIGNED = "it was not signed when it began"
UNREADABLE = "its signature cannot be read"
COPIED = "it is a copy of what you have begun"


def signature_of(digests: Mapping[str, list[str]], file: Path) -> dict[str, Any]:
    """Makes a signature to be stored in a file.

    Args:
        digests: name of each signed text → its valid digests.
        file: that will hold the signature; it may be renamed later.

    Raises:
        NoKey: there is no key to sign with.
    """
    # The inode number stays when the directory is moved. A copy has another one.
    content = {"digests": dict(digests), "file": file.stat().st_ino}
    return {**content, "hmac": _hmac(content, _key(make=True))}


def why_not_own(signature: Any, texts: Mapping[str, bytes], file: Path) -> str | None:
    """Returns why a signature is not this user's, for these texts, in this file; None if it is valid.

    Args:
        signature: as read; untrusted.
        texts: name → content of all texts that it must cover.
        file: that holds the signature.
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
    about = file.lstat()  # lstat, as an archive can contain symbolic and hard links to a signed file
    return None if (about.st_ino, about.st_nlink) == (content["file"], 1) else COPIED


def digest(content: bytes) -> str:
    """Returns the SHA-256 of a text, as signatures contain it."""
    return hashlib.sha256(content).hexdigest()


def _hmac(content: Mapping[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()


# --- the key ------------------------------------------------------------------------------------------------------


def key_file() -> Path:
    """Returns the path of the user's key, in $XDG_STATE_HOME or ~/.local/state.

    Raises:
        NoKey: the user has no home, or the path is in the project, where archives may be unpacked.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        # The XDG specification ignores relative paths, which would depend on the current folder.
        folder = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
        path = folder.resolve() / "mlplab" / "key"
    except (OSError, RuntimeError) as error:
        raise NoKey(f"this user has no state directory ({error})") from None
    if path.is_relative_to(PROJECT):
        raise NoKey(f"{path} lies within the project, where a key could be unpacked")
    return path


def _key(*, make: bool = False) -> bytes:
    """Returns the user's key; with `make`, creates it if it is missing.

    Raises:
        NoKey: the key is missing, cannot be created, or other users can read or write it.
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
        raise NoKey(f"{path} belongs to another user, or others can read it")
    if len(key) != KEY_BYTES:
        raise NoKey(f"{path} is no key")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Not by `write_atomically`: the file must be private from the start, and exist at once within `flushed_together`.
    temporary = path.with_name(f".key.{secrets.token_hex(8)}.tmp")
    try:
        with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process has created the key meanwhile
            put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
