import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from mlplab.errors import UserError
from mlplab.objectives.losses import binary_cross_entropy, cross_entropy, huber, mae, mse

LOG_2 = math.log(2)


def double(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_mse_is_the_mean_square_without_a_half() -> None:
    # (1 + 4 + 0 + 9) / 4
    assert mse(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 3.0]])).item() == 3.5


def test_mse_has_the_gradient_two_errors_over_their_number() -> None:
    outputs = torch.tensor([[1.0], [4.0]], requires_grad=True)
    mse(outputs, torch.tensor([[0.0], [6.0]])).backward()
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[1.0], [-2.0]]


def test_mae_is_the_mean_absolute_error() -> None:
    assert mae(torch.tensor([[1.0], [-2.0], [5.0]]), torch.tensor([[0.0], [2.0], [4.0]])).item() == 2.0


def test_mae_has_the_sign_as_gradient_and_zero_where_there_is_no_error() -> None:
    outputs = torch.tensor([[1.0], [2.0], [3.0], [1e4]], requires_grad=True)
    mae(outputs, torch.tensor([[2.0], [2.0], [2.0], [2.0]])).backward()
    assert outputs.grad is not None
    assert outputs.grad.squeeze(1).tolist() == [-0.25, 0.0, 0.25, 0.25]


@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0])
def test_huber_is_squared_inside_and_straight_outside(delta: float) -> None:
    errors = double(-1e4, -3 * delta, -delta, -delta / 2, 0.0, delta / 2, delta, 3 * delta, 1e4)
    expected = [0.5 * e**2 if abs(e) <= delta else delta * (abs(e) - 0.5 * delta) for e in errors.tolist()]
    actual = [huber(e.reshape(1, 1), double([0.0]), delta=delta).item() for e in errors]
    assert actual == expected


def test_huber_meets_at_its_corner_in_value_and_in_slope() -> None:
    delta = 1.5
    around = torch.tensor(
        [[math.nextafter(delta, 0.0)], [delta], [math.nextafter(delta, 9.0)]], dtype=torch.float64, requires_grad=True
    )
    values = [huber(row.unsqueeze(0), double([0.0]), delta=delta).item() for row in around]
    assert values == pytest.approx([delta**2 / 2] * 3, rel=1e-15)
    (3 * huber(around, torch.zeros_like(around), delta=delta)).backward()
    assert around.grad is not None
    assert around.grad.squeeze(1).tolist() == pytest.approx([delta] * 3, rel=1e-15)


def test_huber_has_the_corner_at_one_unless_told_otherwise() -> None:
    assert huber(torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)).item() == (0.5 + 2.5) / 2


