"""The words of a sweep that somebody else may have sent."""

from pathlib import Path

import pytest

from mlplab.errors import printable
from mlplab.sweeps.untrusted_overrides import first_untrusted_override

CONF = Path(__file__).resolve().parents[2] / "conf"

PLAIN = [
    "-m", "--multirun", "optimizer=sgd,adam", "optimizer.lr='tag(log,interval(1e-5,1e-1))'", "seed='range(0,5)'",
    "data=wine", "data.path=/files/table.csv", "~callbacks.figures", "callbacks.early_stopping.patience=5,10",
    "callbacks.early_stopping=null", "logger=none", "hydra/launcher=joblib", "hydra.launcher.n_jobs=-1",
    "hydra/sweeper=optuna", "hydra.sweeper.trials=15", "hydra.sweeper.arms={a:{optimizer:sgd}}", "sweep.name=study",
    "sweep.target={metric:val/accuracy,value:0.9,mode:max}",
    "experiment=compare_optimizers", "model.hidden_dims=[64,64]", "+note=text", "optimizer=glob(*)",
    "hydra.sweeper.params={optimizer.lr: '0.1,0.2 when optimizer=sgd|adam'}", "hydra.sweeper.arms.a.optimizer=sgd",
    "hydra.sweeper.when={optimizer.momentum: {optimizer: [momentum]}}", "hydra.launcher.processes=auto",
    "hydra.mode=MULTIRUN", "experiment=null", "callbacks=[minimal]", "trainer.precision=bf16-mixed",
]  # fmt: skip
CODE = [
    "model._target_=os.system", "+callbacks.mine={_target_: os.system}", "++callbacks.mine._target_=os.system",
    "--config-dir=elsewhere", "--config-path=elsewhere", "-cd", "trust=true", "optimizer.lr=${oc.env:HOME}",
    "optimizer=../../elsewhere", "optimizer=adam,../../elsewhere", "optimizer={lr: 1}", "hydra.searchpath=[file:///x]",
    "hydra.callbacks.mine.command=x", "hydra.job.env_set.LD_PRELOAD=x.so", "hydra/job_logging=x",
    "hydra.job_logging.handlers.x={(): os.system}", "hydra.launcher.setup=[x]", "logger.mlflow.tracking_uri=http://x",
    "hydra.sweeper.params={logger.mlflow.tracking_uri: x}", "hydra.sweeper.arms={a:{+callbacks.x._target_: x}}",
    "hydra.sweeper.params={hydra.job.env_set.LD_PRELOAD: x.so}", "hydra.sweeper.params={optimizer: ../../elsewhere}",
    "callbacks={mine: x}", "callbacks.checkpoints.directory=/elsewhere", "paths.run=/elsewhere",
    "hydra.run.dir=/elsewhere", "+hydra.job.env_set={PATH: elsewhere}", "paths.logs=/elsewhere", "resume=logs/runs/x",
    "callbacks=../../../SWEEP/payload", "callbacks=/elsewhere/payload", "callbacks='../payload'", "callbacks=payload",
    "callbacks@data=minimal", "+callbacks@trainer.x=minimal", "model={a: [{_target_: os.system}]}", "+x={_args_: [1]}",
    "+x=[{_partial_: true}]", "+note=${monitor}", "sweep.name=${run_name:}", "data.name=${oc.decode:x}",
    # Put together from two texts that are nothing by themselves.
    "hydra.sweeper.params={model: '${a}${b}'}", "hydra.sweeper.params={model: '{_target_: os.system}'}",
    "hydra.sweeper.params={callbacks: [../payload]}", "hydra.sweeper.arms.a.callbacks=../payload",
    "hydra.sweeper.arms={a: {model: '../x when optimizer=sgd'}}", "hydra.sweeper.params={trust: true}",
    "hydra.sweep.dir=/elsewhere",
    "trainer.default_root_dir=/elsewhere", "+trainer.default_root_dir=elsewhere", "hydra.sweep.subdir=/elsewhere",
    "hydra/sweeper=basic", "hydra.mode=RUN", "hydra.sweeper._target_=os.system", "hydra.launcher.pre_dispatch=x",
    "hydra/help=x", "~hydra.callbacks", "seed=1 2 [", "data.name='a\tb'", "optimizer=ADAM", "=", "",
    "+callbacks.x=str(5)",
]  # fmt: skip


@pytest.mark.parametrize("word", PLAIN)
def test_plain_words_of_a_sweep_are_accepted(word: str) -> None:
    assert first_untrusted_override(["seed=1", word], Path("sweep.json"), CONF) is None


@pytest.mark.parametrize("word", CODE)
def test_words_of_a_sweep_that_name_code_folders_or_servers_are_refused(word: str) -> None:
    refusal = first_untrusted_override(["seed=1", word], Path("sweep.json"), CONF)
    assert refusal is not None
    assert (refusal.actual, refusal.hint[:10]) == (f"{printable(word)} in sweep.json", "trust=true")
