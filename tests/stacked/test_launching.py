"""Sweeps in stacks against the same sweeps one by one: what is in each job's directory is the same."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from comparing import difference
from launching import ROOT, launch, run_program
from stacked.conftest import SMALL, STACKED, jobs_in, stacked

from mlplab.errors import UserError
from mlplab.stacked import stacks

ROUNDING = 1e-9

SETTINGS = {
    "splits, normalised, early stopping": [
        "model.normalization=batch", "model.dropout=0.3", "data.split_seed=0,1", "data.batch_size=41",
        "regularization.l1=0.01", "trainer.gradient_clip_val=0.1", "scheduler=plateau",
        "callbacks.early_stopping.patience=1,2", "callbacks.early_stopping.min_delta=0.5",
    ],
}  # fmt: skip

SLOW = {
    "rules, rates and a schedule": [
        "optimizer=momentum,adamw,rmsprop", "optimizer.lr=0.01,0.003", "scheduler=plateau",
    ],
    "penalties and clipping": [
        "regularization.l1=0,0.01", "regularization.l2=0.01", "trainer.gradient_clip_val=null,0.1",
    ],
    "batches of two sizes": ["data.batch_size=41,full", "data.split_seed=0,1", "regularization.l2=0,0.01"],
    "other rules": ["optimizer=sgd,nesterov,adam,nadam,radam,adagrad", "seed=0,1"],
    "options of a rule": ["optimizer.betas=[0.9,0.999],[0.8,0.9]", "optimizer.eps=1e-8,1e-4", "seed=0,1"],
    "switches of a rule": ["optimizer=momentum", "optimizer.momentum=0.5,0.9", "optimizer.weight_decay=0,0.1"],
    "decay": ["optimizer=adamw", "optimizer.weight_decay=0.01,0.1", "seed=0,1"],
    "schedules": ["scheduler=plateau,cosine,step,none", "seed=0,1"],
    "other schedules": ["scheduler=exponential,warmup_cosine,one_cycle", "optimizer.lr=0.01,0.001"],
    "constants of a schedule": ["scheduler=warmup_cosine", "scheduler.warmup_fraction=0.1,0.5", "seed=0,1"],
    "initialisation": ["model.initialization=orthogonal,zeros,pytorch", "model.bias_initialization=normal,zeros"],
    "layers": ["model.normalization=layer", "model.residual=true", "model.hidden_dims=[8,8]", "model.dropout=0,0.3"],
    "losses": ["data=diabetes", "loss=mse,mae,huber", "data.split_seed=0,1"],
    "two classes": ["data=breast_cancer", "loss=binary_cross_entropy", "loss.label_smoothing=0,0.1", "seed=0,1"],
    "class weights": ["loss=cross_entropy", "+loss.class_weights=balanced", "loss.label_smoothing=0,0.1", "seed=0,1"],
    "sources": ["data=circles,xor,digits", "seed=0,1", "trainer.max_epochs=2"],
    "a limit of steps": ["trainer.max_steps=7", "seed=0,1"],
    "validation every other epoch": ["trainer.check_val_every_n_epoch=2", "scheduler=plateau", "seed=0,1"],
    "batches left out": ["trainer.limit_train_batches=2", "seed=0,1"],
}  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=name) for name, words in SETTINGS.items()]
    + [pytest.param(words, id=name, marks=pytest.mark.slow) for name, words in SLOW.items()],
)
def test_every_member_ends_as_it_would_have_ended_alone(both: Callable[..., Any], words: list[str]) -> None:
    alone, together, done = both(*words)
    assert "stack   " in done.stdout
    assert "alone   " not in done.stdout
    for one, other in zip(alone, together, strict=True):
        assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
        assert difference(one, other, ROUNDING) == "", one.name
        assert _status(one) == _status(other)
        assert _log(one) == _log(other)


def _log(run: Path) -> list[str]:
    """What train.log says, but for times, bests, and who made the steps: a stack, or in 64 bits Lightning's loop."""
    lines = [line.split(" ", 2)[2] for line in (run / "train.log").read_text().splitlines()]
    return [line for line in lines if "instead of the fused step" not in line and "best so far" not in line]


@pytest.mark.slow
def test_in_32_bits_they_differ_by_rounding_only(both: Callable[..., Any]) -> None:
    alone, together, _ = both("trainer.precision=32-true", "optimizer.lr=0.01,0.003")
    for one, other in zip(alone, together, strict=True):
        assert difference(one, other, 1e-5) == ""


@pytest.mark.slow
def test_members_draw_no_figure_which_takes_longer_than_they_train(tmp_path: Path) -> None:
    with_figures = [word for word in SMALL if word != "callbacks.figures=null"]
    done = launch([STACKED, *with_figures, "trainer.max_epochs=1", "seed=0,1"], tmp_path)
    assert "alone   " not in done.stdout
    jobs = jobs_in(tmp_path)
    assert len(jobs) == 2
    assert not any(list((job / "figures").iterdir()) for job in jobs)


def test_what_cannot_be_stacked_is_run_alone_and_told(tmp_path: Path) -> None:
    done = stacked(["optimizer=lbfgs,adam", "seed=0,1", "trainer.max_epochs=1"], tmp_path)
    assert done.status == 0, done.stderr
    assert "alone   2 jobs, LBFGS has no stacked form: 0_optimizer-lbfgs_seed-0" in done.stdout
    assert "stack   2 networks at once: 2_optimizer-adam_seed-0, 3_optimizer-adam_seed-1" in done.stdout
    assert [_status(job)["state"] for job in jobs_in(tmp_path)] == ["finished"] * 4


