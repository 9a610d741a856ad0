"""Every callback that Lightning exports: it does here what it does there, or is refused in one line.

A run that was stopped within an epoch and goes on must end as one that was not, to the last bit.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as theirs
import pytest
import torch
from comparing import curves, difference
from lightning.pytorch.callbacks import BaseFinetuning, Callback
from slow_cases import slow
from stopping import StopAt

from mlplab import training
from mlplab.cli.resume import resumed_config
from mlplab.errors import Diverged, RunStopped, UserError
from mlplab.inference.evaluating import evaluate
from mlplab.inference.trained import load_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:When using the `ThroughputMonitor`"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

SMALL = ["data=wine", "trainer.max_epochs=4", "callbacks.figures=null", "callbacks.histograms=null"]
"""Four steps an epoch."""

LIGHTNINGS = "lightning.pytorch.callbacks."

WORKING = {
    "Callback": "",
    "Checkpoint": "",
    "DeviceStatsMonitor": "",
    "EMAWeightAveraging": "decay: 0.5",
    "EarlyStopping": "monitor: val/accuracy, mode: max, patience: 2",
    "GradientAccumulationScheduler": "scheduling: {0: 1, 1: 2, 3: 1}",
    "LambdaCallback": "",
    "LearningRateMonitor": "",
    "ModelCheckpoint": "monitor: val/loss, dirpath: '${paths.run}/mine', save_last: true",
    "ModelPruning": "pruning_fn: l1_unstructured, amount: 0.2",
    "ModelSummary": "",
    "ProgressBar": "",
    "RichModelSummary": "",
    "RichProgressBar": "",
    "SpikeDetection": "",
    "StochasticWeightAveraging": "swa_lrs: 0.01, swa_epoch_start: 2, annealing_epochs: 2",
    "TQDMProgressBar": "",
    "ThroughputMonitor": "batch_size_fn: {_target_: hydra.utils.get_method, path: builtins.len}",
    "Timer": "duration: {hours: 1}",
    "WeightAveraging": "",
}
FOUND_BEFORE = {"BatchSizeFinder", "LearningRateFinder"}
"""Callbacks that search before the run, see tests/test_finders.py."""

REFUSED = {
    "BackboneFinetuning": "",
    "BaseFinetuning": "",
    "BasePredictionWriter": "",
    "OnExceptionCheckpoint": "dirpath: /nowhere",
}
WITH_STATE = {
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "ModelPruning",
    "StochasticWeightAveraging",
}
TELLING_TIME = {"DeviceStatsMonitor", "ModelCheckpoint", "ThroughputMonitor", "Timer"}
"""Callbacks whose own state or curves hold times, paths or the load of the machine."""


def words(name: str, options: str | None = None) -> list[str]:
    options = {**WORKING, **REFUSED}[name] if options is None else options
    node = ", ".join(filter(None, [f"_target_: {LIGHTNINGS}{name}", options]))
    found = [*SMALL, f"+callbacks.theirs={{{node}}}"]
    return [*found, "callbacks.progress=null"] if name.endswith("ProgressBar") else found


@pytest.fixture(params=["fast", *slow("plain")])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SMALL", [*SMALL, f"engine={request.param}"])


def best_weights(directory: Path) -> dict[str, torch.Tensor]:
    state = torch.load(directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("model.")}


def test_all_that_lightning_exports_are_here() -> None:
    assert {*WORKING, *REFUSED, *FOUND_BEFORE} == set(theirs.__all__)


def test_those_without_a_state_run_together(train_run: Any) -> None:
    nodes = {
        name: ", ".join(filter(None, [f"_target_: {LIGHTNINGS}{name}", options]))
        for name, options in WORKING.items()
        if name not in WITH_STATE and not name.endswith("ProgressBar") and "Averaging" not in name
    }
    run = train_run(*SMALL, *(f"+callbacks.{name}={{{node}}}" for name, node in nodes.items()))
    assert len(nodes) > 8
    assert (run.result["epochs"], run.result["steps"], run.result["ended"]) == (4, 16, "epoch limit")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in {*WITH_STATE, "SpikeDetection"} else pytest.mark.slow) for name in WORKING],
)
def test_it_runs_to_the_end_and_goes_on_from_a_stop_to_the_same_end(train_run: Any, go_on: Any, name: str) -> None:
    run = train_run(*words(name))
    n_steps = 12 if name == "GradientAccumulationScheduler" else 16
    assert (run.result["epochs"], run.result["steps"], run.result["ended"]) == (4, n_steps, "epoch limit")
    assert (run.status["state"], run.status["epoch"], run.status["step"]) == ("finished", 4, n_steps)
    evaluated = evaluate(load_run(run.directory)).metrics
    assert {f"test/{key}": value for key, value in evaluated.items()} == pytest.approx(run.result["test"], rel=1e-5)
    if name == "SpikeDetection":
        with pytest.raises(UserError, match="callbacks of a resumed run must have all their state in checkpoints"):
            go_on(*words(name))
    elif name in TELLING_TIME:
        assert (run.directory / "result.json").read_text() == (go_on(*words(name)) / "result.json").read_text()
    elif name in WITH_STATE:
        assert difference(run.directory, go_on(*words(name))) == ""
        assert len(curves(run.directory)["val/loss"]) == 4  # one point for each epoch


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_the_run_begins(train_run: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        train_run(*words(name), directory=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (words("RichProgressBar")[:-1], "there are ProgressLine and RichProgressBar; try ~callbacks.progress"),
        *(
            ([*words(name), "logger=none"], f"{name} must have a logger, got logger=none; try logger=csv")
            for name in ("LearningRateMonitor",)
        ),
        ([*words("ModelCheckpoint", ""), "logger=none"], "ModelCheckpoint must have a dirpath of its own"),
        *(
            (
                [*words("ModelPruning", options), f"+callbacks.average={{_target_: {LIGHTNINGS}{averaging}}}"],
                f"ModelPruning splits and reorders them; try ModelPruning or {averaging.split(',')[0]} alone",
            )
            for averaging, options in (
                ("WeightAveraging", WORKING["ModelPruning"]),
                ("StochasticWeightAveraging, swa_lrs: 0.01", f"{WORKING['ModelPruning']}, parameter_names: [weight]"),
            )
        ),
    ],
)
def test_what_cannot_work_beside_the_rest_is_refused(train_run: Any, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        train_run(*overrides)
    assert message in str(caught.value)


def test_averaging_that_measures_batch_normalisation_anew_does_not_go_on(go_on: Any, train_run: Any) -> None:
    overrides = [*words("StochasticWeightAveraging"), "model.normalization=batch"]
    assert train_run(*overrides).result["epochs"] == 5  # the last one measures
    with pytest.raises(UserError, match="with batch normalisation does not; try a new run"):
        go_on(*overrides)
    go_on(*words("WeightAveraging"), "model.normalization=batch")  # which the message names


class Unfreezing(BaseFinetuning):
    """Trains the hidden layers from the third epoch on."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.model.hidden)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.model.hidden, optimizer, train_bn=False)


