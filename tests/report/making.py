"""Sweeps written as files: what jobs leave behind, without training."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlplab.report.sweep_analysis import SweepAnalysis, conclusions
from mlplab.report.sweep_reading import read_sweep

MANIFEST = {
    "command": "python train.py -m",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "hardware": {"host": "lab", "processor": "Some Processor", "cores": 2, "gpus": []},
    "threads": 1,
    "data": {"name": "digits", "fingerprint": "ab" * 32, "rows": {"train": 70, "val": 15, "test": 15}},
    "parameters": 1000,
    "git": {"commit": "c" * 40, "dirty": False},
}


def analyse(directory: Path) -> SweepAnalysis:
    """The conclusions from a sweep's directory."""
    return conclusions(read_sweep(directory))


def curve(best: float, best_epoch: int, epochs: int, rise: float = 0.0) -> tuple[list[float], list[float]]:
    """Validation loss that falls to `best` at an epoch and rises again, and training loss that falls throughout."""
    validation = [
        best + 1.5 * (1 - epoch / best_epoch) ** 2 if epoch <= best_epoch else best + rise * (epoch - best_epoch)
        for epoch in range(1, epochs + 1)
    ]
    return validation, [2.0 / (1 + epoch) for epoch in range(1, epochs + 1)]


def job(
    number: int,
    values: Mapping[str, Any],
    value: float | None = 0.1,
    *,
    state: str = "finished",
    reason: str = "epoch limit",
    test: float | None = None,
    epochs: int = 5,
    best_epoch: int | None = None,
    rise: float = 0.0,
    accuracy: Sequence[float] | None = None,
    seconds: float = 0.5,
    also: Mapping[str, float] | None = None,
    **entry: Any,
) -> dict[str, Any]:
    """A job for `write_sweep`.

    Args:
        number: of the job.
        values: what it was given.
        value: its best val/loss; None where it is no number.
        state: that it is in, as `runs.run_reading` names it.
        reason: why it ended.
        test: its test/loss; 0.05 more than `value` by itself.
        epochs: trained.
        best_epoch: the last by itself.
        rise: of its validation loss in each epoch after the best.
        accuracy: val/accuracy by epoch.
        seconds: of training for each epoch.
        also: more validation metrics at the best epoch.
        entry: arm, stage, trial, directory, overrides.
    """
    words = [f"{name}={_word(v)}" for name, v in values.items()]
    return {
        "entry": {
            "number": number, "directory": f"{number}_job", "values": dict(values), "overrides": words, "arm": None,
            "stage": "search", "trial": None, **entry,
        },
        "state": state, "reason": reason, "value": value, "test": test, "epochs": epochs,
        "best_epoch": best_epoch or epochs, "rise": rise, "accuracy": accuracy, "seconds": seconds, "also": also or {},
    }  # fmt: skip


def _word(value: Any) -> str:
    return json.dumps(value).replace(" ", "") if isinstance(value, list) else str(value)


