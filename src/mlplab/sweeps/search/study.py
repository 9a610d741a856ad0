"""A study of Optuna in the journal of a sweep: it proposes trials in batches, and is told their outcomes."""

import contextlib
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mlplab.errors import UserError
from mlplab.runs.run_reading import read_state
from mlplab.sweeps.ledger import Assignment, read_ledger
from mlplab.sweeps.search.outcomes import Outcome
from mlplab.sweeps.search.samplers import build_pruner
from mlplab.sweeps.search.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial, Trial, TrialState

JOURNAL = "optuna.log"
"""File in the directory of a sweep; `optuna-dashboard optuna.log` reads it."""


@dataclass(frozen=True)
class Proposal:
    """A proposed trial.

    Attributes:
        number: of the trial in its study.
        assignments: of the names that were drawn.
    """

    number: int
    assignments: list[Assignment]


class Search:
    """Proposes trials.

    The proposals depend on the seed and the outcomes, and not on how often the search was interrupted. The sampler
    works on a study in memory. When the search goes on, a new sampler proposes all earlier trials again, so that its
    random numbers continue. Its internal state, which CMA-ES pickles, is therefore never read from a file.

    Args:
        storage: of the trials.
        name: of the study.
        space: from which trials are drawn.
        sampler: a new one of Optuna.
        modes: `min` or `max` of each objective.
        seeds: on which each trial runs, if trials are pruned; each seed has a study of its own then, so that a run is
            compared with runs of the same seed.
        metrics: names of the objectives, for those who read the journal.

    Attributes:
        study: Optuna's, in the storage.
    """

    def __init__(
        self,
        storage: "JournalStorage",
        name: str,
        space: Space,
        sampler: "BaseSampler",
        modes: Sequence[str],
        seeds: Sequence[int] = (),
        metrics: Sequence[str] = (),
    ) -> None:
        import optuna
        from optuna.exceptions import ExperimentalWarning

        self.storage, self.name, self.space = storage, name, space
        directions: list[Any] = ["minimize" if mode == "min" else "maximize" for mode in modes]
        # This study only stores trials, so its sampler is never asked.
        self.study = optuna.create_study(
            storage=storage, study_name=name, directions=directions, load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )  # fmt: skip
        self._sampled = optuna.create_study(sampler=sampler, directions=directions)  # in memory
        self.seeds = {
            seed: optuna.create_study(
                storage=storage, study_name=name_of_seed(name, seed), directions=directions, load_if_exists=True
            )
            for seed in seeds
        }
        for study in (self.study, *self.seeds.values()):
            if metrics and study.metric_names is None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    study.set_metric_names(list(metrics))
        self._replay()
        self._follow()

    def _trials(self) -> "list[FrozenTrial]":
        # Without copies, as all trials are read several times for each batch.
        return self.study.get_trials(deepcopy=False)

    def _replay(self) -> None:
        """Lets the sampler propose all earlier trials again, and tells it their outcomes."""
        # As it was then: all trials of a batch are proposed, and only afterwards their outcomes are told.
        for _, batch in itertools.groupby(self._trials(), key=lambda frozen: frozen.user_attrs.get("batch")):
            asked = []
            for frozen in batch:
                if "again" in frozen.user_attrs:
                    self._sampled.add_trial(_without_attributes(frozen))  # a failed trial that finished later
                else:
                    asked.append(frozen)
                    self._require_same_proposal(frozen)
            for frozen in asked:
                if frozen.state.is_finished():
                    self._tell_sampler(frozen)

    def _require_same_proposal(self, frozen: "FrozenTrial") -> None:
        trial, _ = self._proposed()
        if trial.number != frozen.number or trial.params != frozen.params:
            raise UserError(
                "a search must go on with the Optuna, and the journal, that it was begun with",
                f"trial {frozen.number} of {self.name} had {frozen.params}, and {trial.params} would be proposed now",
                "another sweep.name",
            )

    def _proposed(self) -> "tuple[Trial, Proposal]":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a sampler draws choices independently, as is documented
            trial = self._sampled.ask()
            return trial, Proposal(trial.number, self.space.propose(trial))

    def _tell_sampler(self, frozen: "FrozenTrial") -> None:
        from optuna.trial import Trial, TrialState

        trial = Trial(self._sampled, self._sampled.get_trials(deepcopy=False)[frozen.number]._trial_id)
        for step, value in frozen.intermediate_values.items():
            trial.report(value, step)  # some samplers learn from values of pruned trials
        for metric, excess in frozen.constraints.items():
            trial.set_constraint(metric, excess)
        values = frozen.values if frozen.state == TrialState.COMPLETE else None
        self._sampled.tell(frozen.number, values, frozen.state)

    @property
    def n_trials(self) -> int:
        """Number of trials that have been proposed."""
        return sum("again" not in trial.user_attrs for trial in self._trials())

    @property
    def n_infeasible(self) -> int:
        """Number of trials that violate a constraint."""
        return sum(any(excess > 0 for excess in trial.constraints.values()) for trial in self._trials())

    def ask(self, n: int) -> list[Proposal]:
        """Proposes the next trials, and stores each before it is returned."""
        from optuna.trial import TrialState, create_trial

        # Proposed without the outcomes of each other.
        batch = 1 + max((trial.user_attrs.get("batch", -1) for trial in self._trials()), default=-1)
        proposals = []
        for _ in range(n):
            trial, proposal = self._proposed()
            kept = create_trial(
                state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions,
                user_attrs={"batch": batch},
            )  # fmt: skip
            self.study.add_trial(kept)  # before it runs, so that a kill does not lose it
            proposals.append(proposal)
        self._follow()
        return proposals

    def _follow(self) -> None:
        """Gives the study of each seed the trials that it lacks, with the same numbers."""
        from optuna.trial import TrialState, create_trial

        for study in self.seeds.values():
            for trial in self._trials()[len(study.get_trials(deepcopy=False)) :]:
                # A failed trial that finished when it ran again is not compared with others.
                state = TrialState.FAIL if "again" in trial.user_attrs else TrialState.RUNNING
                study.add_trial(create_trial(state=state, params=trial.params, distributions=trial.distributions))

    def begun(self) -> list[Proposal]:
        """Returns the trials that were proposed and have no outcome."""
        return [self._again(trial) for trial in self._trials() if not trial.state.is_finished()]

    def failed(self) -> list[Proposal]:
        """Returns the trials that failed, and have not succeeded since."""
        from optuna.trial import TrialState

        again = {trial.user_attrs.get("again") for trial in self._trials()}
        return [
            self._again(trial)
            for trial in self._trials()
            if trial.state == TrialState.FAIL and trial.number not in again
        ]

    def _again(self, trial: "FrozenTrial") -> Proposal:
        return Proposal(trial.number, self.space.of_params(trial.params))

    def tell_seeds(self, number: int, outcomes: Sequence[Outcome]) -> None:
        """Stores the outcomes of a trial's runs, and their mean at each validation that all of them reached."""
        reported = []
        for study, outcome in zip(self.seeds.values(), outcomes, strict=True):
            trial = study.get_trials(deepcopy=False)[number]
            reported.append(trial.intermediate_values)
            if not trial.state.is_finished():
                state = _state(outcome)
                study.tell(number, outcome.objectives if state.name == "COMPLETE" else None, state)
        if not self._trials()[number].state.is_finished():
            study_id = self.storage.get_study_id_from_name(self.name)
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
            for validation in sorted(set.intersection(*map(set, reported))):
                mean = fmean(values[validation] for values in reported)
                self.storage.set_trial_intermediate_value(trial_id, validation, mean)

    def tell(self, number: int, outcome: Outcome) -> None:
        """Stores the outcome of a trial. A failed trial that finished when it ran again becomes a further trial."""
        from optuna.trial import Trial, TrialState, create_trial

        trial = self._trials()[number]
        state = _state(outcome)
        if not trial.state.is_finished():
            study_id = self.storage.get_study_id_from_name(self.name)
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
            notes = (
                {} if outcome.state in ("finished", "pruned") else {"state": outcome.state, "reason": outcome.reason}
            )
            for name, value in notes.items():  # which the states of Optuna do not tell
                self.storage.set_trial_user_attr(trial_id, name, value)
            for metric, excess in outcome.excess.items():
                Trial(self.study, trial_id).set_constraint(metric, excess)
            self.study.tell(number, outcome.objectives if state == TrialState.COMPLETE else None, state)
            self._tell_sampler(self._trials()[number])
        elif state == TrialState.COMPLETE:
            more = create_trial(
                state=state, values=list(outcome.objectives), params=trial.params, distributions=trial.distributions,
                user_attrs={"again": number}, constraints=dict(outcome.excess),
            )  # fmt: skip
            self.study.add_trial(more)
            self._sampled.add_trial(_without_attributes(more))
            self._follow()


