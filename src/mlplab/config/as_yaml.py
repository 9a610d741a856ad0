"""A configuration as YAML, letter for letter as OmegaConf writes it, in a third of the time. Imports nothing heavy."""

import functools
import marshal
import secrets
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper
from yaml.representer import Representer
from yaml.resolver import Resolver

CEmitter: Any = getattr(yaml.cyaml, "CEmitter", None) if hasattr(yaml, "cyaml") else None
"""None where PyYAML has been built without libyaml."""

LARGE = 8
"""Names of a part that is itself written in parts."""

LONGEST_KEY = 100
"""Characters; where a key is too long to stand on a line, the two emitters count differently."""

_MARK = f"text-{secrets.token_hex(8)}-"

Place = tuple[tuple[str, bool], ...]
"""The keys that lead to a text; of a list `("", True)`, whichever its number."""


def as_yaml(config: Any) -> str:
    """What `OmegaConf.to_yaml` gives, of a configuration or of plain values.

    libyaml breaks lines within double quotes, and writes characters beyond ASCII, in other ways than PyYAML. So such
    texts, which are few and mostly the same in every run, come from PyYAML, and take the place of marks.
    """
    content = OmegaConf.to_container(config, enum_to_str=True) if OmegaConf.is_config(config) else config
    if CEmitter is None:
        return _by_omegaconf(content)
    try:
        return _in_parts(content)
    except _UnknownError:
        return _by_omegaconf(content)


def _in_parts(content: Any) -> str:
    """The text of a whole, part by part: the jobs of a sweep have most of them in common, which are written once."""
    if type(content) is not dict or not content:
        return _written(content)
    texts = []
    for key, value in content.items():
        if type(value) is dict and len(value) > LARGE:
            parts = [_part((key,), name, _exact(part)) for name, part in value.items()]
            texts += [parts[0], *(part.partition("\n")[2] for part in parts[1:])]  # their first line is that of the key
        else:
            texts.append(_part((), key, _exact(value)))
    return "".join(texts)


def _exact(value: Any) -> bytes:
    """Plain values as bytes that differ wherever they do, also in type."""
    try:
        return marshal.dumps(value, 2)  # later versions mark what is shared
    except ValueError:
        raise _UnknownError from None


@functools.lru_cache(maxsize=512)
def _part(outer: tuple[str, ...], key: str, value: bytes) -> str:
    whole: Any = {key: marshal.loads(value)}
    for name in reversed(outer):
        whole = {name: whole}
    return _written(whole)


def _written(content: Any) -> str:
    texts: dict[str, tuple[Place, str]] = {}
    marked = _marked(content, (), texts)
    whole: str = yaml.dump(marked, Dumper=_fast_dumper(), default_flow_style=False, allow_unicode=True, sort_keys=False)
    for mark, (place, text) in texts.items():
        whole = whole.replace(mark, _scalar(place, text), 1)
    return whole


def _by_omegaconf(content: Any) -> str:
    return str(
        yaml.dump(
            content, Dumper=get_omega_conf_dumper(), default_flow_style=False, allow_unicode=True, sort_keys=False
        )
    )


class _UnknownError(Exception):
    """A value on which the two emitters may not agree."""


def _marked(node: Any, place: Place, texts: dict[str, tuple[Place, str]]) -> Any:
    """A copy with marks for the texts that PyYAML is to write, which are noted in `texts`."""
    kind = type(node)
    if kind is str:
        if node.isascii() and node.isprintable():
            return node
        mark = f"{_MARK}{len(texts)}-"
        texts[mark] = (place, node)
        return mark
    if kind is dict:
        for key in node:
            if not (type(key) is str and key.isascii() and key.isprintable() and 0 < len(key) <= LONGEST_KEY):
                raise _UnknownError
        return {key: _marked(value, (*place, (key, False)), texts) for key, value in node.items()}
    if kind is list:
        return [_marked(value, (*place, ("", True)), texts) for value in node]
    if node is None or kind in (bool, int, float):
        return node
    raise _UnknownError


@functools.lru_cache(maxsize=256)
def _scalar(place: Place, text: str) -> str:
    """How PyYAML writes a text at its place; how it breaks lines depends on the keys before it."""
    mark = f"{_MARK}-"
    one, other = _by_omegaconf(_nested(place, mark)), _by_omegaconf(_nested(place, text))
    return other[one.index(mark) :].removesuffix("\n")


def _nested(place: Place, value: Any) -> Any:
    for key, is_list in reversed(place):
        value = [value] if is_list else {key: value}
    return value


@functools.cache
def _fast_dumper() -> Any:
    class FastDumper(CEmitter, Representer, Resolver):  # type: ignore[misc]
        """OmegaConf's dumper on libyaml's emitter."""

        def __init__(self, stream: Any, default_flow_style: bool, sort_keys: bool, **options: Any) -> None:
            options.pop("default_style")
            CEmitter.__init__(self, stream, **options)
            Representer.__init__(self, default_flow_style=default_flow_style, sort_keys=sort_keys)
            Resolver.__init__(self)

    representer: Any = get_omega_conf_dumper().str_representer
    FastDumper.add_representer(str, representer)
    return FastDumper
