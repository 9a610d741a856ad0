import re
from pathlib import Path
from typing import Any

import omegaconf.base
import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mlplab.config.resolvers import job_name, new_run_name, register_resolvers

TEXTS = (
    "${a}", "${b}/${a}", "${.a}", "${..a}", "${nested.c}", "${oc.env:NOT_SET,${a}}", "${oc.select:nested.d,7}",
    "\\${a}", "${nested[c]}", "${a", "${unknown:x}", "${nested.missing}", "plain",
)  # fmt: skip
"""What a configuration may hold, with mistakes."""


def test_run_names_do_not_repeat() -> None:
    assert len({new_run_name() for _ in range(1000)}) == 1000


def test_run_names_sort_by_time_and_need_no_quoting() -> None:
    name = new_run_name()
    assert len(name) == len("2026-05-01_12-30-59_k3f9qx")
    assert name.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("name", "shown"),
    [("baseline", "baseline"), ("my best/run", "my-best-run"), ("größe é", "gro-e-e"), ("../x.y_z", "x.y_z"), (7, "7")],
)
def test_the_name_of_a_run_is_in_the_name_of_its_directory(name: str | int, shown: str) -> None:
    config = OmegaConf.create({"name": name, "run": "${run_name:${name}}", "other": "${run_name:}"})
    assert re.fullmatch(rf"[\d-]+_[\d-]+_{re.escape(shown)}_\w{{6}}", config.run)
    assert config.other != config.run


def test_one_process_has_one_run_name() -> None:
    config = OmegaConf.create({"first": "${run_name:}", "second": "${run_name:}"})
    assert config.first == config.second


def test_a_job_is_named_by_what_it_is_about() -> None:
    overrides = ["optimizer=sgd", "model.hidden_dims=[64,64]", "optimizer.lr=1e-05", "paths.logs=/x", "sweep.name=y"]
    assert job_name(3, overrides) == "3_optimizer-sgd_hidden_dims-64-64_lr-1e-05"
    assert job_name(0, []) == "0"
    assert job_name(1, ["experiment=zero_initialization", "sweep.name=s"]) == "1_experiment-zero-initialization"
    own = ["mixup=0.5", "+new.key=1", "engine=plain", "callbacks.early_stopping.patience=3", "logger=none"]
    assert job_name(1, own) == "1_mixup-0.5_key-1_engine-plain_patience-3"


def test_a_job_name_is_one_short_folder_whatever_is_swept() -> None:
    name = job_name(1, [f"data.path=../../{'x' * 300}", "model.activation='a b=\"c\"'"])
    assert len(name) <= 100
    assert "/" not in name


def _resolved(texts: list[str], value: int) -> list[Any]:
    """What each comes to within a configuration, or the error that it makes."""
    found = []
    for text in texts:
        try:
            config = OmegaConf.create({"a": value, "b": "x", "nested": {"c": value + 1, "a": -value, "text": text}})
            found.append(config.nested.text)
        except Exception as error:
            found.append((type(error), str(error)))
    return found


@settings(max_examples=examples(15))
@given(texts=st.lists(st.sampled_from(TEXTS), max_size=12), value=st.integers(0, 3))
def test_a_text_that_has_been_read_before_means_what_it_says(texts: list[str], value: int) -> None:
    register_resolvers(Path.cwd())
    remembered: Any = omegaconf.base.parse
    with pytest.MonkeyPatch.context() as patch:
        for module in (omegaconf.base, omegaconf._utils):
            patch.setattr(module, "parse", remembered.__wrapped__)
        anew = _resolved(texts, value)
    assert _resolved(texts, value) == anew
