"""Both engines, chosen as a user chooses them, over all that the command line can combine: the same bits everywhere.

Compared are all tensors and numbers of last.ckpt and best.ckpt, history.jsonl, result.json and every curve of
TensorBoard. What the clock decides is left out.
"""

import random
from pathlib import Path
from typing import Any

import pytest
from both_engines import ENGINES, require_reasons, require_same_bits
from slow_cases import slow_but

from mlplab.engine.fused_step import FusedStep

QUICK = ["callbacks.figures=null", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "trainer.threads=1"]
SMALL = "model.hidden_dims=[9,9]"
BREAST_CANCER = ["data=breast_cancer", "data.batch_size=100", "loss=binary_cross_entropy"]

FUSED = {
    "as it is": ["data=digits", "trainer.limit_train_batches=10", "callbacks.histograms.every_n_epochs=1"],
    "penalties, dropout, cosine": [
        "data=wine", "model.activation=tanh", "model.dropout=0.3", "model.input_dropout=0.1", "optimizer=momentum",
        "regularization.l1=0.001", "regularization.l2=0.01", "scheduler=cosine",
    ],
    "single rows, clipping by norm": [
        "data=iris", "data.batch_size=1", "trainer.limit_train_batches=10", "optimizer=sgd", "optimizer.lr=0.05",
        "model.activation=leaky_relu", "trainer.gradient_clip_val=0.1",
    ],
    "two classes by one logit, decay, steps": [
        *BREAST_CANCER, "loss.label_smoothing=0.1", "optimizer=adamw", "model.activation=elu", "scheduler=step",
    ],
    "balanced classes, clipping by value": [
        *BREAST_CANCER, "loss.class_weights=balanced", "optimizer=rmsprop", "model.activation=selu",
        "trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value",
    ],
    "weighted classes, accumulation with a penalty": [
        "data=wine", "loss=cross_entropy", "loss.class_weights=[1,2,3]", "loss.label_smoothing=0.2",
        "optimizer=nesterov", "model.activation=gelu", "trainer.accumulate_grad_batches=3", "regularization.l1=0.01",
    ],
    "residual connections, one cycle": [
        "data=diabetes", SMALL, "model.residual=true", "model.dropout=0.2", "optimizer=adagrad", "scheduler=one_cycle",
        "model.activation=silu", "regularization.l2=0.1", "regularization.applies_to=[weight,bias]",
        "trainer.accumulate_grad_batches=2",
    ],
    "plateau, validation within an epoch": [
        "data=diabetes", "loss=huber", "loss.delta=0.5", "optimizer=nadam", "model.activation=mish",
        "scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.5", "trainer.val_check_interval=2",
    ],
    "the whole part": ["data=diabetes", "data.batch_size=full", "loss=mae", "optimizer=adamax",
                       "model.activation=softplus", "trainer.max_epochs=4"],
    "lbfgs": ["data=wine", "data.batch_size=full", "optimizer=lbfgs", "optimizer.max_iter=3", "model.dropout=0.2",
              "model.activation=sigmoid", "regularization.l2=0.01"],
    "a linear model": ["data=diabetes", "model.hidden_dims=[]", "model.input_dropout=0.2", "optimizer=radam",
                       "regularization.l1=0.1", "data.batch_size=77"],
    "warm-up, a ragged last batch of one row": ["data=iris", "data.batch_size=21", "optimizer=adadelta",
                                                "scheduler=warmup_cosine", "trainer.val_check_interval=0.5"],
    "weighted rows of balanced classes, accumulation": [
        "data=table", "data.target=colour", "data.drop=[shape]", "data.weight_column=count", "data.batch_size=20",
        "data.drop_missing_target=true", "loss=cross_entropy", "loss.class_weights=balanced",
        "loss.label_smoothing=0.1", "trainer.accumulate_grad_batches=2", "regularization.l2=0.01",
    ],
    "weighted rows, clipping": [
        "data=table", "data.target=price", "data.weight_column=count", "loss=mse", "trainer.gradient_clip_val=0.1",
    ],
    "several numbers": ["data=table", "data.target=[price,size]", "data.weight_column=count", "loss=huber"],
    "several labels": [
        "data=table", "data.target=[big,round]", "loss=binary_cross_entropy", "loss.label_smoothing=0.1",
    ],
    "a table with categories": ["data=table", "data.target=price", "optimizer=adamw", "data.batch_size=20"],
}  # fmt: skip

LEFT_TO_AUTOGRAD = {
    "MuonAdamW.step may change the network": [
        "data=wine", SMALL, "model.residual=true", "optimizer=muon", "model.activation=identity",
        "scheduler=exponential",
    ],
    "BatchNorm has no fused kernel": [
        "data=wine", SMALL, "model.normalization=batch", "model.residual=true", "model.dropout=0.2", "optimizer=adamw",
        "data.batch_size=41", "regularization.applies_to=[weight,normalization]", "regularization.l1=0.01",
    ],
    "LayerNorm has no fused kernel": [
        "data=diabetes", "model.normalization=layer", "trainer.gradient_clip_val=0.1", "optimizer=nadam",
        "trainer.accumulate_grad_batches=2",
    ],
    "embeddings have no fused kernel": [
        "data=table", "data.target=price", "data.one_hot_levels=2", "data.embedding_dim=3",
    ],
    "EmbeddedInputs has no fused step": [
        "data=table", "data.target=colour", "data.drop_missing_target=true", "model.numeric_embedding=piecewise",
        "model.bins=tree", "regularization.l1=0.01", "optimizer=adamw",
    ],
    "TabM has no fused step, only MLP has one": [
        "data=table", "data.target=[price,size]", "data.weight_column=count", "model=tabm", "model.k=3", SMALL,
        "model.numeric_embedding=periodic", "model.normalization=batch", "trainer.accumulate_grad_batches=2",
    ],
    "trainer.detect_anomaly=true looks for the anomaly in autograd": ["data=iris", "trainer.detect_anomaly=true"],
}  # fmt: skip


