"""Suggests learning rates from the losses of a range test."""

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]

WIDTH = 0.02
"""Standard deviation of the smoothing, as a share of the curve."""

LEAST_FALL = 0.1
"""Fall of the loss, relative to that before any update, below which no rate is suggested."""

DESCENT = 0.05
"""Share of the whole fall at which the descent counts as begun."""


def smoothed(losses: Curve) -> Curve:
    """Smooths losses by a Gaussian of width `WIDTH`: (N,) -> (N,).

    NOTE[DIFF]: the usual exponential average looks backwards only, which shifts the curve to larger rates.
    """
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / max(WIDTH * len(losses), 1.0)) ** 2)
    mean: Curve = weights @ losses / weights.sum(axis=1)
    return mean


def suggestions(rates: Curve, losses: Curve, before: float) -> dict[str, float]:
    """Suggests learning rates by three rules; empty if no rate made the loss fall.

    valley: the middle of the descent, on the logarithmic scale. NOTE[DIFF]: fastai's `lr_find` takes the middle of the
        longest falling subsequence, which includes a long flat beginning that falls only slightly.
    steepest: where the loss falls fastest per factor of the rate (fastai, Lightning).
    minimum/10: a tenth of the rate with the lowest loss (Howard and Gugger 2020, "Deep Learning for Coders", ch. 5).

    Args:
        rates: (N,) growing exponentially.
        losses: (N,) smoothed, at those rates.
        before: the loss of the first batch, before any update.
    """
    lowest = int(losses.argmin())
    fall = float(losses[0] - losses[lowest])
    if lowest < 2 or losses[lowest] > before - LEAST_FALL * abs(before):
        return {}
    begun = int(np.flatnonzero(losses < losses[0] - DESCENT * fall)[0])
    slopes = np.gradient(losses[: lowest + 1], np.log(rates[: lowest + 1]))
    return {
        "valley": float(np.sqrt(rates[begun] * rates[lowest])),
        "steepest": float(rates[int(slopes.argmin())]),
        "minimum/10": float(rates[lowest] / 10),
    }
