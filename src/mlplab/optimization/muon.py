"""Muon for the hidden matrices, AdamW for everything else."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

OF_VECTORS = ("bias", "r", "s", "scaling", "slope", "frequencies")
"""Names of parameters in models/ that hold one vector per member or column, not a layer's matrix."""


class MuonAdamW(Optimizer):
    """Muon (Jordan et al. 2024) on weight matrices, AdamW on vectors and on the output layer.

    Muon replaces the momentum of a matrix by the nearest semi-orthogonal one, which is defined for matrices
    only; its authors leave the output layer to AdamW. The update of a matrix is scaled to the size that AdamW's
    would have (Liu et al. 2025, eq. 4), so that one `lr` serves both.

    Args:
        params: groups whose `params` are (name, parameter) pairs or parameters; the last matrix of all is taken
            as the output layer.
        lr: learning rate of both.
        weight_decay: decoupled, of both.
        momentum: Muon's.
        nesterov: Muon's.
        ns_steps: Newton–Schulz iterations.
        betas: AdamW's.
        eps: AdamW's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        groups = _split(list(params))
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self._of_matrices = partial(
            Muon, momentum=momentum, nesterov=nesterov, ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw"
        )
        self._of_the_rest = partial(AdamW, betas=(betas[0], betas[1]), eps=eps)
        self._link()

    def _link(self) -> None:
        """Makes the two inner optimizers work on this one's groups and state, so that there is one of each."""
        self._inner: list[Optimizer] = []
        for is_matrix, rule in ((True, self._of_matrices), (False, self._of_the_rest)):
            # The groups are shared objects, so that changes by a schedule reach the inner optimizers.
            groups = [group for group in self.param_groups if group["matrices"] is is_matrix]
            if groups:
                inner = rule(groups)  # keeps the group objects, and adds missing options
                inner.state = self.state
                self._inner.append(inner)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._link()  # loading puts new groups and a new state in place

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        loss = None
        # `no_grad` around this step would keep a closure from computing gradients.
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for inner in self._inner:  # both read the gradients that the closure has left
            inner.step()
        return loss


def _split(groups: list[Any]) -> list[dict[str, Any]]:
    """Divides each group into its hidden matrices (`matrices=True`) and the rest."""
    # PyTorch's optimizers also accept bare parameters instead of groups.
    if groups and not isinstance(groups[0], dict):
        groups = [{"params": groups}]
    everything = [entry for group in groups for entry in group["params"]]
    # In the model's order; the last is the output layer's, three-dimensional in an ensemble.
    weights = [_parameter(entry) for entry in everything if _parameter(entry).ndim > 1 and not _is_of_vectors(entry)]
    # By identity, as tensors compare element by element.
    hidden = {id(weight) for weight in weights[:-1] if weight.ndim == 2}
    parts = []
    for group in groups:
        for is_matrix in (True, False):
            members = [entry for entry in group["params"] if (id(_parameter(entry)) in hidden) is is_matrix]
            if members:
                parts.append({**group, "params": members, "matrices": is_matrix})
    return parts


def _is_of_vectors(entry: Any) -> bool:
    return isinstance(entry, tuple) and entry[0].rpartition(".")[2] in OF_VECTORS


def _parameter(entry: Any) -> Tensor:
    return entry[1] if isinstance(entry, tuple) else entry  # type: ignore[no-any-return]
