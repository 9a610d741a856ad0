"""Optional parts of a project: scripts/parts.toml lists their files, docs/your-own-project.md says more."""

from pathlib import Path

from mlplab.errors import UserError

PARTS = {"tables": "data/table", "sweeps": "sweeps", "stacked": "stacked", "report": "report"}
"""Part → its package within this one."""


def is_there(part: str) -> bool:
    """Returns whether this project has a part."""
    # A removed part can leave a folder without __init__.py, with nothing but caches in it.
    return (Path(__file__).parent / PARTS[part] / "__init__.py").is_file()


def require_part(part: str, given: str, hint: str) -> None:
    """Refuses a request for a part that this project was made without.

    Args:
        part: key of `PARTS`.
        given: what needs it.
        hint: what does without it.

    Raises:
        UserError: the part is not there.
    """
    if not is_there(part):
        raise UserError(f"the project must have its part {part!r} for {given}", "it was left out", hint)
