"""Learning-rate schedules.

A schedule is a function of the optimizer, of the planned steps if it changes the rate at every step, and of its options
in conf/scheduler. Its signature defines which options exist and which are required.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from mlplab.errors import UserError


def cosine(optimizer: Optimizer, total_steps: int, *, min_lr: float) -> LRScheduler:
    """Lowers the rate along half a cosine (Loshchilov and Hutter 2017)."""
    return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=min_lr)


def warmup_cosine(optimizer: Optimizer, total_steps: int, *, warmup_fraction: float, min_lr: float) -> LRScheduler:
    """Raises the rate linearly, then lowers it along half a cosine."""
    # The cosine needs at least one step, as its formula divides by their number.
    warmup = min(round(warmup_fraction * total_steps), total_steps - 1)
    falling = cosine(optimizer, total_steps - warmup, min_lr=min_lr)
    if warmup == 0:
        return falling
    # The first step already learns, at 1/(warmup + 1) of the rate: a rate of 0 would waste it.
    rising = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rising, falling], milestones=[warmup])


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    *,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> LRScheduler:
    """Raises the rate to that of the optimizer, and lowers it to almost nothing (Smith and Topin 2018)."""
    return OneCycleLR(
        optimizer,
        # Each group's own rate is the peak of its cycle.
        max_lr=[group["lr"] for group in optimizer.param_groups],
        # A schedule is stepped after each update too, so it has one value more than there are updates.
        total_steps=total_steps + 1,
        pct_start=pct_start,
        anneal_strategy=anneal_strategy,  # type: ignore[arg-type]
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=three_phase,
        cycle_momentum=False,  # momentum stays what conf/optimizer says
    )


def coslog4(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Goes through four cosine waves, each twice as long as the one before (Holzmüller et al. 2024, section 3).

    After the share t of training the rate is multiplied by ½(1 − cos(2π log₂(1 + 15 t))). It is 0 at both ends.
    """
    return LambdaLR(optimizer, lambda step: (1 - math.cos(2 * math.pi * math.log2(1 + 15 * step / total_steps))) / 2)


BY_EPOCH: dict[str, Callable[..., LRScheduler]] = {
    "step": StepLR,
    "exponential": ExponentialLR,
    "plateau": ReduceLROnPlateau,
}
"""Name → schedule that changes the rate after an epoch: (optimizer, options) -> scheduler."""

BY_STEP: dict[str, Callable[..., LRScheduler]] = {
    "cosine": cosine,
    "warmup_cosine": warmup_cosine,
    "one_cycle": one_cycle,
    "coslog4": coslog4,
}
"""Name → schedule that changes the rate after each step, to a planned end: (optimizer, steps, options) → scheduler."""

# The run sets their values; others would contradict the Trainer or `mode`.
NOT_OPTIONS = ("optimizer", "total_steps", "last_epoch", "mode")
"""Parameters of schedules that are not options in conf/scheduler."""


def require_known_options(name: str, **options: Any) -> None:
    """Checks the name and the options of a schedule.

    Raises:
        UserError: the name is unknown, an option is not accepted, or a required one is missing.
    """
    schedules = {**BY_EPOCH, **BY_STEP}
    if name not in ("none", *schedules):
        names = ", ".join(["none", *schedules])
        raise UserError(f"scheduler must be one of {names}", f"scheduler={name}", "scheduler=cosine")
    # The signature is the list of options, so that it cannot differ from what the schedule accepts.
    parameters = {} if name == "none" else inspect.signature(schedules[name]).parameters
    known = {option: parameter for option, parameter in parameters.items() if option not in NOT_OPTIONS}
    for option, value in options.items():
        if option not in known:
            takes = f"one of {', '.join(known)}" if known else "no options at all"
            raise UserError(
                f"scheduler={name} must be given {takes}", f"scheduler.{option}={value}", f"scheduler={name} alone"
            )
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise UserError(f"scheduler={name} must be given {option}", "there is none", f"scheduler={name} alone")


