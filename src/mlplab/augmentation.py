"""Changes the batches of training: noise on the inputs, mixtures of two rows, shifted images.

Validation and test see the data as they are. The learner seeds PyTorch's default generators for each step, so random
numbers depend on seed, epoch and batch alone.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Beta

from mlplab.data.preprocessing import Preprocessing, Standardize
from mlplab.models.inputs import WithInputs
from mlplab.objectives.objective import Objective


class RandomShift(nn.Module):
    """Shifts each image by up to `most` pixels in both directions, and pads with 0: (B, F) -> (B, F).

    Args:
        height, width: of the images; their F = height · width pixels come row by row.
        most: largest shift; each from −most to most is equally likely.
        preprocessing: of the features. If it standardises each pixel by itself, it is undone for the shift.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, height: int, width: int, most: int, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.height, self.width, self.most = height, width, most
        mean = std = None
        if isinstance(preprocessing, Standardize):
            mean, std = preprocessing.mean.float(), preprocessing.scale().float()
        # Not in the state dict: a checkpoint has the preprocessing already.
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        pixels = features if self.mean is None or self.std is None else features * self.std + self.mean
        device = features.device
        offsets = torch.randint(-self.most, self.most + 1, (len(features), 2, 1), device=device)
        # Where each pixel comes from: (B, height, 1) and (B, 1, width).
        rows = (torch.arange(self.height, device=device) - offsets[:, 0]).unsqueeze(2)
        columns = (torch.arange(self.width, device=device) - offsets[:, 1]).unsqueeze(1)
        is_inside = (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
        # Pixels from outside the image are read from a valid index, then replaced by 0.
        source = rows.clamp(0, self.height - 1) * self.width + columns.clamp(0, self.width - 1)
        shifted = pixels.gather(1, source.flatten(1)) * is_inside.flatten(1)
        return shifted if self.mean is None or self.std is None else (shifted - self.mean) / self.std


class Augmentation(nn.Module):
    """Changes the rows of a batch, then computes its loss.

    Args:
        noise: standard deviation of Gaussian noise on the numeric inputs (Bishop 1995). That of the inputs is about 1.
        mixup: α of Beta(α, α) (Zhang et al. 2018). A weight λ is drawn for the batch, and each row x_i becomes
            λ·x_i + (1 − λ)·x_j with another row j of the batch. Values, and labels of 0 and 1, are mixed likewise. For
            classes the loss is λ·L(y_i) + (1 − λ)·L(y_j): cross-entropy is linear in the probabilities of its target.
            One-hot categories and embeddings are mixed as vectors. All members of an ensemble see the same mixture.
        shift: of images; None for none.
        n_numeric: number of numeric features, which come first; indicators and categories follow.
        unit: standard deviation of the numeric features: 1, or that of raw pixels, which are standardised later.
    """

    def __init__(
        self,
        *,
        noise: float = 0.0,
        mixup: float = 0.0,
        shift: RandomShift | None = None,
        n_numeric: int = 0,
        unit: float = 1.0,
    ) -> None:
        super().__init__()
        self.noise, self.mixup, self.shift = noise, mixup, shift
        self.n_numeric, self.unit = n_numeric, unit

    def forward(
        self, model: nn.Module, objective: Objective, features: Tensor, targets: Tensor, *weights: Tensor
    ) -> Tensor:
        """Returns the loss (), from a batch as the learner gets it."""
        if self.shift is not None:
            features = self.shift(features)
        if self.noise > 0:
            numbers, others = features[:, : self.n_numeric], features[:, self.n_numeric :]
            noise = torch.randn(numbers.shape, device=features.device, dtype=next(model.parameters()).dtype)
            features = torch.cat([numbers + self.noise * self.unit * noise, others], dim=1)
        if self.mixup == 0:
            return objective(model(features), targets, *weights)  # type: ignore[no-any-return]
        network = model
        # The input layer turns categories and embedded numbers into vectors, which can be mixed.
        if isinstance(model, WithInputs):
            features, network = model.inputs(features), model.network
        share = float(Beta(self.mixup, self.mixup).sample())
        partners = torch.randperm(len(targets), device=targets.device)
        outputs = network(torch.lerp(features[partners], features, share))
        of_partners = [part[partners] for part in (targets, *weights)]
        if targets.is_floating_point():
            mixed = [torch.lerp(one, own, share) for one, own in zip(of_partners, (targets, *weights), strict=True)]
            return objective(outputs, *mixed)  # type: ignore[no-any-return]
        # Class indices cannot be averaged.
        return share * objective(outputs, targets, *weights) + (1 - share) * objective(outputs, *of_partners)  # type: ignore[no-any-return]
