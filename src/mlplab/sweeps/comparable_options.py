"""Options that decide whether the results of two jobs can be compared."""

LOSS = "val/loss"
"""Metric whose meaning depends on the loss and its options."""

OF_THE_DATA = tuple(
    f"data.{name}"
    for name in (
        "path", "directory", "name", "target", "task", "test_path", "validation_fraction", "test_fraction", "folds",
        "split_column", "group_column", "time_column", "weight_column", "drop_missing_target",
    )
)  # fmt: skip
"""Options of data that choose a data set, its target or its parts; the others say how it is learned from."""


def chooses_data(name: str) -> bool:
    """Returns whether jobs with different values of an option are judged on different data."""
    return name == "data" or name in OF_THE_DATA


def chooses_loss(name: str) -> bool:
    """Returns whether jobs with different values of an option have different losses, or differently weighted ones."""
    return name == "loss" or name.startswith("loss.")
