"""Configurations as text: every letter is OmegaConf's."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from drawn import examples
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from mlplab.config import as_yaml as module
from mlplab.config.as_yaml import as_yaml

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))

TEXTS = st.one_of(
    st.text(string.printable, max_size=200),
    st.text(max_size=30),
    st.text("ab :#'\"\\-\n\t", max_size=200),
    st.text("é \u2028\x85\ufeff漢😀\r", max_size=120),
    st.sampled_from(
        ["", " ", "yes", "null", "~", "1e3", "1_000", "0x1f", ".inf", "2026-01-01", "=", "<<", "- a", "..."]
    ),
    st.text("abc ", min_size=60, max_size=300),
)
KEYS = st.one_of(st.text(string.ascii_letters + "_/.", max_size=12), TEXTS, st.text("ab c:", min_size=90, max_size=140))
VALUES = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


def test_every_file_of_conf_is_written_as_omegaconf_writes_it() -> None:
    assert len(FILES) > 50
    for path in FILES:
        config = OmegaConf.load(path)
        assert as_yaml(config) == OmegaConf.to_yaml(config), path


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name in ("experiment", "data", "optimizer", "sweeper")])
def test_every_choice_is_written_as_omegaconf_writes_it(path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        choice = f"{path.parent.relative_to(CONF)}={path.stem}"
        config = compose("config", [choice], return_hydra_config=True)
    assert as_yaml(config) == OmegaConf.to_yaml(config)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@settings(max_examples=examples(150))
def test_any_values_are_written_as_omegaconf_writes_them(values: dict[str, Any]) -> None:
    expected = module._by_omegaconf(values)
    assert as_yaml(values) == expected
    with mock.patch.object(module, "LARGE", 0):  # in as many parts as it can be
        assert as_yaml(values) == expected
        assert as_yaml(values) == expected  # and from those that are kept


def test_values_that_python_takes_for_equal_are_told_apart() -> None:
    for value in (1, True, 1.0, -0.0, 0.0, 0, False, [1], [True]):
        assert as_yaml({"a": value}) == module._by_omegaconf({"a": value})


def test_texts_that_libyaml_would_break_elsewhere_keep_their_lines() -> None:
    long = "a line\n  " + "some words " * 20
    values = {"hydra": {"help": {"footer": long, "list": [1, [long, "é"], {"x": long}]}, "a": 1}, "b": long}
    config = OmegaConf.create(values)
    assert as_yaml(config) == OmegaConf.to_yaml(config)
    assert as_yaml(config.hydra.help.list) == OmegaConf.to_yaml(config.hydra.help.list)


def test_interpolations_and_missing_values_stay_as_they_stand(make_config: Callable[..., DictConfig]) -> None:
    config = OmegaConf.create({"a": "${oc.env:SECRET}", "b": "???", "c": "${a}", "d": None, "e": Path("x")})
    assert as_yaml(config) == OmegaConf.to_yaml(config)
    assert as_yaml(make_config("seed=3")) == OmegaConf.to_yaml(make_config("seed=3"))


def test_without_libyaml_it_is_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    config = OmegaConf.create({"a": [1, "x: y"], "b": {"c": "é\n"}})
    expected = as_yaml(config)
    monkeypatch.setattr(module, "CEmitter", None)
    assert as_yaml(config) == expected == OmegaConf.to_yaml(config)


def test_a_configuration_is_written_by_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """What OmegaConf's dumper is asked for is the few texts that the two write differently."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", return_hydra_config=True)
    as_yaml(config)
    monkeypatch.setattr(module, "_by_omegaconf", lambda content: pytest.fail("written by PyYAML"))
    as_yaml(config)
