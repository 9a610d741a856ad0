"""Adam's relatives, whose running means are corrected for having begun at 0."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mlplab.stacked.updates.bundle import Group, Values
from mlplab.stacked.updates.rule import Moving, Rule


class MomentRule(Rule):
    """The running means of the gradient and of its square (Kingma and Ba 2015, algorithm 1)."""

    options: tuple[str, ...] = ("betas", "eps")
    flags: tuple[str, ...] = ("decoupled_weight_decay",)

    def moments(self, group: Group) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        corrections = {f"correction{i}": 1 - options[f"beta{i}"].pow(counters["step"]) for i in (1, 2)}
        return {"1-beta1": 1 - options["beta1"], "1-beta2": 1 - options["beta2"], **corrections}

    def average(self, moving: Moving, factors: Values) -> tuple[Tensor, Tensor]:
        """Moves both means."""
        gradient = moving.gradient
        mean = moving.moments["exp_avg"].lerp_(gradient, factors["1-beta1"])
        squares = moving.moments["exp_avg_sq"].mul_(factors["beta2"]).addcmul_(gradient.square(), factors["1-beta2"])
        return mean, squares


class NesterovMoments(MomentRule):
    """`torch.optim.NAdam`: momentum grows by β₁(1 − ½·0.96^(t·ψ)) (Dozat 2016)."""

    options = (*MomentRule.options, "momentum_decay")
    counters: ClassVar[Mapping[str, float]] = {"step": 0.0, "mu_product": 1.0}

    def advance(self, counters: Values, options: Values) -> None:
        super().advance(counters, options)
        product = counters["mu_product"]
        product.mul_(self._momentum(counters["step"].to(torch.float64), options).to(product.dtype))

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        momentum, following = (self._momentum(counters["step"] + ahead, options) for ahead in (0, 1))
        product, lr = counters["mu_product"], options["lr"]
        return {
            **super().factors(counters, options),
            "of_gradient": -lr * (1 - momentum) / (1 - product),
            "of_mean": -lr * following / (1 - product * following),
        }

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        mean, squares = self.average(moving, factors)
        scale = squares.div(factors["correction2"]).sqrt_().add_(factors["eps"])
        moving.parameter.addcmul_(moving.gradient / scale, factors["of_gradient"])
        moving.parameter.addcmul_(mean / scale, factors["of_mean"])

    @staticmethod
    def _momentum(step: Tensor, options: Values) -> Tensor:
        return options["beta1"] * (1 - 0.5 * torch.pow(0.96, step * options["momentum_decay"]))


class RectifiedMoments(MomentRule):
    """`torch.optim.RAdam` (Liu et al. 2020, algorithm 2)."""

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        factors = super().factors(counters, options)
        beta2, step = options["beta2"], counters["step"]
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2.pow(step) / factors["correction2"]
        is_rectified = length > 5
        length = torch.where(is_rectified, length, 6.0)  # some value that has a root
        square = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        return {
            **factors,
            "-lr": -options["lr"],
            "is_rectified": is_rectified,
            "rectification": square.sqrt() * factors["correction2"].sqrt(),
        }

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        mean, squares = self.average(moving, factors)
        direction = mean / factors["correction1"]
        is_rectified = factors["is_rectified"] > 0
        if is_rectified.any():
            scale = squares.sqrt().add_(factors["eps"])
            direction = torch.where(is_rectified, direction * factors["rectification"] / scale, direction)
        moving.parameter.addcmul_(direction, factors["-lr"])


class MaximumMoments(MomentRule):
    """`torch.optim.Adamax`: the largest gradient instead of the mean square (Kingma and Ba 2015, algorithm 2)."""

    flags = ()

    def moments(self, group: Group) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_inf": 0.0}

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        factors = super().factors(counters, options)
        return {**factors, "-lr": -options["lr"] / factors["correction1"]}

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        gradient, moments = moving.gradient, moving.moments
        mean = moments["exp_avg"].lerp_(gradient, factors["1-beta1"])
        largest = moments["exp_inf"].mul_(factors["beta2"])
        torch.maximum(largest, gradient.abs().add_(factors["eps"]), out=largest)
        moving.parameter.addcmul_(mean / largest, factors["-lr"])
