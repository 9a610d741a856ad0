"""The limit on the length of each unit's incoming weights."""

from typing import Any

import numpy as np
import pytest
import torch
from comparing import difference

from mlplab.errors import UserError
from mlplab.models.mlp import MLP
from mlplab.optimization.max_norm import incoming_weights, limit_norms

SMALL = ["data=wine", "trainer.max_epochs=3", "callbacks=minimal", "logger=csv"]


def test_rows_that_are_too_long_are_shortened_and_others_stay() -> None:
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    limit_norms([weight], 2.0)
    np.testing.assert_allclose(weight.detach().numpy(), [[1.2, 1.6], [0.3, 0.4]], rtol=1e-6)


def test_all_linear_layers_that_learn_are_limited() -> None:
    network = MLP(in_features=3, out_features=2, hidden_dims=[4], normalization="layer")
    network.output.weight.requires_grad_(False)
    assert [tuple(weight.shape) for weight in incoming_weights(network)] == [(4, 3)]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_no_unit_is_longer_after_any_update_and_both_engines_agree(train_run: Any, optimizer: str) -> None:
    words = [*SMALL, "regularization.max_norm=0.5", f"optimizer={optimizer}"]
    runs = [train_run(*words, f"engine={engine}").directory for engine in ("fast", "plain")]
    assert difference(*runs) == ""
    assert "autograd" not in (runs[0] / "train.log").read_text()  # the fused step goes on
    state = torch.load(runs[0] / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    lengths = torch.cat([value.norm(dim=1) for name, value in state.items() if name.endswith("weight")])
    assert float(lengths.max()) == pytest.approx(0.5, rel=1e-5)


def test_a_network_without_linear_layers_is_refused(train_run: Any) -> None:
    words = ["~model", "+model={_target_: own_networks.Quadratic}", "regularization.max_norm=3"]
    with pytest.raises(UserError, match=r"max_norm must be given for a network with layers"):
        train_run(*SMALL, *words)
    with pytest.raises(UserError, match=r"optimizer=lbfgs must have the plain gradient"):
        train_run(*SMALL, "optimizer=lbfgs", "regularization.max_norm=3")
