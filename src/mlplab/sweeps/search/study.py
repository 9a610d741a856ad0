"""A study of Optuna in the journal of a sweep, asked in batches and told what has become of them."""

import contextlib
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.errors import Refusal
from mlplab.sweeps.search.space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

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

    What is proposed depends on the seed and on what was told, and not on how often the search was interrupted:
    when it goes on, its sampler is led through all that it has proposed, so that its random numbers go on too.

    Args:
        storage: where its trials are kept.
        name: of the study.
        space: what is drawn from.
        sampler: Optuna's, new.
        modes: `min` or `max` of each objective.
    """

    def __init__(
        self, storage: "JournalStorage", name: str, space: Space, sampler: "BaseSampler", modes: Sequence[str]
    ) -> None:
        self.storage, self.name, self.space, self.sampler = storage, name, space, sampler
        self.directions: list[Any] = ["minimize" if mode == "min" else "maximize" for mode in modes]
        self.study = self._opened()
        self._replay()

    def _opened(self) -> "Study":
        import optuna

        return optuna.create_study(
            storage=self.storage, study_name=self.name, sampler=self.sampler, directions=self.directions,
            load_if_exists=True,
        )  # fmt: skip

    def _replay(self) -> None:
        """Has the sampler propose, once more and in memory, all that it has proposed, and tells it the same."""
        import optuna

        trials = self.study.get_trials(deepcopy=False)
        if not trials:
            return
        twin = optuna.create_study(sampler=self.sampler, directions=self.directions)
        for _, batch in itertools.groupby(trials, key=lambda frozen: frozen.user_attrs.get("batch")):
            asked = []
            for frozen in batch:
                if "again" in frozen.user_attrs:
                    twin.add_trial(frozen)
                    continue
                trial = twin.ask()
                self.space.propose(trial)
                asked.append((trial, frozen))
            for trial, frozen in asked:
                for step, value in frozen.intermediate_values.items():
                    trial.report(value, step)
                if frozen.state.is_finished():
                    is_complete = frozen.state == optuna.trial.TrialState.COMPLETE
                    twin.tell(trial, frozen.values if is_complete else None, frozen.state)

    @property
    def n_trials(self) -> int:
        """Trials that have been proposed, without those that were cut off before they were."""
        trials = self.study.get_trials(deepcopy=False)
        return sum("again" not in t.user_attrs and t.user_attrs.get("state") != "cut off" for t in trials)

    def ask(self, n: int) -> list[Proposal]:
        """The next trials, as many as are to run at once."""
        trials = self.study.get_trials(deepcopy=False)
        batch = 1 + max((trial.user_attrs.get("batch", -1) for trial in trials), default=-1)
        proposals = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of choices that a sampler draws independently
            for _ in range(n):
                trial = self.study.ask()
                trial.set_user_attr("batch", batch)
                proposals.append(Proposal(trial.number, *self.space.propose(trial)))
        return proposals

    def begun(self) -> list[Proposal]:
        """Trials that are proposed and not told about; those that were cut off in the middle of it are given up."""
        from optuna.trial import TrialState

        proposals = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            chosen = self.space.of_params(trial.params)
            if chosen is None:
                self._tell(trial, Outcome("cut off", reason="before all of its values were proposed"))
            else:
                proposals.append(Proposal(trial.number, *chosen))
        return proposals

    def tell(self, number: int, outcome: Outcome) -> None:
        """What has become of a trial; of one that had failed, and was run again, a trial more is noted."""
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            self._add(trial, outcome)
        else:
            self._tell(trial, outcome)

    def failed(self) -> list[Proposal]:
        """Trials that have failed, with which nothing was begun since."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("again") for trial in trials}
        chosen = [
            (trial.number, self.space.of_params(trial.params))
            for trial in trials
            if trial.state == TrialState.FAIL and trial.number not in again and "again" not in trial.user_attrs
        ]
        return [Proposal(number, *found) for number, found in chosen if found is not None]

    def _tell(self, trial: "FrozenTrial", outcome: Outcome) -> None:
        from optuna.trial import TrialState

        study_id = self.storage.get_study_id_from_name(self.name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        for name, value in _notes(outcome).items():
            self.storage.set_trial_user_attr(trial_id, name, value)
        state = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(outcome.state, TrialState.FAIL)
        self.study.tell(trial.number, outcome.objectives if outcome.state == "finished" else None, state)

    def _add(self, trial: "FrozenTrial", outcome: Outcome) -> None:
        from optuna.trial import TrialState, create_trial

        if outcome.state != "finished":
            return
        self.study.add_trial(
            create_trial(
                state=TrialState.COMPLETE, values=list(outcome.objectives), params=trial.params,
                distributions=trial.distributions, user_attrs={"again": trial.number},
            )
        )  # fmt: skip


def _notes(outcome: Outcome) -> dict[str, Any]:
    """What Optuna's own states do not tell."""
    return {} if outcome.state in ("finished", "pruned") else {"state": outcome.state, "reason": outcome.reason}


def open_journal(path: Path) -> "JournalStorage":
    """The storage of a sweep's studies, for one of its processes.

    Raises:
        Refusal: the file is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    except Exception as error:  # whatever the journal's reader stumbles on
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Refusal("a search must go on from its own journal", f"{path}: {reason}", "another sweep.name") from None


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