def test_a_member_that_diverges_is_infeasible_and_the_others_do_not_notice(both: Callable[..., Any]) -> None:
    alone, together, _ = both("optimizer=sgd", "optimizer.lr=0.1,1e200", "seed=0,1")
    for one, other in zip(alone, together, strict=True):
        assert _status(one) == _status(other)
        if "1e200" in one.name:
            assert _status(other)["infeasible"]
            assert json.loads((one / "result.json").read_text()) == json.loads((other / "result.json").read_text())
        else:
            assert difference(one, other, ROUNDING) == ""


@pytest.mark.slow
def test_when_all_diverge_all_say_so(both: Callable[..., Any]) -> None:
    alone, together, done = both("optimizer=sgd", "optimizer.lr=1e200,1e201", "seed=0,1")
    assert done.status == 1
    assert [_status(path) for path in alone] == [_status(path) for path in together]


def _status(run: Path) -> dict[str, Any]:
    """What status.json says, without times and processes."""
    status = json.loads((run / "status.json").read_text())
    kept = ("state", "epoch", "step", "reason", "infeasible", "pruned", "resumed")
    return {name: value for name, value in status.items() if name in kept}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["+hydra.job.env_set.RATE=0.5"], "hydra.job.env_set"),
        (["hydra.job.chdir=true"], "hydra.job.chdir"),
        (["~trainer.gradient_clip_algorithm"], "no trainer.gradient_clip_algorithm"),
    ],
)
def test_what_hydra_does_for_a_job_is_done(words: list[str], reason: str, both: Any) -> None:
    alone, together, done = both("seed=0,1", *words)
    assert f"alone   2 jobs, {reason}" in done.stdout
    for one, other in zip(alone, together, strict=True):
        assert result_of(one) == result_of(other)


@pytest.mark.slow
def test_jobs_of_the_plain_engine_are_run_alone_and_told(both: Callable[..., Any]) -> None:
    alone, together, done = both("seed=0,1", "engine=plain", "trainer.max_epochs=2")
    assert "alone   2 jobs, engine=plain: 0_seed-0, 1_seed-1" in done.stdout
    for one, other in zip(alone, together, strict=True):
        assert difference(one, other) == ""


def test_a_program_that_does_more_with_a_job_is_called_for_each(tmp_path: Path) -> None:
    program = tmp_path / "own.py"
    text = (ROOT / "train.py").read_text().replace('config_path="conf"', f'config_path="{ROOT / "conf"}"')
    program.write_text(text.replace("    return run_job", "    config.optimizer.lr = 0.5\n    return run_job"))
    words = ["-m", STACKED, *SMALL, "seed=0,1", "trainer.max_epochs=1", f"paths.logs={tmp_path}"]
    done = run_program(str(program), words, tmp_path)
    assert done.status == 0, done.stderr
    assert "alone   2 jobs, main of the program was edited" in done.stdout
    for job in jobs_in(tmp_path):
        assert "lr: 0.5" in (job / ".hydra" / "config.yaml").read_text()


@pytest.mark.slow
def test_a_job_that_cannot_be_built_fails_by_itself(tmp_path: Path) -> None:
    done = stacked(["seed=0,1", "+optimizer.foreach=true,null"], tmp_path)
    states = [json.loads((job / "status.json").read_text())["state"] for job in jobs_in(tmp_path)]
    assert states == ["failed", "finished", "failed", "finished"]
    assert "alone   2 jobs, RuntimeError: `fused` and `foreach`" in done.stdout
    assert "Traceback" not in done.stderr


def result_of(job: Path) -> Any:
    return json.loads((job / "result.json").read_text())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no room in /x/0"), "OSError: no room in its directory"),
        (UserError("a run", "/x/0", "another"), "a run, got its directory; try another"),
    ],
)
def test_a_member_that_cannot_begin_is_told_of_and_left_to_the_ordinary_way(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(member: Any) -> None:
        if member is bad:
            raise error

    jobs = [SimpleNamespace(directory=Path(f"/x/{n}"), config=None) for n in range(2)]
    bad, good = (SimpleNamespace(job=j, data=None, learner=SimpleNamespace(model=None), saved=None) for j in jobs)
    trained: list[Any] = []
    monkeypatch.setattr(stacks, "claim", claim)
    monkeypatch.setattr(stacks, "use_threads", lambda *_, **__: None)
    monkeypatch.setattr(stacks, "train_stack", trained.append)
    alone: dict[str, list[Any]] = {}
    stacks._train([bad, good], alone, lambda line: None)  # type: ignore[list-item, arg-type]
    assert alone == {reason: [jobs[0]]}
    assert trained == [[good]]


def test_each_member_is_asked_whether_a_stack_knows_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [SimpleNamespace(directory=Path(f"/x/{n}"), config=None) for n in range(3)]
    monkeypatch.setattr(
        stacks,
        "build_member",
        lambda job, held: SimpleNamespace(job=job, learner=SimpleNamespace(optimizer_factory=None)),
    )
    monkeypatch.setattr(stacks, "_optimizer_of", lambda member: None)
    monkeypatch.setattr(stacks, "stack_shape", lambda member, optimizer: "one shape")
    monkeypatch.setattr(stacks, "why_alone_once_built", lambda member, optimizer: None)
    monkeypatch.setattr(stacks, "why_another_step", lambda member: None)
    monkeypatch.setattr(
        stacks, "why_other_code", lambda member: "Shrink has no stacked form" if member.job is jobs[1] else None
    )
    trained: list[Any] = []
    monkeypatch.setattr(stacks, "_train", lambda members, alone, say: trained.extend(one.job for one in members))
    alone = stacks.train_jobs(jobs, None, lambda line: None)  # type: ignore[arg-type]
    assert alone == {"Shrink has no stacked form": [jobs[1]]}
    assert trained == [jobs[0], jobs[2]]
