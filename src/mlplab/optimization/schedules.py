"""Learning-rate schedules."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from mlplab.errors import UserError
from mlplab.optimization.names import NEED_END


@dataclass(frozen=True)
class Schedule:
    """A kind of learning-rate schedule.

    Attributes:
        build: (optimizer, total steps, options) -> scheduler.
        interval: `step` or `epoch`, after which the learning rate changes.
        options: names of the accepted options.
    """

    build: Callable[[Optimizer, int, dict[str, Any]], LRScheduler]
    interval: str
    options: tuple[str, ...]


def _options_of(scheduler: type) -> tuple[str, ...]:
    """Returns the options of a PyTorch scheduler, without those that this module sets itself."""
    given = {"optimizer", "last_epoch", "mode", "max_lr", "total_steps", "cycle_momentum"}
    return tuple(name for name in inspect.signature(scheduler).parameters if name not in given)


def _warmup_steps(total_steps: int, options: dict[str, Any]) -> int:
    warmup = round(float(options["warmup_fraction"]) * total_steps)
    return min(warmup, total_steps - 1)


def _warmup_cosine(optimizer: Optimizer, total_steps: int, options: dict[str, Any]) -> LRScheduler:
    warmup = _warmup_steps(total_steps, options)
    cosine = CosineAnnealingLR(optimizer, T_max=total_steps - warmup, eta_min=options["min_lr"])
    if warmup == 0:
        return cosine
    ramp = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [ramp, cosine], milestones=[warmup])


def _one_cycle(optimizer: Optimizer, total_steps: int, options: dict[str, Any]) -> LRScheduler:
    # The optimizer's own lr is the peak; momentum is left as the optimizer has it.
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=total_steps + 1, cycle_momentum=False, **options)


SCHEDULES: dict[str, Schedule] = {
    "step": Schedule(lambda optimizer, steps, options: StepLR(optimizer, **options), "epoch", _options_of(StepLR)),
    "exponential": Schedule(
        lambda optimizer, steps, options: ExponentialLR(optimizer, **options), "epoch", _options_of(ExponentialLR)
    ),
    "plateau": Schedule(
        lambda optimizer, steps, options: ReduceLROnPlateau(optimizer, **options),
        "epoch",
        _options_of(ReduceLROnPlateau),
    ),
    "cosine": Schedule(
        lambda optimizer, steps, options: CosineAnnealingLR(optimizer, T_max=steps, eta_min=options["min_lr"]),
        "step",
        ("min_lr",),
    ),
    "warmup_cosine": Schedule(_warmup_cosine, "step", ("warmup_fraction", "min_lr")),
    "one_cycle": Schedule(_one_cycle, "step", _options_of(OneCycleLR)),
}


REQUIRED_OPTIONS = {
    "step": ("step_size",),
    "exponential": ("gamma",),
    "cosine": ("min_lr",),
    "warmup_cosine": ("warmup_fraction", "min_lr"),
}
"""Options that a schedule needs."""


def require_known_options(name: str, **options: Any) -> None:
    """Checks the name and the options of a schedule.

    Raises:
        UserError: the name is unknown, an option is not accepted, or a required one is missing.
    """
    for option in REQUIRED_OPTIONS.get(name, ()):
        if option not in options:
            raise UserError(f"scheduler={name} must be given {option}", f"scheduler.name={name}", f"scheduler={name}")
    known = () if name == "none" else SCHEDULES[name].options if name in SCHEDULES else None
    if known is None:
        raise UserError(
            f"scheduler must be one of none, {', '.join(SCHEDULES)}", f"scheduler={name}", "scheduler=cosine"
        )
    for option, value in options.items():
        if option not in known:
            takes = f"one of {', '.join(known)}" if known else "no options at all"
            raise UserError(
                f"scheduler={name} must be given {takes}", f"scheduler.{option}={value}", "scheduler=cosine"
            )


def planned_steps(
    *,
    batches_per_epoch: int,
    max_epochs: int | None,
    max_steps: int,
    limit_train_batches: int | float,
    accumulate_grad_batches: int | Mapping[int, int],
) -> int | None:
    """Counts the updates of a run that is not stopped early; None if it has no limit.

    It uses the Trainer's settings, as `Trainer.estimated_stepping_batches` resets the position of the data loader when
    a run resumes.

    Args:
        batches_per_epoch: of the training part.
        max_epochs: limit of epochs; None or -1 for none.
        max_steps: limit of updates; -1 for none.
        limit_train_batches: number (int) or share (float) of the batches of an epoch that are used.
        accumulate_grad_batches: batches per update; or epoch → batches per update from that epoch on.
    """
    if isinstance(limit_train_batches, float):
        n_batches = int(batches_per_epoch * limit_train_batches)
    else:
        n_batches = min(batches_per_epoch, limit_train_batches)
    limits = []
    if max_epochs is not None and max_epochs >= 0:
        given = accumulate_grad_batches
        factors = {0: given} if isinstance(given, int) else {0: 1, **given}
        begins = sorted(begin for begin in factors if begin < max_epochs)
        n_epochs = [end - begin for begin, end in zip(begins, [*begins[1:], max_epochs], strict=False)]
        # The last batches of an epoch make an update even if they are fewer.
        updates = [math.ceil(n_batches / factors[begin]) for begin in begins]
        limits.append(sum(n * per_epoch for n, per_epoch in zip(n_epochs, updates, strict=True)))
    if max_steps >= 0:
        limits.append(max_steps)
    return max(1, min(limits)) if limits else None


def build_schedule(
    name: str, optimizer: Optimizer, *, total_steps: int | None, monitor: str, mode: str, **options: Any
) -> dict[str, Any] | None:
    """Builds the `lr_scheduler` entry for Lightning's `configure_optimizers`; None for `none`.

    Args:
        name: of `SCHEDULES`, or `none`.
        optimizer: its learning rate is the starting value (for one_cycle: the peak).
        total_steps: from `planned_steps`.
        monitor: the value that `plateau` monitors.
        mode: `min` or `max`, of that value.
        **options: of the schedule, as in conf/scheduler.

    Raises:
        UserError: the schedule needs a limit of epochs or steps, and the run has none.
    """
    if name == "none":
        return None
    schedule = SCHEDULES[name]
    if name in NEED_END and total_steps is None:
        raise UserError(
            f"scheduler={name} must know where the run ends",
            "trainer.max_epochs=-1 and trainer.max_steps=-1",
            "trainer.max_epochs=100",
        )
    if name == "plateau":
        options["mode"] = mode
    scheduler = schedule.build(optimizer, total_steps or 1, options)
    return {"scheduler": scheduler, "interval": schedule.interval, "monitor": monitor, "name": "lr"}
