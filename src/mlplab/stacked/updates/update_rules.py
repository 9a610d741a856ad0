"""Update rules of `torch.optim` on rows with their own options, by the names that they have there."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

from mlplab.stacked.updates.adam import AdamRule
from mlplab.stacked.updates.rule import Group, MomentRule, Moving, Rule, Values


class SGDRule(Rule):
    """`torch.optim.SGD`, plain or with momentum."""

    options = ("momentum", "dampening")
    flags = ("nesterov",)
    keeps_counters = False

    def moments(self, group: Group) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        # The first gradient is taken whole: there is no velocity yet.
        taken = torch.where(counters["step"] == 1, 1.0, 1 - options["dampening"])
        return {"-lr": -options["lr"], "taken": taken}

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        direction = moving.gradient
        if "momentum_buffer" in moving.moments:
            momentum = factors["momentum"]
            velocity = moving.moments["momentum_buffer"].mul_(momentum).addcmul_(direction, factors["taken"])
            direction = direction.addcmul(velocity, momentum) if group["nesterov"] else velocity
        moving.parameter.addcmul_(direction, factors["-lr"])


class RMSpropRule(Rule):
    """`torch.optim.RMSprop`."""

    options = ("alpha", "eps", "momentum")
    flags = ("centered",)

    def moments(self, group: Group) -> dict[str, float]:
        return {
            "square_avg": 0.0,
            **({"momentum_buffer": 0.0} if group["momentum"] else {}),
            **({"grad_avg": 0.0} if group["centered"] else {}),
        }

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        return {"1-alpha": 1 - options["alpha"], "-lr": -options["lr"]}

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        gradient, moments = moving.gradient, moving.moments
        squares = moments["square_avg"].mul_(factors["alpha"]).addcmul_(gradient.square(), factors["1-alpha"])
        if group["centered"]:
            mean = moments["grad_avg"].lerp_(gradient, factors["1-alpha"])
            squares = squares.addcmul(mean, mean, value=-1)
        direction = gradient / squares.sqrt().add_(factors["eps"])
        if "momentum_buffer" in moments:
            direction = moments["momentum_buffer"].mul_(factors["momentum"]).add_(direction)
        moving.parameter.addcmul_(direction, factors["-lr"])


class AdagradRule(Rule):
    """`torch.optim.Adagrad`."""

    options = ("lr_decay", "eps")

    def moments(self, group: Group) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        return {"-lr": -options["lr"] / (1 + (counters["step"] - 1) * options["lr_decay"])}

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        gradient = moving.gradient
        scale = moving.moments["sum"].addcmul_(gradient, gradient).sqrt().add_(factors["eps"])
        moving.parameter.addcmul_(gradient / scale, factors["-lr"])


class AdadeltaRule(Rule):
    """`torch.optim.Adadelta`."""

    options = ("rho", "eps")

    def moments(self, group: Group) -> dict[str, float]:
        return {"square_avg": 0.0, "acc_delta": 0.0}

    def factors(self, counters: Values, options: Values) -> dict[str, Tensor]:
        return {"1-rho": 1 - options["rho"], "-lr": -options["lr"]}

    def update(self, moving: Moving, factors: Values, group: Group) -> None:
        gradient, moments = moving.gradient, moving.moments
        rho, rest, eps = factors["rho"], factors["1-rho"], factors["eps"]
        scale = moments["square_avg"].mul_(rho).addcmul_(gradient.square(), rest).add(eps).sqrt_()
        delta = moments["acc_delta"].add(eps).sqrt_().div_(scale).mul_(gradient)
        moments["acc_delta"].mul_(rho).addcmul_(delta.square(), rest)
        moving.parameter.addcmul_(delta, factors["-lr"])


class NAdamRule(MomentRule):
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


class RAdamRule(MomentRule):
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


class AdamaxRule(MomentRule):
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


RULES: dict[type[Optimizer], Rule] = {
    SGD: SGDRule(),
    Adam: AdamRule(),
    AdamW: AdamRule(),
    NAdam: NAdamRule(),
    RAdam: RAdamRule(),
    Adamax: AdamaxRule(),
    RMSprop: RMSpropRule(),
    Adagrad: AdagradRule(),
    Adadelta: AdadeltaRule(),
}