def write_sweep(directory: Path, jobs: Sequence[Mapping[str, Any]], **asked: Any) -> Path:
    """A sweep's directory with these jobs; `asked` is what else sweep.json holds."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "format": 1, "name": directory.name, "sweeper": "grid", "started": "2026-05-01T12:30:59.000+00:00",
        "commands": [f"python train.py -m sweep.name={directory.name}"], "monitor": "val/loss", "mode": "min",
        "target": None, "space": {}, "seconds": 12.5, "constants": [f"sweep.name={directory.name}"], "configs": {},
        **asked, "jobs": [part["entry"] for part in jobs],
    }  # fmt: skip
    (directory / "sweep.json").write_text(json.dumps(content), encoding="utf-8")
    for part in jobs:
        _write_job(directory / part["entry"]["directory"], part)
    return directory


def _write_job(directory: Path, part: Mapping[str, Any]) -> None:
    state = part["state"]
    if state == "waiting":
        return
    directory.mkdir(exist_ok=True)
    epochs = part["epochs"]
    status = {
        "state": {"pruned": "finished", "infeasible": "failed", "cut off": "running"}.get(state, state),
        "process": 1, "epoch": epochs, "step": 10 * epochs, "reason": part["reason"],
        "seconds": {"fit": part["seconds"] * epochs, "test": 0.1},
        **({"infeasible": True} if state == "infeasible" else {}), **({"pruned": True} if state == "pruned" else {}),
    }  # fmt: skip
    (directory / "status.json").write_text(json.dumps(status), encoding="utf-8")
    (directory / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    value = part["value"]
    (directory / "history.jsonl").write_text(_history(part), encoding="utf-8")
    if state in ("finished", "pruned", "infeasible"):
        test = part["test"] if part["test"] is not None or value is None else value + 0.05
        validation = {"val/loss": value, **part["also"]}
        if part["accuracy"]:
            validation["val/accuracy"] = max(part["accuracy"])
        result = {
            "objective": value, "monitor": "val/loss", "mode": "min", "ended": part["reason"], "epochs": epochs,
            "steps": 10 * epochs, "skipped_steps": 0, "best_epoch": part["best_epoch"],
            "best_step": 10 * part["best_epoch"], "validation": validation,
            "test": {"test/loss": test, "test/accuracy": 0.9},
        }  # fmt: skip
        (directory / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _history(part: Mapping[str, Any]) -> str:
    best = part["value"] if part["value"] is not None else math.nan
    validation, training = curve(best, part["best_epoch"], part["epochs"], part["rise"])
    lines = []
    for place, (measured, trained) in enumerate(zip(validation, training, strict=True)):
        at = {"epoch": place + 1, "step": 10 * (place + 1), "seconds": round(part["seconds"] * (place + 1), 4)}
        more = {"val/accuracy": part["accuracy"][place]} if part["accuracy"] else {}
        lines += [{**at, "val/loss": None if math.isnan(measured) else measured, **more}, {**at, "train/loss": trained}]
    return "".join(json.dumps(line) + "\n" for line in lines)


def grid(seeds: int = 5) -> list[dict[str, Any]]:
    """Two optimizers, four learning rates and some seeds: adam is best at 0.01, sgd diverges at 1."""
    generator = np.random.default_rng(0)
    jobs = []
    for optimizer, best_lr, least in (("sgd", 0.1, 0.12), ("adam", 0.01, 0.10)):
        for lr in (0.001, 0.01, 0.1, 1.0):
            for seed in range(seeds):
                diverged = optimizer == "sgd" and lr == 1.0
                value = least + 0.2 * abs(math.log10(lr / best_lr)) + 0.01 * float(generator.standard_normal())
                jobs.append(
                    job(
                        len(jobs), {"optimizer": optimizer, "optimizer.lr": lr, "seed": seed}, value,
                        state="infeasible" if diverged else "finished",
                        reason="diverged: loss nan" if diverged else "epoch limit", epochs=12, best_epoch=9, rise=0.002,
                    )
                )  # fmt: skip
    return jobs


GRID_SPACE = {
    "optimizer": {"kind": "choice", "values": ["sgd", "adam"]},
    "optimizer.lr": {"kind": "choice", "values": [0.001, 0.01, 0.1, 1.0]},
    "seed": {"kind": "choice", "values": [0, 1, 2, 3, 4]},
}

MANY_SPACE = {
    "optimizer": {"kind": "choice", "values": ["sgd", "momentum", "adam", "rmsprop"]},
    "optimizer.lr": {"kind": "float", "low": 1e-5, "high": 1.0, "log": True},
    "model.dropout": {"kind": "float", "low": 0.0, "high": 0.7, "log": False},
    "model.hidden_dims": {"kind": "choice", "values": [[32], [64, 64], [128, 64]]},
    "data.batch_size": {"kind": "int", "low": 8, "high": 256, "log": True},
    "optimizer.momentum": {"kind": "float", "low": 0.5, "high": 0.99, "log": False},
}


def search(n: int, epochs: int = 50) -> list[dict[str, Any]]:
    """A search of n trials over `MANY_SPACE`: plausible scores, some that diverged, were pruned or failed."""
    generator = np.random.default_rng(1)
    jobs = []
    for number in range(n):
        optimizer = str(generator.choice(["sgd", "momentum", "adam", "rmsprop"]))
        lr = float(10 ** generator.uniform(-5, 0))
        values: dict[str, Any] = {
            "optimizer": optimizer, "optimizer.lr": lr, "model.dropout": float(generator.uniform(0, 0.7)),
            "model.hidden_dims": [[32], [64, 64], [128, 64]][int(generator.integers(3))],
            "data.batch_size": int(2 ** generator.uniform(3, 8)),
        }  # fmt: skip
        if optimizer == "momentum":
            values["optimizer.momentum"] = float(generator.uniform(0.5, 0.99))
        best_lr = 0.1 if optimizer in ("sgd", "momentum") else 0.002
        distance = abs(math.log10(lr / best_lr))
        value = 0.1 + 0.15 * distance**1.6 + 0.1 * values["model.dropout"] ** 2 + abs(float(generator.normal(0, 0.02)))
        chance = float(generator.random())
        state = (
            "infeasible"
            if lr > 5 * best_lr and chance < 0.7
            else "pruned"
            if value > 0.5 and chance < 0.6
            else "finished"
        )
        state, reason = ("failed", "OSError: no room") if chance > 0.995 else (state, "epoch limit")
        reason = "diverged: loss nan" if state == "infeasible" else reason
        trained = max(2, int(epochs * generator.uniform(0.1, 0.4))) if state == "pruned" else epochs
        accuracy = [round(1 - (0.6 / (1 + 0.4 * epoch) + 0.2 * value), 4) for epoch in range(trained)]
        best = max(1, trained - int(generator.integers(0, max(1, trained // 3))))
        jobs.append(
            job(
                number, values, value, state=state, reason=reason, epochs=trained, best_epoch=best, rise=0.001,
                accuracy=accuracy, seconds=0.2, trial=number,
            )
        )  # fmt: skip
    return jobs


def comparison(seeds: int = 10, trials: int = 12) -> list[dict[str, Any]]:
    """Two arms, each searched, rerun on other seeds, and run with its defaults."""
    generator = np.random.default_rng(2)
    jobs: list[dict[str, Any]] = []
    for arm, best_lr, least in (("sgd", 0.1, 0.14), ("adam", 0.003, 0.10)):
        for trial in range(trials):
            lr = float(10 ** generator.uniform(-4, 0))
            value = least + 0.1 * abs(math.log10(lr / best_lr))
            values = {"optimizer": arm, "optimizer.lr": lr, "seed": 0}
            jobs.append(job(len(jobs), values, value, arm=arm, trial=trial))
        for stage, lr, more in (("rerun", best_lr, 0.0), ("default", 0.001, 0.1)):
            for seed in range(100, 100 + seeds):
                value = least + more + 0.01 * float(generator.standard_normal())
                late = 1 + int(generator.integers(2, 6)) + (5 if stage == "default" else 0)
                accuracy = [min(0.97, 0.7 + 0.25 * epoch / late) for epoch in range(10)]
                accuracy = [min(a, 0.94) for a in accuracy] if seed == 100 else accuracy
                values = {"optimizer": arm, "optimizer.lr": lr, "seed": seed}
                jobs.append(job(len(jobs), values, value, arm=arm, stage=stage, accuracy=accuracy, epochs=10))
    return jobs


COMPARISON: dict[str, Any] = {
    "sweeper": "comparison",
    "target": {"metric": "val/accuracy", "value": 0.95, "mode": "max"},
    "comparison": {
        "arms": {
            name: {
                "space": {"optimizer.lr": {"kind": "float", "low": 1e-4, "high": 1.0, "log": True}},
                "fixed": [f"optimizer={name}"],
                "default": [],
            }
            for name in ("sgd", "adam")
        },
        "trials": 12,
        "tuning_seeds": [0],
        "seeds": list(range(100, 110)),
    },
}
