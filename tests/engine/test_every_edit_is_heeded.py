"""Any edit of the code in whose place machinery computes changes what is learned or measured, as with engine=plain.

Each edit is made in this process. That it is noticed is looked at for all of them; that it is heeded, by training with
either engine and in a stack, for one of each kind, and for all by `make test-full`. Most of them show after the first
mini-batch only, or in the last digits: no comparison of numbers at the beginning would find them.
"""

import ast
import inspect
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from comparing import difference
from editing import LATE, SMALL, TINY, Lab, OneJob, add, compiled, edit
from launching import ROOT
from parts import needs, skip_without
from slow_cases import slow, slow_but
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as of_all_modules
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks

from mlplab import building, learner, result, training
from mlplab.callbacks import Checkpoints, GradientNorms, History, NonFiniteGuard, TrainingCurves
from mlplab.data.batches import Batches
from mlplab.data.module import DataModule
from mlplab.engine import edited_functions, epoch_loop, recognition
from mlplab.learner import Learner
from mlplab.models import activations
from mlplab.models.activations import ACTIVATIONS, Activation
from mlplab.models.inputs import CategoryInputs, PixelInputs
from mlplab.models.mlp import MLP, BatchNorm, HiddenLayer
from mlplab.objectives import losses
from mlplab.objectives.objective import Objective, predictions
from mlplab.objectives.penalties import l1_l2_penalty
from mlplab.objectives.scores import Scores
from mlplab.optimization import optimizers, parameter_groups, schedules
from mlplab.parts import is_there
from mlplab.randomness import batch_order, derive_seed

if is_there("stacked"):
    from mlplab.stacked import same_step, stacks
    from mlplab.stacked.members.stack_training import DataCache, build_member

    BY_NAME = (learner, stacks)
    """Modules that have imported functions by their names."""
else:
    BY_NAME = (learner,)

Patch = pytest.MonkeyPatch

