"""Any edit of what the engine computes in the place of is heeded: what counts as one, and what training does then."""

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from both_engines import require_reasons, require_same_bits, run_both, skip_where_edited
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, Timer
from lightning.pytorch.loggers import CSVLogger
from parts import needs
from torch import nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, prune

from mlplab import building
from mlplab.callbacks import GradientNorms, TrainingCurves
from mlplab.engine import edited_functions
from mlplab.engine.edited_functions import fingerprint, first_edited, owner_and_name
from mlplab.engine.fingerprints import FINGERPRINTS
from mlplab.engine.kernels import ACTIVATION_KERNELS
from mlplab.engine.recognition import LOSSES, functions_of_step, functions_of_watchers, why_not_fused
from mlplab.learner import Learner
from mlplab.models import MLP
from mlplab.models.activations import ACTIVATIONS, Activation, identity
from mlplab.models.inputs import WithInputs
from mlplab.models.mlp import HiddenLayer
from mlplab.objectives.losses import cross_entropy
from mlplab.objectives.objective import Objective

SOURCE = '''
"""A module."""
import functools
import torch
from torch.nn import functional

LIMIT = 3.0


def helper(inputs):
    return inputs + 1


def decorator(function):
    return function


class Layer:
    def method(self, inputs):
        return inputs

    @staticmethod
    def beside(inputs):
        return inputs

    def forward(self, inputs, scale=2.0, *, shift=1.0):
        """Computes."""
        outputs = self.method(inputs) * scale + shift
        outputs = functional.dropout(outputs, 0.5)
        return helper(outputs) if len(outputs) > LIMIT else Layer.beside(torch.relu(outputs))
'''

UNCHANGED = {
    "a comment": ("        outputs = functional", "        # Drops some.\n        outputs = functional"),
    "a docstring": ('"""Computes."""', '"""Computes, in other words."""'),
    "no docstring": ('        """Computes."""\n', ""),
    "formatting": ("(inputs) * scale + shift", "(\n            inputs\n        ) * scale + (shift)"),
    "annotations": ("inputs, scale=2.0, *, shift=1.0):", "inputs: list, scale: float = 2.0, *, shift=1.0) -> None:"),
    "the annotation of a variable": ("outputs = self", "outputs: torch.Tensor = self"),
    "another function": ("def decorator(function):\n", "def decorator(function):\n    print(function)\n"),
}

