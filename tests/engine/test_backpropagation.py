"""The passes that are written out against autograd: the same loss and gradients, to the last bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlplab.engine.backpropagation import TAPE
from mlplab.engine.kernels import ACTIVATION_BACKWARD
from mlplab.engine.loss_kernels import WRITTEN_OUT
from mlplab.models import MLP
from mlplab.models.activations import ACTIVATIONS
from mlplab.models.mlp import HiddenLayer
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mse
from mlplab.objectives.objective import Objective

SHAPES = {
    "linear": {"hidden_dims": []},
    "one hidden layer": {"hidden_dims": [20]},
    "dropout": {"hidden_dims": [32, 16], "dropout": 0.3, "input_dropout": 0.1},
    "residual": {"hidden_dims": [24, 24, 24], "residual": True, "dropout": 0.2},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    TAPE.allow()


def gradients(
    step: Callable[[], Tensor], *parts: nn.Module, is_recorded: bool = True
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a step and all gradients, with or without the tape, from the same random numbers."""
    for part in parts:
        part.zero_grad()
    torch.manual_seed(3)
    if is_recorded:
        TAPE.allow(*parts)
        with TAPE.recording():
            loss = step()
        TAPE.backward(loss)
    else:
        loss = step()
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {
        f"{index}.{name}": p.grad.clone()
        for index, part in enumerate(parts)
        for name, p in part.named_parameters()
        if p.grad is not None
    }


def require_equal(step: Callable[[], Tensor], *parts: nn.Module) -> None:
    (loss, found), (expected_loss, expected) = (gradients(step, *parts, is_recorded=way) for way in (True, False))
    assert torch.equal(loss, expected_loss)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def network(**options: Any) -> MLP:
    torch.manual_seed(1)
    return MLP(in_features=24, out_features=10, **options)


def rows(n: int = 32, seed: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 24, generator=generator), torch.randint(0, 10, (n,), generator=generator)


def takes_both(model: nn.Module, objective: nn.Module) -> bool:
    TAPE.allow(model, objective)
    return {model, objective} <= TAPE._allowed


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_activation_has_autograds_gradient(activation: str, shape: str) -> None:
    model, objective = network(activation=activation, **SHAPES[shape]), Objective(cross_entropy)
    assert takes_both(model, objective)
    for n_rows in (32, 1, 7, 200):
        features, targets = rows(n_rows)
        require_equal(lambda x=features, y=targets: objective(model(x), y), model, objective)  # type: ignore[misc]


def test_no_activation_is_forgotten() -> None:
    assert set(ACTIVATION_BACKWARD) == set(ACTIVATIONS)


def test_the_squared_error_has_autograds_gradient() -> None:
    model, objective = network(), Objective(mse)
    assert takes_both(model, objective)
    targets = torch.randn(32, 10)
    require_equal(lambda: objective(model(rows()[0]), targets), model, objective)


FEATURES, TARGETS = rows()

