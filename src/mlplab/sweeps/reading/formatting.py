"""Numbers and values as text: the only place that rounds what sweeps and reports show."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlplab.errors import counted, printable
from mlplab.rules import shown
from mlplab.sweeps.reading.sweep_records import Spread, as_list, as_mapping, as_number

LONGEST = 60  # characters of a swept value

PARTS = {"val": "validation", "train": "training", "test": "test"}
METRICS = {
    "accuracy": "accuracy (share of rows)", "f1": "F1 (from 0 to 1)", "auroc": "AUROC (from 0 to 1)",
    "r2": "r2 (1 is best)", "rmse": "RMSE (units of the target)", "mae": "MAE (units of the target)",
}  # fmt: skip
# Names of axes in words, with their units.
NAMES = {
    "seconds": "training time (seconds)", "parameters": "parameters (number)", "epochs": "epochs (number)",
    "optimizer.lr": "learning rate", "optimizer.weight_decay": "weight decay", "optimizer.momentum": "momentum",
    "data.batch_size": "batch size (rows)", "trainer.max_epochs": "training (epochs)", "seed": "seed",
    "model.dropout": "dropout (probability)", "model.hidden_dims": "hidden layers (units)",
}  # fmt: skip


def words_of(name: str) -> str:
    """Formats a metric or a swept parameter as the name of an axis: `validation accuracy (share of rows)`."""
    part, slash, metric = name.partition("/")
    is_metric = slash and part in PARTS
    known = f"{PARTS[part]} {METRICS.get(metric, printable(metric))}" if is_metric else printable(name)
    return NAMES.get(name, known)


def number(value: float | None, digits: int = 4) -> str:
    """Formats a number with some significant digits; a dash for None, ∞ for infinity."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    # Python writes 1e-05, people 1e-5.
    mantissa, e, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def digits_of(value: float) -> int:
    """Returns 6 if six significant digits show a swept number exactly, as 0.99999 is not 1; else 4."""
    return 6 if float(f"{value:.6g}") == value else 4


def value_text(value: Any) -> str:
    """Formats a swept value as one would type it: numbers with four or six digits, long values cut."""
    is_number = isinstance(value, float) and math.isfinite(value)
    text = number(value, digits_of(value)) if is_number else printable(shown(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def spread_text(spread: Spread) -> str:
    """Formats mean and deviation, rounded to two digits of the deviation: `0.055 ± 0.035`; one value as it is."""
    mean, deviation = spread.mean, spread.deviation
    # Large whole numbers, such as numbers of parameters, are not rounded.
    if mean is not None and mean.is_integer() and not deviation and 1e4 <= abs(mean) < 1e15:
        return f"{mean:,.0f}"
    # 0 has no logarithm, and so no first digit to round to.
    if mean is None or not deviation:
        return number(mean) + (" ± 0" if deviation == 0 else "")
    # floor(log10(0.0354)) is -2, the place of its first digit; the second digit is one place further.
    decimals = 1 - math.floor(math.log10(deviation))
    # Very large or small values would need many digits before or after the point.
    if not 0 <= decimals <= 6 or abs(mean) >= 1e5:
        digits = max(4, math.floor(math.log10(abs(mean) or 1)) + 1 + decimals)
        return f"{number(mean, digits)} ± {number(deviation, 2)}"
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def share(part: int, whole: int) -> str:
    """Formats a count of a total: `3 of 12`."""
    return f"{part:,} of {whole:,}"


def listed(texts: Sequence[str], most: int = 8) -> str:
    """Joins texts: `a; b; c`, or `among others a; b; c` where there are too many for a sentence."""
    return f"{'among others ' if len(texts) > most else ''}{'; '.join(texts[:most])}"


def machine_text(manifest: Mapping[str, Any], *, with_threads: bool = True) -> str:
    """Describes the hardware, and the threads, of a run; empty if its manifest does not tell."""
    hardware = as_mapping(manifest.get("hardware"))
    threads = as_number(manifest.get("threads")) if with_threads else None
    parts = [hardware.get("processor"), f"{hardware.get('cores', '?')} cores", *as_list(hardware.get("gpus"))]
    # Runs that share the cores have fewer threads each, and take longer.
    parts.append(f"{counted(int(threads), 'thread')} for each run" if threads else None)
    return ", ".join(printable(part) for part in parts if part) if hardware else ""
