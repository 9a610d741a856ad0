"""A configuration as YAML, by libyaml: a third of the time of `OmegaConf.to_yaml`. Imports nothing heavy."""

import functools
import marshal
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Quotes texts as OmegaConf's dumper does: OmegaConf reads 1e3 as a number, YAML 1.1 as a text."""


_Dumper.add_representer(str, get_omega_conf_dumper().str_representer)


def as_yaml(config: Any) -> str:
    """Returns a configuration, or plain values, as text from which OmegaConf reads the same."""
    content = OmegaConf.to_container(config, enum_to_str=True) if OmegaConf.is_config(config) else config
    if type(content) is not dict or not content:
        return _dumped(content)
    try:
        return "".join(_part(key, marshal.dumps(value, 2)) for key, value in content.items())
    except ValueError:  # a value that is no plain one, such as a path
        return _dumped(content)


@functools.lru_cache(maxsize=512)
def _part(key: str, value: bytes) -> str:
    """The jobs of a sweep have most parts in common: each is written once. 1, 1.0 and True differ as bytes."""
    return _dumped({key: marshal.loads(value)})


def _dumped(content: Any) -> str:
    options: dict[str, Any] = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    return str(yaml.dump(content, Dumper=_Dumper, **options))