@pytest.mark.parametrize("loss", [mse, mae, huber])
@pytest.mark.parametrize(("outputs", "targets"), [((4,), (4, 1)), ((4, 1), (4,)), ((4, 1), (1, 1)), ((4, 2), (4, 1))])
def test_shapes_that_would_be_broadcast_are_refused(
    loss: Callable[..., Tensor], outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(UserError) as refusal:
        loss(torch.zeros(outputs), torch.zeros(targets))
    assert refusal.value.requirement == "outputs and targets must have the same shape"
    assert refusal.value.actual == f"they have {outputs} and {targets}"


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_their_number() -> None:
    for n_classes in (2, 3, 10):
        outputs = torch.full((4, n_classes), 5.0, dtype=torch.float64)
        assert cross_entropy(outputs, torch.tensor([0, 1, 0, 1])).item() == pytest.approx(
            math.log(n_classes), rel=1e-15
        )


def test_cross_entropy_by_hand() -> None:
    # Logits log 1, log 2, log 5 are probabilities 1/8, 2/8, 5/8.
    outputs = double([0.0, LOG_2, math.log(5)]).repeat(2, 1)
    expected = (math.log(8) + math.log(8 / 5)) / 2
    assert cross_entropy(outputs, torch.tensor([0, 2])).item() == pytest.approx(expected, rel=1e-14)


def test_cross_entropy_has_the_gradient_probability_minus_one_hot() -> None:
    outputs = double([0.0, LOG_2, math.log(5)]).requires_grad_()
    cross_entropy(outputs, torch.tensor([1])).backward()
    assert outputs.grad is not None
    assert outputs.grad[0].tolist() == pytest.approx([1 / 8, 2 / 8 - 1, 5 / 8], rel=1e-14)


def test_cross_entropy_of_huge_logits_does_not_overflow() -> None:
    outputs = torch.tensor([[1e4, -1e4], [1e4, -1e4]], requires_grad=True)
    loss = cross_entropy(outputs, torch.tensor([0, 1]))
    assert loss.item() == 1e4  # (0 + 20 000) / 2
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[0.0, 0.0], [0.5, -0.5]]


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 0.9])
def test_label_smoothing_follows_its_formula(smoothing: float) -> None:
    outputs = double([0.0, LOG_2, math.log(5)])
    surprises = [math.log(8), math.log(4), math.log(8 / 5)]
    target = [smoothing / 3, 1 - smoothing + smoothing / 3, smoothing / 3]
    expected = sum(share * surprise for share, surprise in zip(target, surprises, strict=True))
    loss = cross_entropy(outputs, torch.tensor([1]), label_smoothing=smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_of_one_logit_is_that_of_two_classes(smoothing: float) -> None:
    outputs, targets = double(-1.5, 0.7, 2.0).unsqueeze(1), torch.tensor([0, 1, 0])
    loss = binary_cross_entropy(outputs, targets, label_smoothing=smoothing)
    of_two = cross_entropy(torch.cat([torch.zeros_like(outputs), outputs], 1), targets, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(of_two.item(), rel=1e-14)
    # Of the first row, class 1 has the target ε/2.
    share, z = smoothing / 2, -1.5
    expected = -share * -math.log1p(math.exp(-z)) - (1 - share) * -math.log1p(math.exp(z))
    assert binary_cross_entropy(outputs[:1], targets[:1], label_smoothing=smoothing).item() == pytest.approx(expected)


def test_class_weights_multiply_each_row_and_the_mean_is_over_the_rows() -> None:
    outputs = double([0.0, LOG_2, math.log(5)]).repeat(3, 1)
    weights = double(1.0, 2.0, 3.0)
    # Rows of class 0, 0 and 2: 1·log 8, 1·log 8, 3·log 8/5. PyTorch would divide by 1 + 1 + 3.
    expected = (2 * math.log(8) + 3 * math.log(8 / 5)) / 3
    loss = cross_entropy(outputs, torch.tensor([0, 0, 2]), class_weights=weights)
    assert loss.item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_in_a_batch_of_one_row_the_class_weight_counts_in_full(smoothing: float) -> None:
    outputs, target = double([0.3, -0.2]), torch.tensor([1])
    plain = cross_entropy(outputs, target, label_smoothing=smoothing)
    weighted = cross_entropy(outputs, target, class_weights=double(1.0, 4.0), label_smoothing=smoothing)
    assert weighted.item() == pytest.approx(4 * plain.item(), rel=1e-15)


def test_the_weighted_loss_of_a_batch_is_the_mean_over_its_single_rows() -> None:
    torch.manual_seed(0)
    outputs, targets, weights = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 3, double(0.2, 1.0, 5.0)
    rows = [
        cross_entropy(outputs[i : i + 1], targets[i : i + 1], class_weights=weights, label_smoothing=0.1).item()
        for i in range(7)
    ]
    whole = cross_entropy(outputs, targets, class_weights=weights, label_smoothing=0.1)
    assert whole.item() == pytest.approx(sum(rows) / 7, rel=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_of_one_change_nothing(smoothing: float) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 3
    weighted = cross_entropy(outputs, targets, class_weights=double(1.0, 1.0, 1.0), label_smoothing=smoothing)
    plain = cross_entropy(outputs, targets, label_smoothing=smoothing)
    assert weighted.item() == pytest.approx(plain.item(), rel=1e-14)


@pytest.mark.parametrize(
    ("outputs", "targets"), [((4, 3), (4, 3)), ((4, 3), (3,)), ((4,), (4,)), ((4, 3), (4, 1)), ((4, 3, 2), (4,))]
)
def test_cross_entropy_refuses_other_shapes_than_logits_and_indices(
    outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(UserError) as refusal:
        cross_entropy(torch.zeros(outputs), torch.zeros(targets, dtype=torch.int64))
    assert refusal.value.requirement == "outputs must have shape (B, C) and targets (B,)"
    assert refusal.value.actual == f"they have {outputs} and {targets}"
    assert "one-hot" in refusal.value.hint


def test_binary_cross_entropy_by_hand() -> None:
    # p(class 1) = sigmoid(log 3) = 3/4.
    outputs = double([math.log(3)], [math.log(3)])
    expected = (math.log(4 / 3) + math.log(4)) / 2
    assert binary_cross_entropy(outputs, torch.tensor([1, 0])).item() == pytest.approx(expected, rel=1e-14)


def test_binary_cross_entropy_of_huge_logits_does_not_overflow() -> None:
    outputs = torch.tensor([[1e4], [1e4], [-1e4], [-1e4]], requires_grad=True)
    loss = binary_cross_entropy(outputs, torch.tensor([0, 1, 0, 1]))
    assert loss.item() == 5e3
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad.squeeze(1).tolist() == [0.25, 0.0, 0.0, -0.25]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_binary_cross_entropy_is_cross_entropy_with_the_first_logit_at_zero(smoothing: float) -> None:
    torch.manual_seed(0)
    logit, targets, weights = torch.randn(9, 1, dtype=torch.float64), torch.arange(9) % 2, double(0.5, 3.0)
    both = torch.cat([torch.zeros_like(logit), logit], dim=1)
    for class_weights in (None, weights):
        one = binary_cross_entropy(logit, targets, class_weights=class_weights, label_smoothing=smoothing)
        two = cross_entropy(both, targets, class_weights=class_weights, label_smoothing=smoothing)
        assert one.item() == pytest.approx(two.item(), rel=1e-13)


def test_binary_label_smoothing_follows_its_formula() -> None:
    # y = 1 becomes 1 − ε + ε/2 = 0.9 for ε = 0.2.
    outputs = double([math.log(3)])
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    loss = binary_cross_entropy(outputs, torch.tensor([1]), label_smoothing=0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-14)


def test_binary_class_weights_by_hand() -> None:
    outputs = double([0.0], [0.0], [0.0])
    loss = binary_cross_entropy(outputs, torch.tensor([0, 1, 1]), class_weights=double(1.0, 4.0))
    assert loss.item() == pytest.approx((1 + 4 + 4) * LOG_2 / 3, rel=1e-14)


@pytest.mark.parametrize(("outputs", "targets"), [((4, 2), (4,)), ((4,), (4,)), ((4, 1), (4, 1)), ((4, 1), (1,))])
def test_binary_cross_entropy_refuses_other_shapes_than_one_logit_and_indices(
    outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(UserError) as refusal:
        binary_cross_entropy(torch.zeros(outputs), torch.zeros(targets, dtype=torch.int64))
    assert refusal.value.requirement == "outputs must have shape (B, 1) and targets (B,)"


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (mse, torch.randn(4, 1), torch.randn(4, 1)),
        (mae, torch.randn(4, 1), torch.randn(4, 1)),
        (huber, torch.randn(4, 1), torch.randn(4, 1)),
        (cross_entropy, torch.randn(4, 3), torch.tensor([0, 1, 2, 0])),
        (binary_cross_entropy, torch.randn(4, 1), torch.tensor([0, 1, 1, 0])),
    ],
)
def test_losses_are_pure(loss: Callable[..., Tensor], outputs: Tensor, targets: Tensor) -> None:
    generator, given = torch.get_rng_state(), (outputs.clone(), targets.clone())
    value = loss(outputs, targets)
    assert value.shape == ()
    assert torch.equal(loss(outputs, targets), value)
    assert torch.equal(outputs, given[0])
    assert torch.equal(targets, given[1])
    assert torch.equal(torch.get_rng_state(), generator)


def test_losses_of_values_so_large_that_their_square_overflows_are_infinite_and_not_nan() -> None:
    outputs, targets = torch.tensor([[1e30]]), torch.tensor([[-1e30]])
    assert mse(outputs, targets).item() == math.inf
    assert mae(outputs, targets).item() == pytest.approx(2e30, rel=1e-6)
    assert huber(outputs, targets).item() == pytest.approx(2e30, rel=1e-6)


CLASSES, VALUES = torch.tensor([0, 1, 1, 0]), double([0.5], [-1.0], [3.0], [0.0])


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (mse, double([1.0], [2.0], [-1.0], [0.0]), VALUES),
        (mse, double([1.0, 0.0], [2.0, 1.0], [-1.0, 3.0], [0.0, 1.0]), VALUES.expand(4, 2)),
        (mae, double([1.0], [2.0], [-1.0], [0.0]), VALUES),
        (partial(huber, delta=0.7), double([1.0], [2.0], [-1.0], [0.0]), VALUES),
        (cross_entropy, double([1.0, 2.0], [0.0, 1.0], [3.0, -1.0], [0.5, 0.5]), CLASSES),
        (
            partial(cross_entropy, class_weights=double(0.5, 3.0), label_smoothing=0.2),
            double([1.0, 2.0], [0.0, 1.0], [3.0, -1.0], [0.5, 0.5]),
            CLASSES,
        ),
        (binary_cross_entropy, double([1.0], [2.0], [-1.0], [0.0]), CLASSES),
        (
            partial(binary_cross_entropy, class_weights=double(0.5, 3.0), label_smoothing=0.2),
            double([1.0], [2.0], [-1.0], [0.0]),
            CLASSES,
        ),
    ],
)
def test_weights_are_factors_on_the_losses_of_the_rows(
    loss: Callable[..., Tensor], outputs: Tensor, targets: Tensor
) -> None:
    weights = double(2.0, 0.0, 1.0, 0.5)
    per_row = [loss(outputs[n : n + 1], targets[n : n + 1]).item() for n in range(4)]
    expected = sum(weight * each for weight, each in zip(weights.tolist(), per_row, strict=True)) / 4
    assert loss(outputs, targets, weights).item() == pytest.approx(expected, rel=1e-14)


def test_weights_of_another_shape_are_refused() -> None:
    for weights in (torch.ones(3), torch.ones(4, 1)):
        with pytest.raises(UserError, match=r"weights must have shape \(B,\)"):
            mse(torch.zeros(4, 1), torch.zeros(4, 1), weights)


def test_labels_are_yes_or_no_each_by_itself() -> None:
    outputs, labels = double([1.0, -2.0], [0.5, 3.0]), double([1.0, 0.0], [0.0, 1.0])
    each = [(outputs[:, [place]], labels[:, place].long()) for place in (0, 1)]
    alone = [binary_cross_entropy(*one, label_smoothing=0.1).item() for one in each]
    assert binary_cross_entropy(outputs, labels, label_smoothing=0.1).item() == pytest.approx(sum(alone) / 2, rel=1e-14)
    weighted = binary_cross_entropy(outputs, labels, double(2.0, 0.0)).item()
    assert weighted == pytest.approx(binary_cross_entropy(outputs[:1], labels[:1]).item(), rel=1e-14)
    with pytest.raises(UserError, match="the same shape"):
        binary_cross_entropy(torch.zeros(4, 1), torch.zeros(4))
