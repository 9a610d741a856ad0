import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.tensorboard.summary import histogram_raw, make_histogram

from mlplab.callbacks.histograms import _edges, describe


@given(
    n=st.integers(1, 300), seed=st.integers(0, 99), size=st.sampled_from([1e-15, 1e-3, 1.0, 1e18]), ties=st.booleans()
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_what_the_writer_of_pytorch_makes_of_it(
    n: int, seed: int, size: float, ties: bool, dtype: torch.dtype
) -> None:
    drawn = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = (size * (drawn.round() if ties else drawn)).to(dtype)
    described = describe(values.reshape(1, n))
    assert described is not None
    mine = histogram_raw("name", **described).value[0].histo
    theirs = make_histogram(values.double().numpy(), _edges().tolist())
    assert (mine.min, mine.max, mine.num) == (theirs.min, theirs.max, theirs.num)
    assert list(mine.bucket_limit) == list(theirs.bucket_limit)
    assert list(mine.bucket) == list(theirs.bucket)
    assert mine.sum == pytest.approx(theirs.sum, rel=1e-9, abs=1e-9 * size)
    assert mine.sum_squares == pytest.approx(theirs.sum_squares, rel=1e-9)


def test_the_buckets_are_those_of_pytorchs_writer(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    assert writer.default_bins == _edges().tolist()
    writer.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e20, -1e30])
def test_a_diverged_network_has_nothing_that_can_be_drawn(value: float) -> None:
    assert describe(torch.tensor([0.5, value, -0.5])) is None
    assert describe(torch.tensor([value])) is None
    assert describe(torch.empty(0)) is None
