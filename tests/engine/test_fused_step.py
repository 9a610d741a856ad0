"""The fused step against autograd, kernel by kernel: the same loss and gradients to the last bit."""

import itertools
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from both_engines import ENGINES, require_reasons, require_same_bits, skip_where_edited
from torch import Tensor, nn

from mlplab.engine import fused_step
from mlplab.engine.fused_step import FusedStep, matches_autograd
from mlplab.engine.kernels import ACTIVATION_KERNELS, LOSS_KERNELS, ActivationKernel
from mlplab.learner import Batch, Learner
from mlplab.models import MLP
from mlplab.models.activations import ACTIVATIONS
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from mlplab.objectives.objective import LossFunction, Objective
from mlplab.task import Task

N_FEATURES, N_CLASSES = 24, 10
TASK = Task(kind="classification", n_features=N_FEATURES, class_names=tuple("abcdefghij"))


@pytest.fixture(autouse=True)
def _known() -> None:
    skip_where_edited()


def learner_of(
    model: nn.Module, function: LossFunction = cross_entropy, weights: Tensor | None = None, **options: Any
) -> Learner:
    penalties = {name: options.pop(name) for name in ("l1", "l2", "applies_to") if name in options}
    objective = Objective(function, class_weights=weights, options=options)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    learner = Learner(model=model, objective=objective, task=TASK, optimizer=optimizer, **penalties)
    learner.trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    return learner


def network(n_outputs: int = N_CLASSES, **options: Any) -> MLP:
    torch.manual_seed(1)
    return MLP(in_features=N_FEATURES, out_features=n_outputs, bias_initialization="normal", **options)


