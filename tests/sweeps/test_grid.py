"""What a grid has been swept over, over all its launches."""

from mlplab.sweeps.grid import _space
from mlplab.sweeps.overrides import Dimension
from mlplab.sweeps.search.space import space_of


def test_the_space_grows_and_knows_each_value_once() -> None:
    first = _space(None, space_of([Dimension("seed", "seed", (0, 1, 0), ("0", "1", "0"))], {}))
    assert first == {"seed": {"kind": "choice", "values": [0, 1]}}
    seeds, rates = Dimension("seed", "seed", (2, 1), ("2", "1")), Dimension("lr", "lr", (0.1,), ("0.1",), is_log=True)
    more = _space(first, space_of([seeds, rates], {}))
    assert more["seed"]["values"] == [0, 1, 2]
    assert more["lr"] == {"kind": "choice", "values": [0.1], "log": True}
