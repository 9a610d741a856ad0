import pytest
import torch
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_auroc

from mlplab.objectives.auroc import one_against_the_rest


def areas(probabilities: torch.Tensor, targets: torch.Tensor) -> list[float]:
    classes = torch.arange(probabilities.shape[1]).unsqueeze(1)
    values = probabilities if probabilities.dtype in (torch.float32, torch.float64) else probabilities.float()
    return one_against_the_rest(values.numpy(), (targets == classes).numpy()).tolist()


def test_the_share_of_pairs_in_the_right_order_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]])
    # Class 0: rows 0 and 1 of it, with 0.7 and 0.4, against 0.6 and 0.4: in order, in order; not, a tie.
    assert areas(probabilities, torch.tensor([0, 0, 1, 1])) == [2.5 / 4, 2.5 / 4]


@pytest.mark.filterwarnings("ignore:.*samples in targets.*")
@settings(max_examples=examples(60))
@given(n=st.integers(1, 80), n_classes=st.integers(2, 7), seed=st.integers(0, 999), has_ties=st.booleans())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_what_torchmetrics_gets_from_the_curves(
    n: int, n_classes: int, seed: int, has_ties: bool, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = 20 * torch.randn(n, n_classes, generator=generator).to(dtype)  # probabilities of 0 and of 1 among them
    probabilities = (scores.round() if has_ties else scores).softmax(1)
    targets = torch.randint(0, n_classes, (n,), generator=generator)
    expected = multiclass_auroc(probabilities, targets, n_classes, average=None)
    assert areas(probabilities, targets) == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_smallest_differences_are_seen() -> None:
    smallest = torch.tensor([0.0, 1e-45, 1e-40, 1e-30, 1 - 2**-24, 1.0])
    for split in range(1, 6):
        targets = (torch.arange(6) >= split).long()
        assert areas(torch.stack([smallest.flip(0), smallest], dim=1), targets)[1] == 1


def test_counts_of_a_large_part_stay_exact() -> None:
    n = 200_000  # 10¹⁰ pairs, which neither 32 bits of a whole number nor of a fraction can tell apart
    values = torch.arange(n, dtype=torch.float32) / 2**18
    targets = (torch.arange(n) >= n // 2).long()
    values[n // 2 - 1], values[n // 2] = values[n // 2].item(), values[n // 2 - 1].item()  # a pair in the wrong order
    area = areas(torch.stack([1 - values, values], dim=1), targets)
    assert area == [1 - 1 / (n // 2) ** 2] * 2
