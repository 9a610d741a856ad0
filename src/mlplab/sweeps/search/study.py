"""A study of Optuna in the journal of a sweep, asked in batches and told what has become of them."""

import contextlib
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.errors import UserError
from mlplab.sweeps.search.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "optuna.log"
"""In the directory of a sweep; `optuna-dashboard optuna.log` reads it."""


@dataclass(frozen=True)
class Proposal:
    """What a trial is to try.

    Attributes:
        number: of the trial in its study.
        values: of each name that was drawn.
        words: the same on the command line.
    """

    number: int
    values: dict[str, Any]
    words: list[str]


@dataclass(frozen=True)
class Outcome:
    """What has become of a trial.

    Attributes:
        state: finished, pruned, infeasible or failed.
        objectives: of a finished one, finite.
        reason: of the others.
    """

    state: str
    objectives: tuple[float, ...] = ()
    reason: str = ""


class Search:
    """Proposes what to try next.

    What is proposed depends on the seed and on what was told, and not on how often the search was interrupted. The
    sampler knows a study in memory alone. When the search goes on, a new one is led through all that has been
    proposed, so that its random numbers go on too; and what it keeps for itself, which for CMA-ES is pickled, is never
    read from a file.

    Args:
        storage: where the trials are kept.
        name: of the study.
        space: what is drawn from.
        sampler: Optuna's, new.
        modes: `min` or `max` of each objective.

    Attributes:
        study: Optuna's, in the storage.
    """

    def __init__(
        self, storage: "JournalStorage", name: str, space: Space, sampler: "BaseSampler", modes: Sequence[str]
    ) -> None:
        import optuna

        self.storage, self.name, self.space = storage, name, space
        directions: list[Any] = ["minimize" if mode == "min" else "maximize" for mode in modes]
        self.study = optuna.create_study(
            storage=storage, study_name=name, directions=directions, load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )  # fmt: skip
        self._sampled = optuna.create_study(sampler=sampler, directions=directions)
        self._replay()

    def _trials(self) -> "list[FrozenTrial]":
        return self.study.get_trials(deepcopy=False)

    def _replay(self) -> None:
        """Has the sampler propose, once more, all that has been proposed, and tells it the same."""
        for _, batch in itertools.groupby(self._trials(), key=lambda frozen: frozen.user_attrs.get("batch")):
            asked = []
            for frozen in batch:
                if "again" in frozen.user_attrs:
                    self._sampled.add_trial(_without_attributes(frozen))
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
            warnings.simplefilter("ignore")  # of choices that a sampler draws independently
            trial = self._sampled.ask()
            return trial, Proposal(trial.number, *self.space.propose(trial))

    def _tell_sampler(self, frozen: "FrozenTrial") -> None:
        from optuna.trial import Trial, TrialState

        trial = Trial(self._sampled, self._sampled.get_trials(deepcopy=False)[frozen.number]._trial_id)
        for step, value in frozen.intermediate_values.items():
            trial.report(value, step)
        values = frozen.values if frozen.state == TrialState.COMPLETE else None
        self._sampled.tell(frozen.number, values, frozen.state)

    @property
    def n_trials(self) -> int:
        """Trials that have been proposed."""
        return sum("again" not in trial.user_attrs for trial in self._trials())

    def ask(self, n: int) -> list[Proposal]:
        """The next trials, as many as are to run at once; each is kept before it is given."""
        from optuna.trial import TrialState, create_trial

        batch = 1 + max((trial.user_attrs.get("batch", -1) for trial in self._trials()), default=-1)
        proposals = []
        for _ in range(n):
            trial, proposal = self._proposed()
            kept = create_trial(
                state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions,
                user_attrs={"batch": batch},
            )  # fmt: skip
            self.study.add_trial(kept)
            proposals.append(proposal)
        return proposals

    def begun(self) -> list[Proposal]:
        """Trials that are proposed and not told about."""
        return [self._again(trial) for trial in self._trials() if not trial.state.is_finished()]

    def failed(self) -> list[Proposal]:
        """Trials that have failed, and have not come to anything since."""
        from optuna.trial import TrialState

        again = {trial.user_attrs.get("again") for trial in self._trials()}
        return [
            self._again(trial)
            for trial in self._trials()
            if trial.state == TrialState.FAIL and trial.number not in again
        ]

    def _again(self, trial: "FrozenTrial") -> Proposal:
        return Proposal(trial.number, *self.space.of_params(trial.params))

    def tell(self, number: int, outcome: Outcome) -> None:
        """What has become of a trial; where one that had failed was run again and finished, a trial more is noted."""
        from optuna.trial import TrialState, create_trial

        trial = self._trials()[number]
        state = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(outcome.state, TrialState.FAIL)
        if not trial.state.is_finished():
            study_id = self.storage.get_study_id_from_name(self.name)
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
            for name, value in _notes(outcome).items():
                self.storage.set_trial_user_attr(trial_id, name, value)
            self.study.tell(number, outcome.objectives if state == TrialState.COMPLETE else None, state)
            self._tell_sampler(self._trials()[number])
        elif state == TrialState.COMPLETE:
            more = create_trial(
                state=state, values=list(outcome.objectives), params=trial.params, distributions=trial.distributions,
                user_attrs={"again": number},
            )  # fmt: skip
            self.study.add_trial(more)
            self._sampled.add_trial(_without_attributes(more))


def _without_attributes(trial: "FrozenTrial") -> "FrozenTrial":
    """What a sampler may know of a trial that another process has written."""
    from optuna.trial import create_trial

    return create_trial(state=trial.state, values=trial.values, params=trial.params, distributions=trial.distributions)


def _notes(outcome: Outcome) -> dict[str, Any]:
    """What Optuna's own states do not tell."""
    return {} if outcome.state in ("finished", "pruned") else {"state": outcome.state, "reason": outcome.reason}


def open_journal(path: Path) -> "JournalStorage":
    """The storage of a sweep's studies, for one of its processes.

    Raises:
        UserError: the file is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    except Exception as error:  # whatever the journal's reader stumbles on
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError("a search must go on from its own journal", f"{path}: {reason}", "another sweep.name") from None


def mend_journal(path: Path) -> None:
    """Takes away what a process left in the journal that died while it wrote: half a line, and its lock.

    Only while no process of the sweep runs.
    """
    with contextlib.suppress(OSError):
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
