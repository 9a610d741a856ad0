"""The rules that follow the gradient, or its size in each coordinate."""

import torch
from torch import Tensor

from mlplab.stacked.updates.bundle import Group, Values
from mlplab.stacked.updates.rule import Moving, Rule


class Descent(Rule):
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


class RMSPropagation(Rule):
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


class AdaptiveGradient(Rule):
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


class AdaptiveDelta(Rule):
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