REGRESSION = ["data=plane", "data.n_samples=100"]
PIXELS = ["data._target_=own_data.pixels", "~data.task"]
LATER = "self.trainer.training and self.current_epoch >= 1"
"""In a method of the learner: in training, from the second epoch on."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def member(tmp_path: Path) -> Any:
    """A member as it is built for a stack."""
    skip_without("stacked")
    job: Any = OneJob(tmp_path / "member", *SMALL)
    return build_member(job, DataCache())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A table with a column of levels."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    rows = [f"{n / 7:.3f},{['red', 'green', 'blue'][n * n % 3]},{'yes' if n % 5 < 2 else 'no'}" for n in range(90)]
    path.write_text("\n".join(["size,colour,wanted", *rows]))
    return ["data=table", f"data.path={path}", "data.target=wanted", "loss=cross_entropy"]


# What a run alone computes otherwise with the fast engine, or a stack for many: function, text, edited text, words.
MIRRORED: dict[str, tuple[Any, str, str, list[str]]] = {
    "identity": (activations.identity, "return inputs", f"return inputs * {TINY}", ["model.activation=identity"]),
    "HiddenLayer.forward": (
        HiddenLayer.forward, "outputs = self.activation(outputs)",
        "outputs = self.activation(outputs)\n    if outputs.abs().max() > 6:\n        outputs = outputs * 1.001",
        ["optimizer.lr=0.1", "trainer.max_epochs=4"],
    ),
    "MLP.forward": (
        MLP.forward, "return self.output(self.hidden(features))",
        f"return self.output(self.hidden(features)) * {TINY}", [],
    ),
    "BatchNorm.forward": (
        BatchNorm.forward, "return super().forward(inputs)", f"return super().forward(inputs) * {TINY}",
        ["model.normalization=batch"],
    ),
    "PixelInputs.forward": (
        PixelInputs.forward, ".div_(self.std)", f".div_(self.std).mul_({TINY})", PIXELS,
    ),
    "cross_entropy": (
        losses.cross_entropy, "return functional.cross_entropy(outputs, targets, label_smoothing=label_smoothing)",
        f"return functional.cross_entropy(outputs, targets, label_smoothing=1e-4 * ({LATE}))", [],
    ),
    "cross_entropy's helper": (
        losses._require_classes, "    fits = ", f"    outputs.data.mul_({TINY})\n    fits = ", [],
    ),
    "mae": (
        losses.mae, "return functional.l1_loss(outputs, targets)",
        f"return functional.l1_loss(outputs, targets) * {TINY}", [*REGRESSION, "loss=mae"],
    ),
    "l1_l2_penalty": (l1_l2_penalty, "return total", f"return total * {TINY}", ["regularization.l1=0.01"]),
    "predictions of classes": (
        predictions, "return torch.softmax(outputs, dim=1)", "return torch.softmax(outputs.clamp(max=0.5), dim=1)", [],
    ),
    "Scores.compute": (
        Scores.compute, "[self._predicted, ", "[self._predicted[::-1], ",
        ["data=xor", "data.n_samples=30000", "data.batch_size=full"],
    ),
    "Scores._mean_loss": (
        Scores._mean_loss, "    losses = torch", "    self._losses[0] += 1e-3\n    losses = torch", [],
    ),
    "Learner.training_step": (  # not in the first batch, which is compared with autograd
        Learner.training_step, "(loss + penalty, ", "(loss * (1 + 1e-3 * (batch_idx > 0)) + penalty, ", [],
    ),
    "Learner.validation_step": (
        Learner.validation_step, 'self._evaluate("val", batch)',
        'self._evaluate("val", (batch[0] + 0.1 * (self.current_epoch > 0), batch[1]))', [],
    ),
    "Learner._evaluate": (Learner._evaluate, ".update(loss,", ".update(loss + 1e-3,", []),
    "Learner.on_validation_epoch_end": (
        Learner.on_validation_epoch_end, 'self._log_scores("val")',
        'self._log_scores("val")\n    if self.current_epoch:\n        self.log("val/extra", 1.0)', [],
    ),
    "Learner.configure_optimizers": (
        Learner.configure_optimizers, "if schedule is None:",
        'if schedule:\n        schedule["frequency"] = 2\n    if schedule is None:',
        ["scheduler=exponential", "trainer.max_epochs=3"],
    ),
    "Learner.optimizer_step between": (
        Learner.optimizer_step, "optimizer.step(closure=closure)",
        "closure()\n        self.model.output.weight.grad.mul_(1.5)\n        optimizer.step()",
        ["trainer.gradient_clip_val=0.5"],
    ),
    "Learner.on_train_batch_start's helper": (
        Learner._seed_step, "epoch, batch_idx, self", "min(epoch, 0), batch_idx, self", ["model.dropout=0.3"],
    ),
    "Learner.__init__": (
        Learner.__init__, "self.monitor, self.mode =",
        "self.regularized = self.regularized[:1]\n    self.monitor, self.mode =",
        ["regularization.l2=0.1"],
    ),
    "Learner.on_save_checkpoint": (
        Learner.on_save_checkpoint, "= self.card", '= {**self.card, "n": 1}', [],
    ),
    "regularized_parameters": (
        parameter_groups.regularized_parameters, "kinds.get(name) in applies_to", 'name.startswith("out")',
        ["regularization.l2=0.1"],
    ),
    "build_schedule": (
        schedules.build_schedule, '"name": "lr"}', '"name": "lr", "frequency": 2}', ["scheduler=cosine"],
    ),
    "Batches.__iter__": (
        Batches.__iter__, "for tensor in self._tensors()",
        "for tensor in (self.features * (1 + 1e-6 * (int(own[0]) == 7)), self.targets)", ["data.batch_size=1"],
    ),
    "Batches.__iter__'s helper": (
        Batches._in_place, "yield batch", "yield batch[0] * (1 + 1e-6), batch[1]", ["data.batch_size=full"],
    ),
    "DataModule.setup": (
        DataModule.setup, "dataset, split = self.read()",
        "self.split_seed = self.seed + 1\n    dataset, split = self.read()", [],
    ),
    "DataModule._scaled_targets": (
        DataModule._scaled_targets, "constant = np", "mean = mean + 1e-3\n    constant = np", REGRESSION,
    ),
    "DataModule.train_dataloader": (
        DataModule.train_dataloader, "trainer.current_epoch if trainer else 0",
        "min(trainer.current_epoch, 0) if trainer else 0", [],
    ),
    "Checkpoints.consider": (
        Checkpoints.consider, "if score < self.best.score if", "if score < self.best.score - 0.5 if", [],
    ),
    "NonFiniteGuard.on_before_optimizer_step": (
        NonFiniteGuard.on_before_optimizer_step, "    if self._are_finite",
        "    if trainer.current_epoch:\n        gradients[0].mul_(1 + 1e-6)\n    if self._are_finite", [],
    ),
    "TrainingCurves.on_train_batch_start": (
        TrainingCurves.on_train_batch_start, "self._rate = trainer",
        "pl_module.model.output.bias.data.add_(1e-6 * trainer.current_epoch)\n    self._rate = trainer", [],
    ),
    "GradientNorms.on_before_optimizer_step": (
        GradientNorms.on_before_optimizer_step, "    if step is None",
        "    next(pl_module.parameters()).grad.mul_(1 + 1e-6 * (trainer.global_step > 1))\n    if step is None",
        ["+callbacks.norms={_target_:mlplab.callbacks.GradientNorms}"],
    ),
    "History.on_validation_end": (
        History.on_validation_end, "trainer.callback_metrics)",
        "{n: v for n, v in trainer.callback_metrics.items() if n.startswith('val/l')})", [],
    ),
    "evaluate_best": (
        result.evaluate_best, "test_best(trainer, learner, data) if", "test_best(trainer, learner, data) if not", [],
    ),
    "_fit": (
        training._fit, "    try:", "    learner.model.output.bias.data.add_(1e-6)\n    try:", [],
    ),
    "_fit in half precision": (
        training._fit, "explain_out_of_memory(data):",
        "explain_out_of_memory(data), __import__('torch').autocast('cpu'):", [],
    ),
    "train": (
        training.train, "    loggers = build_loggers", "    learner.seed += 1\n    loggers = build_loggers",
        ["model.dropout=0.3"],
    ),
    "build_trainer": (
        building._fitting_flags, '    del flags["threads"]',
        '    del flags["threads"]\n    flags["gradient_clip_val"] = 0.1', [],
    ),
}  # fmt: skip

OFTEN = {
    "identity", "HiddenLayer.forward", "MLP.forward", "cross_entropy", "cross_entropy's helper", "l1_l2_penalty",
    "Learner.training_step", "Learner._evaluate", "Learner.optimizer_step between", "Batches.__iter__'s helper",
    "NonFiniteGuard.on_before_optimizer_step", "TrainingCurves.on_train_batch_start", "train",
    # Of what is called for each member:
    "build_optimizer",
    # Of methods that are added, to the learner and to a callback:
    "backward", "on_train_epoch_start",
    # Of other classes and objects:
    "a_subclass_of_the_objective", "a_forward_that_is_set_on_a_layer", "a_step_that_is_set_on_the_optimizer",
    "a_call_of_all_modules",
}  # fmt: skip
"""One of each kind; `make test-full` trains with all."""


def some_slow(names: Iterable[str]) -> list[Any]:
    return slow_but(OFTEN, names)


def reason_of(name: str) -> str:
    function = name.partition("'s ")[0].partition(" ")[0]
    return f"{function} was edited"


def test_an_edit_of_any_function_that_a_stack_mirrors_is_noticed(member: Any, monkeypatch: Patch) -> None:
    assert same_step.why_other_code(member) is None
    for function in {*same_step.mirrored_functions()}:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        tree.body[0].body.append(ast.Pass())  # type: ignore[attr-defined]
        with monkeypatch.context() as patch:
            patch.setattr(function, "__code__", compiled(ast.unparse(tree), function).__code__)
            assert str(same_step.why_other_code(member)).endswith(" was edited"), function


def test_each_edit_of_what_is_computed_otherwise_is_noticed(member: Any, monkeypatch: Patch) -> None:
    for name, (function, old, new, _) in MIRRORED.items():
        with monkeypatch.context() as patch:
            edit(patch, function, old, new)
            assert same_step.why_other_code(member) == reason_of(name)
    assert same_step.why_other_code(member) is None


@pytest.mark.parametrize("name", some_slow(MIRRORED))
def test_an_edit_of_what_is_computed_otherwise(lab: Lab, monkeypatch: Patch, name: str) -> None:
    function, old, new, words = MIRRORED[name]
    lab.require_heeded(lambda: edit(monkeypatch, function, old, new), *words, alone=reason_of(name))


def test_an_edit_of_the_columns_of_levels(lab: Lab, monkeypatch: Patch, table: list[str]) -> None:
    def make() -> None:
        edit(monkeypatch, CategoryInputs.forward, "to(features.dtype))", f"to(features.dtype) * {TINY})")

    lab.require_heeded(make, *table, alone="CategoryInputs.forward was edited")


# What a stack calls for each member as a run alone does.
CALLED: dict[str, tuple[Any, str, str, list[str]]] = {
    "build_optimizer": (
        optimizers.build_optimizer, "return factory(groups)", "return factory(groups, lr=0.03)", [],
    ),
    "parameter_groups": (
        parameter_groups._groups, '"weight_decay": 0.0}', '"weight_decay": 0.2}',
        ["optimizer=adamw", "optimizer.weight_decay=0.1"],
    ),
    "warmup_cosine": (
        schedules.warmup_cosine, "min_lr=min_lr", "min_lr=0.001 + min_lr", ["scheduler=warmup_cosine"],
    ),
    "planned_steps": (
        schedules.planned_steps, "return max(1, min(limits))", "return 2 * max(1, min(limits))", ["scheduler=cosine"],
    ),
    "derive_seed": (derive_seed, "return value >> 1", "return value >> 2", ["model.dropout=0.3"]),
    "batch_order": (batch_order, '"order", epoch', '"order", 2 * epoch', []),
    "build_learner": (
        building.build_learner, 'derive_seed(config.seed, "init', 'derive_seed(config.seed + 1, "init', [],
    ),
    "MLP.__init__": (MLP.__init__, "self.input_dropout = input_dropout", "self.input_dropout = 0.1", []),
}  # fmt: skip


@pytest.mark.parametrize("name", some_slow(CALLED))
def test_an_edit_of_what_is_called_for_each_member(lab: Lab, monkeypatch: Patch, name: str) -> None:
    function, old, new, words = CALLED[name]
    lab.require_heeded(lambda: edit(monkeypatch, function, old, new), *words, alone=None)


def other_than(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda sums: function(sums) * eval(TINY)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", some_slow(ACTIVATIONS))
def test_another_function_under_the_name_of_an_activation(lab: Lab, monkeypatch: Patch, name: str) -> None:
    other = other_than(ACTIVATIONS[name].function)

    def make() -> None:
        monkeypatch.setitem(ACTIVATIONS, name, Activation(other, ACTIVATIONS[name].gain))

    lab.require_heeded(make, f"model.activation={name}", alone="the activation <lambda> has no kernel")


@pytest.mark.slow
def test_relu6_in_the_place_of_relu(lab: Lab, monkeypatch: Patch) -> None:
    def make() -> None:
        monkeypatch.setitem(ACTIVATIONS, "relu", Activation(functional.relu6, ACTIVATIONS["relu"].gain))

    words = ["optimizer.lr=0.1", "trainer.max_epochs=5"]
    lab.require_heeded(make, *words, alone="the activation relu6 has no kernel")


HOOKS = sorted(
    name
    for name in vars(pl.core.hooks.ModelHooks).keys()
    | vars(pl.core.hooks.DataHooks).keys()
    | vars(pl.core.hooks.CheckpointHooks).keys()
    | vars(pl.LightningModule).keys()
    if inspect.isfunction(getattr(pl.LightningModule, name, None)) and not name.startswith("_")
)
"""All public methods that somebody may add to the learner."""

IMPLEMENTED = sorted(name for name in HOOKS if getattr(Learner, name) is not getattr(pl.LightningModule, name))

NOT_IN_TRAINING = {
    name for name in HOOKS if "predict" in name or "onnx" in name or "torchscript" in name or "tensorrt" in name
} | {"configure_sharded_model"}

ADDED = """def {name}(self, *args, **kwargs):
    if self._trainer is not None and self.trainer.training and self.current_epoch >= 1:
        self.model.output.weight.data.mul_(1 + 1e-5)
    return super().{name}(*args, **kwargs)
