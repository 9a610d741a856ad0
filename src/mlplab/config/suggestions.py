"""Suggests the valid name that somebody probably meant."""

import difflib
from collections.abc import Sequence

OTHER_NAMES = {
    "swish": ("silu",), "linear": ("identity", "none"), "none": ("identity",), "logistic": ("sigmoid",),
    "ce": ("cross_entropy",), "nll": ("cross_entropy",), "softmax": ("cross_entropy",), "logloss": ("cross_entropy",),
    "bce": ("binary_cross_entropy",), "l1": ("mae",), "l2": ("mse",), "smoothl1": ("huber",),
    "he": ("kaiming_uniform",), "heuniform": ("kaiming_uniform",), "henormal": ("kaiming_normal",),
    "glorot": ("xavier_uniform",), "glorotuniform": ("xavier_uniform",), "glorotnormal": ("xavier_normal",),
    "bn": ("batch",), "ln": ("layer",), "reducelronplateau": ("plateau",), "cosineannealing": ("cosine",),
    "csv": ("table",), "file": ("table",), "null": ("none",), "off": ("none",),
}  # fmt: skip
"""Name of another project or book, without underscores → names here, of which the first that fits is meant."""


def nearest_name(given: str, names: Sequence[str]) -> str | None:
    """Returns the name that begins with the given text, begins it, contains it, or is most similar; None if none is."""
    given = given.lower()
    for other in OTHER_NAMES.get(given.replace("_", ""), ()):
        if other in names:
            return other
    # The first of two names that differ in case alone.
    as_written = {name.lower(): name for name in reversed(names)}
    beginning = [name for name in names if name.lower().startswith(given)] if given else []
    similar = [as_written[name] for name in difflib.get_close_matches(given, as_written, n=1)]
    # Longest first: given learning_rates, learning_rate is nearer than learning.
    within = sorted((name for name in names if len(name) > 2 and given.startswith(name.lower())), key=len, reverse=True)
    containing = sorted((name for name in names if given in name.lower()), key=len) if len(given) > 1 else []
    return next(iter([*beginning, *within, *containing, *similar]), None)


def nearest_key(given: str, keys: Sequence[str]) -> str | None:
    """Returns the dotted key that ends alike (`lr` → `optimizer.lr`), or else a similar one; None if there is none."""
    last = _last_part(given)
    same_end = [key for key in keys if _last_part(key) == last]
    # A name with a point is no misspelt group.
    same_depth = [key for key in keys if ("." in key) == ("." in given)]
    similar = difflib.get_close_matches(given, same_depth, n=1, cutoff=0.75)
    last_part = nearest_name(last, [_last_part(key) for key in keys])
    similar_end = [key for key in keys if _last_part(key) == last_part]
    return next(iter([*same_end, *similar, *similar_end]), None)


def _last_part(key: str) -> str:
    return key.rsplit(".", 1)[-1]
