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
    "cuda": ("gpu",), "device": ("trainer",), "gpus": ("devices",), "epochs": ("max_epochs",),
    "nepochs": ("max_epochs",), "learningrate": ("lr",), "bs": ("batch_size",), "layers": ("hidden_dims",),
    "units": ("hidden_dims",), "testsize": ("test_fraction",), "valsize": ("validation_fraction",),
}  # fmt: skip
"""Name in other projects or books, without underscores → names here; the first that fits is suggested."""

ALIKE = 0.75
"""Least similarity of a name that was probably meant, where any other would mislead."""


def nearest_name(given: str, names: Sequence[str], cutoff: float = 0.6) -> str | None:
    """Returns the name that starts with the given text, is its start, contains it, or is most similar; else None.

    Args:
        given: what was typed.
        names: those that exist.
        cutoff: least similarity of a name that neither begins nor contains the other, from 0 to 1.
    """
    given = given.lower()
    for other in _other_names(given):
        if other in names:
            return other
    # Of two names that differ only in case, the first counts.
    as_written = {name.lower(): name for name in reversed(names)}
    beginning = [name for name in names if name.lower().startswith(given)] if given else []
    similar = [as_written[name] for name in difflib.get_close_matches(given, as_written, n=1, cutoff=cutoff)]
    # Longest first: for learning_rates, learning_rate is nearer than learning.
    within = sorted((name for name in names if len(name) > 2 and given.startswith(name.lower())), key=len, reverse=True)
    containing = sorted((name for name in names if given in name.lower()), key=len) if len(given) > 1 else []
    # Of short names, two letters in another order are much of the difference.
    swapped = [name for name in names if sorted(name.lower()) == sorted(given)]
    return next(iter([*beginning, *within, *containing, *swapped, *similar]), None)


def nearest_key(given: str, keys: Sequence[str]) -> str | None:
    """Returns the dotted key with the same ending (`lr` → `optimizer.lr`), else a similar one, else None."""
    group, last = given.rpartition(".")[0], _last_part(given)
    if last == "_target_":  # as the names of many keys end
        return None
    ends = (last, *_other_names(last))
    found = [key for key in keys if _last_part(key) in ends and ("." in key or not group)]
    beside = [_last_part(key) for key in keys if group and key.rpartition(".")[0] == group]
    if beside:  # the group is right: names of other groups must be nearer than its own
        near, cutoff = nearest_name(last, beside), ALIKE
        found += [f"{group}.{near}"] if near else []
    else:
        # A dotted name is not a misspelt group.
        same_depth, cutoff = [key for key in keys if ("." in key) == ("." in given)], 0.6
        found += difflib.get_close_matches(given, same_depth, n=1, cutoff=ALIKE)
    near = nearest_name(last, [_last_part(key) for key in keys], cutoff)
    return next(iter([*found, *(key for key in keys if _last_part(key) == near)]), None)


def _other_names(name: str) -> tuple[str, ...]:
    return OTHER_NAMES.get(name.lower().replace("_", ""), ())


def _last_part(key: str) -> str:
    return key.rsplit(".", 1)[-1]
