"""Which jobs are put together, by their configurations alone."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from composing import composed
from omegaconf import OmegaConf

from mlplab.stacked.eligibility import config_of_stack, why_alone, why_alone_by_hydra, why_alone_once_built
from mlplab.task import Task


@pytest.fixture
def values() -> Any:
    def made(*words: str) -> dict[str, Any]:
        return OmegaConf.to_container(composed("paths.run=/runs/1", *words), resolve=True)  # type: ignore[return-value]

    return made


@pytest.mark.parametrize(
    "word",
    [
        "seed=1", "data.split_seed=1", "optimizer.lr=0.1", "optimizer.betas=[0.8,0.9]", "optimizer.eps=1e-3",
        "optimizer.weight_decay=0.1", "regularization.l1=0.1", "regularization.l2=0.1", "model.dropout=0.5",
        "model.input_dropout=0.1", "model.initialization=zeros", "model.bias_initialization=normal",
        "trainer.gradient_clip_val=1", "scheduler=cosine",
        "callbacks.early_stopping.patience=3", "callbacks.early_stopping.min_delta=0.1",
    ],
)  # fmt: skip
def test_what_may_differ_in_a_stack(values: Any, word: str) -> None:
    assert config_of_stack(values()) == config_of_stack(values(word))
    assert why_alone(values(word)) is None


@pytest.mark.parametrize(
    "word",
    [
        "model.hidden_dims=[3]", "model.activation=tanh", "model.normalization=batch", "model.residual=true",
        "optimizer=sgd", "data=wine", "data.batch_size=16", "data.validation_fraction=0.2",
        "trainer.max_epochs=3", "trainer.max_steps=3", "monitor=val/accuracy", "mode=max",
        "trainer.gradient_clip_algorithm=value", "callbacks.checkpoints.every_seconds=1", "callbacks=minimal",
        "regularization.applies_to=[bias]", "engine=plain", "trainer.log_every_n_steps=3", "loss=cross_entropy",
    ],
)  # fmt: skip
def test_what_may_not_differ_in_a_stack(values: Any, word: str) -> None:
    assert config_of_stack(values()) != config_of_stack(values(word))


def test_of_a_network_of_ones_own_nothing_may_differ(values: Any) -> None:
    own = ["~model", "+model={_target_:package.Own,dropout:0.1}"]
    other = ["~model", "+model={_target_:package.Own,dropout:0.2}"]
    assert config_of_stack(values(*own)) != config_of_stack(values(*other))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["engine=plain"], "engine=plain"),
        (["on_divergence=skip"], "on_divergence=skip"),
        (["callbacks/averaging=ema"], "callbacks.averaging"),
        (["regularization.max_norm=3"], "regularization.max_norm=3"),
        (["augmentation.mixup=0.2"], "augmentation.mixup=0.2"),
        (["model.compile=true"], "model.compile=true"),
        (["trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2"),
        (["trainer.val_check_interval=5"], "trainer.val_check_interval=5"),
        (["trainer.max_time=00:00:01:00"], "trainer.max_time=00:00:01:00"),
        (["trainer.precision=bf16-mixed"], "trainer.precision=bf16-mixed"),
        (["trainer.accelerator=gpu"], "trainer.accelerator=gpu"),
        (["+callbacks.rate={_target_:lightning.pytorch.callbacks.LearningRateMonitor}"], "callbacks.rate"),
        (["logger=wandb"], "logger.wandb"),
        (["~callbacks.checkpoints"], "callbacks without Checkpoints"),
        (["~callbacks.divergence"], "callbacks without NonFiniteGuard"),
    ],
)
def test_what_is_run_alone(values: Any, words: list[str], reason: str) -> None:
    assert why_alone(values(*words)) == reason


def test_what_hydra_does_for_one_job_is_not_done_in_a_stack() -> None:
    plain = SimpleNamespace(env_set={}, env_copy=[], chdir=None)
    assert why_alone_by_hydra(plain, ["seed=1"]) is None
    assert "env_set" in str(why_alone_by_hydra(SimpleNamespace(**{**vars(plain), "env_set": {"A": "1"}}), []))
    assert "chdir" in str(why_alone_by_hydra(SimpleNamespace(**{**vars(plain), "chdir": True}), []))
    assert "chdir" in str(why_alone_by_hydra(plain, ["hydra.job.name=x"]))


@pytest.mark.parametrize(
    ("weights", "names", "reason"),
    [
        (torch.ones(3), (), "the weights of its rows have no stacked form"),
        (None, ("a", "b"), "several targets have no stacked form"),
    ],
)
def test_rows_with_weights_and_several_targets_keep_a_job_out(weights: Any, names: Any, reason: str) -> None:
    task = Task("regression", 2, target_names=names)
    data = SimpleNamespace(weights={"train": None, "val": weights}, task=task)
    member: Any = SimpleNamespace(learner=None, data=data)
    assert why_alone_once_built(member, None) == reason  # type: ignore[arg-type]
