"""Stores the values of `LightningModule.log` with less overhead than Lightning.

The class below it is private to Lightning, which is why pyproject.toml admits one minor version only.
"""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor

from mlplab.engine.hooks import overriding


class FastLogDict:
    """Replaces a module's `log_dict`: values that were logged before with the same options take a shortcut.

    At the end of an epoch, logging five scores by `LightningModule.log` takes longer than computing them.

    Args:
        module: whose class has Lightning's `log` and `log_dict`.
    """

    def __init__(self, module: pl.LightningModule) -> None:
        self._module = module

    def __call__(self, dictionary: Mapping[str, Any], *arguments: Any, **options: Any) -> None:
        module = self._module
        trainer, hook = module.trainer, module._current_fx_name
        results = trainer._results
        kind = type(module)
        is_lightnings = kind.log is pl.LightningModule.log and kind.log_dict is pl.LightningModule.log_dict
        if not arguments and isinstance(results, FastResults) and hook and is_lightnings and "log" not in vars(module):
            if results.log_again(hook, dictionary, options):
                trainer._logger_connector._current_fx = hook
                return
            type(module).log_dict(module, dictionary, **options)
            results.remember(hook, dictionary, options)
        else:
            type(module).log_dict(module, dictionary, *arguments, **options)


def use_fast_log_dict(module: pl.LightningModule) -> None:
    """Gives a module with Lightning's own `log` and `log_dict` the faster `log_dict`."""
    if not any(overriding([module], name, pl.LightningModule) for name in ("log", "log_dict")):
        vars(module)["log_dict"] = FastLogDict(module)


class FastResults(_ResultCollection):
    """Reuses the metric of a value logged with the same options; caches `metrics()` until a value changes.

    For each value, Lightning builds new metadata, compares it with the former, and moves the metric to its device. It
    goes through all values whenever one is read.
    """

    def __init__(self, training: bool) -> None:
        super().__init__(training)
        self._logged_as: dict[tuple[str, str, int | None], dict[str, Any]] = {}
        self._cached: dict[tuple[bool, int | None], Any] = {}
        self._remembered: dict[tuple[str, str], dict[str, Any]] = {}
        self._again: dict[str, Tensor] = {}
        self._may_have_logged = False

    def __setitem__(self, key: str, metric: Any) -> None:
        super().__setitem__(key, metric)
        if metric.is_tensor:
            # Set on the object, as Lightning calls `to` whenever it looks up the metric.
            vars(metric)["to"] = _LazyTo(metric)

    # As Lightning's own method: the compiler must not trace into its bookkeeping.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def log(self, fx: str, name: str, value: Any, **options: Any) -> None:
        self._may_have_logged = True
        self._cached.clear()
        batch_size = options.pop("batch_size", None)
        place = (fx, name, self.dataloader_idx)
        if f"{fx}.{name}" in self._again:  # logged twice in this epoch
            metric = self[f"{fx}.{name}"]
            metric.forward(self._again.pop(f"{fx}.{name}"), 1)
            metric.has_reset = False
        # With several loaders Lightning adds the loader's number to the name.
        if self.dataloader_idx is None and self._logged_as.get(place) == options:
            metric = self[f"{fx}.{name}"]
            kept = metric.value
            if metric.is_tensor and isinstance(value, Tensor) and value.device == kept.device:
                # Keeping the graph would hold the memory of the whole step.
                value = value if options.get("enable_graph") else value.detach()
                metric.forward(value, self._extract_batch_size(metric, batch_size, metric.meta))
                # As Lightning's own update: the value counts as new.
                metric.has_reset = False
                return
        super().log(fx, name, value, batch_size=batch_size, **options)
        self._logged_as[place] = options

    def remember(self, fx: str, values: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Stores the options with which a hook logged these values of an epoch."""
        if self.dataloader_idx is None:
            self._remembered |= {(fx, name): dict(options) for name in values if f"{fx}.{name}" in self}

    def log_again(self, fx: str, values: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
        """Logs values of an epoch that this hook logged before with the same options, and that were reset since.

        Returns:
            Whether it did: all of them or none.
        """
        if self.dataloader_idx is not None or any(self._remembered.get((fx, name)) != options for name in values):
            return False
        again = {f"{fx}.{name}": value for name, value in values.items()}
        for key, value in again.items():
            is_scalar = isinstance(value, Tensor) and value.dtype in (torch.float32, torch.float64) and not value.ndim
            if key in self._again or not is_scalar or value.requires_grad or not self._is_of_epoch(self[key]):
                return False
        self._may_have_logged = True
        self._cached.clear()
        self._again |= {key: value.to(self[key].value.device) for key, value in again.items()}
        return True

    def _is_of_epoch(self, metric: Any) -> bool:
        """Returns whether a metric is empty and averages over an epoch: the mean of a single value is that value."""
        meta = metric.meta
        is_mean = metric.is_tensor and meta.is_mean_reduction and meta.on_epoch and not meta.on_step
        return bool(is_mean and metric.has_reset)

    def has_logged(self) -> bool:
        """Returns whether anything was logged since the last reset, which empties metrics but keeps them."""
        if self._may_have_logged and not self._again:
            self._may_have_logged = any(not metric.has_reset for metric in self.values())
        return self._may_have_logged

    def metrics(self, on_step: bool) -> Any:
        question = (on_step, self.dataloader_idx)
        # Called several times after each validation, with the same result until something is logged.
        if question not in self._cached:
            self._cached[question] = answer = super().metrics(on_step)
            for key, value in self._again.items() if not on_step and self.dataloader_idx is None else ():
                meta = self[key].meta
                answer["callback"][meta.name] = value
                if meta.logger:
                    answer["log"][meta.name] = value
                if meta.prog_bar:
                    answer["pbar"][meta.name] = value.item()
        return self._cached[question]

    def reset(self, metrics: bool | None = None, fx: str | None = None) -> None:
        self._cached.clear()
        for item in self.values():
            is_selected = (metrics is None or metrics ^ item.is_tensor) and (fx is None or fx == item.meta.fx)
            # Empty metrics need no reset; but a torchmetrics object may have been updated without being logged.
            if is_selected and not (item.is_tensor and item.has_reset):
                item.reset()
        if metrics is not True:
            self._again = {key: v for key, v in self._again.items() if fx is not None and self[key].meta.fx != fx}


class _LazyTo:
    """Replaces a metric's `to`, which walks through all attributes even if the metric is on that device already."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric

    def __call__(self, device: torch.device | str, **options: Any) -> Any:
        if self._metric.value.device == torch.device(device):
            return self._metric
        return type(self._metric).to(self._metric, device, **options)
