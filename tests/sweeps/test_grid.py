"""What a grid has been swept over, over all its launches."""

from mlplab.sweeps.grid import _space
from mlplab.sweeps.overrides import Swept


def test_the_space_grows_and_knows_each_value_once() -> None:
    first = _space(None, [Swept("seed", "seed", (0, 1, 0), ("0", "1", "0"))])
    assert first == {"seed": {"kind": "choice", "values": [0, 1]}}
    more = _space(first, [Swept("seed", "seed", (2, 1), ("2", "1")), Swept("lr", "lr", (0.1,), ("0.1",), is_log=True)])
    assert more["seed"]["values"] == [0, 1, 2]
    assert more["lr"] == {"kind": "choice", "values": [0.1], "log": True}
