import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from mlplab.models import MLP, TabM
from mlplab.models.inputs import WithInputs
from mlplab.models.numeric_embeddings import EmbeddedInputs
from mlplab.optimization.muon import MuonAdamW
from mlplab.optimization.parameter_groups import parameter_groups

INPUTS = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
TARGETS = torch.arange(16) % 3


def network(hidden_dims: tuple[int, ...] = (8, 6)) -> MLP:
    torch.manual_seed(0)
    return MLP(in_features=5, out_features=3, hidden_dims=hidden_dims, normalization="layer")


def optimizer_for(model: nn.Module, **options: Any) -> MuonAdamW:
    return MuonAdamW(parameter_groups(model, weight_decay=0.1), **{"lr": 0.01, **options})


def backward(model: nn.Module) -> Tensor:
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(INPUTS), TARGETS)
    loss.backward()
    return loss


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        backward(model)
        optimizer.step()


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def names(optimizer: MuonAdamW, *, matrices: bool) -> set[str]:
    return {name for group in optimizer.param_groups if group["matrices"] is matrices for name in group["param_names"]}


def test_hidden_matrices_go_to_muon_and_all_else_to_adamw() -> None:
    model = network()
    optimizer = optimizer_for(model)
    hidden = {"hidden.0.linear.weight", "hidden.1.linear.weight"}
    assert names(optimizer, matrices=True) == hidden
    assert names(optimizer, matrices=False) == dict(model.named_parameters()).keys() - hidden


def test_vectors_of_members_and_columns_are_no_matrices() -> None:
    embedded = EmbeddedInputs(None, n_features=5, name="piecewise", n_columns=5, n_bins=4)
    model = WithInputs(embedded, TabM(in_features=embedded.out_features, out_features=3, k=2, hidden_dims=[8, 6]))
    matrices = names(optimizer_for(model), matrices=True)
    assert matrices == {"network.hidden.0.linear.weight", "network.hidden.1.linear.weight"}


def test_the_output_layer_is_the_last_matrix_whatever_the_group_it_is_in() -> None:
    model = network()
    for applies_to in (("weight",), ("bias",), ()):
        groups = parameter_groups(model, weight_decay=0.1, applies_to=applies_to)
        assert names(MuonAdamW(groups), matrices=True) == {"hidden.0.linear.weight", "hidden.1.linear.weight"}


def test_a_linear_model_is_left_to_adamw() -> None:
    model, reference = network(hidden_dims=()), network(hidden_dims=())
    train(model, optimizer_for(model), 3)
    train(reference, AdamW(parameter_groups(reference, weight_decay=0.1), lr=0.01), 3)
    assert equal(weights(model), weights(reference))


def test_steps_are_those_of_the_two_optimizers_side_by_side_bit_for_bit() -> None:
    model, reference = network(), network()
    optimizer = optimizer_for(model, momentum=0.8, betas=(0.7, 0.9), eps=1e-6)
    hidden = [layer.linear.weight for layer in reference.hidden]
    spared = [parameter for parameter in reference.parameters() if parameter.ndim == 1]
    muon = Muon(hidden, lr=0.01, weight_decay=0.1, momentum=0.8, adjust_lr_fn="match_rms_adamw")
    adamw = AdamW(
        [{"params": [reference.output.weight]}, {"params": spared, "weight_decay": 0.0}],
        lr=0.01,
        weight_decay=0.1,
        betas=(0.7, 0.9),
        eps=1e-6,
    )
    for _ in range(4):
        backward(model)
        optimizer.step()
        backward(reference)
        muon.step()
        adamw.step()
    assert equal(weights(model), weights(reference))


def test_the_update_of_a_matrix_has_singular_values_near_one_times_the_size_of_adamws() -> None:
    weight, output = nn.Parameter(torch.zeros(30, 20)), nn.Parameter(torch.zeros(2, 30))
    optimizer = MuonAdamW([weight, output], lr=1.0, weight_decay=0.0)
    torch.manual_seed(0)
    weight.grad, output.grad = torch.randn(30, 20), torch.randn(2, 30)
    optimizer.step()
    # Liu et al. 2025, eq. 4: 0.2·√max(rows, columns). Newton–Schulz leaves the singular values within about 0.3 of 1.
    singular = torch.linalg.svdvals(weight.detach()) / (0.2 * 30**0.5)
    assert singular.min() > 0.65
    assert singular.max() < 1.35


def test_weight_decay_spares_biases() -> None:
    model = network()
    optimizer = optimizer_for(model)
    decay = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["param_names"]}
    assert {name for name, value in decay.items() if value} == {
        "hidden.0.linear.weight",
        "hidden.1.linear.weight",
        "output.weight",
    }


def test_plain_parameters_are_taken_as_well_as_named_ones() -> None:
    model, named = network(), network()
    train(model, MuonAdamW(model.parameters(), lr=0.01), 2)
    train(named, MuonAdamW(named.named_parameters(), lr=0.01), 2)
    assert equal(weights(model), weights(named))


def test_a_learning_rate_that_a_schedule_sets_is_the_one_that_both_use() -> None:
    model = network()
    optimizer = optimizer_for(model)
    before = weights(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, 1)
    assert equal(weights(model), before)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    train(model, optimizer, 1)
    assert not any(torch.equal(now, then) for now, then in zip(weights(model), before, strict=True))


@pytest.mark.parametrize("through_a_file", [False, True])
def test_the_state_continues_identically_in_another_optimizer(through_a_file: bool) -> None:
    model = network()
    optimizer = optimizer_for(model)
    train(model, optimizer, 3)
    state = copy.deepcopy(optimizer.state_dict())
    if through_a_file:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        state = torch.load(buffer, weights_only=True)
    other = network()
    other.load_state_dict(model.state_dict())
    # Options that differ from the first: what counts afterwards is what was loaded.
    resumed = optimizer_for(other, lr=0.9, momentum=0.1, betas=(0.1, 0.2), ns_steps=2)
    resumed.load_state_dict(state)
    train(model, optimizer, 4)
    train(other, resumed, 4)
    assert equal(weights(model), weights(other))


def test_a_loaded_state_matters() -> None:
    model = network()
    optimizer = optimizer_for(model)
    train(model, optimizer, 3)
    other = network()
    other.load_state_dict(model.state_dict())
    train(model, optimizer, 1)
    train(other, optimizer_for(other), 1)
    assert not equal(weights(model), weights(other))


def test_after_loading_there_is_still_one_state_and_one_set_of_groups() -> None:
    model = network()
    optimizer = optimizer_for(model)
    train(model, optimizer, 2)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = weights(model)
    train(model, optimizer, 1)
    assert set(map(id, optimizer.state)) == set(map(id, model.parameters()))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    at_rest = weights(model)
    train(model, optimizer, 1)
    assert equal(weights(model), at_rest)
    assert not equal(at_rest, before)


def test_a_step_evaluates_its_closure_once_with_gradients_on_and_returns_its_loss() -> None:
    model = network()
    optimizer = optimizer_for(model)
    evaluated: list[float] = []

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        loss = backward(model)
        evaluated.append(loss.item())
        return loss

    loss = optimizer.step(closure)
    assert loss is not None
    assert evaluated == [loss.item()]


def test_the_loss_goes_down() -> None:
    model = network()
    before = backward(model).item()
    train(model, optimizer_for(model, lr=0.05), 25)
    assert backward(model).item() < 0.75 * before
