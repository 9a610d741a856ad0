"""A guard: what a step costs, everything on, must not grow by half. `python scripts/benchmark.py` measures it well."""

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from both_engines import skip_where_edited
from torch.nn.functional import cross_entropy

from mlplab import training
from mlplab.building import build_data, build_learner

CALLS_PER_STEP = 310
"""Function calls for a step of digits in batches of 32, Python's and C's, with an epoch's share of everything else."""

TIMES_THE_BEST_LOOP = 1.0
"""Of processor time, in runs of ten epochs, on a machine that has other work to do."""

DIGITS = ["data=digits", "model.dropout=0", "trainer.threads=1", "callbacks.early_stopping.patience=1000"]


def during_fit(monkeypatch: pytest.MonkeyPatch, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
    fit = training._fit

    def watched(*arguments: Any) -> Any:
        begin()
        try:
            return fit(*arguments)
        finally:
            end()

    monkeypatch.setattr(training, "_fit", watched)


def test_the_calls_of_a_step_are_as_few_as_they_were(train_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_where_edited()
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    during_fit(monkeypatch, lambda: sys.setprofile(count), lambda: sys.setprofile(None))
    counts = []
    for epochs in (1, 1, 2):
        calls = 0
        run = train_run(*DIGITS, f"trainer.max_epochs={epochs}")
        counts.append((calls, run.result["steps"]))
    _, (few, few_steps), (many, many_steps) = counts  # the first pays for what is set up once
    per_step = (many - few) / (many_steps - few_steps)
    assert per_step < 1.5 * CALLS_PER_STEP
    assert per_step > 0.5 * CALLS_PER_STEP, f"the recorded figure is out of date: it is {per_step:.0f}"


def seconds_of_best_loop(config: Any, epochs: int) -> float:
    data = build_data(config)
    data.setup()
    network = build_learner(config, data).model
    features, targets = data.part("train")
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001, fused=True)
    began = time.process_time()
    for _ in range(epochs):
        for rows in torch.randperm(len(targets)).split(32):
            loss = cross_entropy(network(features.index_select(0, rows)), targets.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.process_time() - began


@pytest.mark.slow
def test_the_time_of_a_step_is_near_that_of_the_best_loop(
    train_run: Any, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_where_edited()
    clock = [0.0]

    def begin() -> None:
        clock[0] = time.process_time()

    def end() -> None:
        clock[0] = time.process_time() - clock[0]

    during_fit(monkeypatch, begin, end)
    ratios = []
    for turn in range(5):
        train_run(*DIGITS, "trainer.max_epochs=10")
        mine = clock[0]
        best = seconds_of_best_loop(make_config(*DIGITS), 10)
        if turn:  # the first pays for what is set up once
            ratios.append(mine / best)
    assert min(ratios) < 1.5 * TIMES_THE_BEST_LOOP
