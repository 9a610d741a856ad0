"""Mistakes in what people add of their own: one message that says where, before the run begins."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf.errors import MissingMandatoryValue
from slow_cases import slow
from torch import nn

from mlplab.building import build_callbacks, build_data, build_loggers
from mlplab.data import bundled
from mlplab.data.dataset import Dataset
from mlplab.errors import UserError
from mlplab.models import TabM
from mlplab.models.bins import quantile_edges, tree_edges
from mlplab.runs.checkpoint import load_predictor

QUICK = ["trainer.max_epochs=1", "callbacks=minimal", "logger=none"]


class Own(nn.Module):
    """A network whose outputs are what a test makes of them."""

    answer: Callable[[torch.Tensor, int], Any]

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.layer, self.width = nn.Linear(in_features, out_features), out_features

    def forward(self, features: torch.Tensor) -> Any:
        return type(self).answer(self.layer(features), self.width)


@pytest.fixture
def own_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[str]]:
    import mlplab.models

    def make(answer: Any) -> list[str]:
        own = type("Own", (Own,), {"answer": staticmethod(answer)})
        monkeypatch.setattr(mlplab.models, "Own", own, raising=False)
        return [*QUICK, "~model", "+model={_target_:mlplab.models.Own}"]

    return make


@pytest.fixture
def own_data(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[str]]:
    def make(source: Any) -> list[str]:
        monkeypatch.setattr(bundled, "own", source, raising=False)
        return [*QUICK, "~data", "+data={_target_:mlplab.data.bundled.own,batch_size:8,validation_fraction:0.2,"
                "test_fraction:0.2,split_seed:0}"]  # fmt: skip

    return make


def broken_source() -> Dataset:
    raise FileNotFoundError("no such file: missing.csv")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (broken_source, r"without an error, but FileNotFoundError: .*missing.csv \(test_building.py, line \d+\)"),
        (lambda: None, "must return a Dataset of data/dataset.py, but .* returned NoneType"),
        (lambda: Dataset("d", np.full((9, 2), np.nan), np.arange(9.0)), "every feature must be a finite number"),
        (lambda: Dataset("d", np.zeros((9, 2)), np.array(["a"] * 9)), "targets must be a NumPy array of numbers"),
        (lambda: Dataset("d", np.zeros((9, 2)), np.zeros(9)), "the target must vary"),
    ],
)
def test_a_source_with_a_mistake_is_told_with_its_reason(
    train_run: Any, own_data: Any, tmp_path: Any, source: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_run(*own_data(source))
    assert list((tmp_path / "run_0").iterdir()) == []


def test_a_task_that_is_not_that_of_the_data_is_refused(train_run: Any) -> None:
    with pytest.raises(UserError, match=r"data\.task must fit the data: classification, got regression"):
        train_run(*QUICK, "data.task=regression")


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        (lambda outputs, width: None, "gave NoneType"),
        (lambda outputs, width: (outputs,), "gave tuple"),
        (lambda outputs, width: outputs[:, :-1], r"gave \(64, 9\)"),
        (lambda outputs, width: outputs.sum(1), r"gave \(64,\)"),
    ],
)
def test_outputs_of_another_shape_are_refused(
    train_run: Any, own_model: Any, tmp_path: Any, answer: Any, given: str
) -> None:
    with pytest.raises(UserError, match=given):
        train_run(*own_model(answer))
    assert list((tmp_path / "run_0").iterdir()) == []


def test_a_model_that_cannot_be_built_is_told_with_its_reason(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlplab.models

    def broken(in_features: int, out_features: int) -> nn.Module:
        raise RuntimeError("planted")

    monkeypatch.setattr(mlplab.models, "broken", broken, raising=False)
    with pytest.raises(UserError, match=r"RuntimeError: planted \(test_building.py, line \d+\)"):
        train_run(*QUICK, "~model", "+model={_target_:mlplab.models.broken}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer=nesterov", "optimizer.momentum=0"], "SGD must be given options that it takes, but Nesterov"),
        (["optimizer.betas=[0,0]"], "Adam must be given options that it takes"),
        (["trainer.val_check_interval=41"], "must not exceed the 40 batches of an epoch"),
        (["trainer.precision=16-true"], "float16 precision must run on a GPU"),
        (["scheduler.name=step"], "scheduler=step must be given step_size"),
        (["data.name=foo"], "data.name must be one of"),
    ],
)
def test_what_can_only_be_known_with_the_parts_is_refused_before_the_run(
    train_run: Any, tmp_path: Any, overrides: list[str], message: str
) -> None:
    if torch.cuda.is_available() and "precision" in overrides[0]:
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=message):
        train_run(*QUICK, *overrides)
    assert list((tmp_path / "run_0").iterdir()) == []


def test_plateau_waits_for_the_epochs_that_are_validated(train_run: Any) -> None:
    run = train_run("callbacks=minimal", "logger=none", "scheduler=plateau", "trainer.check_val_every_n_epoch=3",
                    "trainer.max_epochs=4")  # fmt: skip
    assert run.status["state"] == "finished"


def test_a_folder_with_other_files_is_not_taken_for_a_run(train_run: Any, tmp_path: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files"):
        train_run(*QUICK, directory=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_log_that_hydra_has_opened_is_no_run_and_one_with_lines_is(train_run: Any, tmp_path: Any) -> None:
    (tmp_path / "mine").mkdir()
    log = tmp_path / "mine" / "train.log"
    log.touch()
    assert train_run(*QUICK, directory=tmp_path / "mine").status["state"] == "finished"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.log").write_text("somebody's\n")
    with pytest.raises(UserError, match="holds other files"):
        train_run(*QUICK, directory=tmp_path / "other")


def test_an_option_of_the_optimizer_that_is_left_open_is_not_taken_for_its_default(train_run: Any) -> None:
    with pytest.raises(MissingMandatoryValue, match=r"optimizer\.lr"):
        train_run("optimizer.lr=???")


def test_gradients_are_clipped_in_mixed_precision(train_run: Any) -> None:
    assert train_run(*QUICK, "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.1").result["epochs"] == 1


def test_what_is_no_callback_is_refused_before_anything_is_written(train_run: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        train_run("+callbacks.x={_target_:os.getcwd}", directory=tmp_path / "run")
    assert (refusal.value.requirement, refusal.value.actual) == (
        "callbacks.x must build a Callback",
        "os.getcwd built str",
    )
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_two_callbacks_that_a_checkpoint_cannot_tell_apart_are_refused(train_run: Any) -> None:
    second = "+callbacks.second={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss}"
    with pytest.raises(UserError, match=r"callbacks must differ .* there are two of EarlyStopping"):
        train_run("data=wine", second)


def write_table(path: Path, n_rows: int = 120) -> list[str]:
    values = np.random.default_rng(0).normal(size=n_rows)
    rows = [
        # Every seventh value is missing.
        f"{value if row % 7 else ''},{row % 3},{'abc'[row % 3]},{'small' if value < 0 else 'large'}"
        for row, value in enumerate(values.round(4))
    ]
    path.write_text("\n".join(["value,steps,letter,size", *rows]) + "\n")
    return [*QUICK, "data=table", f"data.path={path}", "data.target=size"]


@pytest.mark.parametrize("bins", ["quantile", *slow("tree")])
def test_bins_come_from_the_training_part_and_are_stored_with_the_weights(
    tmp_path: Path, train_run: Any, make_config: Any, bins: str
) -> None:
    words = [*write_table(tmp_path / "table.csv"), "model.numeric_embedding=piecewise", f"model.bins={bins}"]
    config = make_config(*words, "model.n_bins=6", f"paths.run={tmp_path / 'other'}")
    data = build_data(config)
    data.setup()
    features, targets = data.part("train")
    assert data.preprocessor.n_numeric(data.task.n_features) == 2  # the indicator of missing values is none
    if bins == "quantile":
        edges = quantile_edges(features[:, :2], 6)
    else:
        edges = tree_edges(features[:, :2], targets, 6, are_classes=True)
    run = train_run(*words, "model.n_bins=6")
    predictor = load_predictor(run.directory / "checkpoints" / "best.ckpt")
    stored: Any = predictor.model.inputs.embedding  # type: ignore[union-attr]
    for column, of_column in enumerate(edges):
        n_bins = len(of_column) - 1
        assert torch.equal(stored.left[column, :n_bins], of_column[:-1])
        assert not stored.highest[column, n_bins:].any()


def test_numeric_embeddings_are_refused_where_no_column_is_numeric(tmp_path: Path, train_run: Any) -> None:
    words = [*write_table(tmp_path / "table.csv"), "data.drop=[value,steps]", "model.numeric_embedding=periodic"]
    with pytest.raises(UserError, match="must have a numeric column, but all columns are categorical"):
        train_run(*words)


def test_numeric_embeddings_are_for_any_network(train_run: Any, own_model: Any) -> None:
    words = own_model(lambda outputs, width: outputs)
    words[-1] = words[-1].replace("}", ",numeric_embedding:linear,d_embedding:3}")
    run = train_run(*words)
    card = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["card"]
    assert card["model"]["numeric_embedding"] == {"name": "linear", "n_columns": 64, "d_embedding": 3}
    with pytest.raises(UserError, match=r"model\.n_bins must be given with model\.numeric_embedding=piecewise"):
        train_run(*words[:-1], words[-1].replace("d_embedding", "n_bins"))


ENSEMBLE = ["model.k=3", "model.hidden_dims=[8,8]", "model.dropout=0", *QUICK]


@pytest.mark.parametrize(
    ("overrides", "scaling"),
    [
        (["data=diabetes", "model=tabm", "regularization.l2=0.01", "model.residual=true"], "random_signs"),
        *slow(
            (["data=breast_cancer", "loss=binary_cross_entropy", "model=tabm_mini"], "random_signs"),
            (["data=wine", "model=tabm", "optimizer=muon", "model.numeric_embedding=periodic"], "normal"),
        ),
    ],
)
def test_an_ensemble_is_rebuilt_from_its_card(train_run: Any, overrides: list[str], scaling: str) -> None:
    run = train_run(*ENSEMBLE, *overrides)
    network = load_predictor(run.directory / "checkpoints" / "last.ckpt").model
    network = network if isinstance(network, TabM) else network.network  # type: ignore[assignment]
    assert isinstance(network, TabM)
    assert network.architecture["scaling_initialization"] == scaling


def test_an_ensemble_is_trained_by_its_members_losses_and_validated_by_their_mean_prediction(
    train_run: Any, make_config: Any
) -> None:
    words = [*ENSEMBLE, "data=wine", "model=tabm_mini", "logger=csv", "data.batch_size=full", "optimizer.lr=1e-30"]
    run = train_run(*words)
    predictor = load_predictor(run.directory / "checkpoints" / "last.ckpt")
    data = build_data(make_config(*words))
    data.setup()
    assert isinstance(predictor.model, TabM)
    features, targets = data.part("val")
    of_members = predictor.model.train()(features).softmax(2)
    mean = -of_members.mean(1).gather(1, targets[:, None]).log().mean()
    assert run.result["validation"]["val/loss"] == pytest.approx(mean.item(), rel=1e-5)
    features, targets = data.part("train")
    losses = -predictor.model(features).log_softmax(2).gather(2, targets[:, None, None].expand(-1, 3, 1))
    history = [json.loads(line) for line in (run.directory / "history.jsonl").read_text().splitlines()]
    (trained,) = [line["train/loss"] for line in history if "train/loss" in line]
    assert trained == pytest.approx(losses.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+logger.tensorboard.every_second=3"], "try logger.tensorboard.every_seconds=3"),
        (["logger.tensorboard.every_seconds=abc"], "logger.tensorboard.every_seconds must be a number"),
        (["+logger.x={_target_:lightning.pytorch.loggers.CSVLogger,save_dri:x}"], "try logger.x.save_dir=x"),
        (["+logger.x={_target_:lightning.pytorch.loggers.CSVLoger}"], "logger.x must be built by"),
    ],
)
def test_options_of_loggers_are_checked_against_their_signature(
    make_config: Any, words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_loggers(make_config("paths.run=/nowhere", *words))


def test_a_secret_of_a_logger_is_not_shown(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "unsaid")
    words = ["+logger.x={_target_:lightning.pytorch.loggers.CSVLogger,save_dir:x,tokn:'${oc.env:TOKEN}'}"]
    with pytest.raises(UserError, match=r"logger\.x\.tokn=null") as told:
        build_loggers(make_config("paths.run=/nowhere", *words))
    assert "unsaid" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+callbacks.early_stopping.patiense=3"], "try callbacks.early_stopping.patience=3"),
        (["+callbacks.mine={_target_:lightning.pytorch.callbacks.Timer,duratoin:1}"], "try callbacks.mine.duration=1"),
        (["callbacks.early_stopping.mode=mni"], "callbacks.early_stopping must be built by"),
    ],
)
def test_options_of_callbacks_are_checked_against_their_signature(
    make_config: Any, words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_callbacks(make_config("paths.run=/nowhere", *words))
