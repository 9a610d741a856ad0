"""A step written out whole against autograd: the same loss and gradients, to the last bit; and when it is not taken."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from mlplab.backpropagation import TAPE
from mlplab.learner import Learner
from mlplab.models import MLP
from mlplab.models.activations import ACTIVATIONS
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, mse
from mlplab.objectives.objective import LossFunction, Objective
from mlplab.written_out_step import WrittenOutStep

QUICK = ["callbacks=minimal", "logger=none", "trainer.max_epochs=2"]


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    TAPE.allow()


def network(**options: Any) -> MLP:
    torch.manual_seed(1)
    return MLP(in_features=24, out_features=10, **options)


def batch(n: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 24, generator=generator), torch.randint(0, 10, (n,), generator=generator)


def step_of(model: nn.Module, objective: nn.Module) -> WrittenOutStep | None:
    TAPE.allow(model, objective)
    return WrittenOutStep.of(model, objective)


def require_autograds(model: nn.Module, features: Tensor, targets: Tensor, function: LossFunction) -> None:
    objective = Objective(function)
    step = step_of(model, objective)
    assert step is not None
    assert step.takes(features, targets)
    torch.manual_seed(3)
    loss, backward = step(features, targets)
    backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    torch.manual_seed(3)
    expected = objective(model(features), targets)
    expected.backward()
    assert torch.equal(loss, expected.detach())
    assert not loss.requires_grad
    for name, parameter in model.named_parameters():
        assert torch.equal(found[name], parameter.grad), name  # type: ignore[arg-type]
        assert not found[name].requires_grad  # type: ignore[union-attr]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "options", [{}, {"dropout": 0.3, "input_dropout": 0.1}, {"hidden_dims": [24, 24], "residual": True}]
)
def test_the_gradient_is_autograds(activation: str, options: dict[str, Any]) -> None:
    for n_rows in (32, 1, 200):
        require_autograds(network(activation=activation, **options), *batch(n_rows), cross_entropy)


def test_of_the_squared_error_too() -> None:
    require_autograds(network(), batch()[0], torch.randn(32, 10), mse)


def test_pixels_and_categories_come_before_it() -> None:
    pixels = PixelInputs(n_features=24, mean=100.0, std=50.0)
    bytes_ = torch.randint(0, 256, (32, 24), dtype=torch.uint8)
    require_autograds(WithInputs(pixels, network()), bytes_, batch()[1], cross_entropy)
    levels = CategoryInputs(n_features=23, n_levels=[2], embedding_dims=[0])
    table = torch.cat([torch.randn(32, 22), torch.randint(0, 3, (32, 1)).float()], dim=1)
    require_autograds(WithInputs(levels, network()), table, batch()[1], cross_entropy)


class Other(MLP):
    def forward(self, features: Tensor) -> Tensor:
        return 2 * super().forward(features)


def _set_forward(model: MLP) -> None:
    model.forward = lambda features: features[:, :10]  # type: ignore[method-assign]


REFUSED: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "a network of one's own": lambda: (nn.Sequential(network()), Objective(cross_entropy)),
    "a forward of one's own": lambda: (Other(in_features=24, out_features=10), Objective(cross_entropy)),
    "normalisation": lambda: (network(normalization="batch"), Objective(cross_entropy)),
    "label smoothing": lambda: (network(), Objective(cross_entropy, options={"label_smoothing": 0.1})),
    "another loss": lambda: (network(), Objective(binary_cross_entropy)),
    "a loss of one's own": lambda: (network(), nn.CrossEntropyLoss()),
    "learned levels": lambda: (
        WithInputs(CategoryInputs(n_features=22, n_levels=[2], embedding_dims=[3]), network()),
        Objective(cross_entropy),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_know_is_left_to_others(name: str) -> None:
    assert step_of(*REFUSED[name]()) is None


CHANGES: dict[str, Callable[[MLP], Any]] = {
    "its forward is set": _set_forward,
    "somebody listens": lambda model: model.register_forward_hook(lambda *arguments: None),
    "somebody listens inside": lambda model: model.output.register_forward_hook(lambda *arguments: None),
    "a part is frozen": lambda model: model.output.requires_grad_(False),
    "it is compiled": lambda model: model.compile(backend="eager"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_network_that_is_watched_or_changed_is_left_to_others(name: str) -> None:
    model = network()
    CHANGES[name](model)
    assert step_of(model, Objective(cross_entropy)) is None


def test_who_comes_to_listen_in_the_middle_is_heard() -> None:
    model, objective = network(), Objective(cross_entropy)
    step = step_of(model, objective)
    assert step is not None
    for part in (model, objective):
        handle = part.register_forward_hook(lambda *arguments: None)
        assert not step.takes(*batch())
        handle.remove()
        assert step.takes(*batch())
    handle = register_module_forward_hook(lambda *arguments: None)
    assert not step.takes(*batch())
    handle.remove()
    features, targets = batch()
    assert not step.takes(features.requires_grad_(), targets)


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    call = WrittenOutStep.__call__

    def counted(self: WrittenOutStep, features: Tensor, targets: Tensor) -> Any:
        steps.append(len(targets))
        return call(self, features, targets)

    monkeypatch.setattr(WrittenOutStep, "__call__", counted)
    return steps


@pytest.mark.parametrize(
    ("overrides", "is_taken"),
    [
        ([], True),
        (["data=iris", "data.batch_size=1", "trainer.gradient_clip_val=1"], True),
        (["optimizer=sgd"], True),
        (["regularization.l1=0.001"], False),
        (["loss=cross_entropy", "loss.label_smoothing=0.1"], False),
        (["trainer.accumulate_grad_batches=2"], False),
    ],
)
def test_a_run_takes_it_where_it_can(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, overrides: list[str], is_taken: bool
) -> None:
    steps = count_steps(monkeypatch)
    run = train_run(*QUICK, *overrides)
    assert len(steps) == (run.result["steps"] if is_taken else 0)


def test_a_training_step_of_ones_own_is_called(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, calls = count_steps(monkeypatch), []
    step = Learner.training_step

    def own(self: Learner, batch: Any, batch_idx: int) -> Any:
        calls.append(batch_idx)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", own)
    run = train_run(*QUICK)
    assert not steps
    assert len(calls) == run.result["steps"]


@pytest.mark.parametrize("part", [MLP, Objective])
def test_a_forward_that_is_set_in_a_class_is_called(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, part: type[nn.Module]
) -> None:
    steps, calls = count_steps(monkeypatch), []
    forward = part.forward

    def own(self: nn.Module, *arguments: Tensor) -> Any:
        calls.append(self.training)
        return forward(self, *arguments)

    monkeypatch.setattr(part, "forward", own)
    run = train_run(*QUICK)
    assert not steps
    assert sum(calls) == run.result["steps"]