STEPS: dict[str, Callable[[MLP, Objective], Tensor]] = {
    "scaled": lambda model, objective: objective(model(FEATURES), TARGETS) / 3,
    "a penalty": lambda model, objective: objective(model(FEATURES), TARGETS) + model.output.weight.square().sum(),
    "a penalty in place": lambda model, objective: objective(model(FEATURES), TARGETS).add_(model.output.weight.sum()),
    "outputs changed in place": lambda model, objective: objective(model(FEATURES).mul_(2), TARGETS),
    "outputs used twice": lambda model, objective: (
        objective(outputs := model(FEATURES), TARGETS) + outputs.square().mean()
    ),
    "two batches": lambda model, objective: objective(model(FEATURES), TARGETS) + objective(model(-FEATURES), TARGETS),
    "only the outputs": lambda model, objective: model(FEATURES).square().mean(),
    "a part without gradient": lambda model, objective: (
        objective(model(FEATURES), TARGETS.roll(1)).detach() * objective(model(FEATURES), TARGETS)
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_may_do_anything_with_outputs_and_loss(name: str) -> None:
    model, objective = network(hidden_dims=[16], dropout=0.2), Objective(cross_entropy)
    require_equal(lambda: STEPS[name](model, objective), model, objective)


def test_two_networks_in_a_row_both_learn() -> None:
    first, second, objective = network(), MLP(in_features=10, out_features=10), Objective(cross_entropy)
    require_equal(lambda: objective(second(first(FEATURES)), TARGETS), first, second, objective)


def test_targets_that_are_learned_have_their_gradient() -> None:
    first, second, objective = network(), network(hidden_dims=[]), Objective(mse)
    require_equal(lambda: objective(first(FEATURES), second(FEATURES)), first, second, objective)


def test_gradients_are_added_to_what_is_there() -> None:
    model, objective = network(), Objective(cross_entropy)
    once = gradients(lambda: objective(model(FEATURES), TARGETS), model)[1]
    with TAPE.recording():
        loss = objective(model(FEATURES), TARGETS)
    TAPE.backward(loss)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, 2 * once[f"0.{name}"]), name


@pytest.mark.parametrize(
    "objective",
    [
        Objective(cross_entropy, options={"label_smoothing": 0.1}),
        Objective(cross_entropy, class_weights=torch.arange(1.0, 11.0)),
        Objective(lambda outputs, targets: outputs.logsumexp(1).mean()),
    ],
)
def test_a_loss_that_is_not_written_out_is_left_to_autograd(objective: Objective) -> None:
    model = network(hidden_dims=[16])
    assert not objective.has_closed_form()
    require_equal(lambda: objective(model(FEATURES), TARGETS), model, objective)


@pytest.mark.parametrize("loss", [huber, binary_cross_entropy])
def test_losses_with_options_of_their_own_are_left_to_autograd(loss: Any) -> None:
    assert not Objective(loss).has_closed_form()


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_a_network_with_normalisation_is_left_to_autograd(normalization: str) -> None:
    model, objective = network(normalization=normalization), Objective(cross_entropy)
    assert not model.has_closed_form()
    require_equal(lambda: objective(model(FEATURES), TARGETS), model, objective)


def watch_a_layer(model: MLP) -> None:
    model.hidden[0].register_forward_hook(lambda module, inputs, outputs: None)


def watch_a_gradient(model: MLP) -> None:
    model.output.weight.register_hook(lambda gradient: gradient * 2)


def freeze(model: MLP) -> None:
    model.output.bias.requires_grad_(False)


def parametrize(model: MLP) -> None:
    nn.utils.parametrizations.weight_norm(model.output)


def another_layer(model: MLP) -> None:
    model.hidden[1] = nn.Linear(128, 64)  # type: ignore[assignment]


def another_activation(model: MLP) -> None:
    model.hidden[0].activation = torch.sin  # type: ignore[assignment]


@pytest.mark.parametrize(
    "change", [watch_a_layer, watch_a_gradient, freeze, parametrize, another_layer, another_activation]
)
def test_a_network_that_is_watched_or_changed_inside_is_left_to_autograd(change: Callable[[MLP], None]) -> None:
    model, objective = network(), Objective(cross_entropy)
    change(model)
    assert not takes_both(model, objective)
    require_equal(lambda: objective(model(FEATURES), TARGETS), model, objective)


@pytest.fixture
def _code_looks_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing but the first batch tells."""
    for module in ("models.mlp", "objectives.objective"):
        monkeypatch.setattr(f"mlplab.{module}.is_as_written", lambda *functions: True)


def _twice(forward: Any) -> Any:
    return lambda self, inputs: 2 * forward(self, inputs)


def _held(forward: Any) -> Any:
    """The same values, and another gradient."""
    return lambda self, inputs: forward(self, inputs) + 0 * inputs.sum() - forward(self, inputs).detach() / 2


@pytest.mark.usefixtures("_code_looks_as_it_was")
@pytest.mark.parametrize("change", [_twice, _held])
def test_a_layer_that_somebody_has_changed_in_the_code_is_left_to_autograd(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]
) -> None:
    monkeypatch.setattr(HiddenLayer, "forward", change(HiddenLayer.forward))
    model, objective = network(), Objective(cross_entropy)
    require_equal(lambda: objective(model(FEATURES), TARGETS), model, objective)


@pytest.mark.usefixtures("_code_looks_as_it_was")
@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, targets: 2 * cross_entropy(outputs, targets),
        lambda outputs, targets: cross_entropy(outputs.detach(), targets) + 0 * outputs.sum(),
    ],
)
def test_a_loss_that_somebody_has_changed_in_the_code_is_left_to_autograd(
    monkeypatch: pytest.MonkeyPatch, loss: Any
) -> None:
    monkeypatch.setitem(WRITTEN_OUT, loss, WRITTEN_OUT[cross_entropy])
    model, objective = network(), Objective(loss)
    assert objective.has_closed_form()
    require_equal(lambda: objective(model(FEATURES), TARGETS), model, objective)


@pytest.mark.usefixtures("_code_looks_as_it_was")
def test_a_loss_that_somebody_has_made_one_of_each_row_is_left_to_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_rows(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    monkeypatch.setitem(WRITTEN_OUT, of_rows, WRITTEN_OUT[cross_entropy])
    model, objective = network(), Objective(of_rows)
    require_equal(lambda: objective(model(FEATURES), TARGETS).mean(), model, objective)


@pytest.mark.usefixtures("_code_looks_as_it_was")
def test_what_is_tried_once_is_tried_again_where_a_part_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    model, objective = network(), Objective(cross_entropy)
    require_equal(lambda: objective(model(FEATURES), TARGETS), model, objective)
    monkeypatch.setattr(HiddenLayer, "forward", _twice(HiddenLayer.forward))
    require_equal(lambda: objective(model(FEATURES), TARGETS), model, objective)


def test_features_that_want_a_gradient_get_it() -> None:
    model, objective = network(), Objective(cross_entropy)
    TAPE.allow(model, objective)
    features = FEATURES.clone().requires_grad_()
    with TAPE.recording():
        loss = objective(model(features), TARGETS)
    TAPE.backward(loss)
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


def test_outside_a_recording_nothing_is_recorded() -> None:
    model, objective = network(), Objective(cross_entropy)
    TAPE.allow(model, objective)
    with TAPE.recording(), torch.no_grad():
        assert not model(FEATURES).requires_grad
    outputs = model(FEATURES)
    assert outputs.grad_fn is not None
    assert outputs.grad_fn.name().startswith("Addmm")


def test_a_hook_on_the_outputs_sees_their_gradient() -> None:
    model, objective = network(), Objective(cross_entropy)
    seen: list[Tensor] = []

    def step() -> Tensor:
        outputs = model(FEATURES)
        outputs.register_hook(seen.append)
        return objective(outputs, TARGETS)

    require_equal(step, model, objective)
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])