def batch(n_rows: int = 32, targets: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(n_rows)
    features = torch.randn(n_rows, N_FEATURES, generator=generator)
    classes = torch.randint(0, N_CLASSES, (n_rows,), generator=generator)
    return features, classes if targets is None else targets


def gradients(learner: Learner) -> dict[str, Tensor | None]:
    found = {name: parameter.grad for name, parameter in learner.named_parameters()}
    learner.zero_grad()
    return found


def require_autograds(learner: Learner, *batches: Batch) -> None:
    """Compares all that both compute for one update, the gradients of which are accumulated over the batches."""
    step = FusedStep(learner)
    fused, plain = [], []
    torch.manual_seed(3)
    for one in batches:
        outputs, backward = step(one, len(batches))
        backward()
        fused.append(outputs)
    found = gradients(learner)
    torch.manual_seed(3)
    for one in batches:
        expected: Any = learner.training_step(one, 0)
        expected["loss"] = expected["loss"] / len(batches)
        expected["loss"].backward()
        plain.append(expected)
    for mine, autograds in zip(fused, plain, strict=True):
        assert mine.keys() == autograds.keys()
        assert all(torch.equal(mine[name], autograds[name]) for name in mine)
        assert not any(value.requires_grad for value in mine.values())
    for name, gradient in gradients(learner).items():
        mine_ = found[name]
        assert gradient is not None
        assert mine_ is not None
        assert torch.equal(mine_, gradient), name
        assert not mine_.requires_grad
        assert (mine_.dtype, mine_.stride()) == (gradient.dtype, gradient.stride())


@pytest.mark.parametrize("activation", [name for name, a in ACTIVATIONS.items() if a.function in ACTIVATION_KERNELS])
def test_every_activation_at_every_depth_with_dropout_and_residual_connections(activation: str) -> None:
    for depth, dropout, residual in itertools.product(range(4), (0.0, 0.3), (False, True)):
        options = {"dropout": dropout, "input_dropout": dropout / 2, "residual": residual, "activation": activation}
        learner = learner_of(network(hidden_dims=[N_FEATURES] * depth, **options))
        for n_rows in (1, 32):
            require_autograds(learner, batch(n_rows))


def test_every_kernel_is_that_of_an_activation() -> None:
    assert ACTIVATION_KERNELS.keys() <= {activation.function for activation in ACTIVATIONS.values()}


LOSSES: dict[str, tuple[LossFunction, int, dict[str, Any]]] = {
    "cross_entropy": (cross_entropy, N_CLASSES, {}),
    "label smoothing": (cross_entropy, N_CLASSES, {"label_smoothing": 0.1}),
    "class weights": (cross_entropy, N_CLASSES, {"weights": torch.linspace(0.5, 2, N_CLASSES)}),
    "binary_cross_entropy": (binary_cross_entropy, 1, {}),
    "mse": (mse, 2, {}),
    "mae": (mae, 2, {}),
    "huber": (huber, 2, {"delta": 0.3}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_also_over_accumulated_batches_with_a_ragged_last_one(name: str) -> None:
    function, n_outputs, options = LOSSES[name]
    learner = learner_of(network(n_outputs), function, **options)
    if name in ("mse", "mae", "huber"):
        batches = [batch(n, torch.randn(n, n_outputs)) for n in (32, 7, 1)]
    else:
        batches = [(features, targets % max(2, n_outputs)) for features, targets in map(batch, (32, 7, 1))]
    require_autograds(learner, batches[0])
    require_autograds(learner, *batches)
    assert (FusedStep(learner)._loss is not None) == (name in ("cross_entropy", "mse"))


@pytest.mark.parametrize(
    "penalties", [{"l1": 0.1}, {"l2": 0.3}, {"l1": 0.01, "l2": 0.1, "applies_to": ("weight", "bias")}]
)
@pytest.mark.parametrize("hidden_dims", [[], [16, 16]])
def test_penalties_are_added_in_the_order_of_autograd(hidden_dims: list[int], penalties: dict[str, Any]) -> None:
    learner = learner_of(network(hidden_dims=hidden_dims), **penalties)
    require_autograds(learner, batch())
    require_autograds(learner, *(batch(n) for n in (32, 31, 1)))


def test_another_order_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    add = fused_step._Gradients._add

    def apart(self: Any, parameter: Tensor, gradient: Tensor) -> None:
        add(fused_step._Gradients({}), parameter, gradient)  # type: ignore[arg-type]
        if parameter in self._of_penalty:
            parameter.grad += self._of_penalty[parameter]

    monkeypatch.setattr(fused_step._Gradients, "_add", apart)
    learner = learner_of(network(), l1=0.1)
    require_autograds(learner, batch())
    with pytest.raises(AssertionError):
        require_autograds(learner, batch(32), batch(31))


def test_penalties_whose_factors_have_become_0() -> None:
    learner = learner_of(network(), l1=0.1)
    learner.l1 = 0.0
    require_autograds(learner, batch())


def test_pixels_and_categories_come_before_it() -> None:
    pixels = PixelInputs(n_features=N_FEATURES, mean=100.0, std=50.0)
    features = torch.randint(0, 256, (32, N_FEATURES), dtype=torch.uint8)
    require_autograds(learner_of(WithInputs(pixels, network(input_dropout=0.1))), (features, batch()[1]))
    levels = CategoryInputs(n_features=23, n_levels=[2], embedding_dims=[0])
    table = torch.cat([torch.randn(32, 22), torch.randint(0, 3, (32, 1)).float()], dim=1)
    require_autograds(learner_of(WithInputs(levels, network())), (table, batch()[1]))


def test_numbers_that_are_none_are_the_same_too() -> None:
    features, targets = batch()
    learner = learner_of(network())
    assert matches_autograd(FusedStep(learner), learner, (features * float("inf"), targets), 0)


@pytest.mark.parametrize("is_accumulating", [False, True])
def test_the_comparison_on_the_first_batch_leaves_no_trace(is_accumulating: bool) -> None:
    learner = learner_of(network(dropout=0.5))
    learner.copy = network().requires_grad_(False)
    learner.unused = nn.Linear(2, 2)
    for parameter in learner.parameters() if is_accumulating else ():
        parameter.grad = torch.ones_like(parameter)
    state = torch.get_rng_state()
    assert matches_autograd(FusedStep(learner), learner, batch(), 0)
    assert torch.equal(torch.get_rng_state(), state)
    for parameter in learner.parameters():
        assert bool((parameter.grad == 1).all()) if is_accumulating else parameter.grad is None  # type: ignore[union-attr]


def test_the_comparison_sees_a_gradient_and_a_loss_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of(network(dropout=0.5, activation="tanh"))
    right = ACTIVATION_KERNELS[torch.tanh]
    with monkeypatch.context() as patch:
        nearly = ActivationKernel(right.forward, lambda gradient, sums, y: gradient * (1 - y * y))
        patch.setitem(ACTIVATION_KERNELS, torch.tanh, nearly)
        assert not matches_autograd(FusedStep(learner), learner, batch(), 0)
    with monkeypatch.context() as patch:
        loss = LOSS_KERNELS[cross_entropy]

        def shifted(outputs: Tensor, targets: Tensor) -> Any:
            value, backward = loss(outputs, targets)
            return value + 1e-6, backward

        patch.setitem(LOSS_KERNELS, cross_entropy, shifted)
        assert not matches_autograd(FusedStep(learner), learner, batch(), 0)
    assert matches_autograd(FusedStep(learner), learner, batch(), 0)


def test_a_kernel_that_rounds_otherwise_is_left_for_autograd(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another version of PyTorch might."""
    nearly = ActivationKernel(torch.tanh, lambda gradient, sums, y: gradient * (1 - y * y))
    monkeypatch.setitem(ACTIVATION_KERNELS, torch.tanh, nearly)
    words = ["data=wine", "callbacks=minimal", "logger=none", "trainer.max_epochs=2", "model.activation=tanh"]
    fast, plain = (train_run(*words, f"engine={engine}") for engine in ENGINES)
    require_reasons(fast, "its numbers differ from autograd's on the first batch")
    require_same_bits(fast, plain)
