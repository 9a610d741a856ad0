"""Finds out whether the data have changed since the jobs of a sweep were trained."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlplab.errors import UserError, printable
from mlplab.runs.files import read_json
from mlplab.sweeps.ledger import Ledger

TABLE = "mlplab.data.table.table_source.table"

WITHOUT_FILES = ("mlplab.data.bundled.", "mlplab.data.synthetic.")
"""Sources whose data follow from their options, which are compared with the configuration."""


def require_same_data(
    ledger: Ledger, compose: Callable[[Sequence[str]], DictConfig], is_group: Callable[[str], bool]
) -> None:
    """Refuses to go on with a sweep whose data have changed: its new jobs would not be comparable with the others.

    Args:
        ledger: of the sweep.
        compose: composes the configuration of a job from its own overrides.
        is_group: returns whether a name is that of a group of conf/.

    Raises:
        UserError: with the first job that was trained on other data.
    """
    now: dict[tuple[str, ...], str | None] = {}
    for entry in ledger.entries:
        data = read_json(ledger.directory / entry.directory / "manifest.json").get("data")
        data = data if isinstance(data, dict) else {}
        then = data.get("fingerprint")
        if then is None:  # it has not begun
            continue
        # Composing is slow, and most jobs have the data of another one: values beside the data do not change them.
        key = tuple(text for text in entry.overrides if _may_choose_data(text, is_group))
        if key not in now:
            # Data may be drawn by the seed, for example: then each job has its own.
            key = tuple(entry.overrides) if "${" in str(OmegaConf.to_container(compose(key).data)) else key
            now[key] = fingerprint_now(compose(key))
        if now[key] not in (None, then):
            raise UserError(
                "a sweep that goes on must keep the data it was begun with",
                f"{printable(data.get('name'))} has changed since {entry.directory} was trained", "another sweep.name",
            )  # fmt: skip


def _may_choose_data(text: str, is_group: Callable[[str], bool]) -> bool:
    name = text.lstrip("+~").partition("=")[0]
    return name.startswith("data") or is_group(name)


def fingerprint_now(config: DictConfig) -> str | None:
    """Computes the fingerprint that a job would record now; None where it cannot change or the data cannot be read."""
    try:
        data: Mapping[str, Any] = OmegaConf.to_container(config.data, resolve=True)  # type: ignore[assignment]
        source = str(data.get("_target_"))
        if source.startswith(WITHOUT_FILES):
            return None
        if source == TABLE:
            from mlplab.data.table.table_reading import fingerprint

            paths = [Path(path).expanduser() for path in (data["path"], data.get("test_path")) if path]
            # Hashed without reading the table, which takes as long as a job. A device of a received sweep has no end.
            return fingerprint(paths) if all(path.is_file() for path in paths) else None
        from mlplab.building import build_data
        from mlplab.data.module import DataModule

        module = build_data(config)
        if not isinstance(
            module, DataModule
        ):  # of a LightningDataModule of one's own, nothing is known but its options
            return None
        dataset, _ = module.read()
        return str(dataset.fingerprint)
    except (
        Exception
    ):  # the job that reads the data says what is wrong with them, and a source of one's own raises anything
        return None
