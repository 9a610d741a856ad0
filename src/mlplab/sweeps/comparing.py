"""Whether a sweep that goes on is the sweep that was begun."""

from typing import Any

from mlplab.config.differing import changes, describe_changes
from mlplab.errors import UserError

FREE = ("paths", "sweep", "resume", "trust", "engine", "trainer.threads", "callbacks.progress")
"""What may differ between launches of one sweep: where it lies, and how many cores it takes."""

MOST_SHOWN = 8


def require_same(then: Any, now: Any, what: str, free: tuple[str, ...] = FREE) -> None:
    """Refuses a job, or a search, that would be another than the one of its name.

    Args:
        then: how it was begun, in plain values.
        now: how it would go on.
        what: it is, for the message.
        free: what may differ, with all that is below it.

    Raises:
        UserError: with each value that differs.
    """
    changed = changes(then, now, free)
    if changed:
        more = f", and {len(changed) - MOST_SHOWN} more" if len(changed) > MOST_SHOWN else ""
        raise UserError(
            "a sweep that goes on must keep what it was begun with",
            f"{what}: {describe_changes(dict(list(changed.items())[:MOST_SHOWN]))}{more}",
            "another sweep.name",
        )
