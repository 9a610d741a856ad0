"""The trial of a search, as its job sees it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.sweeps.ledger import read_ledger
from mlplab.sweeps.search.samplers import build_pruner
from mlplab.sweeps.search.study import JOURNAL, open_journal

if TYPE_CHECKING:
    from optuna import Trial


@dataclass
class RunningTrial:
    """A trial that can be reported to.

    Attributes:
        trial: Optuna's.
        reported: validations that have been reported, by a process that died perhaps.
    """

    trial: "Trial"
    reported: set[int]

    def report(self, value: float, validation: int) -> None:
        """Notes what a validation gave."""
        self.trial.report(value, validation)
        self.reported.add(validation)

    def should_prune(self) -> bool:
        """Whether the search has seen better at this point."""
        return self.trial.should_prune()


def trial_of(directory: Path) -> RunningTrial | None:
    """The trial that the run in a directory is; None where it is none that is still open."""
    ledger = read_ledger(directory.parent)
    entry = None if ledger is None else next((e for e in ledger.entries if e.directory == directory.name), None)
    if ledger is None or entry is None or entry.trial is None or entry.stage != "search":
        return None
    import optuna

    journal = directory.parent / JOURNAL
    storage = open_journal(journal)
    asked = ledger.asked["search"]
    study = optuna.load_study(
        study_name=entry.arm or str(ledger.asked["name"]), storage=storage,
        sampler=optuna.samplers.RandomSampler(), pruner=build_pruner(asked["pruner"], asked["pruner_options"]),
    )  # fmt: skip
    frozen = study.get_trials(deepcopy=False)[entry.trial]
    if frozen.state.is_finished():
        return None
    study_id = storage.get_study_id_from_name(study.study_name)
    trial = optuna.trial.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, entry.trial))
    return RunningTrial(trial, set(frozen.intermediate_values))