CHANGED = {
    "a statement": ("        return helper(", "        outputs = -outputs\n        return helper("),
    "a statement less": ("        outputs = functional.dropout(outputs, 0.5)\n", ""),
    "a default": ("scale=2.0", "scale=2.5"),
    "a keyword's default": ("shift=1.0", "shift=None"),
    "an operator": ("* scale + shift", "* scale - shift"),
    "a constant": ("outputs, 0.5", "outputs, 0.6"),
    "a constant of the module": ("LIMIT = 3.0", "LIMIT = 4.0"),
    "another module of that name": ("from torch.nn import functional", "import other as functional"),
    "another function of that name": ("LIMIT = 3.0", "LIMIT = 3.0\nfrom other import helper as len"),
    "a function that is called": ("return inputs + 1", "return inputs + 2"),
    "a method that is called": (
        "def method(self, inputs):\n        return",
        "def method(self, inputs):\n        return -",
    ),
    "a static method that is called": ("def beside(inputs):\n        return", "def beside(inputs):\n        return -"),
    "a decorator": ("    def forward", "    @decorator\n    def forward"),
    "a wrapper": ("class Layer", "def wrapper(f):\n    return functools.wraps(f)(lambda *a: f(*a))\n\n\nclass Layer"),
}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Loads a source as the same module each time, from a file of its own."""
    other = ModuleType("other")
    exec("dropout = lambda *arguments: arguments\ndef helper(inputs): return 5", vars(other))
    monkeypatch.setitem(sys.modules, "other", other)

    def load(source: str = SOURCE) -> ModuleType:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "made.py").write_text(source)
        spec = importlib.util.spec_from_file_location("made", folder / "made.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", [*UNCHANGED, *CHANGED])
def test_a_fingerprint_changes_with_what_is_computed_and_with_nothing_else(load: Any, name: str) -> None:
    old, new = {**UNCHANGED, **CHANGED}[name]
    assert SOURCE.count(old) == 1
    source = SOURCE.replace(old, new)
    if name == "a wrapper":
        source = source.replace("    def forward", "    @wrapper\n    def forward")
    first, second = (fingerprint(load(text).Layer.forward) for text in (SOURCE, source))
    assert (first == second) == (name in UNCHANGED)


def test_a_function_whose_source_cannot_be_read_is_like_no_other(load: Any) -> None:
    namespace: dict[str, Any] = {"__name__": "made"}
    exec(SOURCE, namespace)
    assert fingerprint(namespace["Layer"].forward) != fingerprint(load().Layer.forward)


PATCHES: dict[str, Callable[[ModuleType, pytest.MonkeyPatch], None]] = {
    "a helper": lambda made, patch: patch.setattr(made, "helper", lambda inputs: inputs),
    "a method": lambda made, patch: patch.setattr(made.Layer, "method", lambda self, inputs: inputs),
    "a module's alias": lambda made, patch: patch.setattr(made, "functional", torch),
    "a function of a library": lambda made, patch: patch.setattr(functional, "dropout", lambda *a: a[0]),
    "the same, wrapped": lambda made, patch: patch.setattr(
        functional, "dropout", functools.wraps(functional.dropout)(lambda *a: a[0])
    ),
    "a built-in name": lambda made, patch: patch.setattr(made, "len", lambda inputs: 0, raising=False),
    "a constant": lambda made, patch: patch.setattr(made, "LIMIT", 30.0),
    "its defaults": lambda made, patch: patch.setattr(made.Layer.forward, "__defaults__", (3.0,)),
    "its code": lambda made, patch: patch.setattr(made.Layer.forward, "__code__", made.Layer.method.__code__),
    "a helper's code": lambda made, patch: patch.setattr(made.helper, "__code__", (lambda inputs: 7).__code__),
}


@pytest.mark.parametrize("name", PATCHES)
def test_what_is_replaced_after_the_first_look_is_seen(load: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    made = load()
    before = fingerprint(made.Layer.forward)
    with monkeypatch.context() as patch:
        PATCHES[name](made, patch)
        assert fingerprint(made.Layer.forward) != before
    assert fingerprint(made.Layer.forward) == before


@needs("stacked")  # without it there are more than are compared
def test_the_recorded_fingerprints_are_of_functions_that_are_there() -> None:
    from mlplab.stacked.same_step import mirrored_functions

    functions = {*mirrored_functions(), *functions_of_watchers()}
    recorded = {(owner, one.split(":")[0]) for owner, digests in FINGERPRINTS.items() for one in digests.split()}
    assert {*map(owner_and_name, functions), ("train", "main")} == recorded


def test_what_is_not_a_recorded_function_is_edited() -> None:
    def made(outputs: Any, targets: Any) -> Any:
        return outputs.mean()

    made.__module__, made.__qualname__ = cross_entropy.__module__, cross_entropy.__qualname__
    assert first_edited([made]) == "cross_entropy"
    assert first_edited([len]) == "len"
    skip_where_edited()
    assert first_edited([*functions_of_step(), *functions_of_watchers(), *LOSSES]) is None


class Foreign(Callback):
    """Has a hook in every step."""

    def on_train_batch_end(self, *arguments: Any) -> None:
        pass


class OfAnEpoch(Callback):
    """Has none."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass


class OtherObjective(Objective):
    """Is another class."""


class OtherLearner(Learner):
    """Is another class."""


class OtherMLP(MLP):
    """Is another class."""


class Scaled(nn.Module):
    """Comes before the network."""

    def forward(self, features: Any) -> Any:
        return 2 * features


def _share(learner: Any) -> None:
    learner.model.hidden[1].linear.weight = learner.model.hidden[0].linear.weight


def _penalise_another(learner: Any) -> None:
    learner.regularized = [nn.Parameter(torch.ones(3))]


def _without_bias(learner: Any) -> None:
    learner.model.output = nn.Linear(6, 3, bias=False)


def _as_plain_tensor(learner: Any) -> None:
    del learner.model.output.weight
    learner.model.output.weight = torch.zeros(3, 6)


SITUATIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "frozen": (lambda it: it.model.output.requires_grad_(False), "output.weight is frozen"),
    "frozen bias": (lambda it: it.model.hidden[0].linear.bias.requires_grad_(False), "hidden.0.linear.bias is frozen"),
    "forward hook": (lambda it: it.model.output.register_forward_hook(print), "a hook is registered on Linear"),
    "forward pre-hook": (lambda it: it.model.register_forward_pre_hook(print), "a hook is registered on MLP"),
    "backward hook": (lambda it: it.objective.register_full_backward_hook(print), "a hook is registered on Objective"),
    "backward pre-hook": (
        lambda it: it.model.hidden.register_full_backward_pre_hook(print), "a hook is registered on Sequential",
    ),
    "parameter": (lambda it: it.model.output.bias.register_hook(print), "a hook is registered on output.bias"),
    "after accumulation": (
        lambda it: it.model.output.bias.register_post_accumulate_grad_hook(print),
        "a hook is registered on output.bias",
    ),
    "replaced forward": (lambda it: setattr(it.model, "forward", print), "MLP.forward was replaced"),
    "evaluation": (lambda it: it.model.hidden[1].eval(), "HiddenLayer is in evaluation mode"),
    "compiled": (lambda it: it.model.compile(backend="eager"), "the network is compiled"),
    "shared": (_share, "two layers share a parameter"),
    "penalty": (_penalise_another, "a penalty applies to a parameter outside the network"),
    "no bias": (_without_bias, "a layer's weighted sums are not those of nn.Linear with a bias"),
    "a tensor": (_as_plain_tensor, "a layer's weights are not an nn.Parameter"),
    "parametrised": (
        lambda it: parametrizations.weight_norm(it.model.output),
        "a layer's weighted sums are not those of nn.Linear with a bias",
    ),
    "pruned": (lambda it: prune.l1_unstructured(it.model.output, "weight", 0.5), "a layer's weights are not an nn.Par"),
    "activation": (lambda it: setattr(it.model.hidden[0], "activation", abs), "the activation abs has no kernel"),
    "unhashable": (
        lambda it: setattr(it.model.hidden[0], "activation", type("A", (), {"__hash__": None, "__name__": "mine"})()),
        "the activation mine has no kernel",
    ),
    "a layer": (lambda it: it.model.hidden.append(nn.Tanh()), "Tanh is not a layer of MLP"),
    "a list of layers": (
        lambda it: setattr(it.model, "hidden", nn.ModuleList(it.model.hidden)), "MLP.hidden is not an nn.Sequential",
    ),
    "normalisation": (
        lambda it: setattr(it.model.hidden[0], "normalization", nn.LayerNorm(6)), "LayerNorm has no fused kernel",
    ),
    "network": (
        lambda it: setattr(it, "model", nn.Linear(13, 3)), "Linear has no fused step, only MLP has one",
    ),
    "subclass": (
        lambda it: setattr(it, "model", OtherMLP(in_features=13, out_features=3)),
        "OtherMLP has no fused step, only MLP has one",
    ),
    "inputs": (lambda it: setattr(it, "model", WithInputs(Scaled(), it.model)), "Scaled has no fused step"),
    "objective": (
        lambda it: setattr(it, "objective", OtherObjective(cross_entropy)),
        "OtherObjective is not the project's own Objective",
    ),
    "loss": (
        lambda it: setattr(it.objective, "function", functional.cross_entropy),
        "the loss cross_entropy is not the project's own",
    ),
    "step": (lambda it: setattr(it, "training_step", it.training_step), "Learner.training_step was replaced"),
    "part of the step": (
        lambda it: setattr(it, "mean_over_processes", print), "Learner.mean_over_processes was replaced",
    ),
    "hook": (lambda it: setattr(it, "on_after_backward", print), "Learner.on_after_backward may change the network"),
    "another learner": (lambda it: setattr(it, "__class__", OtherLearner), "OtherLearner is not the project's own"),
}  # fmt: skip


@pytest.fixture
def parts(make_config: Any, tmp_path: Path) -> Callable[..., tuple[pl.Trainer, Learner]]:
    """A Trainer and a Learner, as a run has them before it is fitted."""

    def make(*callbacks: Callback, overrides: tuple[str, ...] = ()) -> tuple[pl.Trainer, Learner]:
        skip_where_edited()
        config = make_config("data=wine", "model.hidden_dims=[13,6]", *overrides, f"paths.run={tmp_path}")
        data = building.build_data(config)
        data.setup()
        learner = building.build_learner(config, data)
        everybody = [*building.build_callbacks(config), *callbacks]
        loggers = [CSVLogger(tmp_path)] if any(isinstance(one, LearningRateMonitor) for one in callbacks) else []
        return building.build_trainer(config, everybody, loggers, data, learner), learner

    return make


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method")
@pytest.mark.parametrize("name", SITUATIONS)
def test_whatever_autograd_would_heed_is_left_to_it(parts: Any, name: str) -> None:
    change, reason = SITUATIONS[name]
    overrides = ("model.hidden_dims=[6,6]", "data=iris") if name == "shared" else ()
    trainer, learner = parts(overrides=overrides)
    if name == "shared":
        learner.model.hidden = nn.Sequential(*list(learner.model.hidden)[1:], learner.model.hidden[1])
        change = lambda it: None  # noqa: E731
    assert why_not_fused(trainer, learner) is None or name == "shared"
    change(learner)
    assert (why_not_fused(trainer, learner) or "").startswith(reason)


