"""What was replaced in PyTorch or Lightning, or put around their calls, is heeded: the engines give the same bits."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from both_engines import ENGINES, require_same_bits, why_autograd
from lightning.pytorch.callbacks import Callback
from slow_cases import slow_but
from torch import nn

from mlplab import training
from mlplab.engine.monkeypatches import GENUINE_MODULES, has_genuine_step, why_replaced
from mlplab.errors import UserError
from mlplab.learner import Learner
from mlplab.models import initialization
from mlplab.models.mlp import HiddenLayer

SMALL = [
    "data=iris", "data.batch_size=16", "model.hidden_dims=[8]", "trainer.max_epochs=3", "callbacks=minimal",
    "logger=none",
]  # fmt: skip


class At(Callback):
    """Does something in a hook of an epoch."""

    def __init__(self, hook: str, epoch: int, do: Callable[[pl.Trainer, Any], None]) -> None:
        def called(trainer: pl.Trainer, pl_module: pl.LightningModule, *arguments: Any) -> None:
            if trainer.current_epoch == epoch and not self.is_done:
                self.is_done = True
                do(trainer, pl_module)

        self.is_done = False
        vars(self)[hook] = called


def _transposed(weight: torch.Tensor, gain: float, std: float) -> None:
    weight.data = nn.init.orthogonal_(weight.new_empty(weight.shape[::-1]), gain).t()


def _set_on_the_class(trainer: pl.Trainer, learner: Any) -> None:
    Learner.on_after_backward = lambda self: self.model.output.bias.grad.mul_(30)  # type: ignore[method-assign]


def _another_optimizer(trainer: pl.Trainer, learner: Any) -> None:
    trainer.optimizers = [torch.optim.SGD(learner.model.parameters(), lr=0.1)]


def _hook_on_accumulation(trainer: pl.Trainer, learner: Any) -> None:
    learner.nodes = [torch.autograd.graph.get_gradient_edge(p).node for p in learner.model.output.parameters()]
    for node in learner.nodes:
        node.register_prehook(lambda gradients: tuple(-gradient for gradient in gradients))


def _freezing_hook(trainer: pl.Trainer, learner: Any) -> None:
    def freeze(optimizer: Any, args: Any, options: Any) -> None:
        learner.model.hidden[0].dropout = 0.5

    trainer.optimizers[0].register_step_post_hook(freeze)


def _strategy(trainer: pl.Trainer, learner: Any) -> None:
    backward = trainer.strategy.backward
    trainer.strategy.backward = lambda loss, *rest, **options: backward(2 * loss, *rest, **options)  # type: ignore[method-assign]


CALLBACKS = {
    "a hook of the class": ("on_train_epoch_start", 1, _set_on_the_class, "Learner.on_after_backward"),
    "another optimizer": ("on_train_batch_end", 1, _another_optimizer, ".on_train_batch_end may change"),
    "a hook on a node": ("on_train_start", 0, _hook_on_accumulation, "its numbers differ"),
    "a hook on the optimizer": ("on_train_epoch_start", 1, _freezing_hook, "a hook is registered on Adam"),
    "the strategy": ("on_train_epoch_start", 1, _strategy, "SingleDeviceStrategy.backward was replaced"),
}


@pytest.fixture
def both(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Runs by both engines, each with callbacks of its own; what they set on `Learner` is taken back."""

    def run(*words: str, make: Callable[[], list[Callback]] = list) -> list[Any]:
        runs = []
        build = training.build_callbacks
        for engine in ENGINES:
            with monkeypatch.context() as patch:
                patch.setattr(Learner, "on_after_backward", Learner.on_after_backward)
                patch.setattr(training, "build_callbacks", lambda config: [*build(config), *make()])
                runs.append(train_run(*SMALL, *words, f"engine={engine}"))
        return runs

    return run


@pytest.mark.parametrize("name", slow_but(["a hook of the class", "a hook on a node", "the strategy"], CALLBACKS))
def test_what_a_callback_puts_around_the_step_is_heeded(both: Any, train_run: Any, name: str) -> None:
    hook, epoch, do, reason = CALLBACKS[name]
    fast, plain = both(make=lambda: [At(hook, epoch, do)])
    require_same_bits(fast, plain)
    assert any(reason in line for line in why_autograd(fast.directory))
    assert fast.objective != train_run(*SMALL).objective


def test_weights_that_do_not_lie_row_by_row_are_updated_where_they_lie(
    both: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(initialization.WEIGHT_METHODS, "orthogonal", _transposed)
    fast, plain = both("model.initialization=orthogonal")
    require_same_bits(fast, plain)
    assert why_autograd(fast.directory) == ["a layer's weights do not lie in memory row by row"]


def test_an_adam_that_was_replaced_is_taken(both: Any, train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = train_run(*SMALL).objective
    step = torch.optim.Adam.step

    def shrinking(self: Any, closure: Any = None) -> Any:
        loss = step(self, closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(0.97)
        return loss

    monkeypatch.setattr(torch.optim.Adam, "step", shrinking)
    assert not has_genuine_step(torch.optim.Adam)
    fast, plain = both()
    require_same_bits(fast, plain)
    assert fast.objective != genuine


def test_a_residual_connection_of_two_widths_is_autograds(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    built = HiddenLayer.__init__

    def broad(self: Any, linear: nn.Linear, **options: Any) -> None:
        built(self, linear, **options)
        self.residual = linear.in_features in (1, linear.out_features)

    monkeypatch.setattr(HiddenLayer, "__init__", broad)
    require_same_bits(*both("model.hidden_dims=[4,1,8]"))


def test_targets_that_are_no_classes_are_refused_in_the_same_words(
    train_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlplab.data.batches import Batches

    batches = Batches.__iter__

    def later(self: Any) -> Any:
        for index, (features, targets) in enumerate(batches(self)):
            yield features, nn.functional.one_hot(targets, 3).float() if index == 3 else targets

    monkeypatch.setattr(Batches, "__iter__", later)
    for engine in ENGINES:
        with pytest.raises(UserError, match="class indices as targets, not one-hot rows"):
            train_run(*SMALL, f"engine={engine}")


@pytest.mark.parametrize(("owner", "name"), GENUINE_MODULES, ids=lambda value: getattr(value, "__name__", value))
def test_each_function_that_is_left_out_is_looked_at(owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_replaced() is None
    monkeypatch.setattr(owner, name, lambda *arguments, **options: None)
    assert str(why_replaced()).endswith(f"{name} was replaced")


def test_what_listens_to_all_functions_is_noticed() -> None:
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        assert "saved tensors" in str(why_replaced())
    with torch.overrides.TorchFunctionMode():
        assert "a mode" in str(why_replaced())
    assert why_replaced() is None