def _state(outcome: Outcome) -> "TrialState":
    from optuna.trial import TrialState

    return {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(outcome.state, TrialState.FAIL)


def name_of_seed(name: str, seed: int) -> str:
    """Names the study that compares the runs of one seed."""
    return f"{name}, seed {seed}"


def _without_attributes(trial: "FrozenTrial") -> "FrozenTrial":
    """Copies a trial without its attributes: those that another process has written must not reach a sampler."""
    from optuna.trial import create_trial

    return create_trial(
        state=trial.state, values=trial.values, params=trial.params, distributions=trial.distributions,
        constraints=trial.constraints,
    )  # fmt: skip


def open_journal(path: Path) -> "JournalStorage":
    """Opens the storage of a sweep's studies for one of its processes.

    Raises:
        UserError: the file is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the sweep prints its own lines
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    except Exception as error:  # a damaged journal makes Optuna raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError("a search must go on from its own journal", f"{path}: {reason}", "another sweep.name") from None


def mend_journal(path: Path) -> None:
    """Removes half a line and a lock from the journal, which a process leaves that dies while it writes.

    It must only be called while no process of the sweep runs.
    """
    with contextlib.suppress(OSError):
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)  # the trial of that line is proposed again


def trial_of(directory: Path) -> SimpleNamespace | None:
    """Finds the trial of the run in a directory; returns None if it is not a trial, or has an outcome.

    It has `report(value, validation)` and `should_prune()` of Optuna, and `reported`: the numbers of the validations
    that have been reported, also by a process that has died. Of several seeds, one is enough to prune the others.
    """
    ledger = read_ledger(directory.parent)
    entry = None if ledger is None else next((e for e in ledger.entries if e.directory == directory.name), None)
    if ledger is None or entry is None or entry.trial is None or entry.stage != "search":
        return None
    import optuna

    storage, settings = open_journal(directory.parent / JOURNAL), ledger.metadata["search"]
    name = entry.arm or str(ledger.metadata["name"])
    others = [e for e in ledger.entries if e.trial == entry.trial and e.stage == "search" and e is not entry]
    study = optuna.load_study(
        study_name=name_of_seed(name, entry.values["seed"]) if settings.get("seeds") else name, storage=storage,
        sampler=optuna.samplers.RandomSampler(), pruner=build_pruner(settings["pruner"], settings["pruner_options"]),
    )  # fmt: skip
    frozen = study.get_trials(deepcopy=False)[entry.trial]
    if frozen.state.is_finished():
        return None
    study_id = storage.get_study_id_from_name(study.study_name)
    trial = optuna.trial.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, entry.trial))
    paths = [directory.parent / other.directory for other in others] if settings.get("seeds") else []
    return SimpleNamespace(
        report=trial.report, reported=set(frozen.intermediate_values),
        should_prune=lambda: trial.should_prune() or any(read_state(path).name == "pruned" for path in paths),
    )  # fmt: skip