EDITS: dict[str, tuple[Callable[[pytest.MonkeyPatch], Any], str]] = {
    "Learner.training_step": (
        lambda patch: patch.setattr(Learner, "training_step", lambda self, batch, batch_idx: None), "was edited",
    ),
    "what it calls": (
        lambda patch: patch.setattr(Learner, "mean_over_processes", lambda self, loss, n_rows: 2 * loss),
        "Learner.training_step was edited",
    ),
    "the penalty that it calls": (
        lambda patch: patch.setattr("mlplab.learner.l1_l2_penalty", lambda weights, l1, l2: torch.ones(())),
        "Learner.training_step was edited",
    ),
    "a hook": (
        lambda patch: patch.setattr(Learner, "on_before_zero_grad", lambda self, optimizer: None),
        "Learner.on_before_zero_grad may change the network within the step",
    ),
    "MLP.forward": (
        lambda patch: patch.setattr(MLP, "forward", lambda self, features: features), "was edited",
    ),
    "HiddenLayer.forward": (
        lambda patch: patch.setattr(HiddenLayer, "forward", functools.wraps(HiddenLayer.forward)(lambda *a: a[1])),
        "HiddenLayer.forward was edited",
    ),
    "HiddenLayer.__call__": (
        lambda patch: patch.setattr(HiddenLayer, "__call__", lambda self, inputs: self.forward(2 * inputs)),
        "HiddenLayer.__call__ was replaced",
    ),
    "Objective.forward": (
        lambda patch: patch.setattr(Objective, "forward", lambda self, outputs, targets: outputs.mean()), "was edited",
    ),
    "the code of the loss": (
        lambda patch: patch.setattr(cross_entropy, "__code__", _half_cross_entropy.__code__),
        "cross_entropy was edited",
    ),
    "the code of an activation": (
        lambda patch: patch.setattr(identity, "__code__", (lambda inputs: 2 * inputs).__code__), "identity was edited",
    ),
    "PyTorch's linear layer": (
        lambda patch: patch.setattr(nn.Linear, "forward", lambda self, inputs: inputs), "Linear.forward was replaced",
    ),
    "PyTorch's sequence": (
        lambda patch: patch.setattr(nn.Sequential, "forward", lambda self, inputs: inputs),
        "Sequential.forward was replaced",
    ),
    "a callback of the project": (
        lambda patch: patch.setattr(TrainingCurves, "on_train_batch_end", lambda self, *arguments: None), "was edited",
    ),
    "the device": (
        lambda patch: patch.setattr(
            pl.strategies.SingleDeviceStrategy, "root_device", property(lambda self: torch.device("meta"))
        ),
        "the fused step needs the CPU",
    ),
}  # fmt: skip


def _half_cross_entropy(outputs: Any, targets: Any, *, class_weights: Any = None, label_smoothing: float = 0.0) -> Any:
    return functional.cross_entropy(outputs, targets) / 2


