"""Stores the values of `LightningModule.log` in fewer steps than Lightning takes.

The class below it is private to Lightning, which is why pyproject.toml admits one minor version only.
"""

from typing import Any

import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor


class FastResults(_ResultCollection):
    """Reuses the metric of a value logged with the same options; caches `metrics()` until a value changes.

    Lightning describes each value anew, compares the description with that of the value before, and moves what it
    keeps to the device that it is on. It goes through all values whenever somebody looks at one of them.
    """

    def __init__(self, training: bool) -> None:
        super().__init__(training)
        self._logged_as: dict[tuple[str, str, int | None], dict[str, Any]] = {}
        self._cached: dict[tuple[bool, int | None], Any] = {}
        self._may_have_logged = False

    def __setitem__(self, key: str, metric: Any) -> None:
        super().__setitem__(key, metric)
        if metric.is_tensor:
            # On the object, as Lightning asks each metric to move at every look at it.
            vars(metric)["to"] = _LazyTo(metric)

    # As Lightning's own method: the compiler must not trace into its bookkeeping.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def log(self, fx: str, name: str, value: Any, **options: Any) -> None:
        self._may_have_logged = True
        self._cached.clear()
        batch_size = options.pop("batch_size", None)
        place = (fx, name, self.dataloader_idx)
        # With several loaders Lightning adds the loader's number to the name.
        if self.dataloader_idx is None and self._logged_as.get(place) == options:
            metric = self[f"{fx}.{name}"]
            kept = metric.value
            if metric.is_tensor and isinstance(value, Tensor) and value.device == kept.device:
                # A graph that is kept would hold the memory of the whole step.
                value = value if options.get("enable_graph") else value.detach()
                metric.forward(value, self._extract_batch_size(metric, batch_size, metric.meta))
                # As Lightning's own update: the value counts as new.
                metric.has_reset = False
                return
        super().log(fx, name, value, batch_size=batch_size, **options)
        self._logged_as[place] = options

    def has_logged(self) -> bool:
        """Returns whether something was logged since the last reset, which leaves metrics there, emptied."""
        if self._may_have_logged:
            self._may_have_logged = any(not metric.has_reset for metric in self.values())
        return self._may_have_logged

    def metrics(self, on_step: bool) -> Any:
        question = (on_step, self.dataloader_idx)
        # Asked several times after each validation, with the same answer until something is logged.
        if question not in self._cached:
            self._cached[question] = super().metrics(on_step)
        return self._cached[question]

    def reset(self, metrics: bool | None = None, fx: str | None = None) -> None:
        self._cached.clear()
        for item in self.values():
            is_selected = (metrics is None or metrics ^ item.is_tensor) and (fx is None or fx == item.meta.fx)
            # What is empty is left as it is; but a torchmetrics object may have been updated without being logged.
            if is_selected and not (item.is_tensor and item.has_reset):
                item.reset()


class _LazyTo:
    """Stands for `to` of a metric, which goes through all of its attributes even if it is on that device already."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric

    def __call__(self, device: torch.device | str, **options: Any) -> Any:
        if self._metric.value.device == torch.device(device):
            return self._metric
        return type(self._metric).to(self._metric, device, **options)
