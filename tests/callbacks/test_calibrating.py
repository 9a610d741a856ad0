from typing import Any

import pytest
import torch
from slow_cases import slow
from torch.nn import functional

from mlplab.inference.evaluating import evaluate
from mlplab.inference.trained import load_run
from mlplab.objectives.calibration import fit_temperature, reliability

QUICK = ("trainer.max_epochs=3", "logger=none", "callbacks.histograms=null", "callbacks.gradient_norms=null")


@pytest.mark.parametrize(
    "overrides",
    [
        ("data=breast_cancer", "loss=binary_cross_entropy"),
        *slow((("data=wine", "engine=plain"),), (("trainer.precision=64-true",),)),
    ],
)
def test_a_run_stores_the_calibration_of_its_best_state(train_run: Any, overrides: tuple[str, ...]) -> None:
    run = load_run(train_run(*QUICK, *overrides, "callbacks.figures=null").directory)
    calibration = run.card["calibration"]
    validation = evaluate(run, part="val")
    assert calibration["n_rows"] == validation.n_rows
    outputs = validation.predicted.double().log()  # as good as the logits
    assert calibration["temperature"] == pytest.approx(fit_temperature(outputs, validation.targets), rel=1e-3)
    of_class = validation.predicted.gather(1, validation.targets.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(calibration["scores"][:, 0], (1 - of_class.double()).sort().values, rtol=0, atol=1e-5)


def test_the_result_has_the_calibration_error_of_the_test_part_before_and_after(train_run: Any) -> None:
    done = train_run(*QUICK, "data=circles", "data.noise=0.3")
    found, test = done.result["calibration"], evaluate(load_run(done.directory))
    assert set(found) == {"rows", "test_coverage_of_0.9", "temperature", "test_ece", "test_ece_with_temperature"}
    assert found["test_ece"] == pytest.approx(reliability(test.predicted, test.targets).error, abs=1e-6)
    scaled = (test.predicted.double().log() / found["temperature"]).softmax(1)
    assert found["test_ece_with_temperature"] == pytest.approx(reliability(scaled, test.targets).error, abs=1e-5)
    # On the validation part, where it was fitted, the temperature lowers the loss.
    validation = evaluate(load_run(done.directory), part="val")
    scaled = validation.predicted.double().log() / found["temperature"]
    assert functional.cross_entropy(scaled, validation.targets) <= validation.metrics["loss"] + 1e-7
    assert (done.directory / "figures" / "reliability.png").exists()


def test_without_it_a_run_is_as_it_was(train_run: Any) -> None:
    done = train_run(*QUICK, "data=wine", "callbacks.calibration=null")
    assert "calibration" not in done.result
    assert "calibration" not in load_run(done.directory).card
    assert not (done.directory / "figures" / "reliability.png").exists()
    values = train_run(*QUICK, "data=diabetes")
    # The share of test rows whose error is at most that of ⌈67 · 0.9⌉ = 61 validation rows.
    validation, test = (evaluate(load_run(values.directory), part=part) for part in ("val", "test"))
    errors = (validation.predicted - validation.targets).abs().sort().values
    covered = ((test.predicted - test.targets).abs() <= errors[60]).double().mean()
    assert values.result["calibration"] == {"rows": 66, "test_coverage_of_0.9": pytest.approx(float(covered))}
    assert not (values.directory / "figures" / "reliability.png").exists()
