"""What each callback and each flag of Lightning's Trainer does in a run, and the page that lists it.

    python tests/compatibility.py        runs every case, and writes docs/compatibility.md

A case that works has a check of its effect; one that is refused, the words of its refusal. Neither is written by hand:
a case whose check fails ends the command.
"""

import contextlib
import inspect
import io
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import lightning.pytorch.callbacks as theirs
import torch
from comparing import curves, history
from lightning import __version__
from lightning.pytorch.callbacks import BaseFinetuning, Callback
from stopping import StopAt

import mlplab
from mlplab import training
from mlplab.cli.script import EXIT_REFUSED
from mlplab.errors import RunStopped, UserError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "compatibility.md"
LIGHTNINGS = "lightning.pytorch.callbacks."

SMALL = ["data=wine", "trainer.max_epochs=4", "callbacks.figures=null", "callbacks.histograms=null"]
"""Four steps an epoch."""


class Seen(Callback):
    """Notes what cannot be read from the files of a run."""

    facts: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        Seen.facts = {"loaders": [], "sanity checks": 0}

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        Seen.facts["sanity checks"] += 1

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        Seen.facts["loaders"].append(trainer.train_dataloader)
        Seen.facts["anomaly"] = torch.is_anomaly_enabled()
        Seen.facts["deterministic"] = torch.are_deterministic_algorithms_enabled()
        Seen.facts["benchmark"] = torch.backends.cudnn.benchmark
        Seen.facts["bar"] = type(trainer.progress_bar_callback).__name__
        Seen.facts["device"] = pl_module.device.type

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        Seen.facts["inference"] = torch.is_inference_mode_enabled()


