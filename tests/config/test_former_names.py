"""Names of earlier versions are read as today's."""

from typing import Any

import pytest

from mlplab.config import former_names
from mlplab.config.differing import changes
from mlplab.config.former_names import NAMES, present_name, use_present_names


def test_the_names_of_a_package_that_was_called_otherwise_are_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_names, "NAMES", ("first", "second", NAMES[-1]))
    assert present_name("first.models.MLP") == "mlplab.models.MLP"
    assert present_name("second.callbacks.Divergence") == "mlplab.callbacks.NonFiniteGuard"
    assert [present_name(name) for name in ("firstly.Model", "torch.optim.Adam", None, 3)] == [
        "firstly.Model", "torch.optim.Adam", None, 3,
    ]  # fmt: skip
    node: dict[str, Any] = {"_target_": "first.A", "parts": [{"_target_": "first.B", "name": "first.C"}]}
    node["itself"] = node
    use_present_names(node)
    assert node["_target_"] == "mlplab.A"
    assert node["parts"] == [{"_target_": "mlplab.B", "name": "first.C"}]
    assert changes({"a": "first.A"}, {"a": "mlplab.A"}, ()) == {}
