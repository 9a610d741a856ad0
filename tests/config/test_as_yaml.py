"""Configurations as text: OmegaConf reads the same from it as from its own."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawn import examples
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlplab.config.as_yaml import as_yaml

CONF = Path(__file__).resolve().parents[2] / "conf"

TEXTS = st.one_of(
    st.text(string.printable, max_size=200),
    st.text(max_size=30),
    st.text("é \u2028\x85\ufeff漢😀\r", max_size=120),
    st.sampled_from(
        ["", " ", "yes", "null", "~", "1e3", "1_000", "0x1f", ".inf", "2026-01-01", "=", "<<", "- a", "..."]
    ),
    st.text("abc ", min_size=60, max_size=300),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def read(text: str) -> Any:
    return repr(OmegaConf.to_container(OmegaConf.create(text)))  # which tells 1 from True


def test_every_file_of_conf_is_read_as_it_was() -> None:
    files = sorted(CONF.rglob("*.yaml"))
    assert len(files) > 50
    for path in files:
        config = OmegaConf.load(path)
        assert read(as_yaml(config)) == repr(OmegaConf.to_container(config)), path


def test_hydras_own_configuration_is_read_as_it_was() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", return_hydra_config=True)
    assert read(as_yaml(config)) == repr(OmegaConf.to_container(config))


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
@settings(max_examples=examples(20))
def test_any_values_are_read_as_they_were(values: dict[str, Any]) -> None:
    try:
        expected = repr(OmegaConf.to_container(OmegaConf.create(values)))
    except OmegaConfBaseException:  # a text that is half an interpolation
        return
    assert read(as_yaml(values)) == expected


def test_values_that_python_takes_for_equal_are_told_apart() -> None:
    for value in (1, True, 1.0, -0.0, 0.0, 0, False, [1], [True]):
        assert read(as_yaml({"a": value})) == repr({"a": value})


def test_interpolations_missing_values_and_paths_stay_as_they_stand(make_config: Callable[..., DictConfig]) -> None:
    config = OmegaConf.create({"a": "${oc.env:SECRET}", "b": "???", "c": "${a}", "d": None, "e": Path("x")})
    assert as_yaml(config) == OmegaConf.to_yaml(config)
    assert read(as_yaml(make_config("seed=3"))) == read(OmegaConf.to_yaml(make_config("seed=3")))
    assert as_yaml({}) == "{}\n"
    assert as_yaml(["a=1"]) == "- a=1\n"