class Unfreeze(BaseFinetuning):
    """Trains the hidden layers from the third epoch on."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.model.hidden)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.model.hidden, optimizer)


def note_start(trainer: Any, pl_module: Any) -> None:
    """Is the function of a LambdaCallback."""
    Seen.facts["lambda"] = True


class Ran:
    """A run of a case, with what it has left."""

    def __init__(self, directory: Path, output: str) -> None:
        self.directory, self.output, self.facts = directory, output, dict(Seen.facts)

    @cached_property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return found

    @cached_property
    def curves(self) -> dict[str, Any]:
        return curves(self.directory)

    @property
    def validations(self) -> list[Any]:
        return [line for line in history(self.directory) if "val/loss" in line]

    @cached_property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = torch.load(self.directory / "checkpoints" / "last.ckpt", weights_only=True)
        return found

    @property
    def weights(self) -> list[torch.Tensor]:
        return list(self.last["state_dict"].values())

    def is_as(self, other: "Ran") -> bool:
        """Returns whether weights and results are those of another run, to the last bit."""
        same = all(torch.equal(a, b) for a, b in zip(self.weights, other.weights, strict=True))
        return same and self.result == other.result


@dataclass(frozen=True)
class Case:
    """One use of a callback or a flag.

    Attributes:
        name: of the callback or the flag.
        words: of the command line, beside `SMALL`.
        does: its effect, as the page tells it; None where it is refused.
        shows: whether a run has the effect; the second run is one without these words.
        in_a_process: whether it needs a process of its own.
    """

    name: str
    words: tuple[str, ...]
    does: str | None = None
    shows: Callable[[Ran, Ran], Any] = lambda run, plain: False
    in_a_process: bool = False


def of(name: str, options: str = "", does: str | None = None, shows: Any = None, *more: str) -> Case:
    """Returns the case of a callback."""
    node = ", ".join(filter(None, [f"_target_: {LIGHTNINGS}{name}", options]))
    return Case(name, (f"+callbacks.theirs={{{node}}}", *more), does, shows)


def flag(words: str, does: str | None = None, shows: Any = None, in_a_process: bool = False) -> Case:
    """Returns the case of a flag, which is the first of the words."""
    name = words.split()[0].lstrip("+").removeprefix("trainer").lstrip(".").partition("=")[0]
    return Case(name or "accelerator", tuple(words.split()), does, shows, in_a_process)


def _is_pruned(run: Ran, plain: Ran) -> bool:
    weight = run.last["state_dict"]["model.hidden.0.linear.weight"]
    return bool((weight == 0).float().mean() > 0.15)


CALLBACKS = [
    Case(
        "BackboneFinetuning",
        (
            "+module._target_=own_parts.WithBackbone",
            f"+callbacks.theirs={{_target_: {LIGHTNINGS}BackboneFinetuning, unfreeze_backbone_at_epoch: 2}}",
        ),
        "freezes `backbone` of a LightningModule of your own, and trains it from an epoch on",
        lambda run, plain: len(run.last["optimizer_states"][0]["param_groups"]) == 2,
    ),
    of("BackboneFinetuning"),
    Case(
        "BaseFinetuning",
        ("+callbacks.theirs={_target_: compatibility.Unfreeze}",),
        "a subclass freezes and unfreezes parts of `pl_module.model`",
        lambda run, plain: len(run.last["optimizer_states"][0]["param_groups"]) == 2,
    ),
    of("BaseFinetuning"),
    of("BasePredictionWriter"),
    of(
        "BatchSizeFinder",
        "max_trials: 3",
        "sets `data.batch_size` before the run begins, which is the run of that size",
        lambda run, plain: run.result["found"] == {"data.batch_size": 8} and run.result["steps"] == 64,
    ),
    replace(of("BatchSizeFinder", "", None, None, "data.batch_size=16"), in_a_process=True),
    Case(
        "Callback",
        ("+callbacks.theirs={_target_: compatibility.Seen}",),
        "hooks of a subclass are called where Lightning calls them",
        lambda run, plain: len(run.facts["loaders"]) == 4,
    ),
    of("Checkpoint", "", "has no hook of its own; subclasses are called last", lambda run, plain: run.is_as(plain)),
    of(
        "DeviceStatsMonitor",
        "cpu_stats: true",
        "logs load and memory",
        lambda run, plain: any("cpu_percent" in tag for tag in run.curves),
    ),
    of("DeviceStatsMonitor", "", None, None, "logger=none"),
    of(
        "EMAWeightAveraging",
        "decay: 0.5",
        "validates, keeps and tests the average; `callbacks/averaging=ema` warms it up",
        lambda run, plain: "current_model_state" in run.last and run.result["test"] != plain.result["test"],
    ),
    of(
        "EarlyStopping",
        "monitor: val/accuracy, mode: max, patience: 1, min_delta: 0.5",
        "stops the run, beside the project's own",
        lambda run, plain: run.result["ended"] == "converged" and run.result["epochs"] < 30,
        "trainer.max_epochs=30",
    ),
    of(
        "GradientAccumulationScheduler",
        "scheduling: {0: 1, 1: 2, 3: 1}",
        "accumulates by its epochs, which schedules count",
        lambda run, plain: run.result["steps"] == 12,
    ),
    of(
        "LambdaCallback",
        "on_fit_start: {_target_: hydra.utils.get_method, path: compatibility.note_start}",
        "calls functions by their names",
        lambda run, plain: run.facts.pop("lambda"),
    ),
    of(
        "LearningRateFinder",
        "min_lr: 0.0001, num_training_steps: 30",
        "sets `optimizer.lr` (or `module.lr`) before the run begins, which is the run of that rate",
        lambda run, plain: (
            0.0001 < run.result["found"]["optimizer.lr"] == run.last["optimizer_states"][0]["param_groups"][0]["lr"]
        ),
    ),
    replace(of("LearningRateFinder", "", None, None, "optimizer.lr=0.1"), in_a_process=True),
    of(
        "LearningRateMonitor",
        "",
        "logs the rate of each group",
        lambda run, plain: any(tag.startswith("lr-") for tag in run.curves),
    ),
    of("LearningRateMonitor", "", None, None, "logger=none"),
    of(
        "ModelCheckpoint",
        'monitor: val/loss, dirpath: "${paths.run}/mine", save_last: true',
        "writes checkpoints of its own beside those of the run",
        lambda run, plain: (run.directory / "mine" / "last.ckpt").is_file(),
    ),
    of("ModelCheckpoint", "", None, None, "logger=none"),
    of(
        "ModelPruning",
        "pruning_fn: l1_unstructured, amount: 0.2",
        "sets weights to 0; checkpoints hold plain weights",
        _is_pruned,
    ),
    of("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2", None, None, "callbacks/averaging=ema"),
    of(
        "ModelSummary",
        "",
        "lists the parts of the module",
        lambda run, plain: "Trainable params" in (run.directory / "train.log").read_text(),
    ),
    of("OnExceptionCheckpoint", "dirpath: mine"),
    of("ProgressBar", "", "has no hook of its own", lambda run, plain: run.is_as(plain), "callbacks.progress=null"),
    of("ProgressBar"),
    of("RichModelSummary", "", "lists the parts of the module", lambda run, plain: "Trainable params" in run.output),
    of(
        "RichProgressBar",
        "",
        "takes the place of the project's line",
        lambda run, plain: "Epoch 3/3" in run.output,
        "callbacks.progress=null",
    ),
    of(
        "SpikeDetection",
        "warmup: 1",
        "ends the run as failed where the loss jumps, as in Lightning; here it does not",
        lambda run, plain: run.is_as(plain),
    ),
    of(
        "StochasticWeightAveraging",
        "swa_lrs: 0.01, swa_epoch_start: 2, annealing_epochs: 2",
        "averages at the end; the average is tested where it is better. `callbacks/averaging=swa` validates it too",
        lambda run, plain: run.result["test"] != plain.result["test"],
    ),
    of(
        "ThroughputMonitor",
        "batch_size_fn: {_target_: hydra.utils.get_method, path: builtins.len}, window_size: 2",
        "logs batches and samples in a second",
        lambda run, plain: any("per_sec" in tag for tag in run.curves),
    ),
    of(
        "ThroughputMonitor",
        "batch_size_fn: {_target_: hydra.utils.get_method, path: builtins.len}",
        None,
        None,
        "logger=none",
    ),
    of(
        "Timer",
        "duration: {seconds: 0}",
        "ends the run, which a longer `trainer.max_time` lets go on",
        lambda run, plain: run.result["ended"] == "time limit",
    ),
    of(
        "TQDMProgressBar",
        "",
        "takes the place of the project's line",
        lambda run, plain: "Epoch 3:" in run.output,
        "callbacks.progress=null",
    ),
    of("TQDMProgressBar"),
    of(
        "WeightAveraging",
        "",
        "validates, keeps and tests the average of all steps",
        lambda run, plain: "current_model_state" in run.last and run.result["test"] != plain.result["test"],
    ),
]

SEEN = " +callbacks.seen._target_=compatibility.Seen"
STOPS_EARLY = " callbacks.early_stopping.patience=1 callbacks.early_stopping.min_delta=9"

FLAGS = [
    flag("trainer.accelerator=cpu" + SEEN, "trains on the CPU", lambda run, plain: run.facts["device"] == "cpu"),
    flag("trainer=gpu"),
    flag("trainer=mps"),
    flag("trainer.accelerator=tpu"),
    flag(
        "trainer.strategy=ddp trainer.devices=2 trainer.accelerator=cpu",
        "several processes share every batch, and follow the path of one to float tolerance",
        lambda run, plain: abs(run.result["objective"] - plain.result["objective"]) < 1e-4,
        in_a_process=True,
    ),
    flag("trainer.strategy=ddp_spawn"),
    flag("trainer.strategy=fsdp"),
    flag("trainer.strategy=deepspeed_stage_2"),
    flag(
        "trainer.devices=2 trainer.accelerator=cpu",
        "starts processes on one machine, as `trainer=ddp` does",
        lambda run, plain: abs(run.result["objective"] - plain.result["objective"]) < 1e-4,
        in_a_process=True,
    ),
    flag("+trainer.num_nodes=2"),
    flag(
        "trainer.precision=64-true",
        "computes in this precision",
        lambda run, plain: run.weights[0].dtype == torch.float64,
    ),
    flag(
        "trainer.precision=bf16-mixed",
        "computes in this precision",
        lambda run, plain: run.result["validation"] != plain.result["validation"],
    ),
    flag("trainer.precision=16-mixed"),
    flag("trainer.precision=transformer-engine"),
    flag("+trainer.logger=true"),
    flag("+trainer.callbacks=[]"),
    flag(
        "trainer.fast_dev_run=2",
        "makes so many steps, or one",
        lambda run, plain: (run.result["steps"], run.result["epochs"]) == (2, 1),
    ),
    flag("trainer.max_epochs=2", "ends the run", lambda run, plain: run.result["epochs"] == 2),
    flag(
        "trainer.min_epochs=3" + STOPS_EARLY,
        "keeps early stopping from ending the run before",
        lambda run, plain: (run.result["epochs"], run.result["ended"]) == (3, "converged"),
    ),
    flag(
        "trainer.max_steps=6",
        "ends the run, also within an epoch",
        lambda run, plain: (run.result["steps"], run.result["ended"]) == (6, "step limit"),
    ),
    flag(
        "trainer.min_steps=12" + STOPS_EARLY,
        "keeps early stopping from ending the run before",
        lambda run, plain: (run.result["steps"], run.result["ended"]) == (12, "converged"),
    ),
    flag(
        "trainer.max_time=00:00:00:00",
        "ends the run; a resumed one goes on to a later limit",
        lambda run, plain: run.result["ended"] == "time limit",
    ),
    flag(
        "trainer.limit_train_batches=0.5",
        "makes epochs of this share, or number, of batches",
        lambda run, plain: run.result["steps"] == 8,
    ),
    flag(
        "trainer.limit_val_batches=0",
        "a share or a number of batches; with 0 the run has no validation",
        lambda run, plain: not run.validations,
    ),
    flag(
        "trainer.limit_test_batches=0",
        "a share or a number of batches; with 0 the run has no test",
        lambda run, plain: not run.result["test"],
    ),
    flag("+trainer.limit_predict_batches=1"),
    flag(
        "trainer.overfit_batches=2",
        "trains on the same batches in every epoch",
        lambda run, plain: run.result["steps"] == 8,
    ),
    flag("trainer.overfit_batches=0.5"),
    flag(
        "trainer.val_check_interval=2",
        "validates within the epoch, after a share or a number of batches",
        lambda run, plain: [line["step"] for line in run.validations] == [*range(2, 17, 2)],
    ),
    flag("trainer.val_check_interval=9"),
    flag(
        "trainer.check_val_every_n_epoch=2",
        "validates less often",
        lambda run, plain: [line["epoch"] for line in run.validations] == [2, 4],
    ),
    flag(
        "trainer.num_sanity_val_steps=1" + SEEN,
        "validates before the first step, which changes nothing",
        lambda run, plain: run.facts["sanity checks"] == 1 and run.is_as(plain),
    ),
    flag(
        "trainer.log_every_n_steps=1",
        "logs the loss of so many steps",
        lambda run, plain: len(run.curves["train/loss_step"]) == 16 > len(plain.curves["train/loss_step"]),
    ),
    flag("+trainer.enable_checkpointing=false"),
    flag(
        "+trainer.enable_progress_bar=false" + SEEN,
        "removes the progress line",
        lambda run, plain: run.facts["bar"] == "NoneType",
    ),
    flag("+trainer.enable_model_summary=true"),
    flag(
        "trainer.accumulate_grad_batches=2",
        "makes an update of several batches",
        lambda run, plain: run.result["steps"] == 8,
    ),
    flag(
        "trainer.gradient_clip_val=0.1",
        "limits the norm of the gradient, and with `gradient_clip_algorithm=value` each of its values",
        lambda run, plain: not run.is_as(plain),
    ),
    flag(
        "trainer.gradient_clip_algorithm=value trainer.gradient_clip_val=0.1",
        "limits each value of the gradient",
        lambda run, plain: not run.is_as(plain),
    ),
    flag("trainer.gradient_clip_algorithm=value"),
    flag(
        "trainer.deterministic=false" + SEEN,
        "lets PyTorch take algorithms whose sums have no order",
        lambda run, plain: run.facts["deterministic"] is False,
    ),
    flag(
        "+trainer.benchmark=true trainer.deterministic=false" + SEEN,
        "lets cuDNN try its algorithms",
        lambda run, plain: run.facts["benchmark"] is True,
    ),
    flag("+trainer.benchmark=true"),
    flag(
        "+trainer.inference_mode=false" + SEEN,
        "validates under `no_grad` instead",
        lambda run, plain: run.facts["inference"] is False,
    ),
    flag("+trainer.use_distributed_sampler=false"),
    *(
        flag(
            f"trainer.profiler={name}",
            "writes profile/ in the run's directory",
            lambda run, plain: any((run.directory / "profile").iterdir()),
        )
        for name in ("simple", "advanced", "pytorch")
    ),
    flag("trainer.profiler=xla"),
    flag(
        "trainer.detect_anomaly=true" + SEEN,
        "lets autograd look for NaN, and names the operation",
        lambda run, plain: run.facts["anomaly"] is True,
    ),
    flag("+trainer.barebones=true"),
    flag("+trainer.plugins=[]"),
    flag("+trainer.sync_batchnorm=true"),
    flag(
        "+trainer.reload_dataloaders_every_n_epochs=2" + SEEN,
        "asks the data module for its loader again",
        lambda run, plain: len(set(map(id, run.facts["loaders"]))) == 2 and run.is_as(plain),
    ),
    flag("+trainer.default_root_dir=mine"),
    flag(
        "+trainer.enable_autolog_hparams=false",
        "leaves hyper-parameters out of the loggers",
        lambda run, plain: (
            any("hparams" in tag for tag in plain.curves) and not any("hparams" in tag for tag in run.curves)
        ),
    ),
    flag("+trainer.model_registry=mine"),
]


@dataclass(frozen=True)
class Outcome:
    """What a case did.

    Attributes:
        case: that was run.
        refusal: the words of its refusal; None where it works.
        resumes: how a callback's run goes on that was stopped within an epoch.
    """

    case: Case
    refusal: str | None = None
    resumes: str = ""


class Refused(Exception):
    """A run that was refused, in one line."""


class Recorder:
    """Runs cases, each in a directory of its own within a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self._plain: dict[tuple[str, ...], Ran] = {}

    def outcome(self, case: Case) -> Outcome:
        """Runs a case.

        Raises:
            AssertionError: it works and has not its effect, or an engine or a resumed run gives other bits.
        """
        told = f"{case.name} ({' '.join(case.words)})"
        try:
            run = self._run(*case.words, in_a_process=case.in_a_process)
        except Refused as refusal:
            if case.does is not None or "\n" in str(refusal):
                raise AssertionError(f"{told}: refused: {refusal}") from None
            return Outcome(case, re.sub(r"\S+(?=/checkpoints)", "…", str(refusal)))
        assert case.does is not None, f"{told}: works, and was to be refused"
        assert case.shows(run, self._without(case)), f"{told}: no effect"
        if case not in CALLBACKS:
            return Outcome(case)
        plain = self._run("engine=plain", *case.words)
        assert case.name == "Timer" or run.is_as(plain), f"{told}: other bits by engine=plain"
        if run.result["steps"] < 6:
            return Outcome(case)
        try:
            resumed = self._run(*case.words, stops=(5, -1))
        except Refused as refusal:
            return Outcome(case, None, f"refused: {refusal}")
        assert resumed.is_as(run), f"{told}: other bits after a stop"
        return Outcome(case, None, "to the same bits")

    def _without(self, case: Case) -> Ran:
        """Returns the run without what the case is about; many cases share it."""
        words = tuple(
            word for word in case.words if word.startswith((*SEEN.split(), "+module", "trainer.max_epochs=30"))
        )
        if words not in self._plain:
            self._plain[words] = self._run(*words)
        return self._plain[words]

    def _run(self, *words: str, in_a_process: bool = False, stops: Sequence[int] = (-1,)) -> Ran:
        """Runs, and goes on after each of some stops; -1 is none."""
        self.count += 1
        directory, output = self.folder / str(self.count), io.StringIO()
        words = (*SMALL, *words, f"paths.run={directory}")
        if in_a_process:
            command = [sys.executable, str(ROOT / "train.py"), *words, f"hydra.run.dir={directory}"]
            done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False)
            if done.returncode == EXIT_REFUSED:
                raise Refused(done.stderr.strip().removeprefix("train.py: "))
            assert done.returncode == 0, done.stderr
            return Ran(directory, done.stdout + done.stderr)
        build = training.build_callbacks
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            for count, step in enumerate(stops):
                training.build_callbacks = lambda config, step=step: [*build(config), StopAt(step)]  # type: ignore[misc]
                try:
                    training.train(mlplab.compose(words), resume=count > 0)
                except RunStopped:
                    assert step >= 0
                except UserError as refusal:
                    raise Refused(str(refusal)) from None
                finally:
                    training.build_callbacks = build
        return Ran(directory, output.getvalue())


