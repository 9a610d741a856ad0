import numpy as np
import pytest

from mlplab.report.charts import axis_of


def test_numbers_that_are_even_by_their_logarithms_lie_on_a_logarithmic_axis() -> None:
    axis = axis_of("lr", [0.001, 0.01, 0.1, 10], [])
    assert axis.is_log
    assert list(axis.places([0.001, 10, 0, -1, None, "x"])[:2]) == pytest.approx([-3, 1])
    assert np.isnan(axis.places([0, -1, None, "x"])).all()
    assert axis.texts == ("0.001", "0.01", "0.1", "10")
    assert list(axis.buckets(axis.places([0.01, 10, None]))) == [1, 3, -1]


@pytest.mark.parametrize(
    ("values", "space", "is_log"),
    [
        ([0.0, 0.1, 0.2], {}, False),
        ([10, 20, 1000, 990, 500], {}, False),
        ([8, 32, 128, 512], {}, True),
        ([0.1, 0.2, 0.3], {"kind": "float", "low": 0.1, "high": 0.3, "log": True}, True),
        ([0.0, 0.2, 0.3], {"kind": "float", "low": 0.0, "high": 0.3, "log": True}, False),
    ],
)
def test_which_axis_is_logarithmic(values: list[float], space: dict, is_log: bool) -> None:
    assert axis_of("x", values, [space]).is_log is is_log


@pytest.mark.parametrize(
    ("values", "choices"),
    [
        (["sgd", "adam", "sgd"], ("sgd", "adam")),
        ([[64, 64], [32]], ("[64,64]", "[32]")),
        ([True, False], ("true", "false")),
        ([128, "full", 8], ("128", "full", "8")),
        ([0.5, 0.1], ("0.1", "0.5")),  # two numbers are a choice, in their order
        ([1, None, 3], ("1", "null", "3")),
    ],
)
def test_what_is_no_scale_is_a_list_of_choices(values: list, choices: tuple[str, ...]) -> None:
    axis = axis_of("x", values, [])
    assert axis.choices == axis.texts == choices
    assert list(axis.buckets(axis.places(values))) == [choices.index(axis.texts[int(p)]) for p in axis.places(values)]


def test_choices_keep_the_order_in_which_they_were_asked() -> None:
    axis = axis_of("x", ["c", "a"], [{"kind": "choice", "values": ["a", "b", "c"]}])
    assert axis.choices == ("a", "c")  # and what no setting has got is left out


def test_many_numbers_are_gathered_in_equal_stretches_of_the_space() -> None:
    values = [float(v) for v in np.geomspace(2e-5, 0.05, 60)]
    axis = axis_of("lr", values, [{"kind": "float", "low": 1e-5, "high": 0.1, "log": True}])
    assert len(axis.texts) == 8
    assert axis.ends == pytest.approx((-5, -1))
    assert np.diff(axis.edges) == pytest.approx(0.5)
    assert list(axis.buckets(np.array([-5.0, -1.0]))) == [0, 7]
    assert axis.texts[0] == "1e-5–3.2e-5"


def test_whatever_a_space_holds_an_axis_is_made() -> None:
    for space in ({"values": "x"}, {"low": "a", "high": None}, {"values": [None, {}]}, {"log": "yes"}):
        assert len(axis_of("x", [1.0, 2.0, 3.0], [space]).texts) == 3
