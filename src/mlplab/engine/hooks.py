"""Calls only those hooks of callbacks and module that are overridden."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy

Hook = Callable[..., Any]

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""Hooks of callbacks and the LightningModule that are called in every step, in the order of their calls."""

TRANSFER_HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer", "transfer_batch_to_device")
"""Methods of modules and data modules whose defaults the fast loops have inlined."""


class Hooks:
    """Maps each given hook to the callbacks, and the LightningModule, that override it.

    Args:
        trainer: with its callbacks as they are now.
        names: of the hooks.

    Attributes:
        callers: overridden hook → a function that calls it.
    """

    def __init__(self, trainer: pl.Trainer, names: Collection[str]) -> None:
        self._trainer, self._module, self._names = trainer, trainer.lightning_module, frozenset(names)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        # Kept to notice callbacks and hooks that are added later.
        self._seen = self._owners()
        found = {
            name: (overriding(callbacks, name, Callback), overriding([self._module], name, pl.LightningModule))
            for name in names
        }
        self._overridden = {name: both for name, both in found.items() if any(both)}
        self.callers = {name: self._caller(name, *both) for name, both in self._overridden.items()}

    def as_now(self) -> "Hooks":
        """Returns itself; or new `Hooks` if callbacks, or hooks set on objects, were added since."""
        now = self._owners()
        is_same = len(now) == len(self._seen) and all(
            # By value, as each access makes a new bound method.
            one is other and own == before
            for (one, own), (other, before) in zip(now, self._seen, strict=True)
        )
        return self if is_same else Hooks(self._trainer, self._names)

    def _owners(self) -> list[tuple[Any, list[Any]]]:
        """Returns callbacks and module, each with its hooks from the class and those set on the object."""
        callbacks = self._trainer.callbacks  # type: ignore[attr-defined]
        return [
            # A hook set on the object hides that of its class, as in an ordinary call.
            (owner, [vars(owner).get(name) or getattr(type(owner), name, None) for name in self._names])
            for owner in (*callbacks, self._module)
        ]

    def is_overridden(self, name: str) -> bool:
        """Returns whether a hook is overridden anywhere."""
        return name in self._overridden

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a hook of the callbacks, then of the module; returns the module's value."""
        caller = self.callers.get(name)
        return None if caller is None else caller(*arguments)

    def _caller(self, name: str, callbacks: list[Hook], own: list[Hook]) -> Hook:
        trainer, module = self._trainer, self._module
        attributes = vars(module)

        def call(*arguments: Any) -> Any:
            outer, attributes["_current_fx_name"] = attributes["_current_fx_name"], name  # `log` reads it
            for hook in callbacks:
                hook(trainer, module, *arguments)
            # Lightning, too, ignores the values that callbacks return.
            answer = None
            for hook in own:
                answer = hook(*arguments)
            attributes["_current_fx_name"] = outer
            return answer

        return call


def overriding(owners: Iterable[Any], name: str, base: type) -> list[Callable[..., Any]]:
    """Returns the bound methods of those owners that override a hook, in their class or on the object."""
    default = getattr(base, name, None)
    return [
        getattr(owner, name)
        for owner in owners
        if owner is not None and (name in vars(owner) or getattr(type(owner), name, None) is not default)
    ]


def why_not_plain(trainer: pl.Trainer, step: str) -> str | None:
    """Returns why a step is not just one call of `step(batch, batch_idx)` on one device in full precision."""
    module, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    # Exactly this class: a subclass may do more with each batch.
    if type(trainer.strategy) is not SingleDeviceStrategy:
        return type(trainer.strategy).__name__
    if type(trainer.precision_plugin) is not Precision:
        return f"trainer.precision={trainer.precision_plugin.precision}"
    # A profiler measures Lightning's named calls, which the fast loops do not make.
    profiler = trainer.profiler  # type: ignore[attr-defined]
    if type(profiler) is not PassThroughProfiler:
        return type(profiler).__name__
    for owner, base in ((module, pl.LightningModule), (data, pl.LightningDataModule)):
        overridden = [name for name in TRANSFER_HOOKS if overriding([owner], name, base)]
        if overridden:
            return f"{type(owner).__name__}.{overridden[0]} is overridden"
    if step in vars(module) or not _takes_batch_and_index(getattr(type(module), step)):
        return f"{type(module).__name__}.{step} takes other arguments, or was set on the object"
    return None


@functools.cache
def _takes_batch_and_index(function: Callable[..., Any]) -> bool:
    """Returns whether a method takes exactly batch and index, rather than an iterator of batches."""
    parameters = inspect.signature(function).parameters
    # Three with `self`.
    return len(parameters) == 3 and "dataloader_iter" not in parameters
