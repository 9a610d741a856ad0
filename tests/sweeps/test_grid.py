"""What a grid has been swept over, over all its launches."""

from mlplab.sweeps.grid import _space
from mlplab.sweeps.overrides import Dimension


def test_the_space_grows_and_knows_each_value_once() -> None:
    first = _space(None, [Dimension("seed", "seed", (0, 1, 0), ("0", "1", "0"))])
    assert first == {"seed": {"kind": "choice", "values": [0, 1]}}
    more = _space(
        first, [Dimension("seed", "seed", (2, 1), ("2", "1")), Dimension("lr", "lr", (0.1,), ("0.1",), is_log=True)]
    )
    assert more["seed"]["values"] == [0, 1, 2]
    assert more["lr"] == {"kind": "choice", "values": [0.1], "log": True}
