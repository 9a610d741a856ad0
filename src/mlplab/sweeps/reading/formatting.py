"""Numbers and values as text: the only place that rounds what sweeps and reports show."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlplab.errors import counted, printable
from mlplab.rules import shown
from mlplab.sweeps.reading.sweep_records import Spread, Target, as_list, as_mapping, as_number

LONGEST = 60
"""Characters of a swept value."""


PARTS = {"val": "validation", "train": "training", "test": "test"}
UNITS = {
    "accuracy": "share of rows", "f1": "from 0 to 1", "auroc": "from 0 to 1", "r2": "1 is best",
    "rmse": "units of the target", "mae": "units of the target",
}  # fmt: skip
COSTS = {"seconds": "training time (seconds)", "parameters": "parameters (number)", "epochs": "epochs (number)"}
PARAMETERS = {
    "optimizer.lr": "learning rate", "optimizer.weight_decay": "weight decay", "optimizer.momentum": "momentum",
    "data.batch_size": "batch size (rows)", "trainer.max_epochs": "training (epochs)", "seed": "seed",
    "model.dropout": "dropout (probability)", "model.hidden_dims": "hidden layers (units)",
}  # fmt: skip
"""Names of axes in words, with their units."""


def metric_words(metric: str) -> str:
    """Formats a metric as the name of an axis: `validation accuracy (share of rows)`."""
    part, slash, name = metric.partition("/")
    if not slash or part not in PARTS:
        return COSTS.get(metric, printable(metric))
    unit = f" ({UNITS[name]})" if name in UNITS else ""
    # Only abbreviations are written in capitals.
    return f"{PARTS[part]} {name.upper() if name in ('rmse', 'mae', 'auroc', 'f1') else printable(name)}{unit}"


def parameter_words(name: str) -> str:
    """Formats a swept parameter as the name of an axis."""
    return PARAMETERS.get(name, printable(name))


def number(value: float | None, digits: int = 4) -> str:
    """Formats a number with some significant digits; a dash for None, ∞ for infinity."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    # Python writes 1e-05, people 1e-5.
    mantissa, e, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def value_text(value: Any) -> str:
    """Formats a swept value as one would type it: numbers with four digits, long values cut."""
    text = f"{value:.4g}" if isinstance(value, float) else printable(shown(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def spread_text(spread: Spread) -> str:
    """Formats mean and deviation, rounded to two digits of the deviation: `0.055 ± 0.035`; one value as it is."""
    mean, deviation = spread.mean, spread.deviation
    # 0 has no logarithm, and so no first digit to round to.
    if mean is None or deviation is None or deviation == 0:
        return number(mean) if deviation is None else f"{number(mean)} ± 0"
    # floor(log10(0.0354)) is -2, the place of its first digit; the second digit is one place further.
    decimals = 1 - math.floor(math.log10(deviation))
    # Very large or small values would need many digits before or after the point.
    if not 0 <= decimals <= 6 or abs(mean) >= 1e5:
        return f"{number(mean)} ± {number(deviation, 2)}"
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def p_text(p: float) -> str:
    """Formats a p value with two significant digits."""
    return "below 0.0001" if p < 0.0001 else number(p, 2)


def goal(target: Target) -> str:
    """Formats a target: `val/accuracy ≥ 0.95`."""
    return f"{printable(target.metric)} {'≥' if target.mode == 'max' else '≤'} {number(target.value)}"


def share(part: int, whole: int) -> str:
    """Formats a count of a total: `3 of 12`."""
    return f"{part:,} of {whole:,}"


def listed(texts: Sequence[str], most: int = 3) -> str:
    """Joins texts and counts those left out: `a; b; c; and 2 more`."""
    more = [f"and {len(texts) - most:,} more"] if len(texts) > most else []
    return "; ".join([*texts[:most], *more])


def machine_text(manifest: Mapping[str, Any], *, with_threads: bool = True) -> str:
    """Describes the hardware, and the threads, of a run; empty if its manifest does not tell."""
    hardware = as_mapping(manifest.get("hardware"))
    if not hardware:
        return ""
    parts = [hardware.get("processor"), f"{hardware.get('cores', '?')} cores", *as_list(hardware.get("gpus"))]
    threads = as_number(manifest.get("threads")) if with_threads else None
    # Runs that share the cores have fewer threads each, and take longer.
    parts.append(f"{counted(int(threads), 'thread')} for each run" if threads else None)
    return ", ".join(printable(part) for part in parts if part)
