"""Backpropagation written out, for the parts of a network whose gradient is a known formula.

For a small network autograd spends more time on noting what is computed, and on finding its way back, than the
computation takes. So a part that knows its own gradient computes its value apart from autograd and puts it on the
`TAPE`, with the function that carries a gradient back through it. For autograd such a value is where the graph
begins: whatever else a training step does with it is differentiated as ever, and the gradient that arrives at the
value goes on through the part. The parts call the same kernels as autograd does, in the same order: the gradients
are the same to the last bit, which the tests hold them to.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from operator import is_
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

log = logging.getLogger("mlplab")

Backward = Callable[[Tensor], None]
"""Takes the gradient of a part's value, and leaves what follows from it in `.grad` of the part's inputs."""


WITHOUT_AUTOGRAD = getattr(torch._C, "_AutoDispatchBelowAutograd", torch.no_grad)
"""A context in which kernels are called past autograd; under `torch.no_grad()` it looks at each, and lets it pass."""


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where a module keeps those who get to see what is computed in it."""


class Tape:
    """The values of one step that were computed apart from autograd, and the way back through each.

    It records only between `recording` and its end, and only in parts that `allow` has found fit for it; elsewhere
    the parts compute as any module does. It is written and read in one thread.

    Attributes:
        found: what others have found out about parts; it is forgotten by an `allow` of other ones, or changed ones.
    """

    def __init__(self) -> None:
        self._is_recording = False
        self._allowed: frozenset[nn.Module] = frozenset()
        self._values: list[tuple[Tensor, Tensor, Backward]] = []
        self._refused: WeakSet[nn.Module] = WeakSet()
        self._seen: list[Any] = []
        self._tried: dict[tuple[nn.Module, ...], bool] = {}
        self.found: dict[Any, Any] = {}

    def allow(self, *modules: nn.Module) -> None:
        """Finds the parts of these modules that may record, and forgets those before.

        A part says by its method `has_closed_form` whether it is built so that its gradient is known. Nobody must
        watch it from inside: hooks on its modules or parameters get to see what autograd does, so there it does it.
        """
        seen = [what for module in modules for what in _composition_of(module)]
        if len(seen) == len(self._seen) and all(map(is_, seen, self._seen)):
            return
        self._seen = seen
        fit = frozenset(part for module in modules for part in _fit_parts(module))
        self._allowed = fit - set(self._refused)
        self.found, self._tried = {}, {}

    def allows(self, part: nn.Module) -> bool:
        """Whether it may record now."""
        return self._is_recording and part in self._allowed and torch.is_grad_enabled()

    def recording(self) -> "Tape":
        """A context within which parts may record."""
        return self

    def is_right(
        self,
        parts: tuple[nn.Module, ...],
        ordinary: Callable[[], Tensor],
        written_out: Callable[[], tuple[Tensor, Backward]],
        inputs: Callable[[], Iterable[Tensor]],
    ) -> bool:
        """Whether autograd finds the same: somebody may have changed what a part computes.

        It is tried once for parts as they are; where it is not, they are left to autograd for good.

        Args:
            parts: what is computed.
            ordinary: computes the value by way of autograd.
            written_out: computes it as it would be recorded.
            inputs: what has a gradient in the end.
        """
        if parts not in self._tried:
            with self.paused():
                self._tried[parts] = _agree(ordinary, written_out, list(inputs()))
            if not self._tried[parts]:
                self._refused.update(parts)
                self._allowed -= set(parts)
                log.warning(
                    "the network or its loss computes something else than what its gradient is written out for: "
                    "autograd finds it, in more time"
                )
        return self._tried[parts]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A context within which nothing is recorded."""
        before, self._is_recording = self._is_recording, False
        try:
            yield
        finally:
            self._is_recording = before

    def __enter__(self) -> None:
        self._is_recording, self._values = True, []

    def __exit__(self, *error: object) -> None:
        self._is_recording = False

    def takes(self, part: nn.Module, *inputs: Tensor) -> bool:
        """Whether a part is to record what it makes of these inputs, which it takes no gradient to."""
        return self.allows(part) and not any(one.requires_grad for one in inputs)

    def record(self, value: Tensor, backward: Backward) -> Tensor:
        """Puts a value on the tape, and gives a copy that a step can do anything with, also in place."""
        leaf = value.requires_grad_()
        given = leaf.clone()
        self._values.append((leaf, given, backward))
        return given

    def leaf(self, given: Tensor) -> Tensor | None:
        """The recorded value of what `record` gave; None for any other tensor, and for one that was changed."""
        for leaf, known, _ in self._values:
            if known is given and not given._version and not given._backward_hooks and not given.retains_grad:
                return leaf
        return None

    def backward(self, loss: Tensor) -> None:
        """Leaves the gradient of a loss in `.grad` of all parameters, as `loss.backward()` does."""
        known = self.leaf(loss) if loss.ndim == 0 else None
        values, self._values = self._values, []
        if known is None:
            loss.backward()  # type: ignore[no-untyped-call]
        with WITHOUT_AUTOGRAD():
            for leaf, _, carry_back in reversed(values):
                gradient = _one(leaf.dtype, leaf.device) if leaf is known else leaf.grad
                if gradient is not None:
                    carry_back(gradient)


TAPE = Tape()
"""The one that models and losses write on. The lean loop turns it on; without it all is left to autograd."""


@cache
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The gradient of a loss."""
    return torch.ones((), dtype=dtype, device=device)


