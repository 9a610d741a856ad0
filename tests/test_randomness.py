import random
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlplab.randomness import STREAMS, batch_order, derive_seed, seed_generators

SEEDS = st.integers(-(2**70), 2**70)
EPOCHS = st.integers(0, 10_000)


def test_the_mixing_is_splitmix64() -> None:
    # The first outputs of the published generator for the states 0 and 1234567.
    from mlplab.randomness import _mixed

    assert _mixed(0) == 0xE220A8397B1DCDAF
    assert _mixed(1234567) == 6457827717110365317


def test_streams_have_numbers_of_their_own() -> None:
    assert len(set(STREAMS.values())) == len(STREAMS)


def test_streams_keep_their_numbers_so_that_old_runs_can_be_repeated() -> None:
    assert STREAMS.items() >= {"initialization": 1, "order": 2, "step": 3}.items()


def test_derived_seeds_stay_what_they_were_so_that_old_runs_can_be_repeated() -> None:
    assert derive_seed(0, "initialization") == 313702574736366215
    assert derive_seed(42, "order", 7) == 8624132727430323767
    assert derive_seed(42, "step", 7, 3, 1) == 74781668798833597


@given(seed=SEEDS, stream=st.sampled_from(sorted(STREAMS)), position=st.lists(EPOCHS, max_size=3))
def test_a_derived_seed_is_one_that_a_generator_takes(seed: int, stream: str, position: list[int]) -> None:
    derived = derive_seed(seed, stream, *position)
    assert 0 <= derived < 2**63
    assert derived == derive_seed(seed, stream, *position)
    torch.Generator().manual_seed(derived)


def test_neighbouring_seeds_streams_and_positions_never_share_a_derived_seed() -> None:
    positions = product(range(-5, 6), STREAMS, range(6), range(6), range(2))
    derived = [derive_seed(seed, stream, *position) for seed, stream, *position in positions]
    assert len(set(derived)) == len(derived) == 11 * len(STREAMS) * 6 * 6 * 2


def test_seed_1_at_step_2_is_not_seed_2_at_step_1() -> None:
    assert derive_seed(1, "step", 2) != derive_seed(2, "step", 1)
    assert derive_seed(0, "step", 1, 2) != derive_seed(0, "step", 2, 1)
    assert derive_seed(0, "step") != derive_seed(0, "step", 0)


def test_one_bit_of_the_seed_changes_about_half_of_the_derived_bits() -> None:
    changed = [
        (derive_seed(seed, "step", 0) ^ derive_seed(seed ^ (1 << bit), "step", 0)).bit_count()
        for seed in range(20)
        for bit in range(64)
    ]
    # 1280 draws of Binomial(63, 1/2): the mean is 31.5 with a standard error of 0.11.
    assert np.mean(changed) == pytest.approx(31.5, abs=0.6)
    assert min(changed) > 10


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(KeyError):
        derive_seed(0, "initialisation")


@given(n_rows=st.integers(1, 300), seed=SEEDS, epoch=EPOCHS)
def test_an_order_visits_every_row_once(n_rows: int, seed: int, epoch: int) -> None:
    order = batch_order(n_rows, seed, epoch)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(n_rows))


def test_the_order_is_a_function_of_seed_and_epoch_and_of_nothing_else() -> None:
    first = batch_order(100, seed=3, epoch=5)
    torch.rand(10), np.random.default_rng().random(), random.random()
    torch.manual_seed(99)
    assert torch.equal(batch_order(100, seed=3, epoch=5), first)


def test_orders_of_different_epochs_and_seeds_differ() -> None:
    orders = {tuple(batch_order(50, seed, epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_drawing_an_order_leaves_the_default_generator_as_it_is() -> None:
    before = torch.get_rng_state()
    batch_order(10, seed=0, epoch=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_row_is_as_likely_to_come_first_as_any_other() -> None:
    firsts = torch.stack([batch_order(5, seed=0, epoch=epoch)[0] for epoch in range(5000)])
    counts = torch.bincount(firsts, minlength=5)
    # Expected 1000 each, with a standard deviation of 28: five of them is a bound that only a fault exceeds.
    assert (counts - 1000).abs().max() < 140


def test_seeding_the_generators_does_for_the_cpu_what_manual_seed_does() -> None:
    seed_generators(1234)
    ours = torch.rand(5)
    torch.manual_seed(1234)
    assert torch.equal(torch.rand(5), ours)


def test_seeding_takes_any_derived_seed_and_a_device() -> None:
    seed_generators(2**63 - 1, torch.device("cpu"))
    first = torch.rand(3)
    seed_generators(2**63 - 1)
    assert torch.equal(torch.rand(3), first)


def test_a_cuda_device_has_its_own_generator_seeded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    seed_generators(7, torch.device("cpu"))
    assert seeded == []
    seed_generators(7, torch.device("cuda"))
    assert seeded == [7]
