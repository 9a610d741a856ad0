"""The table of choices, and what of it TensorBoard's HParams tab is given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from mlplab.loggers.hyperparameters import COMPARED, hyperparameters, log_configuration, log_final_metrics
from mlplab.loggers.tensorboard import CalmTensorBoardLogger
from mlplab.objectives.options import SCORES

MakeConfig = Callable[..., DictConfig]

RESULT: dict[str, Any] = {
    "steps": 120,
    "validation": {"val/loss": 0.25, "val/accuracy": 0.75},
    "test": {"test/loss": 0.5, "test/accuracy": 0.625},
}


def events(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    return accumulator


def plugin_data(accumulator: EventAccumulator, name: str) -> Any:
    metadata = accumulator.SummaryMetadata(f"_hparams_/session_{name}")
    assert metadata.plugin_data.plugin_name == "hparams"
    return getattr(HParamsPluginData.FromString(metadata.plugin_data.content), f"session_{name}")


# --- the table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], {"seed": 0, "data": "digits", "model": "MLP", "optimizer": "Adam", "scheduler": "none", "loss": "auto",
              "optimizer.betas": "[0.9, 0.999]", "optimizer.amsgrad": False}),
        (["optimizer=momentum", "optimizer.lr=0.25", "scheduler=cosine", "seed=7"],
         {"optimizer": "SGD", "optimizer.lr": 0.25, "optimizer.momentum": 0.9, "scheduler": "cosine",
          "scheduler.min_lr": 0.0, "seed": 7}),
        (["optimizer=lbfgs", "data=diabetes", "loss=huber", "data.batch_size=full", "model.hidden_dims=[]"],
         {"optimizer": "LBFGS", "optimizer.max_eval": "None", "data": "diabetes", "loss": "huber", "loss.delta": 1.0,
          "data.batch_size": "full", "model.hidden_dims": "[]"}),
        (["data=spirals", "model.hidden_dims=[32,16]", "model.residual=true", "regularization.l2=0.01",
          "trainer.gradient_clip_val=1.0"],
         {"data": "spirals", "data.n_samples": 2000, "data.noise": 0.02, "model.hidden_dims": "[32, 16]",
          "model.residual": True, "regularization.l2": 0.01, "regularization.applies_to": "['weight']",
          "trainer.gradient_clip_val": 1.0}),
    ],
)  # fmt: skip
def test_the_table_holds_what_was_chosen(
    make_config: MakeConfig, overrides: list[str], expected: dict[str, Any]
) -> None:
    table = hyperparameters(make_config(*overrides))
    chosen = {name: table[name] for name in expected}
    assert chosen == expected
    assert {name: type(value) for name, value in chosen.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize(("optimizer", "data"), [("sgd", "digits"), ("lbfgs", "diabetes"), ("muon", "xor")])
def test_the_table_is_flat_and_plain(make_config: MakeConfig, optimizer: str, data: str) -> None:
    table = hyperparameters(make_config(f"optimizer={optimizer}", f"data={data}", "scheduler=one_cycle"))
    assert all(type(value) in (bool, int, float, str) for value in table.values())
    assert all(name.split(".")[0] in ("seed", *COMPARED) and name.count(".") <= 1 for name in table)


def test_the_table_leaves_out_what_does_not_change_learning(make_config: MakeConfig) -> None:
    table = hyperparameters(make_config())
    assert not any("_target_" in name or "_partial_" in name for name in table)
    assert {name for name in table if name.startswith("trainer.")} == {
        "trainer.max_epochs",
        "trainer.gradient_clip_val",
        "trainer.gradient_clip_algorithm",
        "trainer.precision",
        "trainer.accumulate_grad_batches",
    }
    assert not any(name.startswith(("paths", "logger", "callbacks")) for name in table)


def test_own_values_and_groups_are_in_the_table(make_config: MakeConfig) -> None:
    config = make_config("+mixup=0.5", "+sizes=[1,2]", "+mirror={name: flip, share: 0.1}")
    own = {name: value for name, value in hyperparameters(config).items() if name.split(".")[0] not in COMPARED}
    assert own == {"seed": 0, "mixup": 0.5, "sizes": "[1, 2]", "mirror": "flip", "mirror.share": 0.1}


def test_the_table_leaves_out_what_modules_of_ones_own_do_not_read(make_config: MakeConfig) -> None:
    words = ["~data", "+data._target_=own_parts.PictureData", "data.folds=3", "+module._target_=own_parts.Autoencoder"]
    table = hyperparameters(make_config(*words, "+module.width=2", "data.batch_size=4"))
    assert {name for name in table if not name.startswith("trainer")} == {
        "seed", "data", "data.batch_size", "module", "module.width"
    }  # fmt: skip


def test_runs_of_different_optimizers_have_the_columns_of_their_own(make_config: MakeConfig) -> None:
    sgd, adam = (hyperparameters(make_config(f"optimizer={name}")) for name in ("sgd", "adam"))
    assert adam.keys() - sgd.keys() == {"optimizer.betas", "optimizer.eps", "optimizer.amsgrad"}


# --- the whole configuration -------------------------------------------------------------------------------


def test_tensorboard_is_given_the_whole_configuration_as_a_block_of_text(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path))
    config = make_config("model.hidden_dims=[5,4]")
    log_configuration([logger], config)
    logger.finalize("success")
    (event,) = events(tmp_path).Tensors("config/text_summary")
    lines = event.tensor_proto.string_val[0].decode().splitlines()
    # Without the indentation Markdown would take the text for prose, and lists in it for lists.
    assert all(line.startswith("    ") for line in lines)
    read = yaml.safe_load("\n".join(lines))
    assert read["model"]["hidden_dims"] == [5, 4]
    assert read.keys() == config.keys()


def test_other_loggers_are_given_the_table(make_config: MakeConfig, tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path), name="csv", version="")
    config = make_config()
    log_configuration([logger], config)
    assert logger.experiment.hparams == hyperparameters(config)


# --- final metrics -----------------------------------------------------------------------------------------


def logged(config: DictConfig, directory: Path, result: dict[str, Any]) -> EventAccumulator:
    logger = CalmTensorBoardLogger(str(directory))
    log_final_metrics([logger], config, result)
    return events(directory)


def test_the_result_and_the_session_are_in_the_run_itself(make_config: MakeConfig, tmp_path: Path) -> None:
    accumulator = logged(make_config(), tmp_path, RESULT)
    assert all(path.is_file() for path in tmp_path.iterdir())
    scalars = {name: [(e.step, e.value) for e in accumulator.Scalars(name)] for name in accumulator.scalars.Keys()}
    # The test part has been logged by then.
    assert scalars == {"val_best/loss": [(120, 0.25)], "val_best/accuracy": [(120, 0.75)]}


@pytest.mark.parametrize("overrides", [[], ["optimizer=sgd", "seed=3", "data=xor"]])
def test_the_session_holds_the_table_with_its_types(
    make_config: MakeConfig, tmp_path: Path, overrides: list[str]
) -> None:
    config = make_config(*overrides)
    accumulator = logged(config, tmp_path, RESULT)
    stored = plugin_data(accumulator, "start_info").hparams
    shown = {name: getattr(value, value.WhichOneof("kind")) for name, value in stored.items()}
    # TensorBoard has a box to tick for each text, and a range for numbers: a switch is better off as text.
    switches = {n: {True: "true", False: "false"}[v] for n, v in hyperparameters(config).items() if type(v) is bool}
    assert switches
    assert shown == hyperparameters(config) | switches
    assert stored["optimizer"].WhichOneof("kind") == "string_value"
    assert stored["optimizer.lr"].WhichOneof("kind") == "number_value"
    assert stored["seed"].WhichOneof("kind") == "number_value"


def test_the_tab_is_told_its_columns_with_validation_first(make_config: MakeConfig, tmp_path: Path) -> None:
    accumulator = logged(make_config("optimizer=sgd", "name=first"), tmp_path, RESULT)
    metadata = accumulator.SummaryMetadata("_hparams_/experiment")
    experiment = HParamsPluginData.FromString(metadata.plugin_data.content).experiment
    metrics = [info.name.tag for info in experiment.metric_infos]
    assert metrics == ["val_best/loss", "val_best/accuracy", "test/loss", "test/accuracy"]
    columns = [info.name for info in experiment.hparam_infos]
    assert len(set(columns)) == len(columns)
    assert {info.name for info in experiment.hparam_infos if info.differs} == {"seed", "optimizer", "optimizer.lr"}
    # TensorBoard asks one run only: it has the columns of others too.
    assert {"name", "optimizer", "optimizer.momentum", "optimizer.betas", "scheduler.min_lr"} <= set(columns)


def test_a_run_without_scores_still_shows_its_choices(make_config: MakeConfig, tmp_path: Path) -> None:
    accumulator = logged(make_config("seed=5"), tmp_path, {"steps": 0, "validation": {}, "test": {}})
    assert accumulator.scalars.Keys() == []
    assert plugin_data(accumulator, "start_info").hparams["seed"].number_value == 5
    # It would take the columns of metrics from all other runs.
    assert "_hparams_/experiment" not in accumulator.summary_metadata


def test_what_the_user_noted_is_a_text_and_custom_scalars_show_loss_and_metrics(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    logger = CalmTensorBoardLogger(str(tmp_path))
    log_configuration([logger], make_config("name=base", "tags=[a,b]", "notes=first"), kind="regression")
    logger.finalize("success")
    accumulator = events(tmp_path)
    (event,) = accumulator.Tensors("notes/text_summary")
    assert event.tensor_proto.string_val[0].decode().split() == [
        "name:",
        "base",
        "tags:",
        "-",
        "a",
        "-",
        "b",
        "notes:",
        "first",
    ]
    (event,) = accumulator.Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["loss", "validation"]
    assert [chart.title for chart in layout.category[1].chart] == [
        name for name in SCORES["regression"] if name != "loss"
    ]


def test_without_tensorboard_nothing_is_written(make_config: MakeConfig, tmp_path: Path) -> None:
    for loggers in ([], [CSVLogger(str(tmp_path), name="csv", version="")]):
        log_final_metrics(loggers, make_config(), RESULT)
    assert not list(tmp_path.rglob("events*"))
