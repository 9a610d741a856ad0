"""Learning rates that a range test suggests, from the loss at each rate."""

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]

WIDTH = 0.02
"""Standard deviation of the smoothing, as a share of the curve."""

LEAST_FALL = 0.1
"""Share of the loss before any update by which it must fall to have fallen."""

DESCENT = 0.05
"""Share of the whole fall after which the descent has begun."""


def smoothed(losses: Curve) -> Curve:
    """Each loss averaged with its neighbours, (N,) -> (N,), weighted by a Gaussian of `WIDTH`.

    NOTE[DIFF]: the usual exponential average looks backwards only, and so moves the whole curve to larger rates.
    """
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / max(WIDTH * len(losses), 1.0)) ** 2)
    mean: Curve = weights @ losses / weights.sum(axis=1)
    return mean


def suggestions(rates: Curve, losses: Curve, before: float) -> dict[str, float]:
    """Learning rates to begin with, by three rules; none where no rate made the loss fall.

    valley: the middle of the descent, on the logarithmic scale. NOTE[DIFF]: fastai's `lr_find` takes the middle of the
        longest falling subsequence, to which a long flat beginning belongs where it falls at all.
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
