"""Configurations that cannot be run are refused, each with what must hold, what was given, and what to try."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.strategies import StrategyRegistry
from omegaconf import OmegaConf

from mlplab import callbacks
from mlplab.config.checks import _select, check, check_job_of_sweep
from mlplab.config.config_rules import CALLBACK_RULES, OPTIMIZER_RULES, RULES
from mlplab.config.trainer_flags import STRATEGIES
from mlplab.errors import UserError
from mlplab.instantiation import annotations_of, members_of
from mlplab.rules import shown

REFUSED = [
    ("optimizer.lr=-1", "optimizer.lr must be a positive number, got -1; try optimizer.lr=0.001"),
    ("optimizer.lr=0", "optimizer.lr must be a positive number"),
    ("optimizer.lr=abc", ", got abc;"),
    ("optimizer.lr='0.01'", "positive number, got '0.01'; try optimizer.lr=0.01"),
    ("model.hidden_dims=['8']", "got ['8']"),
    ("optimizer.lr=nan", ", got nan;"),
    ("optimizer.lr=inf", ", got inf;"),
    ("optimizer.lr=null", ", got null;"),
    ("optimizer.lr=true", ", got true;"),
    ("optimizer.betas=[0.9]", "two numbers in"),
    ("optimizer.betas=[0.9,1.0]", "two numbers in"),
    ("optimizer.weight_decay=-0.1", "0 or more"),
    ("model.dropout=1.5", "model.dropout must be a number in [0, 1), got 1.5"),
    ("model.dropout=1", "[0, 1)"),
    ("model.dropout=-0.1", "[0, 1)"),
    ("model.input_dropout=2", "[0, 1)"),
    ("model.activation=rellu", "try model.activation=relu"),
    ("model.activation=tan", "try model.activation=tanh"),
    ("model.initialization=kaiming", "try model.initialization=kaiming_uniform"),
    ("model.normalization=batchnorm", "model.normalization=batch"),
    ("model.hidden_dims=[8,0]", "list of positive integers"),
    ("model.hidden_dims=[8.5]", "list of positive integers"),
    ("model.hidden_dims=8", "list of positive integers"),
    ("model.numeric_embedding=periodc", "try model.numeric_embedding=periodic"),
    ("model.n_bins=8", "must be given with model.numeric_embedding=piecewise, got model.numeric_embedding=none"),
    ("model.hidden_dims=null", "list of positive integers"),
    ("model.residual=1", "true or false"),
    ("data.batch_size=0", "a positive integer, or full"),
    ("data.batch_size=-3", "a positive integer, or full"),
    ("data.batch_size=1.5", "a positive integer, or full"),
    ("data.batch_size=all", "a positive integer, or full"),
    ("data.validation_fraction=0", "(0, 1)"),
    ("data.test_fraction=1", "[0, 1)"),
    ("data.split_seed=-1", "integer from 0"),
    ("seed=-1", "integer from 0"),
    ("name=[a]", "null, or a name"),
    ("name='日本'", "null, or a name"),
    ("tags=a", "a list of words, got a; try 'tags=[a]'"),
    ("notes=[a]", "null, or text"),
    ("seed=1.5", "integer from 0"),
    ("seed=4294967296", "integer from 0"),
    ("trainer.max_epochs=-5", ", got -5;"),
    ("trainer.max_epochs=2.5", ", got 2.5;"),
    ("trainer.max_steps=many", ", got many;"),
    ("trainer.gradient_clip_val=-1", "0 or more"),
    ("trainer.gradient_clip_algorithm=size", "one of norm, value"),
    ("trainer.precision=12", "32-true"),
    ("trainer.accelerator=quantum", "one of auto, cpu"),
    ("trainer.profiler=simpel", "null, or one of simple, advanced, pytorch, got simpel"),
    ("trainer.threads=0", "auto, or a positive integer"),
    ("trainer.limit_train_batches=1.5", "share in"),
    ("callbacks.early_stopping.patience=0", "1 or more epochs"),
    ("callbacks.early_stopping.min_delta=-1", "0 or more"),
    ("regularization.l1=-1", "0 or more"),
    ("regularization.applies_to=[weights]", "a list of weight, bias, normalization"),
    ("mode=minimum", "try mode=min"),
    ("monitor=val/acc", "try monitor=val/accuracy"),
]

REFUSED_TOGETHER = [
    (["+trainer.callbacks=[a]"], "chosen elsewhere, got trainer.callbacks=['a']; try +callbacks.NAME="),
    (["+callbacks.x=1"], "callbacks.x must be null, or name what it builds, got 1; try 'callbacks.x="),
    (["+logger.x={a: 1}"], "logger.x must be null, or name what it builds, got {'a': 1}; try logger.x=null"),
    (["+trainer.plugins=x"], "chosen elsewhere, got trainer.plugins=x; try trainer.precision="),
    (["+trainer.default_root_dir=/x"], "chosen elsewhere, got trainer.default_root_dir=/x; try paths.logs="),
    (["+trainer.logger=true"], "chosen elsewhere, got trainer.logger=true; try logger=csv"),
    (["+trainer.max_epoch=1"], "flags of Lightning's Trainer, got trainer.max_epoch=1; try trainer.max_epochs"),
    (["+trainer.xyz=1"], "flags of Lightning's Trainer, got trainer.xyz=1; try leaving it out"),
    (["loss=mse"], "the loss must fit the task, which is classification"),
    (["data=diabetes", "loss=cross_entropy"], ", got loss=cross_entropy; try loss=mse"),
    (["+regularization.dropout=0.5"], "regularization must hold nothing but l1, l2, applies_to"),
    (["monitor=val/accuracy", "mode=min"], "mode must be max for monitor=val/accuracy"),
    (["data=diabetes", "monitor=val/accuracy", "mode=max"], "monitor must be one of val/loss, val/mse"),
    (["monitor={a: 1}"], "monitor must be one of val/loss"),
    (["data.validation_fraction=0.5", "data.test_fraction=0.5"], "must leave rows for training"),
    (["+trainer.num_nodes=2", "model.normalization=batch"], "over several processes must share its statistics"),
    (["data.batch_size=1", "model.normalization=batch"], "at least two rows in a batch"),
    (["optimizer=lbfgs", "trainer.gradient_clip_val=1"], "plain gradient of one batch"),
    (["optimizer=lbfgs", "trainer.accumulate_grad_batches=2"], "plain gradient of one batch"),
    (["scheduler=cosine", "trainer.max_epochs=-1"], "must know where the run ends"),
    (["scheduler=plateau", "trainer.limit_val_batches=0"], "must have a validation"),
    (["trainer.max_epochs=-1", "~callbacks.early_stopping"], "a run must have an end"),
]


@pytest.mark.parametrize(("override", "substance"), REFUSED)
def test_one_value_that_breaks_its_rule_is_refused(make_config: Any, override: str, substance: str) -> None:
    with pytest.raises(UserError) as refusal:
        check(make_config(override))
    message = str(refusal.value)
    assert substance in message
    assert " must " in message
    assert "; try " in message
    assert "\n" not in message


@pytest.mark.parametrize(("overrides", "substance"), REFUSED_TOGETHER)
def test_values_that_do_not_go_together_are_refused(make_config: Any, overrides: list[str], substance: str) -> None:
    with pytest.raises(UserError) as refusal:
        check(make_config(*overrides))
    assert substance in str(refusal.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.batch_size=full"],
        ["data.batch_size=1"],
        ["model.hidden_dims=[]"],
        ["trainer.max_epochs=-1"],
        ["trainer.max_epochs=0"],
        ["optimizer.lr=1e-7"],
        ["optimizer=lbfgs", "model.dropout=0.5"],
        ["data=diabetes", "loss=huber"],
        ["loss=cross_entropy", "loss.class_weights=balanced"],
        ["monitor=val/auroc", "mode=max"],
        ["trainer.fast_dev_run=3"],
        ["trainer.limit_train_batches=0.5"],
        ["+paths.data=8", "model.hidden_dims=['${paths.data}']", "name=2026", "tags=[a,1]", "notes=b"],
    ],
)
def test_what_can_be_run_is_let_through(make_config: Any, overrides: list[str]) -> None:
    check(make_config(*overrides))


def test_rules_of_the_mlp_are_not_put_on_a_network_of_ones_own(make_config: Any) -> None:
    check(make_config("model._target_=my.Network", "model.dropout=7"))


def test_rules_of_the_optimizers_are_not_put_on_one_of_ones_own(make_config: Any) -> None:
    check(make_config("optimizer._target_=my.Optimizer", "optimizer.lr=auto"))


OPTIONS_OF_CALLBACKS = [(name, option) for name, rules in CALLBACK_RULES.items() for option in rules]


@pytest.mark.parametrize(("name", "option"), OPTIONS_OF_CALLBACKS)
def test_numbers_of_callbacks_are_refused_whatever_the_callback_is_called(
    make_config: Any, name: str, option: str
) -> None:
    package = "mlplab.callbacks" if hasattr(callbacks, name) else "lightning.pytorch.callbacks"
    wrong = [-1, "abc", 0] if option == "every_n_epochs" else [-1, "abc"]
    for value in wrong:
        config = make_config(f"+callbacks.mine={{_target_: {package}.{name}, {option}: {value}}}")
        with pytest.raises(UserError, match=rf"^callbacks\.mine\.{option} must be .*, got {value}; try "):
            check(config)


def test_every_number_of_a_callback_has_a_rule() -> None:
    for name, callback in vars(callbacks).items():
        if isinstance(callback, type) and name != "OwnModule":  # which conf/ does not choose
            kinds = annotations_of(callback).items()
            numbers = {option for option, kind in kinds if {int, float} & {*members_of(kind)}}
            assert numbers == {*CALLBACK_RULES.get(name, {})}, name


def test_rules_of_callbacks_are_not_put_on_one_of_ones_own(make_config: Any) -> None:
    check(make_config("+callbacks.mine={_target_: my.Histograms, every_n_epochs: 0}"))


def test_a_range_test_and_an_average_are_checked_whatever_they_are_called(make_config: Any) -> None:
    average = "+callbacks.mine={_target_: mlplab.callbacks.averaging.StochasticWeightAverage, start_epoch: 30}"
    with pytest.raises(UserError, match=r"^callbacks\.mine\.start_epoch must be below trainer.max_epochs"):
        check(make_config(average, "trainer.max_epochs=20"))
    with pytest.raises(UserError, match=r"^callbacks\.mine\.low must be below callbacks\.mine\.high"):
        check(make_config("+callbacks.mine={_target_: mlplab.callbacks.LearningRateRange, low: 1, high: 0.1}"))


def test_a_sweeps_job_must_be_on_one_machine(make_config: Any) -> None:
    check_job_of_sweep(make_config("trainer=ddp"))
    with pytest.raises(UserError, match="must each run on one machine"):
        check_job_of_sweep(make_config("trainer=ddp", "+trainer.num_nodes=2"))


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_rules_answer_for_any_value(value: Any) -> None:
    of_callbacks = {f"{name}.{option}": CALLBACK_RULES[name][option] for name, option in OPTIONS_OF_CALLBACKS}
    for rule in {**RULES, **OPTIMIZER_RULES, **of_callbacks}.values():
        assert rule.holds(value) in (True, False)
    assert isinstance(shown(value), str)


@pytest.mark.parametrize(
    "value", [None, True, 1, 0.5, [1, True, None], "null", "true", "1", "1e-3", "adam", ["1", "false"]]
)
def test_a_value_is_shown_as_yaml_reads_it(value: Any) -> None:
    assert yaml.safe_load(shown(value)) == value
    assert type(yaml.safe_load(shown(value))) is type(value)


def test_a_value_that_is_looked_at_is_the_one_that_omegaconf_gives() -> None:
    config = OmegaConf.create(
        {
            "a": {"b": 1, "c": None, "d": [1, "${a.b}"], "e": {"f": "${a.b}"}, "g": "???", "h": "${a.e}"},
            "i": "${a}",
            "j": None,
            "k": "x${a.b}",
        }
    )
    absent = object()
    for key in [
        "a",
        "a.b",
        "a.c",
        "a.d",
        "a.d.1",
        "a.e",
        "a.e.f",
        "a.g",
        "a.h.f",
        "a.x",
        "a.b.x",
        "i.b",
        "j",
        "j.x",
        "k",
        "l",
    ]:
        expected = OmegaConf.select(config, key, default=absent)
        if OmegaConf.is_config(expected):
            expected = OmegaConf.to_container(expected, resolve=True)
        assert _select(config, key, absent) == expected, key


@pytest.mark.parametrize("strategy", [*StrategyRegistry.available_strategies(), "none"])
def test_strategies_of_lightning_are_those_that_work_or_refused(make_config: Any, strategy: str) -> None:
    config = make_config(f"trainer.strategy={strategy}")
    if strategy in STRATEGIES:
        check(config)
        return
    with pytest.raises(
        UserError, match=r"others split the weights, or train copies .*; try trainer.strategy=\w+$"
    ) as found:
        check(config)
    assert str(found.value).rpartition("=")[2] in STRATEGIES