@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("stops", [(5,), pytest.param((8, 10), marks=pytest.mark.slow)], ids=["frozen", "trained"])
@pytest.mark.parametrize("part", ["mine", "backbone"])
def test_what_is_unfrozen_later_is_so_in_a_run_that_goes_on(
    train_run: Any, go_on: Any, part: str, stops: tuple[int, ...]
) -> None:
    module = [f"+callbacks.theirs={{_target_: {Unfreezing.__module__}.Unfreezing}}", "model.normalization=batch"]
    if part == "backbone":
        unfreezing = f"{{_target_: {LIGHTNINGS}BackboneFinetuning, unfreeze_backbone_at_epoch: 2}}"
        module = ["+module._target_=own_parts.WithBackbone", f"+callbacks.theirs={unfreezing}"]
    run = train_run(*SMALL, *module)
    steps = [torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]]
    n_updates = sorted(int(state["step"]) for state in steps[0]["state"].values())
    assert n_updates[0] == 8, n_updates[-1] == 16  # two epochs, and four
    assert difference(run.directory, go_on(*SMALL, *module, stops=stops)) == ""


class Swap(Callback):
    """Validates other weights than those that are trained, as one's own averaging might."""

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.trained = {name: value.clone() for name, value in pl_module.state_dict().items()}
        pl_module.load_state_dict({name: value / 2 for name, value in self.trained.items()})

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.load_state_dict(self.trained)


