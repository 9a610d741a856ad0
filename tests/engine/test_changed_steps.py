"""A training step that somebody has changed gets a loss with its whole graph, and the run that Lightning would give it.

Each way is a real one: what it learns by the fast engine must be what it learns by the plain one, to the last bit.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from both_engines import ENGINES, require_reasons, require_same_bits, run_both, spy_on_fast, why_autograd
from lightning.pytorch.callbacks import Callback
from slow_cases import slow, slow_but
from torch import Tensor
from torch.optim import SGD, Optimizer

from mlplab.engine.epoch_loop import FastEpochLoop
from mlplab.learner import Batch, Learner
from mlplab.optimization import optimizers

WORDS = ["data=wine", "model.hidden_dims=[13,6]", "model.dropout=0.2", "callbacks.figures=null"]
WORDS += ["trainer.gradient_clip_val=0.2", "trainer.log_every_n_steps=1", "optimizer.lr=0.01"]


def _norm(gradients: Any) -> Tensor:
    return torch.stack([gradient.norm() for gradient in gradients]).norm()


def gradient_penalty_of_weights(self: Learner, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
    features, targets = batch
    loss = self.objective(self.model(features), targets)
    gradients = torch.autograd.grad(loss, list(self.model.parameters()), create_graph=True)
    return {"loss": loss + 0.1 * _norm(gradients), "data_loss": loss.detach()}


def gradient_penalty_of_features(self: Learner, batch: Batch, batch_idx: int) -> Tensor:
    features, targets = batch
    features.requires_grad_()
    loss = self.objective(self.model(features), targets)
    (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
    features.requires_grad_(False)
    return loss + gradient.square().sum()  # type: ignore[no-any-return]


def sharpness_aware(self: Learner, batch: Batch, batch_idx: int) -> Tensor:
    """Foret et al. 2021: the gradient is taken where a step uphill leads."""
    features, targets = batch
    parameters = list(self.model.parameters())
    uphill = torch.autograd.grad(self.objective(self.model(features), targets), parameters)
    with torch.no_grad():
        torch._foreach_add_(parameters, uphill)
    loss = self.objective(self.model(features), targets)
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        torch._foreach_sub_(parameters, uphill)
    # A loss of the same value, whose gradient is the one that was taken there.
    surrogate = sum((p * g).sum() for p, g in zip(parameters, gradients, strict=True))
    return loss.detach() + surrogate - surrogate.detach()  # type: ignore[union-attr,no-any-return]


def mixup(self: Learner, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
    features, targets = batch
    others, share = torch.randperm(len(targets)), torch.rand(())
    outputs = self.model(share * features + (1 - share) * features[others])
    loss = share * self.objective(outputs, targets) + (1 - share) * self.objective(outputs, targets[others])
    return {"loss": loss, "data_loss": loss.detach()}


STEPS: list[Callable[..., Any]] = [
    gradient_penalty_of_weights, gradient_penalty_of_features, sharpness_aware, mixup,
]  # fmt: skip


@pytest.mark.parametrize("step", slow_but([sharpness_aware, mixup], STEPS), ids=lambda step: step.__name__)
def test_a_step_of_ones_own_has_genuine_autograd(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, step: Callable[..., Any]
) -> None:
    monkeypatch.setattr(Learner, "training_step", step)
    (_, fast), (_, plain) = run_both(train_run, monkeypatch, Callback, *WORDS)
    require_same_bits(fast, plain)
    assert why_autograd(fast.directory)


def sam_by_two_closures(
    self: Learner, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any]
) -> None:
    optimizer_closure()
    parameters = list(self.model.parameters())
    uphill = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    with torch.no_grad():
        torch._foreach_add_(parameters, uphill)
    optimizer_closure()
    with torch.no_grad():
        torch._foreach_sub_(parameters, uphill)
    optimizer.step()


def warm_up_by_hand(
    self: Learner, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any]
) -> None:
    """As Lightning's documentation has it."""
    optimizer.step(closure=optimizer_closure)
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * min(1.0, (self.trainer.global_step + 1) / 7)


def every_other(self: Learner, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
    """The same: an update in every second step, and the closure in each."""
    if batch_idx % 2 == 0:
        optimizer.step(closure=optimizer_closure)
    else:
        optimizer_closure()


def as_lightning(self: Learner, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
    super(Learner, self).optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)


@pytest.mark.parametrize(
    "update",
    [
        sam_by_two_closures,
        *slow(every_other, warm_up_by_hand, as_lightning),
    ],
    ids=lambda update: update.__name__,
)
def test_an_optimizer_step_of_ones_own_clips_and_calls_hooks_when_lightning_does(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, update: Callable[..., Any]
) -> None:
    monkeypatch.setattr(Learner, "optimizer_step", update)
    (_, fast), (_, plain) = run_both(train_run, monkeypatch, Callback, *WORDS)
    require_same_bits(fast, plain)
    assert why_autograd(fast.directory)


class Sharpness(SGD):
    """Calls its closure twice for an update, without a word of gradients being wanted."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        closure()
        parameters = [p for group in self.param_groups for p in group["params"]]
        uphill = [p.grad.clone() for p in parameters]
        torch._foreach_add_(parameters, uphill)
        loss = closure()
        torch._foreach_sub_(parameters, uphill)
        super().step()
        return loss


def test_an_optimizer_of_ones_own_may_call_its_closure_twice(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build = optimizers.build_optimizer

    def sharpness(factory: Any, model: Any, **options: Any) -> Optimizer:
        return Sharpness(build(factory, model, **options).param_groups, lr=0.05)

    monkeypatch.setattr("mlplab.learner.build_optimizer", sharpness)
    fast, plain = (train_run("trainer.max_epochs=3", *WORDS, f"engine={engine}") for engine in ENGINES)
    require_same_bits(fast, plain)
    require_reasons(fast, "Sharpness.step may change the network")


class FollowsTheLoss(Callback):
    """Takes gradients of the loss that it is given."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, list(pl_module.model.parameters()), retain_graph=True)
        self.norms.append(float(_norm(gradients)))


def test_a_callback_may_follow_the_graph_of_the_loss(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (fast, fast_run), (plain, plain_run) = run_both(train_run, monkeypatch, FollowsTheLoss, *WORDS)
    assert fast.norms == plain.norms
    assert len(fast.norms) == fast_run.result["steps"]
    require_same_bits(fast_run, plain_run)


def test_manual_optimization_is_lightnings(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = spy_on_fast(monkeypatch, FastEpochLoop)

    def step(self: Learner, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.objective(self.model(batch[0]), batch[1]))
        optimizer.step()

    monkeypatch.setattr(Learner, "training_step", step)
    monkeypatch.setattr(Learner, "automatic_optimization", False, raising=False)
    words = [word for word in WORDS if "clip" not in word]
    (_, fast), (_, plain) = run_both(train_run, monkeypatch, Callback, *words)
    require_same_bits(fast, plain)
    assert not any(decisions)
