import functools
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mlplab import instantiation
from mlplab.errors import UserError
from mlplab.instantiation import accepted_options, instantiate
from mlplab.task import Task

THIS = "mlplab.randomness.batch_order"


def test_what_is_named_is_built_with_its_options_and_arguments() -> None:
    order = instantiate("data", {"_target_": THIS, "n_rows": 5, "seed": 0}, epoch=3)
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]


def test_an_error_of_the_code_is_told_with_its_place() -> None:
    with pytest.raises(UserError) as refusal:
        instantiate("data", {"_target_": THIS, "n_rows": -5, "seed": 0, "epoch": 0})
    assert refusal.value.requirement == f"data must be built by {THIS} without an error"
    assert "randomness.py, line" in refusal.value.actual


def test_a_refusal_of_the_code_comes_through_as_it_is() -> None:
    with pytest.raises(UserError, match="in_features must be a positive integer"):
        instantiate("model", {"_target_": "mlplab.models.MLP", "in_features": 0, "out_features": 1})


def test_options_that_are_taken_are_named() -> None:
    assert accepted_options("data", {"_target_": THIS, "seed": 0}) == ["n_rows", "seed", "epoch"]


def test_an_option_that_is_not_taken_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError) as refusal:
        accepted_options("data", {"_target_": THIS, "sead": 0})
    assert (refusal.value.actual, refusal.value.hint) == ("data.sead=0", "data.seed=0")
    assert refusal.value.requirement.endswith(": n_rows, seed, epoch")


@pytest.mark.parametrize(
    ("target", "must"), [(None, "must name what it builds"), ("no.such.thing", "importable"), ("abc", "importable")]
)
def test_what_cannot_be_found_is_refused(target: str | None, must: str) -> None:
    with pytest.raises(UserError, match=must):
        accepted_options("model", {"_target_": target})


# --- own code, which Hydra need not look at ----------------------------------------------------------------


def given(**options: Any) -> dict[str, Any]:
    """What is named in the tests below: what it was called with."""
    return options


TASK = Task("regression", 3)

NODES: dict[str, dict[str, Any]] = {
    "plain values": {"a": 1, "b": 0.5, "c": "text", "d": None, "e": True, "f": [1, [2, "x"], []]},
    "interpolations": {"a": "${other}", "b": "${other}/x", "c": "${list}", "d": "${.a}"},
    "a mapping": {"a": {"b": 1, "c": [1, {"d": 2}]}},
    "another part": {"a": {"_target_": "builtins.dict", "b": 1}},
    "more than a call": {"_partial_": True, "a": 1},
    "an argument by position": {"_args_": [], "a": 1},
}


@pytest.mark.parametrize("as_config", [True, False])
@pytest.mark.parametrize("kind", NODES)
def test_own_code_is_called_with_what_hydra_would_give_it(
    kind: str, as_config: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    node: Any = {"_target_": f"{__name__}.given", **NODES[kind]}
    if as_config:
        node = OmegaConf.create({"node": node, "other": 3, "list": [1, "${other}"]}).node
    elif kind == "interpolations":
        return
    found, expected = [], []
    for results, own in ((expected, "no code "), (found, __name__)):
        monkeypatch.setattr(instantiation, "OWN", own)
        result = instantiate("data", node, z=7, task=TASK)  # not a configuration, though a dataclass
        results.append(result() if kind == "more than a call" else result)
    assert found == expected
    assert [type(value) for value in found[0].values()] == [type(value) for value in expected[0].values()]
    assert found[0]["task"] is expected[0]["task"] is TASK


@pytest.mark.parametrize(
    "options",
    [{"n_rows": 3}, {"n_rows": 3, "seed": 0, "epoch": 0, "x": 1}],
)
def test_a_mistake_in_own_code_is_told_as_hydra_tells_it(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for own in ("no code ", instantiation.OWN):
        monkeypatch.setattr(instantiation, "OWN", own)
        with pytest.raises(UserError) as refusal:
            instantiate("data", OmegaConf.create({"_target_": THIS, **options}))
        told.append((refusal.value.requirement, refusal.value.actual.partition(" (")[0]))
    assert told[0] == told[1]


def test_a_list_that_is_handed_over_is_the_called_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"_target_": "mlplab.errors.counted", "number": 1, "noun": ["a"]}
    handed = instantiation._options_of_own(node, {})
    assert handed == {"number": 1, "noun": ["a"]}
    assert handed["noun"] is not node["noun"]


def test_what_own_code_has_imported_is_left_to_hydra(tmp_path: Path) -> None:
    """Which does not call what could do anything at all."""
    node = {"_target_": "mlplab.runs.files.os.system", "command": f"touch {tmp_path}/called"}
    with pytest.raises(UserError, match=r"os\.system"):
        instantiate("data", node)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("group", ["optimizer", "callbacks"])
def test_choices_of_conf_are_built_as_hydra_builds_them(
    group: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted((root / "conf" / group).glob("*.yaml")):
        content = OmegaConf.merge(
            {"monitor": "val/loss", "mode": "min", "on_divergence": "stop", "paths": {"run": "x"}},
            {"part": OmegaConf.load(path)},
        ).part
        nodes = (
            [content] if "_target_" in content else [node for node in content.values() if "_target_" in (node or {})]
        )
        for node in nodes:
            built = []
            for own in ("no code ", instantiation.OWN):
                monkeypatch.setattr(instantiation, "OWN", own)
                built.append(instantiate(group, node))
            hydras, ours = built
            if isinstance(ours, functools.partial):
                assert (ours.func, ours.args, ours.keywords) == (hydras.func, hydras.args, hydras.keywords)
                assert [*map(type, ours.keywords.values())] == [*map(type, hydras.keywords.values())]
                continue
            assert type(ours) is type(hydras)
            for name, value in vars(hydras).items():
                if isinstance(value, str | int | float | bool | None | list) and not name.startswith("_"):
                    assert (vars(ours)[name], type(vars(ours)[name])) == (value, type(value))
