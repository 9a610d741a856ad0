"""The task to learn, as plain values for a checkpoint."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


# Frozen: learner, scores and checkpoint share one task.
@dataclass(frozen=True)
class Task:
    """Classification into named classes, regression of one number or several, or several labels that are true or false.

    Attributes:
        kind: `classification`, `regression` or `multilabel`.
        n_features: F, the width of the network's input.
        feature_names: F names.
        class_names: C names, in the order of the class indices; empty for regression and labels.
        target_name: what the target is called in figures and files.
        unit: the target's unit, as text; empty where it has none.
        target_mean: of the training part, in that unit; the network learns (target − mean) / std.
        target_std: likewise.
        target_names: T names of several targets, whose unit, mean and std are tuples then; empty for one target.
        label_names: for each label the names of false and true.
    """

    kind: Literal["classification", "regression", "multilabel"]
    n_features: int
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    target_name: str = "target"
    unit: str | tuple[str, ...] = ""
    target_mean: float | tuple[float, ...] = 0.0
    target_std: float | tuple[float, ...] = 1.0
    target_names: tuple[str, ...] = ()
    label_names: tuple[tuple[str, ...], ...] = ()

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    def of_each_target(self) -> list["Task"]:
        """Returns a separate task for each of several targets: the regression of one number, or two classes."""
        tasks = []
        for place, name in enumerate(self.target_names):
            task = replace(self, target_name=name, target_names=(), label_names=())
            if self.kind == "multilabel":
                tasks.append(replace(task, kind="classification", class_names=self.label_names[place]))
            else:
                own: dict[str, Any] = {of: getattr(self, of)[place] for of in ("unit", "target_mean", "target_std")}
                tasks.append(replace(task, **own))
        return tasks

    def as_dict(self) -> dict[str, Any]:
        """Converts the task to plain values for a checkpoint."""
        return {name: _converted(value, tuple, list) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Task":
        """Rebuilds the task from `as_dict`."""
        # Tuples again, so that the task equals the one that was saved.
        return cls(**{name: _converted(value, list, tuple) for name, value in plain.items()})


def _converted(value: Any, kind: type[Any], other: type[Any]) -> Any:
    """Converts tuples to lists, or lists to tuples, at any depth."""
    return other(_converted(part, kind, other) for part in value) if isinstance(value, kind) else value
