"""Compares two configurations."""

from collections.abc import Collection, Mapping
from typing import Any

from mlplab.config.former_names import present_name
from mlplab.errors import UserError
from mlplab.models.mlp_options import EMBEDDING_RULES
from mlplab.objectives.options import mode_of
from mlplab.rules import shown

# None is a value of the configuration, so a missing key needs its own marker.
ABSENT = object()

ADDED = {
    "augmentation.mixup": 0.0,
    "augmentation.noise": 0.0,
    "augmentation.shift": 0,
    "callbacks.averaging": None,
    "data.rare_classes": "keep",
    "data.weight_column": None,
    "loss.class_weights": None,
    "loss.label_smoothing": 0.0,
    "model.freeze": None,
    "optimizer.groups": None,
    "regularization.max_norm": None,
    "start_from": None,
    "test": True,
    "train": True,
    **dict.fromkeys((f"model.{name}" for name in EMBEDDING_RULES), None),
    "model.numeric_embedding": "none",
}
"""Option that release 0.5.0 lacked → the value with which its runs and sweeps continue unchanged."""

CHANGED = {"model.dropout": (0.2, 0.0)}
"""Option → its default in release 0.5.0, and now. A sweep that began with the old default keeps it."""

COLLECTIONS = ("callbacks.", "logger.", "metrics.")
"""Groups whose entries are parts, not options; a run keeps its initial entries."""


NOT_LEARNED = (
    "engine", "test", "logger", "name", "tags", "notes", "verbose", "on_divergence", "callbacks.calibration",
    "callbacks.figures", "callbacks.gradient_norms", "callbacks.hidden_units", "callbacks.histograms",
    "callbacks.layer_statistics", "callbacks.learned_function", "callbacks.mistakes", "callbacks.progress",
    "callbacks.weight_images", "callbacks.checkpoints.every_seconds", "callbacks.checkpoints.every_n_epochs",
    "trainer.accelerator", "trainer.detect_anomaly",
    "trainer.log_every_n_steps", "trainer.max_time", "trainer.profiler", "trainer.threads",
)  # fmt: skip
"""Options that may change when a run resumes, as they do not affect what is learned."""


MAY_DIFFER = (
    "paths", "sweep", "resume", "trust", "engine", "trainer.threads", "callbacks.progress", "callbacks.calibration",
    "name", "tags", "notes", "verbose",
)  # fmt: skip
"""Options that may differ between launches of one sweep, as they do not affect what is learned."""

MOST_SHOWN = 8
"""Maximum of changed options in a message."""


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dicts: dotted key → value that is not a dict."""
    if not isinstance(node, Mapping):
        return {prefix.removesuffix("."): node}
    return {key: value for name, part in node.items() for key, value in flat(part, f"{prefix}{name}.").items()}


def changes(then: Any, now: Any, free: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Returns the values that differ: dotted key → (then, now), with `ABSENT` for a missing one.

    Args:
        then: the former configuration, as nested dicts.
        now: the present one.
        free: keys to ignore, with all keys below them.
    """
    # With dotted keys, groups with different keys can be compared.
    before, after = flat(then), flat(now)
    for values in (before, after):  # release 0.5.0 wrote the mode itself
        if str(values.get("mode")).startswith("${mode_of:"):
            values["mode"] = mode_of(values.get("monitor"))
    before |= {key: value for key, value in ADDED.items() if key in after and key not in before}
    pairs = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in [*before, *after]}
    return {key: pair for key, pair in pairs.items() if _differ(*pair) and not is_below(key, free)}


def extended(then: Mapping[str, Any], now: Mapping[str, Any], typed: Collection[str] = ()) -> dict[str, Any]:
    """Returns a former configuration, with options that conf/ has gained since at their current values.

    Args:
        then: the former configuration, as nested dicts.
        now: what conf/ composes today.
        typed: dotted keys on the command line, which are not defaults.
    """
    return _extended(then, now, typed, "")


def _extended(then: Mapping[str, Any], now: Mapping[str, Any], typed: Collection[str], place: str) -> dict[str, Any]:
    whole = dict(then)
    # Another class or choice has other options.
    if place and any(key in then and key in now and _differ(then[key], now[key]) for key in ("_target_", "name")):
        return whole
    for name, value in now.items():
        key = f"{place}{name}"
        if is_below(key, typed):
            continue
        if isinstance(value, Mapping) and isinstance(then.get(name), Mapping):
            whole[name] = _extended(then[name], value, typed, f"{key}.")
        elif name not in then and place not in COLLECTIONS:
            whole[name] = ADDED.get(key, value)
    return whole


def is_below(key: str, names: Collection[str]) -> bool:
    """Returns whether a dotted key is one of the names, or a part of one."""
    return any(f"{key}.".startswith(f"{name}.") for name in names)


def describe_new(then: Any, now: Any, what: str, free: tuple[str, ...]) -> str:
    """Describes in one line the options that `extended` has added, except those of `free`; empty if none."""
    before = flat(then)
    # An option with the value null changes nothing.
    new = {k: v for k, v in flat(now).items() if k not in before and v is not None and not is_below(k, (*free, *ADDED))}
    told = ", ".join(f"{key}={shown(value)}" for key, value in new.items())
    return f"new     {told}: {what} began without, and takes the default that conf/ has now" if told else ""


def _differ(one: Any, other: Any) -> bool:
    one, other = present_name(one), present_name(other)
    return bool(one != other) or isinstance(one, bool) != isinstance(other, bool)  # for Python, true is 1


def shown_or_nothing(value: Any) -> str:
    """Formats a value as one would type it; an absent one as "nothing"."""
    return "nothing" if value is ABSENT else shown(value)


def describe_changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Describes the result of `changes`: `lr=0.1 instead of 0.01, …`."""
    return ", ".join(
        f"{key}={shown_or_nothing(now)} instead of {shown_or_nothing(then)}" for key, (then, now) in changed.items()
    )


def require_same(
    then: Any, now: Any, what: str, may_differ: tuple[str, ...] = MAY_DIFFER, typed: Collection[str] | None = None
) -> None:
    """Refuses to continue a job or search with another configuration than it began with.

    Args:
        then: the configuration that it began with, in plain values.
        now: the configuration to continue with.
        what: name of the job or the search, for the message.
        may_differ: options that may differ, with all that is below them.
        typed: names on the command line, if known; any other difference comes from conf/.

    Raises:
        UserError: lists the values that differ.
    """
    changed = changes(then, now, may_differ)
    if changed:
        more = f", and {len(changed) - MOST_SHOWN} more" if len(changed) > MOST_SHOWN else ""
        of_conf = typed is not None and not any(is_below(key, typed) for key in changed)
        values = [value for value, _ in changed.values()]
        as_it_was = " ".join(f"{key}={shown(value)}" for key, (value, _) in changed.items())
        can_be_typed = of_conf and not more and all(isinstance(value, bool | int | float | str) for value in values)
        raise UserError(
            "a sweep that goes on must keep what it was begun with",
            f"{what}: {describe_changes(dict(list(changed.items())[:MOST_SHOWN]))}{more}"
            f"{', as conf/ has it now' if of_conf else ''}",
            f"{as_it_was}, to go on as it was, or another sweep.name" if can_be_typed else "another sweep.name",
        )
