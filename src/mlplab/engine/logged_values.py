"""What is logged by `LightningModule.log`, kept with fewer steps than Lightning takes.

The class below it is private to Lightning, which is why pyproject.toml admits one minor version only.
"""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor

from mlplab.engine.hooks import overriding


def log_dict(module: pl.LightningModule, values: Mapping[str, Tensor], **options: Any) -> None:
    """`module.log_dict`, from the hook of an epoch's end: by a shorter way where it has been given the same before.

    Args:
        module: a `log` or `log_dict` of its own is called, as ever.
        values: each (), without a graph.
        options: of `log_dict`, the same each time.
    """
    trainer, hook = module.trainer, module._current_fx_name
    results = trainer._results
    has_own = any(overriding([module], name, pl.LightningModule) for name in ("log", "log_dict"))
    if isinstance(results, LeanResults) and hook is not None and not has_own and results.log_again(hook, values):
        trainer._logger_connector._current_fx = hook
    else:
        module.log_dict(values, **options)


class LeanResults(_ResultCollection):
    """Takes a value that is logged as it was before to where that one is, and answers the same question once.

    Lightning describes each value anew, compares the description with that of the value before, and moves what it
    keeps to the device that it is on. It goes through all values whenever somebody looks at one of them.
    """

    def __init__(self, training: bool) -> None:
        super().__init__(training)
        self._logged_as: dict[tuple[str, str, int | None], dict[str, Any]] = {}
        self._answers: dict[tuple[bool, int | None], Any] = {}
        self._again: dict[str, Tensor] = {}
        self._may_have_logged = False

    def __setitem__(self, key: str, metric: Any) -> None:
        super().__setitem__(key, metric)
        if metric.is_tensor:
            vars(metric)["to"] = _Moving(metric)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def log(self, fx: str, name: str, value: Any, **options: Any) -> None:
        self._may_have_logged = True
        self._answers.clear()
        batch_size = options.pop("batch_size", None)
        place = (fx, name, self.dataloader_idx)
        if f"{fx}.{name}" in self._again:  # it is logged twice in this epoch
            metric = self[f"{fx}.{name}"]
            metric.forward(self._again.pop(f"{fx}.{name}"), 1)
            metric.has_reset = False
        if self.dataloader_idx is None and self._logged_as.get(place) == options:
            metric = self[f"{fx}.{name}"]
            kept = metric.value
            if metric.is_tensor and isinstance(value, Tensor) and value.device == kept.device:
                value = value if options.get("enable_graph") else value.detach()
                metric.forward(value, self._extract_batch_size(metric, batch_size, metric.meta))
                metric.has_reset = False
                return
        super().log(fx, name, value, batch_size=batch_size, **options)
        self._logged_as[place] = options

    def log_again(self, fx: str, values: Mapping[str, Tensor]) -> bool:
        """Takes values of an epoch that `log` was given before, from the same hook and since emptied.

        Args:
            fx: the hook.
            values: each ().

        Returns:
            whether it did: all of them or none.
        """
        if self.dataloader_idx is not None or any((fx, name, None) not in self._logged_as for name in values):
            return False
        again = {f"{fx}.{name}": value for name, value in values.items()}
        if not all(key not in self._again and self._is_of_epoch(self[key]) for key in again):
            return False
        if not all(value.dtype in (torch.float32, torch.float64) for value in again.values()):
            return False
        self._may_have_logged = True
        self._answers.clear()
        self._again |= {key: value.to(self[key].value.device) for key, value in again.items()}
        return True

    def _is_of_epoch(self, metric: Any) -> bool:
        """Whether what is kept for it is the one value of an epoch, which nobody else adds to."""
        meta = metric.meta
        is_mean = metric.is_tensor and meta.is_mean_reduction and meta.on_epoch and not meta.on_step
        return bool(is_mean and metric.has_reset)

    def has_logged(self) -> bool:
        """Whether something has been logged since the last reset: what was logged before stays, emptied."""
        if self._may_have_logged and not self._again:
            self._may_have_logged = any(not metric.has_reset for metric in self.values())
        return self._may_have_logged

    def metrics(self, on_step: bool) -> Any:
        question = (on_step, self.dataloader_idx)
        if question not in self._answers:
            self._answers[question] = answer = super().metrics(on_step)
            for key, value in self._again.items() if not on_step and self.dataloader_idx is None else ():
                meta = self[key].meta
                answer["callback"][meta.name] = value
                if meta.logger:
                    answer["log"][meta.name] = value
                if meta.prog_bar:
                    answer["pbar"][meta.name] = value.item()
        return self._answers[question]

    def reset(self, metrics: bool | None = None, fx: str | None = None) -> None:
        self._answers.clear()
        for item in self.values():
            is_asked = (metrics is None or metrics ^ item.is_tensor) and (fx is None or fx == item.meta.fx)
            # A torchmetrics object may have been updated since without being logged.
            if is_asked and not (item.is_tensor and item.has_reset):
                item.reset()
        if metrics is not True:
            self._again = {key: v for key, v in self._again.items() if fx is not None and self[key].meta.fx != fx}


class _Moving:
    """`to` of a logged value, which goes through all that belongs to it, where it is not on that device already."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric

    def __call__(self, device: torch.device | str, **options: Any) -> Any:
        if self._metric.value.device == torch.device(device):
            return self._metric
        return type(self._metric).to(self._metric, device, **options)
