"""Reads the configuration of an existing run, which may be untrusted. Imports nothing heavy.

A configuration names code to execute. Without trust, only code that the user's own conf/ names in the same place is
accepted.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mlplab.config.former_names import use_present_names
from mlplab.config.paths import is_pipe, require_folder_of_run
from mlplab.errors import UserError, printable
from mlplab.runs.files import read_ordinary, require_ordinary
from mlplab.runs.layout import CONFIG, STATUS
from mlplab.runs.trust import require_trust, why_text_is_not_own

LARGEST = 1_000_000
"""Most bytes of a configuration to read; a run writes about 5,000."""

MOST_VALUES = 20_000
"""Most values of a configuration, after YAML aliases are expanded."""

RESOLVERS = ("project_root", "run_name", "job_name", "hydra", "mode_of")
"""Resolvers that an untrusted configuration may use as `${NAME:…}`: they neither reveal nor run anything."""

WRITING = ("callbacks", "logger")
"""Groups whose strings may be paths or servers to write to."""

MOST_LEVELS = 20
"""Maximum depth of nesting that is read without an error."""

# libyaml, if PyYAML has it, is several times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads YAML as plain values."""

_ALIAS = re.compile(r"(^|[\s\[{,:-])[*&]\w")
_REFERENCE = re.compile(r"\$\{\s*\.*[\w.\[\]-]*\s*\}")
_RESOLVER = re.compile(r"\$\{\s*(" + "|".join(RESOLVERS) + r")\s*:")


def require_run(path: Path, key: str) -> Path:
    """Checks that a directory is that of a run that has begun; returns its absolute path.

    Args:
        path: as the user gave it.
        key: the option it was given for, in messages.

    Raises:
        UserError: there is no run (suggests the nearest name), or the directory contains links or pipes.
    """
    require_folder_of_run(path, key)
    if not (path / CONFIG).is_file():
        reason = ", as the run failed before it began" if (path / STATUS).is_file() else ""
        raise UserError(
            f"{key} must be the directory of a run", f"{path} has no {CONFIG}{reason}", f"{key}=logs/runs/NAME"
        )
    # Through a link, the run could write elsewhere.
    require_ordinary(path)
    return path.absolute()


def read_config(directory: Path, conf: Path, *, trust: bool) -> DictConfig:
    """Reads the configuration of a run; refuses an unsafe one.

    It is unsafe if it names code that conf/ does not name, or reads the environment, unless the user trusts it or has
    begun the run.

    Args:
        directory: of the run.
        conf: the user's own conf/, which names the accepted code.
        trust: accepts any code.

    Raises:
        UserError: the file is no configuration, or is unsafe.
    """
    path = directory / CONFIG
    content = _read(path)
    # Before the check, as conf/ has only present names.
    config = _with_present_names(_parsed(content, path))
    unsafe = _first_unsafe(OmegaConf.to_container(config, resolve=False), path, conf)
    require_trust(path, unsafe, lambda: why_text_is_not_own(content, directory), trust=trust)
    # Its paths may lead anywhere, so files are written to the run's actual directory.
    folders = {"run": directory} if trust else {"run": directory, "logs": directory.parents[1]}
    try:
        for name, folder in folders.items():
            OmegaConf.update(config, f"paths.{name}", str(folder), force_add=True)
    except Exception as error:  # for example if `paths` is no mapping
        raise _unusable(path, error) from None
    return config


def read_yaml(path: Path) -> DictConfig:
    """Reads a YAML file that somebody else may have made, without resolving anything in it.

    Raises:
        UserError: it holds no mapping, or too many values.
    """
    return _parsed(_read(path), path)


def _read(path: Path) -> bytes:
    try:
        return read_ordinary(path, LARGEST)
    except OSError as error:
        raise _unusable(path, error) from None


def _parsed(content: bytes, path: Path) -> DictConfig:
    try:
        text = content.decode()
        # Only plain values: YAML's tags could build any object.
        plain = yaml.safe_load(text)
        if not plain or not isinstance(plain, dict):
            raise ValueError(f"it holds {type(plain).__name__ if plain else 'nothing'}")
        # Counted before OmegaConf copies them, as by aliases a few bytes can expand to billions of values.
        if next(islice(walk(plain), MOST_VALUES, None), None) is not None:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        # Read again by OmegaConf, for which 1e3 is a number.
        config = OmegaConf.load(io.StringIO(text))
        assert isinstance(config, DictConfig)
    except Exception as error:  # an untrusted file may raise anything
        raise _unusable(path, error) from None
    return config