@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("name", ["EMAWeightAveraging", "Swap", *slow("WeightAveraging")])
def test_the_best_checkpoint_holds_the_weights_that_were_validated(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    build = training.build_callbacks
    if name == "Swap":
        monkeypatch.setattr(training, "build_callbacks", lambda config: [Swap(), *build(config)])
    run = train_run(*(SMALL if name == "Swap" else words(name)))
    evaluated = evaluate(load_run(run.directory), part="val").metrics
    found = {f"val/{key}": value for key, value in evaluated.items()}
    assert found == pytest.approx(run.result["validation"], rel=1e-5)
    last = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    trained = last.get("current_model_state", last["state_dict"])
    assert not any(torch.equal(trained[key], value) for key, value in best_weights(run.directory).items())


class Replace(Callback):
    """Puts other weights into the network when training ends, as Lightning's StochasticWeightAveraging does."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.load_state_dict(self.weights)


@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("factor", [1, 0], ids=["better than all before", "worse"])
def test_weights_that_come_at_the_end_of_training_are_validated_once_more(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    longer = train_run(*SMALL, "logger=none", "trainer.max_epochs=8")
    weights = {name: factor * value for name, value in best_weights(longer.directory).items()}
    build = training.build_callbacks
    monkeypatch.setattr(training, "build_callbacks", lambda config: [Replace(weights), *build(config)])
    replaced = train_run(*SMALL, "logger=none")
    last = torch.load(replaced.directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert replaced.objective == (longer.objective if factor else last["resume"]["best"]["score"])
    assert replaced.result["test"] == (longer.result["test"] if factor else pytest.approx(replaced.result["test"]))
    assert replaced.result["best_step"] == 16
    assert any(value.any() for value in best_weights(replaced.directory).values())
    # A run that goes on does so from the weights that it has learned.
    assert not torch.equal(last["state_dict"]["model.output.weight"], weights["model.output.weight"])


def test_a_schedule_ends_with_a_run_that_accumulates_by_epochs(train_run: Any) -> None:
    run = train_run(*words("GradientAccumulationScheduler"), "scheduler=cosine", "scheduler.min_lr=0.0001")
    last = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["lr_schedulers"][0]["T_max"] == run.result["steps"] == 12
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.0001)


LINEAR = "swa_lrs: 0.01, annealing_epochs: 4, annealing_strategy: linear"

CHANGING_WEIGHTS = [
    ("EMAWeightAveraging", "decay: 0.5"),
    ("EMAWeightAveraging", "decay: 0.5, update_starting_at_step: 40"),
    ("EMAWeightAveraging", "decay: 0.5, update_starting_at_epoch: 1, update_every_n_steps: 1000"),
    ("WeightAveraging", ""),
    ("WeightAveraging", "use_buffers: false"),
    *(("StochasticWeightAveraging", f"{LINEAR}, swa_epoch_start: {start}") for start in (1, 3, 8, 9, 12)),
    ("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2"),
    ("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2, make_pruning_permanent: false"),
    ("ModelPruning", "pruning_fn: random_unstructured, amount: 0.2, prune_on_train_epoch_end: false"),
    ("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2, parameter_names: [weight]"),
    ("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2, use_lottery_ticket_hypothesis: false"),
    ("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2, resample_parameters: true"),
    ("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2, use_global_unstructured: false"),
]
"""Callbacks that put other weights into the network than the optimizer has made, with options."""


@pytest.mark.parametrize("name", ["ModelPruning", *slow("EMAWeightAveraging", "GradientAccumulationScheduler")])
def test_a_finished_run_with_more_epochs_ends_like_one_that_was_given_them_at_once(
    train_run: Any, make_config: Any, name: str
) -> None:
    straight = train_run(*words(name)).directory
    longer = train_run(*words(name), "trainer.max_epochs=2").directory
    training.train(make_config(*words(name), f"paths.run={longer}"), resume=True)
    assert difference(longer, straight) == ""


@pytest.mark.slow
@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("stops", [(), (13,), (29, 47)], ids=["finished", "killed before", "killed before and after"])
@pytest.mark.parametrize(("name", "options"), CHANGING_WEIGHTS)
def test_a_run_of_8_epochs_with_8_more_ends_like_one_of_16(
    train_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    root: Path,
    name: str,
    options: str,
    stops: tuple[int, ...],
    normalization: str,
) -> None:
    if (name, normalization) == ("StochasticWeightAveraging", "batch"):
        pytest.skip("refused: it measures the statistics anew in an epoch of its own")
    overrides = [*words(name, options), "callbacks.early_stopping=null", f"model.normalization={normalization}"]
    straight = train_run(*overrides, "trainer.max_epochs=16").directory
    longer, build = tmp_path / "longer", training.build_callbacks
    for count, step in enumerate((*stops, None)):
        with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
            if step is not None:
                patch.setattr(training, "build_callbacks", lambda c, s=step: [*build(c), StopAt(s)])
                stack.enter_context(pytest.raises(RunStopped))
            if count == 0:
                train_run(*overrides, "trainer.max_epochs=8", directory=longer)
            else:
                training.train(
                    resumed_config([f"resume={longer}", "trainer.max_epochs=16"], root / "conf"), resume=True
                )
    if not stops:
        training.train(resumed_config([f"resume={longer}", "trainer.max_epochs=16"], root / "conf"), resume=True)
    assert difference(longer, straight) == ""


@pytest.mark.parametrize("name", ["StochasticWeightAveraging", *slow("EMAWeightAveraging")])
def test_a_run_that_died_after_its_last_step_ends_like_one_that_did_not(
    train_run: Any, make_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    straight = train_run(*words(name)).directory
    died, evaluate_best = tmp_path / "died", training.evaluate_best
    monkeypatch.setattr(training, "evaluate_best", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_run(*words(name), directory=died)
    monkeypatch.setattr(training, "evaluate_best", evaluate_best)
    training.train(make_config(*words(name), f"paths.run={died}"), resume=True)
    assert difference(died, straight) == ""


@pytest.mark.parametrize("option", ["make_pruning_permanent: false", "prune_on_train_epoch_end: false"])
def test_the_best_weights_of_a_pruned_network_have_their_own_names(train_run: Any, option: str) -> None:
    run = train_run(*words("ModelPruning", f"{WORKING['ModelPruning']}, {option}"))
    best = best_weights(run.directory)
    assert not any(name.endswith(("_orig", "_mask")) for name in best)
    assert (best["model.hidden.0.linear.weight"] == 0).float().mean() > 0.15
    evaluated = evaluate(load_run(run.directory), part="val").metrics
    assert evaluated["loss"] == pytest.approx(run.objective, rel=1e-5)


class Diverge(Callback):
    """Gives up at a step."""

    def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == 10:
            raise Diverged("diverged: as planned; try a smaller optimizer.lr")


def test_a_pruned_network_that_diverges_is_judged_by_its_best_weights(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build = training.build_callbacks
    monkeypatch.setattr(training, "build_callbacks", lambda config: [Diverge(), *build(config)])
    with pytest.raises(Diverged):
        train_run(*words("ModelPruning"), directory=tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test"]
    assert evaluate(load_run(tmp_path / "run")).metrics["loss"] == pytest.approx(result["test"]["test/loss"], rel=1e-5)


class Scripted(Callback):
    """Logs a value for each epoch, whatever is learned."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("val/scripted", self.values[trainer.current_epoch])


@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("stops", [(), (14, 18)], ids=["straight", "goes on"])
@pytest.mark.parametrize(
    ("values", "epochs", "ended"),
    [
        # no improvement: the stop of the third epoch is heard
        pytest.param((2, 3, 3, 3, 3, 3, 3, 3), 5, "converged", marks=pytest.mark.slow),
        ((2, 3, 3, 3, 1, 1, 1, 1), 7, "converged"),  # improved in the last of min_epochs, and then no more
        pytest.param((2, 3, 3, 1, 2, 0, 0, 0), 8, "converged", marks=pytest.mark.slow),  # improved twice
        ((2, 3, 3, 1, 0, -1, -2, -3), 8, "epoch limit"),
    ],
)
def test_a_stop_before_min_epochs_is_withdrawn_by_an_improvement(
    go_on: Any, stops: tuple[int, ...], values: tuple[float, ...], epochs: int, ended: str
) -> None:
    stopping = "callbacks.early_stopping."
    overrides = [*SMALL, "logger=none", f"{stopping}monitor=val/scripted", f"{stopping}patience=2"]
    overrides += ["trainer.min_epochs=5", "trainer.max_epochs=8"]
    directory = go_on(*overrides, stops=stops, callbacks=(Scripted(*values),))
    result = json.loads((directory / "result.json").read_text())
    assert (result["epochs"], result["steps"], result["ended"]) == (epochs, 4 * epochs, ended)
