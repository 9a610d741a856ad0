"""The valid name that somebody probably meant."""

import difflib
from collections.abc import Sequence


def nearest_name(given: str, names: Sequence[str]) -> str | None:
    """The name that begins with what was given, is its beginning, contains it, or is most similar; None if none."""
    given = given.lower()
    beginning = [name for name in names if name.lower().startswith(given)] if given else []
    similar = difflib.get_close_matches(given, names, n=1)
    within = sorted((name for name in names if len(name) > 2 and given.startswith(name.lower())), key=len, reverse=True)
    containing = sorted((name for name in names if given in name), key=len) if len(given) > 1 else []
    return next(iter([*beginning, *within, *containing, *similar]), None)


def nearest_key(given: str, keys: Sequence[str]) -> str | None:
    """The dotted key that was probably meant: one that ends alike (`lr` → `optimizer.lr`), or a similar one."""
    last = _last_part(given)
    ends_alike = [key for key in keys if _last_part(key) == last]
    # A name with a point is no misspelt group.
    alike = [key for key in keys if ("." in key) == ("." in given)]
    similar = difflib.get_close_matches(given, alike, n=1, cutoff=0.75)
    last_part = nearest_name(last, [_last_part(key) for key in keys])
    ends_nearly_alike = [key for key in keys if _last_part(key) == last_part]
    return next(iter([*ends_alike, *similar, *ends_nearly_alike]), None)


def _last_part(key: str) -> str:
    return key.rsplit(".", 1)[-1]
