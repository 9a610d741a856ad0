"""The mean of several networks as one network."""

from typing import Literal

import pytest
import torch
from torch import nn

from mlplab.models.ensemble import Ensemble
from mlplab.objectives.objective import predictions
from mlplab.task import Task


def networks(n_outputs: list[int]) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Linear(4, width).double() for width in n_outputs]


@pytest.mark.parametrize(
    ("kind", "widths", "names"),
    [
        ("classification", [3, 3, 3], {"class_names": ("a", "b", "c")}),
        ("classification", [1, 2, 1], {"class_names": ("a", "b")}),
        ("regression", [1, 1], {"target_mean": 7.0, "target_std": 3.0}),
        ("multilabel", [2, 2], {"target_names": ("a", "b"), "label_names": (("0", "1"), ("0", "1"))}),
    ],
)
def test_its_predictions_are_the_means_of_those_of_its_members(
    kind: Literal["classification"], widths: list[int], names: dict[str, object]
) -> None:
    task = Task(kind=kind, n_features=4, **names)  # type: ignore[arg-type]
    members, features = networks(widths), torch.randn(50, 4, dtype=torch.float64)
    found = predictions(Ensemble(members, kind)(features), task)
    expected = torch.stack([predictions(member(features), task) for member in members]).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_probabilities_of_nearly_0_and_1_stay_finite(kind: str) -> None:
    members = networks([2, 2])
    outputs = Ensemble(members, kind)(1e6 * torch.randn(20, 4, dtype=torch.float64))
    assert bool(outputs.isfinite().all())
