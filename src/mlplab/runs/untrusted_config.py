"""The configuration of a run that is there, read back as data. Imports nothing heavy.

Whoever made the directory of a run has written its configuration, and a configuration names code. So it is followed
only as far as conf/, which is one's own, names the same code in the same place.
"""

import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mlplab.config.differing import RENAMED
from mlplab.config.paths import require_folder_of_run
from mlplab.errors import Refusal, printable
from mlplab.runs.files import read_ordinary, require_ordinary
from mlplab.runs.trust import LARGEST, require_trust, why_run_is_not_own

MOST_VALUES = 20_000
"""Values of a configuration, as they stand there after aliases have been followed."""

RESOLVERS = ("project_root", "run_name", "job_name", "hydra")
"""Names that may stand in `${NAME:…}` of a configuration that was received: they tell nothing, and run nothing."""

WRITING = ("callbacks", "logger")
"""Groups whose texts say where files go, and to which servers."""

_REFERENCE = re.compile(r"\$\{\s*\.*[\w.\[\]-]*\s*\}")
_RESOLVER = re.compile(r"\$\{\s*(" + "|".join(RESOLVERS) + r")\s*:")


def require_run(path: Path, key: str) -> Path:
    """The absolute directory of a run that has begun.

    Args:
        path: what was given for it.
        key: the name it was given for, in messages.

    Raises:
        Refusal: there is none, with the nearest name; or it holds links or pipes.
    """
    require_folder_of_run(path, key)
    if not (path / ".hydra" / "config.yaml").is_file():
        given = f"{path} has no .hydra/config.yaml"
        if (path / "status.json").is_file():
            given += ", for the run ended before it had begun"
        raise Refusal(f"{key} must be the directory of a run", given, f"{key}=logs/runs/NAME")
    require_ordinary(path)
    return path.absolute()


def read_config(directory: Path, conf: Path, *, trust: bool) -> DictConfig:
    """Returns the configuration of a run.

    Args:
        directory: of the run.
        conf: one's own conf/, whose names of code are followed.
        trust: whether all are.

    Raises:
        Refusal: it is no configuration; or it names code that conf/ does not, or reads the environment, and is neither
            trusted nor of a run that this user has begun.
    """
    path = directory / ".hydra" / "config.yaml"
    content = _read(path)
    config = _with_present_names(_parsed(content, path))
    refusal = _first_unknown(OmegaConf.to_container(config, resolve=False), path, conf)
    require_trust(path, refusal, lambda: why_run_is_not_own(path.parent, content), trust=trust)
    folders = {"run": directory} if trust else {"run": directory, "logs": directory.parents[1]}
    try:
        for name, folder in folders.items():
            OmegaConf.update(config, f"paths.{name}", str(folder), force_add=True)
    except Exception as error:  # they are no mapping, say
        raise _unusable(path, error) from None
    return config


def read_yaml(path: Path) -> DictConfig:
    """Reads a file that somebody else may have made, as data: nothing in it is resolved.

    Raises:
        Refusal: it holds no mapping, or more than a configuration does.
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
        plain = yaml.safe_load(text)
        if not plain or not isinstance(plain, dict):
            raise ValueError(f"it holds {type(plain).__name__ if plain else 'nothing'}")
        if next(islice(_walk(plain), MOST_VALUES, None), None) is not None:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        config = OmegaConf.load(io.StringIO(text))
        assert isinstance(config, DictConfig)
    except Exception as error:  # whatever a file can cause
        raise _unusable(path, error) from None
    return config


def _unusable(path: Path, error: Exception) -> Refusal:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return Refusal("a run must have a configuration", f"{path}: {reason}", "another run")


def _with_present_names(config: DictConfig) -> DictConfig:
    """Replaces the names that earlier versions had for code of conf/."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    waiting = [plain]
    while waiting:
        node = waiting.pop()
        waiting += [part for part in node.values() if isinstance(part, dict)]
        target = node.get("_target_")
        if isinstance(target, str) and target in RENAMED:
            node["_target_"] = RENAMED[target]
    renamed: DictConfig = OmegaConf.create(plain)
    return renamed


def _first_unknown(plain: Any, path: Path, conf: Path) -> Refusal | None:
    """Returns a refusal of the first value that conf/ does not know and that would be executed, written to or read."""
    known = _texts_of(conf)
    for place, value in _walk(plain):
        is_known = isinstance(value, str) and (place[-1], value) in known.get(place[0], ())
        texts = [text for text in (value, *place) if isinstance(text, str)]
        if place[-1] == "_target_" and not is_known:
            must, what = "name only code that conf/ names in the same place", "it does: it would be executed"
        elif place[0] in WRITING and isinstance(value, str | bytes) and not is_known:
            must, what = "write only where conf/ says", "is written there"
        elif not all(map(_is_harmless, texts)):
            must, what = "read nothing but itself", "it reads"
        else:
            continue
        given = f"{path}: {printable('.'.join(place))}={value!r}"
        return Refusal(f"the configuration of a run must {must}", given, f"trust=true, if you know what {what}")
    return None


def _is_harmless(text: str) -> bool:
    """Whether all that stands in `${…}` refers to the configuration, or to what tells nothing."""
    rest = _RESOLVER.sub("", _REFERENCE.sub("", text))
    return "${" not in rest


def _texts_of(conf: Path) -> dict[str, set[tuple[str, str]]]:
    """The texts in conf/, among them the names of code: the group that they stand in → (name, text) of each."""
    texts: dict[str, set[tuple[str, str]]] = {}
    for path in sorted(conf.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        group = path.relative_to(conf).parts[0] if path.parent != conf else None
        if re.search(r"^#\s*@package\s+_global_", text, re.MULTILINE):
            group = None
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError:
            continue  # Hydra says what is wrong with it, where it is chosen
        for place, value in _walk(content):
            if place and isinstance(value, str):
                texts.setdefault(group or place[0], set()).add((place[-1], value))
    return texts


def _walk(node: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All values that are no containers, or empty ones, with the names that lead to them."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _walk(value, (*place, str(name)))
    elif isinstance(node, list) and node:
        for number, value in enumerate(node):
            yield from _walk(value, (*place, str(number)))
    else:
        yield place, node
