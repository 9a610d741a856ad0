"""Numbers in words."""

import math
from collections.abc import Sequence

from mlplab.errors import printable
from mlplab.report.finished_runs import Target
from mlplab.report.ranked_settings import Spread


def number(value: float | None) -> str:
    """Four significant digits; a dash for none, ∞ for infinite."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.4g}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa}e{int(exponent)}"
    return text


def spread_text(spread: Spread) -> str:
    """`0.0551 ± 0.0354`: as many digits as two of the deviation's; the mean alone of one run."""
    mean, deviation = spread.mean, spread.deviation
    if mean is None or deviation is None or deviation == 0:
        return number(mean) if deviation is None else f"{number(mean)} ± 0"
    decimals = 1 - math.floor(math.log10(deviation))
    if not 0 <= decimals <= 6 or abs(mean) >= 1e5:
        return f"{number(mean)} ± {number(float(f'{deviation:.2g}'))}"
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def goal(target: Target) -> str:
    """`val/accuracy ≥ 0.95`."""
    return f"{printable(target.metric)} {'≥' if target.mode == 'max' else '≤'} {number(target.value)}"


def share(part: int, whole: int) -> str:
    """`3 of 12`."""
    return f"{part:,} of {whole:,}"


def listed(texts: Sequence[str], most: int = 3) -> str:
    """`a; b; c; and 2 more`."""
    more = [f"and {len(texts) - most:,} more"] if len(texts) > most else []
    return "; ".join([*texts[:most], *more])


def p_text(p: float) -> str:
    """A p value with two significant digits."""
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}"