@pytest.mark.parametrize("name", EDITS)
def test_whatever_is_edited_is_left_to_autograd(parts: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, reason = EDITS[name]
    trainer, learner = parts(overrides=("model.activation=identity",))
    assert why_not_fused(trainer, learner) is None
    with monkeypatch.context() as patch:
        change(patch)
        assert reason in str(why_not_fused(trainer, learner))
    assert why_not_fused(trainer, learner) is None


def test_another_function_under_the_name_of_an_activation_is_left_to_autograd(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "relu", Activation(functional.relu6, 2**0.5))
    assert why_not_fused(*parts()) == "the activation relu6 has no kernel"


@pytest.fixture
def _global_hook() -> Iterator[None]:
    handle = register_module_forward_hook(lambda *arguments: None)
    yield
    handle.remove()


@pytest.mark.usefixtures("_global_hook")
def test_a_hook_on_all_modules_is_heard(parts: Any) -> None:
    assert why_not_fused(*parts()) == "hooks are registered for all modules"


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_the_search_for_an_anomaly_is_autograds(parts: Any) -> None:
    with torch.autograd.set_detect_anomaly(True):
        assert "detect_anomaly" in str(why_not_fused(*parts()))


@pytest.mark.parametrize("make", [lambda: LearningRateMonitor("step"), Timer, OfAnEpoch])
def test_who_is_known_to_watch_alone_may_be_there(parts: Any, make: Any) -> None:
    assert why_not_fused(*parts(make())) is None


def test_who_may_change_the_network_in_a_step_may_not(parts: Any) -> None:
    assert why_not_fused(*parts(Foreign())) == "Foreign.on_train_batch_end may change the network between two steps"
    monitor, own = Timer(), OfAnEpoch()
    for callback in (monitor, own):
        callback.on_train_batch_start = print  # type: ignore[method-assign,assignment]
        assert "may change the network" in str(why_not_fused(*parts(callback)))
    trainer, learner = parts()
    (curves,) = (callback for callback in trainer.callbacks if isinstance(callback, TrainingCurves))
    curves.on_train_batch_end = print  # type: ignore[method-assign]
    assert "may change the network" in str(why_not_fused(trainer, learner))
    derived = type("GradientNorms", (GradientNorms,), {})()
    at_safe_points = type("Foreign", (Callback,), {"on_safe_point": lambda *arguments: None})()
    for callback in (derived, at_safe_points):
        assert "may change the network" in str(why_not_fused(*parts(callback)))


def test_the_kernel_of_a_function_does_not_go_by_its_name() -> None:
    assert functional.relu6 not in ACTIVATION_KERNELS
    assert functional.relu not in ACTIVATION_KERNELS


class Changes(Callback):
    """Changes what is learned from a hook that is not one of a step."""

    def __init__(self, hook: str, *changes: tuple[int, Callable[[Any], None]]) -> None:
        self._changes = dict(changes)
        self._calls = 0
        setattr(self, hook, self._change)

    def _change(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._changes.get(self._calls, lambda learner: None)(pl_module)
        self._calls += 1


def _freeze(learner: Any) -> None:
    learner.model.hidden[0].linear.requires_grad_(False)


def _thaw(learner: Any) -> None:
    learner.model.hidden[0].linear.requires_grad_(True)


def _replace(learner: Any) -> None:
    torch.manual_seed(5)
    learner.model.hidden[1].linear = nn.Linear(13, 6)


def _watch(learner: Any) -> None:
    learner.model.hidden[0].register_forward_hook(lambda module, inputs, outputs: 2 * outputs)


def _without_penalty(learner: Any) -> None:
    learner.l1 = 0.0


def _with_a_copy(learner: Any) -> None:
    learner.average = MLP(**learner.model.architecture).requires_grad_(False)


def _halve_the_loss(learner: Any) -> None:
    learner.objective.function = _half_cross_entropy


L1 = ["regularization.l1=0.01"]
TRICKS: dict[str, tuple[tuple[Any, ...], list[str], list[str]]] = {
    "frozen, and thawed two epochs later": (
        ("on_train_epoch_start", (1, _freeze), (3, _thaw)), [], ["hidden.0.linear.weight is frozen"],
    ),
    "a layer with a penalty replaced between epochs": (
        ("on_train_epoch_end", (0, _replace)), L1, ["a penalty applies to a parameter outside the network"],
    ),
    "a forward hook from within an epoch": (
        ("on_validation_end", (2, _watch)), [], ["a hook is registered on HiddenLayer"],
    ),
    "another loss from within an epoch": (
        ("on_validation_end", (2, _halve_the_loss)), [], ["the loss _half_cross_entropy is not the project's own"],
    ),
    "a penalty that ends": (("on_train_epoch_start", (1, _without_penalty)), L1, []),
    "a frozen copy of the network in the learner": (("on_fit_start", (0, _with_a_copy)), [], []),
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_what_a_callback_changes_is_what_is_learned(train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    changes, overrides, reasons = TRICKS[name]
    words = ["data=wine", "model.hidden_dims=[13,6]", "trainer.val_check_interval=2", "trainer.max_epochs=5"]
    words += ["callbacks.figures=null", "logger=none", "optimizer.lr=0.01", *overrides]
    (_, fast), (_, plain) = run_both(train_run, monkeypatch, lambda: Changes(*changes), *words)
    require_same_bits(fast, plain)
    require_reasons(fast, *reasons)


@needs("stacked")
def test_the_name_of_the_package_is_no_part_of_a_fingerprint() -> None:
    from mlplab.stacked.same_step import mirrored_functions

    descriptions: dict[Any, str] = {}
    for function in (*mirrored_functions(), *functions_of_watchers()):
        edited_functions._describe(function, descriptions, [])
    assert not [text for text in descriptions.values() if edited_functions.PACKAGE in text]
    # Other words that begin alike are.
    assert edited_functions._from_package(f"{edited_functions.PACKAGE}.models.mlp") == ".models.mlp"
    assert edited_functions._from_package(f"{edited_functions.PACKAGE}.seed") == f"{edited_functions.PACKAGE}.seed"
    assert edited_functions._from_package("torch.nn") == "torch.nn"
