"""The loss written out whole against autograd: the same value and gradients, to the last bit; and when it is not."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from both_loops import run_both, use_lightnings_loops
from lightning.pytorch.callbacks import Callback
from mlplab.engine.backpropagation import TAPE
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from mlplab.engine.fused_step import FORWARD, WrittenOutLoss, loss_of
from mlplab.models import MLP
from mlplab.models.activations import ACTIVATIONS
from mlplab.models.inputs import CategoryInputs, PixelInputs, WithInputs
from mlplab.models.mlp import HiddenLayer
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, mse
from mlplab.objectives.objective import LossFunction, Objective

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


def written_out(model: nn.Module, objective: nn.Module) -> WrittenOutLoss | None:
    TAPE.allow(model, objective)
    with TAPE.recording():
        return WrittenOutLoss.of(model, objective)


WAYS: dict[str, Callable[[Tensor, nn.Module], Tensor]] = {
    "as it is": lambda loss, model: loss,
    "scaled": lambda loss, model: loss / 3,
    "in place": lambda loss, model: loss.mul_(2),
    "with a penalty": lambda loss, model: loss + sum(p.square().sum() for p in model.parameters()),
}


def require_autograds(model: nn.Module, features: Tensor, targets: Tensor, function: LossFunction) -> None:
    objective = Objective(function)
    whole = written_out(model, objective)
    assert whole is not None
    assert whole.takes(features, targets)
    for way in WAYS.values():
        model.zero_grad()
        torch.manual_seed(3)
        with TAPE.recording():
            loss = way(loss_of(model, objective, features, targets), model)
            assert len(TAPE._values) == 1  # which is not what two parts would leave
        TAPE.backward(loss)
        found = {name: p.grad for name, p in model.named_parameters()}
        model.zero_grad()
        torch.manual_seed(3)
        expected = way(objective(model(features), targets), model)
        expected.backward()
        assert torch.equal(loss, expected)
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
    assert written_out(*REFUSED[name]()) is None


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
    assert written_out(model, Objective(cross_entropy)) is None


def test_who_comes_to_listen_in_the_middle_is_heard() -> None:
    model, objective = WithInputs(PixelInputs(n_features=24, mean=0.0, std=1.0), network()), Objective(cross_entropy)
    whole = written_out(model, objective)
    assert whole is not None
    for part in (model, model.inputs, model.network, objective):
        handle = part.register_forward_hook(lambda *arguments: None)
        assert not whole.takes(*batch())
        handle.remove()
        assert whole.takes(*batch())
    handle = register_module_forward_hook(lambda *arguments: None)
    assert not whole.takes(*batch())
    handle.remove()
    features, targets = batch()
    assert not whole.takes(features.requires_grad_(), targets)


def test_without_the_tape_all_is_left_to_autograd() -> None:
    model, objective = network(), Objective(cross_entropy)
    TAPE.allow(model, objective)
    assert loss_of(model, objective, *batch()).grad_fn is not None
    with TAPE.recording(), torch.no_grad():
        assert not loss_of(model, objective, *batch()).requires_grad
        assert not TAPE._values


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    call = WrittenOutLoss.__call__

    def counted(self: WrittenOutLoss, features: Tensor, targets: Tensor) -> Any:
        steps.append(len(targets))
        return call(self, features, targets)

    monkeypatch.setattr(WrittenOutLoss, "__call__", counted)
    return steps


@pytest.mark.parametrize(
    ("overrides", "is_taken"),
    [
        ([], True),
        (["data=iris", "data.batch_size=1", "trainer.gradient_clip_val=1"], True),
        (["optimizer=sgd"], True),
        (["regularization.l1=0.001"], True),
        (["trainer.accumulate_grad_batches=2"], True),
        (["loss=cross_entropy", "loss.label_smoothing=0.1"], False),
        (["model.normalization=layer"], False),
    ],
)
def test_a_run_takes_it_where_it_can(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, overrides: list[str], is_taken: bool
) -> None:
    steps = count_steps(monkeypatch)
    run = train_run(*QUICK, *overrides)
    n_batches = run.result["steps"] * (2 if "trainer.accumulate_grad_batches=2" in overrides else 1)
    assert len(steps) == (n_batches + 1 if is_taken else 0)  # and the first look


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


def _more(forward: Any) -> Any:
    return lambda self, inputs: 2 * forward(self, inputs)


def _noisy(forward: Any) -> Any:
    return lambda self, inputs: forward(self, inputs + 0.1 * torch.randn_like(inputs))


def test_a_network_that_somebody_has_made_to_leave_out_a_layer_is_left_to_autograd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, objective = network(hidden_dims=[10]), Objective(cross_entropy)
    shorter: Any = lambda self, features: self.hidden(features)  # noqa: E731
    monkeypatch.setattr(MLP, "forward", shorter)
    monkeypatch.setitem(FORWARD, MLP, shorter)
    TAPE.allow(model, objective)
    with TAPE.recording():
        loss = loss_of(model, objective, *batch())
    TAPE.backward(loss)
    assert model.output.weight.grad is None
    assert model.hidden[0].linear.weight.grad is not None  # type: ignore[union-attr]


@pytest.mark.parametrize("change", [_more, _noisy])
@pytest.mark.parametrize("part", [MLP, HiddenLayer])
def test_what_somebody_has_made_of_the_code_is_what_is_learned(
    train_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    part: type[nn.Module],
    change: Callable[[Any], Any],
) -> None:
    monkeypatch.setattr(part, "forward", change(part.forward))
    monkeypatch.setitem(FORWARD, part, part.forward)  # as in a file that was edited
    weights, told = [], []
    for is_lean in (True, False):
        with monkeypatch.context() as patch:
            if not is_lean:
                use_lightnings_loops(patch)
            run = train_run(*QUICK)
        told.append((run.directory / "train.log").read_text().count("autograd finds it"))
        weights.append(torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert told == [1, 0]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_the_first_look_leaves_no_trace() -> None:
    model, objective = network(dropout=0.5), Objective(cross_entropy)
    TAPE.allow(model, objective)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        with TAPE.recording():
            losses.append(loss_of(model, objective, *batch()).item())
    assert losses[0] == losses[1]
    assert all(bool((parameter.grad == 1).all()) for parameter in model.parameters())


class Change(Callback):
    """Changes something of what is learned."""

    def __init__(self, change: Callable[[Any], None]) -> None:
        self.change = change


class ChangeWithin(Change):
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch == 1 and batch_idx == 2:
            self.change(pl_module)


class ChangeBetween(Change):
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self.change(pl_module)


def _halve_the_loss(learner: Any) -> None:
    learner.objective.function = lambda outputs, targets: cross_entropy(outputs, targets) / 2


def _smooth(learner: Any) -> None:
    learner.objective.options["label_smoothing"] = 0.2


def _freeze(learner: Any) -> None:
    learner.model.hidden[0].linear.weight.requires_grad_(False)


def _watch(learner: Any) -> None:
    learner.model.output.weight.register_hook(lambda gradient: 2 * gradient)


def _activate(learner: Any) -> None:
    learner.model.hidden[0].activation = torch.tanh


def _pass_another_way(learner: Any) -> None:
    layer = learner.model.hidden[0]
    layer.forward = lambda inputs: 2 * layer.activation(layer.linear(inputs))


def _double_the_sums(learner: Any) -> None:
    linear = learner.model.hidden[0].linear
    linear.forward = lambda inputs: 2 * nn.functional.linear(inputs, linear.weight, linear.bias)


@pytest.mark.parametrize("when", [ChangeBetween, ChangeWithin])
@pytest.mark.parametrize(
    "change", [_halve_the_loss, _smooth, _freeze, _watch, _activate, _pass_another_way, _double_the_sums]
)
def test_what_a_callback_changes_is_what_is_learned(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], when: type[Change]
) -> None:
    both = run_both(train_run, monkeypatch, lambda: when(change), *QUICK[:2], "data=iris")
    mine, expected = (
        torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for _, run in both
    )
    assert all(torch.equal(mine[name], value) for name, value in expected.items())