def _agree(
    ordinary: Callable[[], Tensor], written_out: Callable[[], tuple[Tensor, Backward]], inputs: list[Tensor]
) -> bool:
    """Whether both ways give one value and one gradient; random numbers and gradients stay as they were."""
    state = torch.get_rng_state()
    with torch.enable_grad():
        value = ordinary()
    torch.set_rng_state(state)
    found, backward = written_out()
    torch.set_rng_state(state)
    if found.shape != value.shape or not value.requires_grad:
        return False
    # Any gradient will do that is not the same everywhere: the loss may not care for what all outputs share.
    gradient = torch.linspace(1, 2, value.numel(), dtype=value.dtype, device=value.device).view(value.shape)
    # Given a gradient to begin with, `torch.autograd.grad` imports SymPy to compare its shape.
    expected = [value.detach(), *torch.autograd.grad((value * gradient).sum(), inputs, allow_unused=True)]
    gathered = [one.grad for one in inputs]
    for one in inputs:
        one.grad = None
    with WITHOUT_AUTOGRAD():
        backward(gradient)
    mine = [found, *(one.grad for one in inputs)]
    for one, before in zip(inputs, gathered, strict=True):
        one.grad = before
    return all(
        a is not None and b is not None and torch.allclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True)
        for a, b in zip(mine, expected, strict=True)
    )  # fmt: skip


def add_gradient(tensor: Tensor, gradient: Tensor) -> None:
    """Adds to what is in `tensor.grad`, as autograd does."""
    if tensor.grad is None:
        tensor.grad = gradient
    else:
        tensor.grad += gradient


def _composition_of(module: nn.Module) -> list[Any]:
    """All that decides which of its parts may record: where each is the same, so is the answer."""
    found: list[Any] = []
    for part in module.modules():
        own, kind = vars(part), type(part)
        is_watched = any(map(own.__getitem__, HOOKS))
        found += (part, kind, kind.forward, own.get("forward"), part._compiled_call_impl, is_watched)
        for p in own["_parameters"].values():
            if p is not None:
                found += (p, p.requires_grad, bool(p._backward_hooks), bool(p._post_accumulate_grad_hooks))
        if hasattr(kind, "has_closed_form"):
            found.append(part.has_closed_form())  # type: ignore[operator]
    return found


def _fit_parts(module: nn.Module) -> list[nn.Module]:
    """The parts that know their gradient, that nobody watches, and that torch.compile does not compute."""
    modules = list(module.modules())
    compiled = {part for outer in modules if outer._compiled_call_impl is not None for part in outer.modules()}
    return [
        part
        for part in modules
        if hasattr(type(part), "has_closed_form")
        and part.has_closed_form()  # type: ignore[operator]
        and part not in compiled
        and not _is_watched(modules if part is module else list(part.modules()))
    ]


def _is_watched(modules: list[nn.Module]) -> bool:
    """Whether somebody has hooks inside, or part of it is frozen; hooks on the first itself are called as ever."""
    for module in modules:
        own = vars(module)
        if module is not modules[0] and any(map(own.__getitem__, HOOKS)):
            return True
        for parameter in own["_parameters"].values():
            if parameter is not None and (
                not parameter.requires_grad or parameter._backward_hooks or parameter._post_accumulate_grad_hooks
            ):
                return True
    return False
