"""The schema of a rule takes what the rule takes, with its limits."""

from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mlplab.config.checks import rules_for
from mlplab.config.config_rules import CALLBACK_RULES, SWEEP_RULES
from mlplab.config.rule_schemas import schema_of_option, schema_of_rule
from mlplab.parts import is_there

OF_TABLES = {"data": "mlplab.data.table.table_source.table"} if is_there("tables") else {}
CALLBACKS = {f"callbacks.{name}": f"mlplab.callbacks.{name}" for name in CALLBACK_RULES}
CLASSES = {"model": "mlplab.models.MLP", "optimizer": "torch.optim.Adam", **OF_TABLES, **CALLBACKS}
RULES = rules_for(CLASSES) | SWEEP_RULES


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(-2, 2, allow_subnormal=False),
    st.sampled_from(["auto", "full", "min", "tanh", "some text", ""]),
    st.lists(st.one_of(st.integers(-1, 3), st.floats(0, 1), st.sampled_from(["weight", "a"])), max_size=3),
)  # fmt: skip


MADE = {name: Draft202012Validator(schema_of_rule(rule)) for name, rule in RULES.items()}


@pytest.mark.parametrize("name", RULES)
def test_the_example_of_a_rule_keeps_its_schema(name: str) -> None:
    assert MADE[name].is_valid(yaml.safe_load(RULES[name].example))


@given(name=st.sampled_from(sorted(RULES)), value=VALUES)
def test_no_value_is_marked_that_a_rule_takes(name: str, value: Any) -> None:
    if RULES[name].holds(value):
        assert MADE[name].is_valid(value), (RULES[name].requirement, value)


def test_numbers_are_limited_as_the_rule_says() -> None:
    schemas = {name: schema_of_rule(RULES[name])["anyOf"] for name in RULES}
    assert {"type": "number", "exclusiveMinimum": 0.0} in schemas["optimizer.lr"]
    assert {"type": "number", "minimum": 0, "exclusiveMaximum": 1.0} in schemas["model.dropout"] or {
        "type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0,
    } in schemas["model.dropout"]  # fmt: skip
    assert {"type": "integer", "minimum": 20, "maximum": 10_000_000} in schemas["data.n_samples"]
    assert {"enum": ["full"]} in schemas["data.batch_size"]
    assert {"enum": [32, 64]} in schemas["trainer.precision"]


def test_an_option_without_a_rule_is_known_by_its_type() -> None:
    def takes(value: Any, *types: Any) -> bool:
        return Draft202012Validator(schema_of_option(None, types)).is_valid(value)

    assert takes(1, float)
    assert takes(None, float)
    assert takes("${seed}", float)
    assert not takes("1", float)
    assert not takes(0.5, int, type(None))
    assert takes([1], list)
    assert takes("a", Literal["a", "b"])
    assert not takes("c", Literal["a", "b"])
    assert takes("c", dict)
    assert takes("c")
