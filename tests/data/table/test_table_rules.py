import inspect
from typing import Any

import pytest
from omegaconf import OmegaConf

from mlplab.config.checks import check
from mlplab.data.table.table_rules import TABLE_RULES
from mlplab.data.table.table_source import table
from mlplab.errors import UserError


def test_every_option_of_a_table_has_a_value_in_its_file_and_a_rule(make_config: Any) -> None:
    own = set(inspect.signature(table).parameters) - {"trained"}  # a checkpoint, of which no file tells
    assert own == {*TABLE_RULES, "task"}
    assert own <= set(make_config("data=table").data)


@pytest.mark.parametrize("key", TABLE_RULES)
def test_every_option_of_a_table_has_a_rule_that_its_example_keeps(make_config: Any, root: Any, key: str) -> None:
    rule = TABLE_RULES[key]
    assert key in make_config("data=table").data
    assert rule.holds(OmegaConf.to_container(OmegaConf.create(f"value: {rule.example}"))["value"])  # type: ignore[index,call-overload]
    config = make_config("data=table", f"data.path={root}/pyproject.toml", "data.target=x")
    config.data[key] = {"a": {"nested": 1}}
    with pytest.raises(UserError, match=rf"data\.{key} must be"):
        check(config)


@pytest.mark.parametrize(
    ("override", "given"),
    [
        ("data.delimiter=semicolons", "try data.delimiter=semicolon"),
        ("data.numeric_scaling=quantile", "try data.numeric_scaling=quantile_normal"),
        ("data.encoding=utf9", ", got utf9;"),
        ("data.skip_lines=-1", "a number of lines"),
        ("data.keep_values={a:1}", "a list for each"),
        ("data.drop=age", "a list of columns"),
        ("data.header=yes", "auto, true or false"),
        ("data.test_path=pyproject.tom", "try data.test_path="),
        ("data.test_path=${data.path}", "it is data.path"),
        ("data.path=null", "the path of a file"),
        ("data.target=null", "the name of a column"),
    ],
)
def test_what_is_said_of_a_table_is_checked_before_it_is_read(
    make_config: Any, root: Any, override: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    words = ["data=table", "data.path=pyproject.toml", "data.target=x", override]
    with pytest.raises(UserError) as refusal:
        check(make_config(*words))
    assert given in str(refusal.value)
