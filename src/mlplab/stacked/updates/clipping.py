"""Gradient clipping of K members, each by its own norm.

Legend: K members; each gradient (K, …).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlplab.stacked.networks.tensors import per_member


def clip_norms(gradients: Sequence[Tensor], limits: Sequence[float | None]) -> None:
    """`torch.nn.utils.clip_grad_norm_` for each member with a limit: its gradient shrinks to that norm, in place."""
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    total = torch.linalg.vector_norm(norms, dim=0)
    is_limited = torch.tensor([limit is not None for limit in limits], device=total.device)
    most = torch.tensor([limit or 0.0 for limit in limits], dtype=total.dtype, device=total.device)
    # 1e-6 as PyTorch has it. A member without limit keeps what it has, also where its norm is not finite.
    shares = torch.where(is_limited, (most / (total + 1e-6)).clamp(max=1.0), 1.0)
    if (shares != 1).any():
        for gradient in gradients:
            gradient.mul_(per_member(shares, gradient))


def clip_values(gradients: Sequence[Tensor], limits: Sequence[float | None]) -> None:
    """`torch.nn.utils.clip_grad_value_` for each member with a limit: each number goes into [−limit, limit]."""
    most = torch.tensor([torch.inf if limit is None else limit for limit in limits], dtype=torch.float64)
    for gradient in gradients:
        bound = per_member(most.to(gradient.device), gradient)
        gradient.clamp_(-bound, bound)
