import pytest

from mlplab.errors import Refusal
from mlplab.instantiation import accepted_options, instantiate

THIS = "mlplab.randomness.batch_order"


def test_what_is_named_is_built_with_its_options_and_arguments() -> None:
    order = instantiate("data", {"_target_": THIS, "n_rows": 5, "seed": 0}, epoch=3)
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]


def test_an_error_of_the_code_is_told_with_its_place() -> None:
    with pytest.raises(Refusal) as refusal:
        instantiate("data", {"_target_": THIS, "n_rows": -5, "seed": 0, "epoch": 0})
    assert refusal.value.must == f"data must be built by {THIS} without an error"
    assert "randomness.py, line" in refusal.value.given


def test_a_refusal_of_the_code_comes_through_as_it_is() -> None:
    with pytest.raises(Refusal, match="layer's width"):
        instantiate("model", {"_target_": "mlplab.models.MLP", "in_features": 0, "out_features": 1})


def test_options_that_are_taken_are_named() -> None:
    assert accepted_options("data", {"_target_": THIS, "seed": 0}) == ["n_rows", "seed", "epoch"]


def test_an_option_that_is_not_taken_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refusal) as refusal:
        accepted_options("data", {"_target_": THIS, "sead": 0})
    assert (refusal.value.given, refusal.value.remedy) == ("data.sead=0", "n_rows, seed, epoch")


@pytest.mark.parametrize(("target", "must"), [(None, "must name what it builds"), ("no.such.thing", "importable")])
def test_what_cannot_be_found_is_refused(target: str | None, must: str) -> None:
    with pytest.raises(Refusal, match=must):
        accepted_options("model", {"_target_": target})