def _unusable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return UserError("a run must have a configuration", f"{path}: {reason}", "another run")


def _with_present_names(config: DictConfig) -> DictConfig:
    """Replaces names of code from earlier releases by the present ones."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    use_present_names(plain)
    renamed: DictConfig = OmegaConf.create(plain)
    return renamed


def _first_unsafe(plain: Any, path: Path, conf: Path) -> UserError | None:
    """Returns an error for the first value that would be executed, written to or read; None if all are safe."""
    known = _texts_of(conf)
    for place, value in walk(plain):
        is_known = isinstance(value, str) and (place[-1], value) in known.get(place[0], ())
        texts = [text for text in (value, *place) if isinstance(text, str)]  # keys too, for safety
        # In the same group and under the same key, as code that is harmless in one place may do harm in another.
        if place[-1] == "_target_" and not is_known:
            requirement, effect = "name only code that conf/ names in the same place", "it does: it would be executed"
        elif place[0] in WRITING and isinstance(value, str | bytes) and not is_known:
            requirement = "name only files, folders and servers that conf/ names"
            effect = "is read from there or written there"
        elif place[0] == "data" and isinstance(value, str) and is_pipe(Path(value).expanduser()):
            # Opening a pipe may wait for a writer for ever.
            requirement, effect = "read its data from a file", "comes out of that pipe"
        elif not all(map(is_harmless, texts)):
            requirement, effect = "refer to nothing outside itself", "it reads"
        else:
            continue
        found = f"{path}: {printable('.'.join(place))}={value!r}"
        hint = f"trust=true, if you know what {effect}"
        return UserError(f"the configuration of a run must {requirement}", found, hint)
    return None


def known_code(group: str, conf: Path, directory: Path) -> set[str]:
    """Returns the code that the user's own conf/ names in a group, and the code of a run that the user has begun."""
    known = {text for key, text in _texts_of(conf).get(group, ()) if key == "_target_"}
    path = directory / CONFIG
    if path.is_file():
        content = _read(path)
        if why_text_is_not_own(content, directory) is None:
            plain = OmegaConf.to_container(_with_present_names(_parsed(content, path)), resolve=False)
            known |= {str(v) for place, v in walk(plain) if place[0] == group and place[-1] == "_target_"}
    return known


def is_harmless(text: str) -> bool:
    """Returns whether every `${…}` refers to the configuration itself, or to one of `RESOLVERS`."""
    return "${" not in _RESOLVER.sub("", _REFERENCE.sub("", text))


def _texts_of(conf: Path) -> dict[str, set[tuple[str, str]]]:
    """Collects the strings in conf/, among them names of code: group → (key, string) of each."""
    texts: dict[str, set[tuple[str, str]]] = {}
    for path in sorted(conf.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        group = path.relative_to(conf).parts[0] if path.parent != conf else None
        if re.search(r"^#\s*@package\s+_global_", text, re.MULTILINE):
            group = None
        try:
            content = yaml.load(text, LOADER)
        except yaml.YAMLError:
            continue  # Hydra reports the mistake if the file is chosen
        for place, value in walk(content):
            if place and isinstance(value, str):
                texts.setdefault(group or place[0], set()).add((place[-1], value))
    return texts


def walk(node: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields path and value of all leaves, including empty containers."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from walk(value, (*place, str(name)))
    elif isinstance(node, list) and node:
        for number, value in enumerate(node):
            yield from walk(value, (*place, str(number)))
    else:
        yield place, node


def parsed_yaml(text: str) -> Any:
    """Parses untrusted YAML as plain values; None if that fails."""

    def is_shallow(value: Any, levels: int = MOST_LEVELS) -> bool:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return levels > 0 and all(is_shallow(part, levels - 1) for part in parts)

    # Runs write no aliases, by which a few bytes can expand to billions of values.
    if _ALIAS.search(text):
        return None
    with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):
        parsed = yaml.load(text, LOADER)
        return parsed if is_shallow(parsed) else None
    return None


def text_of(path: Path) -> str:
    """Reads untrusted text; empty if it is missing, too large or not text."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return read_ordinary(path, LARGEST).decode()
    return ""