@pytest.fixture
def run_by_both(train_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    table = tmp_path / "table.csv"
    write_table(table)

    def run(*overrides: str) -> tuple[Any, int]:
        """Returns the run by the fast engine, and the number of its fused steps."""
        words = [*QUICK, *overrides]
        if "data=table" in words:
            words.append(f"data.path={table}")
        calls: list[int] = []
        call = FusedStep.__call__
        with monkeypatch.context() as patch:
            patch.setattr(FusedStep, "__call__", lambda *arguments: (calls.append(1), call(*arguments))[1])
            fast, plain = (train_run(*words, f"engine={engine}") for engine in ENGINES)
        require_same_bits(fast, plain)
        assert "fused step" not in (plain.directory / "train.log").read_text()
        return fast, len(calls)

    return run


def write_table(path: Path) -> None:
    generator = random.Random(0)
    lines = ["size,colour,shape,price,count,big,round"]
    for _ in range(150):
        size, colour, shape = generator.random(), generator.choice(["red", "green", ""]), generator.choice("abcdefg")
        price = 3 * size + len(colour) + generator.random()
        labels = f"{int(size > 0.4)},{size + generator.random() > 1}"
        lines.append(f"{size:.3f},{colour},{shape},{price:.3f},{generator.randrange(5)},{labels}")
    path.write_text("\n".join(lines) + "\n")


OFTEN = {
    "penalties, dropout, cosine", "two classes by one logit, decay, steps",
    "weighted classes, accumulation with a penalty", "residual connections, one cycle", "weighted rows, clipping",
    "MuonAdamW.step may change the network", "BatchNorm has no fused kernel", "EmbeddedInputs has no fused step",
}  # fmt: skip
"""Runs that have most of what the others have; the kernels of all are compared with autograd in test_fused_step."""


@pytest.mark.filterwarnings("ignore:.*in the last batch")
@pytest.mark.parametrize("name", slow_but(OFTEN, FUSED))
def test_the_fused_step_gives_the_bits_of_autograd(run_by_both: Any, name: str) -> None:
    run, n_fused = run_by_both(*FUSED[name])
    require_reasons(run)
    assert n_fused >= run.result["steps"]


@pytest.mark.parametrize("reason", slow_but(OFTEN, LEFT_TO_AUTOGRAD))
def test_what_has_no_fused_step_has_the_same_bits_too(run_by_both: Any, reason: str) -> None:
    run, n_fused = run_by_both(*LEFT_TO_AUTOGRAD[reason])
    require_reasons(run, reason)
    assert n_fused == 0


CLASSES = ["cross_entropy", "cross_entropy loss.label_smoothing=0.1", "cross_entropy loss.class_weights=balanced"]
CHOICES = {
    "data": {
        "digits trainer.limit_train_batches=5": CLASSES,
        "wine": CLASSES,
        "breast_cancer": [*CLASSES, *(words.replace("cross", "binary_cross") for words in CLASSES)],
        "diabetes": ["mse", "mae", "huber", "huber loss.delta=0.3"],
        "table data.target=price": ["mse", "mae", "huber"],
    },
    "data.batch_size": ["17", "64", "100", "full", "1 trainer.limit_train_batches=12"],
    "model.hidden_dims": ["[]", "[12]", "[12,12]", "[16,8,8]"],
    "model.activation": ["relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus",
                         "identity"],
    "model.normalization": ["none", "none", "none", "batch", "layer"],
    "model.residual": ["true", "false"],
    "model.dropout": ["0", "0.3"],
    "model.input_dropout": ["0", "0.2"],
    "optimizer": ["adam", "adam optimizer.amsgrad=true", "adamw", "sgd", "momentum", "nesterov", "rmsprop", "adagrad",
                  "adadelta", "adamax", "nadam", "radam", "muon", "lbfgs optimizer.max_iter=3"],
    "regularization.l1": ["0", "0.01"],
    "regularization.l2": ["0", "0.01"],
    "regularization.applies_to": ["[weight]", "[weight,bias]", "[normalization]"],
    "trainer.gradient_clip_val": ["null", "0.05", "0.01 trainer.gradient_clip_algorithm=value"],
    "trainer.accumulate_grad_batches": ["1", "1", "3"],
    "scheduler": ["none", "step", "plateau scheduler.patience=0", "cosine", "one_cycle", "exponential",
                  "warmup_cosine"],
    "trainer.val_check_interval": ["1.0", "0.5"],
}  # fmt: skip


def drawn(seed: int) -> dict[str, str]:
    """Draws one choice of everything, but for what is refused together."""
    generator = random.Random(seed)
    words: list[str] = []
    for key, choices in CHOICES.items():
        choice = generator.choice(list(choices))
        words += f"{key}={choice}".split()
        if key == "data":
            words += f"loss={generator.choice(CHOICES['data'][choice])}".split()  # type: ignore[call-overload]
    drawn = dict(word.split("=", 1) for word in words)  # what comes later is what counts
    if drawn["optimizer"] == "lbfgs":
        drawn |= {"trainer.accumulate_grad_batches": "1", "trainer.gradient_clip_val": "null"}
        drawn.pop("trainer.gradient_clip_algorithm", None)
    if drawn["data.batch_size"] == "1" and drawn["model.normalization"] == "batch":
        drawn["model.normalization"] = "layer"
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(150))
def test_whatever_is_combined_has_the_same_bits(run_by_both: Any, seed: int) -> None:
    run_by_both(*(f"{key}={value}" for key, value in drawn(seed).items()))