def planned_steps(
    *,
    batches_per_epoch: int | None,
    max_epochs: int | None,
    max_steps: int,
    limit_train_batches: int | float = 1.0,
    accumulate_grad_batches: int | Mapping[int, int] = 1,
) -> int | None:
    """Counts the updates of a run that is not stopped early; None if it has no limit.

    It uses the Trainer's settings: in a resumed run, `Trainer.estimated_stepping_batches` resets the data loader's
    position.

    Args:
        batches_per_epoch: of the training part; None if its loader does not tell.
        max_epochs: limit of epochs; None or -1 for none.
        max_steps: limit of updates; -1 for none.
        limit_train_batches: number (int) or share (float) of the batches of an epoch that are used.
        accumulate_grad_batches: batches per update; or epoch → batches per update from that epoch on.
    """
    if batches_per_epoch is None:
        max_epochs, n_batches = None, 0
    elif isinstance(limit_train_batches, float):
        # Rounded down, as the Trainer does.
        n_batches = int(batches_per_epoch * limit_train_batches)
    else:
        n_batches = min(batches_per_epoch, limit_train_batches)
    limits = []
    if max_epochs is not None and max_epochs >= 0:
        by_epoch = accumulate_grad_batches
        # Lightning's scheduler uses 1 before the first epoch that it lists.
        factors = {0: by_epoch} if isinstance(by_epoch, int) else {0: 1, **by_epoch}
        begins = sorted(begin for begin in factors if begin < max_epochs)
        n_epochs = [end - begin for begin, end in zip(begins, [*begins[1:], max_epochs], strict=False)]
        # The last batches of an epoch make an update even if fewer are accumulated.
        updates = [math.ceil(n_batches / factors[begin]) for begin in begins]
        limits.append(sum(n * per_epoch for n, per_epoch in zip(n_epochs, updates, strict=True)))
    if max_steps >= 0:
        limits.append(max_steps)
    # A schedule over no steps would divide by zero.
    return max(1, min(limits)) if limits else None


def build_own_schedule(
    factory: Callable[..., LRScheduler],
    optimizer: Optimizer,
    *,
    total_steps: int | None,
    monitor: str,
    mode: str,
    interval: str | None = None,
    **entries: Any,
) -> dict[str, Any]:
    """Builds the `lr_scheduler` entry for the user's own schedule, or a class of PyTorch's.

    Args:
        factory: takes the optimizer, and perhaps `total_steps` and `mode`, which are filled in if not given.
        optimizer: as for `build_schedule`.
        total_steps: filled in.
        monitor: what a plateau schedule watches.
        mode: filled in for a plateau schedule.
        interval: `epoch` or `step`; by default `step` where `total_steps` was filled in, else `epoch`.
        **entries: `frequency`, of Lightning's entry.

    Raises:
        UserError: it needs a limit of steps and the run has none, or it does not build a schedule.
    """
    parameters, given = inspect.signature(factory).parameters, getattr(factory, "keywords", {})
    filled: dict[str, Any] = {}
    if "total_steps" in parameters and not {"total_steps", "epochs"} & given.keys():
        if total_steps is None:
            raise _endless(getattr(factory, "__name__", "its _target_"))
        # A schedule is stepped after each update too, so it has one value more than there are updates.
        filled["total_steps"] = total_steps + 1
    if "mode" in parameters and "mode" not in given and issubclass(_made_by(factory), ReduceLROnPlateau):
        filled["mode"] = mode
    # The schedules within another, as in SequentialLR, take the same optimizer.
    within = given.get("schedulers")
    if isinstance(within, list):
        filled["schedulers"] = [one(optimizer) if callable(one) else one for one in within]
    # By name, as it is the second argument of ChainedScheduler.
    scheduler = factory(optimizer=optimizer, **filled) if "optimizer" in parameters else factory(optimizer, **filled)
    if not isinstance(scheduler, LRScheduler):
        raise UserError(
            "scheduler must be a schedule of learning rates", f"its _target_ built {type(scheduler).__name__}",
            "a class that extends torch.optim.lr_scheduler.LRScheduler",
        )  # fmt: skip
    by_default = "step" if "total_steps" in filled else "epoch"
    return {"scheduler": scheduler, "interval": interval or by_default, "monitor": monitor, "name": "lr", **entries}


def _made_by(factory: Any) -> type:
    made = getattr(factory, "func", factory)
    return made if isinstance(made, type) else object


def _endless(name: str) -> UserError:
    return UserError(
        f"scheduler={name} must know where the run ends",
        "trainer.max_epochs=-1 and trainer.max_steps=-1",
        "trainer.max_epochs=100",
    )


def build_schedule(
    name: str | Callable[..., LRScheduler],
    optimizer: Optimizer,
    *,
    total_steps: int | None,
    monitor: str,
    mode: str,
    **options: Any,
) -> dict[str, Any] | None:
    """Builds the `lr_scheduler` entry for Lightning's `configure_optimizers`; None for `none`.

    Args:
        name: of `BY_EPOCH` or `BY_STEP`, or `none`; or a factory, see `build_own_schedule`.
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
    if not isinstance(name, str):
        return build_own_schedule(
            name, optimizer, total_steps=total_steps, **{"monitor": monitor, "mode": mode, **options}
        )
    if name in BY_EPOCH:
        if name == "plateau":
            # The direction of `monitor`; PyTorch's default would be `min`.
            options["mode"] = mode
        scheduler, interval = BY_EPOCH[name](optimizer, **options), "epoch"
    elif total_steps is None:
        raise _endless(name)
    else:
        scheduler, interval = BY_STEP[name](optimizer, total_steps, **options), "step"
    # Lightning's LearningRateMonitor labels its curve by this name.
    return {"scheduler": scheduler, "interval": interval, "monitor": monitor, "name": "lr"}