"""


def test_all_hooks_of_lightning_are_gone_through() -> None:
    assert {"on_train_epoch_start", "backward", "clip_gradients", "transfer_batch_to_device", "log"} <= set(HOOKS)
    assert "training_step" in IMPLEMENTED


ADDABLE = [name for name in HOOKS if name not in {*IMPLEMENTED, *NOT_IN_TRAINING}]


def test_each_method_that_is_added_to_the_learner_is_noticed(member: Any, monkeypatch: Patch) -> None:
    for name in ADDABLE:
        with monkeypatch.context() as patch:
            add(patch, Learner, name, ADDED.format(name=name))
            named = "_log_scores" if name == "log_dict" else name  # of which it is a part
            assert same_step.why_other_code(member) == f"Learner.{named} was edited"


@pytest.mark.filterwarnings("ignore:You have overridden")
@pytest.mark.parametrize("name", some_slow(ADDABLE))
def test_a_method_that_is_added_to_the_learner(lab: Lab, monkeypatch: Patch, name: str) -> None:
    words = ["trainer.gradient_clip_val=1", "scheduler=exponential"]
    before = lab.unedited(*words)
    add(monkeypatch, Learner, name, ADDED.format(name=name))
    plain, fast = (lab.alone(*words, f"engine={engine}") for engine in ("plain", "fast"))
    assert difference(plain, fast) == ""
    if name in ("backward", "clip_gradients", "on_after_backward", "on_train_batch_end", "optimizer_zero_grad"):
        assert difference(before, plain) != ""
    named = "_log_scores" if name == "log_dict" else name  # of which it is a part
    if is_there("stacked"):
        assert lab.stacked(*words)[1] == {f"Learner.{named} was edited": 2}


@pytest.mark.parametrize("words", [["trainer.gradient_clip_val=0.1"], *slow([])])
@pytest.mark.parametrize("name", ["configure_gradient_clipping", *slow("clip_gradients")])
def test_clipping_of_ones_own(lab: Lab, monkeypatch: Patch, name: str, words: list[str]) -> None:
    source = f"""def {name}(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        if self.current_epoch:
            self.model.output.weight.grad.clamp_(-0.01, 0.01)
    """
    lab.require_heeded(lambda: add(monkeypatch, Learner, name, source), *words, alone=f"Learner.{name} was edited")


OF_CALLBACKS = sorted(name for name in vars(pl.Callback) if not name.startswith("_"))

WATCHES = """def {name}(self, *args, **kwargs):
    for part in args:
        if isinstance(part, {pl}.Trainer) and part.training and part.current_epoch >= 1:
            part.lightning_module.model.output.weight.data.mul_(1 + 1e-5)
    return getattr(super(), "{name}")(*args, **kwargs)
"""


@pytest.mark.parametrize(
    "name", some_slow([n for n in OF_CALLBACKS if n not in vars(TrainingCurves) and n != "state_key"])
)
def test_a_hook_that_is_added_to_a_callback(lab: Lab, monkeypatch: Patch, name: str) -> None:
    before = lab.unedited()
    source = WATCHES.format(name=name, pl="__import__('lightning').pytorch")
    add(monkeypatch, TrainingCurves, name, source)
    plain, fast = (lab.alone(f"engine={engine}") for engine in ("plain", "fast"))
    assert difference(plain, fast) == ""
    if name in ("on_before_zero_grad", "on_after_backward", "on_before_optimizer_step", "on_train_epoch_start"):
        assert difference(before, plain) != ""
    if is_there("stacked"):
        assert lab.stacked()[1] == {f"TrainingCurves.{name} was edited": 2}


def test_a_hook_of_any_callback_keeps_a_job_out_of_a_stack(member: Any, monkeypatch: Patch) -> None:
    kinds = [kind for kind in same_step.CALLBACKS if kind.__module__.startswith("mlplab.")]
    for index, kind in enumerate(kinds):
        for name in OF_CALLBACKS[index :: len(kinds)]:  # each of them once
            if name in vars(kind) or name == "state_key":
                continue
            with monkeypatch.context() as patch:
                add(patch, kind, name, WATCHES.format(name=name, pl="pl"))
                assert same_step.why_other_code(member) == f"{kind.__name__}.{name} was edited"
    for index, callback in enumerate(member.callbacks):
        name = OF_CALLBACKS[index]
        with monkeypatch.context() as patch:
            patch.setattr(callback, name, lambda *_, **__: None)
            assert same_step.why_other_code(member) == f"{type(callback).__name__}.{name} was edited"


# Classes and objects in the place of what is known: what is done to building, words, and why a job is run alone.
OTHERS: dict[str, tuple[Callable[[Patch], None], list[str], str]] = {}


def other(reason: str, *words: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def register(make: Callable[[Patch], None]) -> Callable[[Patch], None]:
        OTHERS[make.__name__] = make, list(words), reason
        return make

    return register


class OwnLearner(Learner):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step((batch[0] * 1.01, batch[1]), batch_idx)


class OwnData(DataModule):
    def train_dataloader(self) -> Batches:
        batches = super().train_dataloader()
        batches.features = batches.features * (1 + 1e-6)
        return batches


class OwnBatches(Batches):
    def __iter__(self) -> Any:
        for features, targets in super().__iter__():
            yield features * (1 + 1e-6), targets


class OwnObjective(Objective):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().forward(outputs, targets) * eval(TINY)  # type: ignore[no-any-return]


class OwnCallback(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.model.output.bias.data.add_(1e-6 * trainer.current_epoch)  # type: ignore[operator,union-attr]


def built(patch: Patch, change: Callable[[Any], Any]) -> None:
    """Lets `build_learner` change what it has built."""
    patch.setattr(building, "change", change, raising=False)
    edit(patch, building.build_learner, "    return learner", "    change(learner)\n    return learner")


@other("OwnLearner has no stacked form")
def a_subclass_of_the_learner(patch: Patch) -> None:
    built(patch, lambda learner: setattr(learner, "__class__", OwnLearner))


@other("build_data was edited")
def a_subclass_of_the_data_module(patch: Patch) -> None:
    patch.setattr(building, "DataModule", OwnData)


@other("DataModule._batches was edited")
def a_subclass_of_the_batches(patch: Patch) -> None:
    from mlplab.data import module

    patch.setattr(module, "Batches", OwnBatches)


@other("OwnObjective has no stacked form")
def a_subclass_of_the_objective(patch: Patch) -> None:
    built(patch, lambda learner: setattr(learner.objective, "__class__", OwnObjective))


@other("OwnCallback has no stacked form")
def a_callback_of_ones_own(patch: Patch) -> None:
    patch.setattr(building, "OwnCallback", OwnCallback, raising=False)
    edit(patch, building.build_callbacks, "    return callbacks", "    return [*callbacks, OwnCallback()]")


@other("Learner.training_step was edited")
def a_step_that_is_set_on_the_learner(patch: Patch) -> None:
    def change(learner: Learner) -> None:
        def step(batch: Any, batch_idx: int) -> Any:
            output = Learner.training_step(learner, batch, batch_idx)
            return {**output, "loss": output["loss"] * eval(TINY)}

        learner.training_step = step  # type: ignore[method-assign]

    built(patch, change)


@other("HiddenLayer.forward was replaced")
def a_forward_that_is_set_on_a_layer(patch: Patch) -> None:
    def change(learner: Any) -> None:
        layer = learner.model.hidden[0]
        layer.forward = lambda inputs: HiddenLayer.forward(layer, inputs) * eval(TINY)

    built(patch, change)


@other("a hook is registered on Objective")
def a_hook_on_the_objective(patch: Patch) -> None:
    def change(learner: Learner) -> None:
        learner.objective.register_forward_hook(lambda module, inputs, loss: loss * eval(TINY))

    built(patch, change)


@other("MLP.__call__ was replaced")
def a_call_of_ones_own(patch: Patch) -> None:
    add(patch, MLP, "__call__", f"def __call__(self, features):\n    return super().__call__(features) * {TINY}\n")


@other("HiddenLayer.forward was edited")
def a_property_in_the_place_of_an_attribute(patch: Patch) -> None:
    share = property(lambda layer: 0.1 if eval(LATE) else 0.0, lambda layer, value: None)
    patch.setattr(HiddenLayer, "dropout", share, raising=False)


@other("Learner.on_train_batch_start was edited", "model.dropout=0.3")
def a_property_of_the_learner(patch: Patch) -> None:
    patch.setattr(Learner, "global_rank", property(lambda learner: learner.current_epoch), raising=False)


@other("Adam.step was replaced")
def a_step_that_is_set_on_the_optimizer(patch: Patch) -> None:
    build = optimizers.build_optimizer

    def build_another(*arguments: Any, **options: Any) -> Optimizer:
        optimizer = build(*arguments, **options)
        step = optimizer.step

        def longer(closure: Any = None) -> Any:
            loss = step(closure)
            with torch.no_grad():
                for parameter in optimizer.param_groups[0]["params"]:
                    parameter.mul_(1 + 1e-6)
            return loss

        optimizer.step = longer  # type: ignore[method-assign]
        return optimizer

    for module in BY_NAME:
        patch.setattr(module, "build_optimizer", build_another)


@other("Adam.zero_grad was replaced")
def gradients_that_are_kept(patch: Patch) -> None:
    build = optimizers.build_optimizer

    def build_another(*arguments: Any, **options: Any) -> Optimizer:
        optimizer = build(*arguments, **options)

        def zero_grad() -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(0.01)

        optimizer.zero_grad = zero_grad  # type: ignore[method-assign,assignment]
        return optimizer

    for module in BY_NAME:
        patch.setattr(module, "build_optimizer", build_another)


@other("nn.Module.__call__ was replaced")
def a_call_of_all_modules(patch: Patch) -> None:
    call = nn.Module.__call__

    def own(self: nn.Module, *arguments: Any) -> Any:
        outputs = call(self, *arguments)
        return outputs * eval(TINY) if type(self) is HiddenLayer else outputs

    patch.setattr(nn.Module, "__call__", own)


@other("hooks are registered for all modules")
def a_hook_on_all_modules(patch: Patch) -> None:
    def hook(module: nn.Module, inputs: Any, outputs: Any) -> Any:
        return outputs * eval(TINY) if type(module) is HiddenLayer else None

    patch.setitem(of_all_modules._global_forward_hooks, 1_000_000, hook)


@other("it has hooks, which see one optimizer at a time")
def a_hook_on_all_optimizers(patch: Patch) -> None:
    def hook(optimizer: Optimizer, *arguments: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(1 + 1e-6)

    patch.setitem(_global_optimizer_post_hooks, 1_000_000, hook)


@other("Learner.regularized was edited", "regularization.l2=0.1")
def a_penalty_on_fewer_weights(patch: Patch) -> None:
    built(patch, lambda learner: learner.regularized.pop())


@pytest.mark.parametrize("name", OTHERS)
def test_another_class_or_object_is_noticed(lab: Lab, monkeypatch: Patch, name: str) -> None:
    make, words, reason = OTHERS[name]
    make(monkeypatch)
    assert lab.stacked(*words, seeds=1)[1] == {reason: 1}


@pytest.mark.parametrize("name", some_slow(OTHERS))
def test_another_class_or_object(lab: Lab, monkeypatch: Patch, name: str) -> None:
    make, words, reason = OTHERS[name]
    lab.require_heeded(lambda: make(monkeypatch), *words, alone=reason)


def test_the_loss_that_hooks_are_given_has_its_graph(lab: Lab, monkeypatch: Patch) -> None:
    source = """def on_before_backward(self, loss):
        if self.current_epoch:
            weight = self.model.output.weight
            (gradient,) = __import__("torch").autograd.grad(loss, weight, retain_graph=True)
            weight.grad = 0.1 * gradient
    """
    lab.require_heeded(
        lambda: add(monkeypatch, Learner, "on_before_backward", source), alone="Learner.on_before_backward was edited"
    )


def test_an_edit_of_a_helper_that_comes_later_is_seen(monkeypatch: Patch) -> None:
    function: Any = losses.mse
    assert edited_functions.first_edited([function]) is None
    with monkeypatch.context() as patch:
        edit(patch, losses._require_same_shape, "    if outputs", "    outputs.data.mul_(2)\n    if outputs")
        assert edited_functions.first_edited([function]) == "mse"
    with monkeypatch.context() as patch:
        patch.setattr(losses, "_require_same_shape", lambda outputs, targets: None)
        assert edited_functions.first_edited([function]) == "mse"
    with monkeypatch.context() as patch:
        patch.setattr(losses.functional, "mse_loss", losses.functional.l1_loss)
        assert edited_functions.first_edited([function]) == "mse"
    assert edited_functions.first_edited([function]) is None


@pytest.mark.parametrize(
    "name", ["MLP.forward", *slow("HiddenLayer.forward", "cross_entropy", "Learner.training_step")]
)
def test_without_recognition_these_tests_fail(lab: Lab, monkeypatch: Patch, name: str) -> None:
    for module in (recognition, epoch_loop, *([same_step] if is_there("stacked") else [])):
        monkeypatch.setattr(module, "first_edited", lambda functions: None)
    function, old, new, words = MIRRORED[name]
    # Larger, as Adam hardly feels a factor on the loss.
    edit(monkeypatch, function, old, new.replace(TINY, f"(1 + 2e-4 * ({LATE}))"))
    plain, fast = (lab.alone(*words, f"engine={engine}") for engine in ("plain", "fast"))
    assert difference(plain, fast) != ""
    if not is_there("stacked"):
        return
    members, reasons = lab.stacked(*words)
    assert reasons == {}
    assert difference(plain, members[0], 1e-7) != ""


@needs("stacked")
@pytest.mark.slow
def test_relu6_in_the_place_of_relu_on_the_command_line(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, project / name)
    shutil.copy(ROOT / "train.py", project)
    file = project / "src" / "mlplab" / "models" / "activations.py"
    file.write_text(file.read_text().replace('"relu": Activation(torch.relu', '"relu": Activation(functional.relu6'))
    words = [
        "-m", "seed=range(0,8)", "trainer.max_epochs=30", "callbacks.early_stopping.patience=100", "optimizer.lr=0.02",
        "model.dropout=0", "callbacks=minimal", "logger=none", "sweep.name=study",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    said = {}
    for word in ("engine=fast", "engine=plain", "hydra/launcher=stacked"):
        command = [sys.executable, "train.py", *words, word, f"paths.logs={tmp_path / word.partition('=')[2]}"]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
        said[word] = done.stdout
    assert "the activation relu6 has no kernel" in said["hydra/launcher=stacked"]
    for seed in range(8):
        job = Path("sweeps", "study", f"{seed}_seed-{seed}")
        fast, plain, stacked = (tmp_path / name / job for name in ("fast", "plain", "stacked"))
        assert difference(plain, fast) == ""
        assert difference(plain, stacked) == ""
