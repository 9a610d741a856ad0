import math
from typing import Any

import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlplab.errors import UserError
from mlplab.optimization.schedules import BY_EPOCH, BY_STEP, build_schedule, planned_steps

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def rates(name: str, steps: int, lr: float = 1.0, **options: Any) -> list[float]:
    """The learning rate at each of `steps` updates, and after the last of them."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    built = build_schedule(name, optimizer, total_steps=steps, monitor="val/loss", mode="min", **options)
    assert built is not None
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        built["scheduler"].step()
    return [*seen, optimizer.param_groups[0]["lr"]]


def plan(**changes: Any) -> int | None:
    settings: dict[str, Any] = {
        "batches_per_epoch": 10,
        "max_epochs": 5,
        "max_steps": -1,
        "limit_train_batches": 1.0,
        "accumulate_grad_batches": 1,
    }
    return planned_steps(**{**settings, **changes})


def test_step_multiplies_every_step_size_epochs() -> None:
    assert rates("step", 5, step_size=2, gamma=0.5) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_coslog4_is_that_of_its_formula_and_of_the_authors() -> None:
    expected = [(1 - math.cos(2 * math.pi * math.log2(1 + 15 * step / 60))) / 2 for step in range(61)]
    assert rates("coslog4", 60) == pytest.approx(expected, abs=1e-12)
    # Four waves, each twice as long as the one before: the peaks are where 1 + 15 t is √2, 2√2, 4√2, 8√2.
    long = rates("coslog4", 1500)
    assert [long[round(100 * (2**k * 2**0.5 - 1))] for k in range(4)] == pytest.approx([1] * 4, abs=1e-3)
    theirs = pytest.importorskip("pytabkit.models.training.scheduling").get_schedule("coslog4")
    assert rates("coslog4", 60) == pytest.approx([theirs.call_time_(step / 60) for step in range(61)], abs=1e-12)


def test_exponential_multiplies_after_every_epoch() -> None:
    assert rates("exponential", 3, lr=8.0, gamma=0.5) == [8.0, 4.0, 2.0, 1.0]


@pytest.mark.parametrize("min_lr", [0.0, 0.2])
def test_cosine_goes_down_along_half_a_cosine(min_lr: float) -> None:
    expected = [min_lr + (1 - min_lr) * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(11)]
    assert rates("cosine", 10, min_lr=min_lr) == pytest.approx(expected, abs=1e-12)


def test_warmup_cosine_climbs_in_a_straight_line_to_lr_and_then_goes_down_to_the_minimum() -> None:
    # 20 % of 20 steps are 4: fifths of lr up to 4/5, all of it at step 4, and a cosine over the 16 that are left.
    expected = [step / 5 for step in (1, 2, 3, 4)]
    expected += [0.1 + 0.9 * (1 + math.cos(math.pi * step / 16)) / 2 for step in range(17)]
    assert rates("warmup_cosine", 20, warmup_fraction=0.2, min_lr=0.1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("fraction", "steps"), [(0.0, 10), (0.5, 1), (0.01, 10)])
def test_a_warmup_of_no_steps_is_a_cosine(fraction: float, steps: int) -> None:
    warmed = rates("warmup_cosine", steps, warmup_fraction=fraction, min_lr=0.0)
    assert warmed == rates("cosine", steps, min_lr=0.0)


@settings(max_examples=examples(60))
@given(steps=st.integers(1, 60), fraction=st.floats(0, 1))
def test_a_warmup_always_reaches_lr_and_never_exceeds_it(steps: int, fraction: float) -> None:
    seen = rates("warmup_cosine", steps, warmup_fraction=fraction, min_lr=0.0)
    peak = seen.index(max(seen))
    assert seen[peak] == pytest.approx(1.0, rel=1e-12)
    assert peak == min(round(fraction * steps), steps - 1)
    assert min(seen[:-1]) > 0
    assert seen[-1] == pytest.approx(0.0, abs=1e-12)


ONE_CYCLE = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 100.0}


def test_one_cycle_starts_low_peaks_at_lr_and_ends_lower_still() -> None:
    seen = rates("one_cycle", 100, lr=0.5, **ONE_CYCLE)
    assert len(seen) == 101
    assert seen[0] == pytest.approx(0.5 / 25, rel=1e-12)
    assert max(seen) == pytest.approx(0.5, rel=1e-3)
    assert seen[-1] == pytest.approx(0.5 / 25 / 100, rel=1e-9)
    peak = seen.index(max(seen))
    assert peak == pytest.approx(30, abs=1)
    assert seen[: peak + 1] == sorted(seen[: peak + 1])
    assert seen[peak:] == sorted(seen[peak:], reverse=True)


def test_one_cycle_leaves_momentum_alone_and_keeps_each_groups_own_peak() -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": parameters[:1], "lr": 1.0}, {"params": parameters[1:], "lr": 0.1}], lr=9.0, momentum=0.7
    )
    built = build_schedule("one_cycle", optimizer, total_steps=10, monitor="m", mode="min", **ONE_CYCLE)
    assert built is not None
    for _ in range(10):
        first, second = optimizer.param_groups
        assert first["lr"] == pytest.approx(10 * second["lr"], rel=1e-12)
        assert first["momentum"] == 0.7
        optimizer.step()
        built["scheduler"].step()


@pytest.mark.parametrize(
    ("mode", "values"),
    [("min", [3.0, 2.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]), ("max", [1.0, 2.0, 3.0, 3.0, 3.0, 2.0, 3.0, 3.0, 3.0])],
)
def test_plateau_lowers_the_rate_when_the_monitored_value_stops_improving_in_its_own_sense(
    mode: str, values: list[float]
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    built = build_schedule(
        "plateau", optimizer, total_steps=None, monitor="val/f1", mode=mode, factor=0.5, patience=1, min_lr=0.3
    )
    assert built is not None
    assert (built["monitor"], built["interval"]) == ("val/f1", "epoch")
    seen = []
    for value in values:
        built["scheduler"].step(value)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.3, 0.3, 0.3]


def test_none_is_no_schedule() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert build_schedule("none", optimizer, total_steps=None, monitor="m", mode="min") is None


@pytest.mark.parametrize(
    ("name", "interval", "needs_end"),
    [
        ("step", "epoch", False),
        ("exponential", "epoch", False),
        ("plateau", "epoch", False),
        ("cosine", "step", True),
        ("warmup_cosine", "step", True),
        ("one_cycle", "step", True),
    ],
)
def test_schedules_move_by_epoch_or_by_step_and_those_by_step_must_know_the_end(
    name: str, interval: str, needs_end: bool, make_config: Any
) -> None:
    options = dict(make_config(f"scheduler={name}").scheduler)
    del options["name"]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    if not needs_end:
        built = build_schedule(name, optimizer, total_steps=None, monitor="m", mode="min", **options)
        assert built is not None
        assert (built["interval"], built["name"]) == (interval, "lr")
        return
    with pytest.raises(UserError) as refusal:
        build_schedule(name, optimizer, total_steps=None, monitor="m", mode="min", **options)
    assert f"scheduler={name} must know where the run ends" in refusal.value.requirement
    assert "max_epochs" in refusal.value.hint


def test_the_schedules_here_are_all_that_there_are() -> None:
    assert {*BY_EPOCH, *BY_STEP} == {
        "step", "exponential", "plateau", "cosine", "warmup_cosine", "one_cycle", "coslog4",
    }  # fmt: skip


def test_planned_steps_are_epochs_times_batches() -> None:
    assert plan() == 50


def test_planned_steps_end_at_whichever_limit_comes_first() -> None:
    assert plan(max_steps=49) == 49
    assert plan(max_steps=51) == 50
    assert plan(max_epochs=-1, max_steps=7) == 7
    assert plan(max_epochs=None, max_steps=7) == 7


def test_planned_steps_of_a_run_without_end_are_none() -> None:
    assert plan(max_epochs=-1) is None
    assert plan(max_epochs=None) is None


def test_planned_steps_count_a_number_of_batches_as_a_number_and_a_share_as_a_share() -> None:
    assert plan(limit_train_batches=3) == 15
    assert plan(limit_train_batches=1) == 5
    assert plan(limit_train_batches=1.0) == 50
    assert plan(limit_train_batches=0.25) == 10
    assert plan(limit_train_batches=1000) == 50


def test_planned_steps_count_an_update_for_the_batches_left_at_the_end_of_an_epoch() -> None:
    assert plan(accumulate_grad_batches=3) == 20
    assert plan(accumulate_grad_batches=10) == 5
    assert plan(accumulate_grad_batches=99) == 5


def test_planned_steps_are_never_less_than_one() -> None:
    assert plan(max_epochs=0) == 1
    assert plan(max_steps=0) == 1


@pytest.mark.parametrize(
    ("factors", "steps"),
    [({0: 1}, 50), ({0: 4}, 15), ({0: 1, 2: 3}, 2 * 10 + 3 * 4), ({3: 10}, 3 * 10 + 2), ({0: 2, 5: 10, 9: 1}, 25)],
)
def test_planned_steps_count_the_updates_of_each_epoch(factors: dict[int, int], steps: int) -> None:
    assert plan(accumulate_grad_batches=factors) == steps
