import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_auroc

from mlplab.objectives.auroc import RankedAUROC, one_against_the_rest


def test_the_share_of_pairs_in_the_right_order_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]])
    # Class 0: rows 0 and 1 of it, with 0.7 and 0.4, against 0.6 and 0.4: in order, in order; not, a tie.
    areas = one_against_the_rest(probabilities, torch.tensor([0, 0, 1, 1]))
    assert areas.tolist() == [2.5 / 4, 2.5 / 4]


@pytest.mark.filterwarnings("ignore:.*samples in targets.*")
@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 80), n_classes=st.integers(2, 7), seed=st.integers(0, 999), has_ties=st.booleans())
def test_it_is_what_torchmetrics_gets_from_the_curves(n: int, n_classes: int, seed: int, has_ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, n_classes, generator=generator)
    probabilities = (scores.round() if has_ties else scores).softmax(1)
    targets = torch.randint(0, n_classes, (n,), generator=generator)
    expected = multiclass_auroc(probabilities, targets, n_classes, average=None)
    assert one_against_the_rest(probabilities, targets).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    metric = RankedAUROC(n_classes, average="macro", validate_args=False)
    for part in range(2):
        metric.update(probabilities[part::2], targets[part::2])
    assert metric.compute().item() == pytest.approx(expected.mean().item(), abs=1e-6)
