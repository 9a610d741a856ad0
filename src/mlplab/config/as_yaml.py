"""Writes configurations as YAML by libyaml, in a third of the time of `OmegaConf.to_yaml`. Imports nothing heavy."""

from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper


# Without libyaml, PyYAML's own dumper does the same, more slowly.
class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Quotes strings as OmegaConf's dumper does: OmegaConf reads 1e3 as a number, YAML 1.1 as a string."""


_Dumper.add_representer(str, get_omega_conf_dumper().str_representer)


def as_yaml(config: Any) -> str:
    """Formats a configuration, or plain values, so that OmegaConf reads the same from the text."""
    # Unresolved, as no value from the environment may be written. Hydra's own part has enums, which YAML lacks.
    content = OmegaConf.to_container(config, enum_to_str=True) if OmegaConf.is_config(config) else config
    options: dict[str, Any] = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    return str(yaml.dump(content, Dumper=_Dumper, **options))