def outcomes(cases: Sequence[Case], folder: Path) -> list[Outcome]:
    """Runs the cases."""
    recorder = Recorder(folder)
    return [recorder.outcome(case) for case in cases]


def page(callbacks: Sequence[Outcome], flags: Sequence[Outcome]) -> str:
    """Returns the text of docs/compatibility.md."""
    return f"""# Lightning's callbacks and flags

Every callback and every flag of Lightning {__version__}: what it does in a run, or the words by which it is refused.
`python tests/compatibility.py` runs each of these commands on a small run, checks its effect, and writes this page; a
test compares them. `own_parts` and `compatibility` are files of tests/.

## Callbacks

`'+callbacks.NAME={{_target_: …}}'` adds a callback, and a file of conf/callbacks makes it a choice. Each was run by
both engines, with the same weights and metrics to the last bit. *Resumes* says how a run goes on that was stopped
within an epoch.

| callback | `python train.py …` | here | resumes |
|---|---|---|---|
{_rows(callbacks, with_resumes=True)}

A finder searches before the run begins, with data, a network and a Trainer of its own. What it finds is printed and
stands as `found` in manifest.json and result.json. A report has it in runs.csv. The run that follows is the one that is
given this value. A resumed run takes it from its manifest. LearningRateFinder takes the steepest slope over the rate,
which noise gives to tiny rates: `min_lr: 0.0001` leaves them out.

## Flags of the Trainer

Flags that conf/trainer/auto.yaml does not list are added with a `+`.

| flag | `python train.py …` | here |
|---|---|---|
{_rows(flags)}
"""


def _rows(found: Sequence[Outcome], *, with_resumes: bool = False) -> str:
    lines = []
    for one in found:
        words = [word for word in one.case.words if word not in SEEN.split()]
        here = one.case.does if one.refusal is None else f"refused: {_shown(one.refusal)}"
        cells = [f"`{one.case.name}`", f"`{shlex.join(words)}`", str(here), *([_shown(one.resumes)] * with_resumes)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(text: str) -> str:
    # Markdown takes these for marks of its own.
    return re.sub(r"([|*<])", r"\\\1", text)


def names() -> tuple[list[str], list[str]]:
    """Returns the callbacks and the flags of the Lightning that is installed."""
    return list(theirs.__all__), list(inspect.signature(pl.Trainer).parameters)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(outcomes(CALLBACKS, Path(folder) / "a"), outcomes(FLAGS, Path(folder) / "b")))
    print(f"wrote   {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    # By the name under which runs import the callbacks that are defined here.
    import compatibility

    compatibility.main()
