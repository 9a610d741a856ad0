"""The task to learn, as plain values for a checkpoint."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


# Frozen: learner, scores and checkpoint share one task.
@dataclass(frozen=True)
class Task:
    """Classification into named classes, or regression of one number.

    Attributes:
        kind: `classification` or `regression`.
        n_features: F, the width of the network's input.
        feature_names: F names.
        class_names: C names, in the order of the class indices; empty for regression.
        target_name: what the target is called in figures and files.
        unit: the target's unit, as text; empty where it has none.
        target_mean: of the training part, in that unit; the network learns (target − mean) / std.
        target_std: likewise.
    """

    kind: Literal["classification", "regression"]
    n_features: int
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    target_name: str = "target"
    unit: str = ""
    target_mean: float = 0.0
    target_std: float = 1.0

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    def as_dict(self) -> dict[str, Any]:
        """Converts to plain values, as a checkpoint may hold no others."""
        plain = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Task":
        """Rebuilds the task from `as_dict`."""
        # Tuples again, so that the task equals the one that was saved.
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in plain.items()}
        return cls(**values)
