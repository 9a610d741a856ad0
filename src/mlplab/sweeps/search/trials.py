"""A search in the directory of a sweep: trials are proposed, run as jobs, and told about."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlplab.errors import RunFailed, UserError, counted
from mlplab.sweeps.comparing import require_same
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.overrides import params_of
from mlplab.sweeps.progress import Progress
from mlplab.sweeps.rerun import rerun_best
from mlplab.sweeps.search.conditions import split_conditions
from mlplab.sweeps.search.outcomes import OF_RUNS, outcome_of
from mlplab.sweeps.search.requests import Asked, read_asked
from mlplab.sweeps.search.space import Space, space_of
from mlplab.sweeps.search.study import JOURNAL, Outcome, Proposal, Search, mend_journal, open_journal
from mlplab.sweeps.sweep import MOST_DEATHS, Sweep

PRUNING = (
    "+callbacks.search_pruning={_target_:mlplab.callbacks.Pruning,"
    "directory:${paths.run},monitor:${monitor},mode:${mode}}"
)
"""What the jobs of a search are given that ends trials early."""

MOST_REPEATS = 100
"""Trials in a row that had all been tried before: the space has no more, or the sampler proposes no more of it."""


@dataclass
class Trials:
    """A study and the jobs of its trials.

    Attributes:
        sweep: in which they are.
        search: proposes them.
        asked: how.
        shared: words that all jobs of the sweep have.
        fixed: words and values that all of these have beside them.
        arm: of a comparison.
        jobs_after: how many jobs the sweep has when these are done.
        seeds: a trial is a job for each, judged by their mean; one job of the configuration's seed where there is none.
    """

    sweep: Sweep
    search: Search
    asked: Asked
    shared: Sequence[str]
    fixed: tuple[Mapping[str, Any], Sequence[str]] = field(default_factory=lambda: ({}, []))
    arm: str | None = None
    seeds: Sequence[int] = ()
    jobs_after: int = 0
    _repeats: int = 0

    def run(self, progress: Progress) -> None:
        """Goes on until the budget is spent.

        Raises:
            RunStopped: by a signal; nothing that was reached is lost.
        """
        self._retry(progress)
        budget = self.asked.budget_in(self.search.space)
        at_once = self.asked.batch or max(1, self.sweep.at_once // max(1, len(self.seeds)))
        while True:
            proposals = self.search.begun()
            if not proposals:
                if budget.is_spent(self.search.n_trials, self._epochs(), self.sweep.seconds() / 60):
                    return
                if self._is_exhausted():
                    print(
                        f"        all of the {counted(len(self._entries()), 'point')} that are proposed have been tried"
                    )
                    return
                left = budget.trials_left(self.search.n_trials)
                n = at_once if left is None else min(at_once, left)
                progress.to_come = None if left is None else (left - n) * max(1, len(self.seeds)) + self.jobs_after
                proposals = self.search.ask(n)
            self._carry_out(proposals, progress)

    def _retry(self, progress: Progress) -> None:
        """Runs once more what has failed, when that is asked for."""
        if self.sweep.config.sweep.retry_failed:
            failed = [proposal for proposal in self.search.failed() if self.sweep.to_do(self.entries(proposal))]
            if failed:
                self._carry_out(failed, progress)

    def _carry_out(self, proposals: Sequence[Proposal], progress: Progress) -> None:
        """Runs the jobs of some trials until each has an outcome, which the search is told in their order."""
        entries = {proposal.number: self.entries(proposal) for proposal in proposals}
        self.sweep.save()
        all_of_them = list({entry.number: entry for found in entries.values() for entry in found}.values())
        to_do = self.sweep.to_do(all_of_them)
        if to_do:
            progress.extend(to_do)
            self.sweep.launch(to_do, self.shared, progress)
        self._repeats = 0 if to_do else self._repeats + len(proposals)
        for number, found in entries.items():
            self.search.tell(number, self._outcome(found))
        self.sweep.save()

    def entries(self, proposal: Proposal) -> list[Entry]:
        """The jobs of a trial: those that are there with its values, or new ones."""
        values, words = self.fixed
        values, words = {**values, **proposal.values}, [*words, *proposal.words]
        seeds = [({"seed": seed}, [f"seed={seed}"]) for seed in self.seeds] or [({}, [])]
        also = {"arm": self.arm, "stage": "search", "trial": proposal.number}
        return [
            self.sweep.exact_entry({**values, **seed}, [*words, *word], self.shared, **also) for seed, word in seeds
        ]

    def _outcome(self, entries: Sequence[Entry]) -> Outcome:
        directories = [self.sweep.directory / entry.directory for entry in entries]
        outcome = outcome_of(directories, self.asked.objectives)
        while outcome is None and any(self.sweep.state(entry).name == "running" for entry in entries):
            time.sleep(1.0)  # in another process, by resume=
            outcome = outcome_of(directories, self.asked.objectives)
        return outcome or Outcome("failed", reason=f"its process died {MOST_DEATHS} times")

    def _entries(self) -> list[Entry]:
        return [e for e in self.sweep.ledger.entries if e.arm == self.arm and e.stage == "search"]

    def _is_exhausted(self) -> bool:
        """Whether nothing new is to be expected of the search."""
        points = self.search.space.n_points()
        is_all = points is not None and len(self._entries()) >= points * max(1, len(self.seeds))
        return is_all or self._repeats >= MOST_REPEATS

    def _epochs(self) -> int:
        """What the trials have trained so far."""
        epochs = [self.sweep.state(entry).status.get("epoch", 0) for entry in self._entries()]
        return sum(epoch for epoch in epochs if isinstance(epoch, int))


def sweep_search(sweep: Sweep, arguments: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Searches over what is swept, or goes on with it.

    Args:
        sweep: in its directory.
        arguments: words of the command line.
        settings: of conf/hydra/sweeper/optuna.yaml.

    Raises:
        UserError: it cannot be run, or was begun in another way.
        RunFailed: no trial came to anything.
        RunStopped: by a signal; it goes on with the same command.
    """
    asked = read_asked(settings, str(sweep.config.monitor), str(sweep.config.mode))
    params, when = split_conditions(settings["params"], settings["when"])
    constants, dimensions = sweep.composer.read_words(arguments, params_of(params, "hydra.sweeper.params"))
    if asked.pruner != "none":
        constants = [*constants, PRUNING]
    space = space_of(*sweep.composer.settled(constants, dimensions, when))
    if not space.dimensions:
        raise UserError(
            "a search must have something to search over", "every name has one value",
            "optimizer.lr='tag(log,interval(1e-4,1e-1))'",
        )  # fmt: skip
    sampler = asked.build_sampler(space)
    for words in space.to_check():
        sweep.composer.check_job([*constants, *words])
    with sweep.opened(constants, space.names) as shared:
        _require_same_search(sweep, asked, space)
        sweep.save()
        if sweep.config.sweep.rerun is not None:
            rerun_best(sweep, shared)
            return
        mend(sweep)
        storage = open_journal(sweep.directory / JOURNAL)
        modes = [objective.mode for objective in asked.objectives]
        search = Search(storage, str(sweep.ledger.asked["name"]), space, sampler, modes)
        trials = Trials(sweep, search, asked, shared)
        done = counted(search.n_trials, "trial")
        print(f"search  {sweep.told}: {asked.sampler}, {done} done; it ends after {asked.budget.told()}")
        trials.run(sweep.progress(sweep.ledger.entries, []))
        _tell_best(sweep, search, asked)


def _require_same_search(sweep: Sweep, asked: Asked, space: Space) -> None:
    """Notes how the search is done; a later launch must do it likewise, but for the budget."""
    now = {**asked.as_json(), "space": space.as_json()}
    then = sweep.ledger.asked.get("search")
    if then is not None:
        then = {**then, "space": sweep.ledger.asked.get("space")}
        require_same({"search": then}, {"search": now}, "the search", free=("search.budget",))
    sweep.ledger.asked["search"], sweep.ledger.asked["space"] = asked.as_json(), space.as_json()


def mend(sweep: Sweep) -> None:
    """Makes the journal whole, where no process writes to it."""
    if not any(sweep.state(entry).name == "running" for entry in sweep.ledger.entries):
        mend_journal(sweep.directory / JOURNAL)


def _tell_best(sweep: Sweep, search: Search, asked: Asked) -> None:
    trials = search.study.best_trials if len(asked.objectives) > 1 else _best_of(search)
    if not trials:
        raise RunFailed(
            f"no trial of {search.n_trials} came to anything; python scripts/report.py {sweep.told} tells why"
        )
    by_trial = {entry.trial: entry.directory for entry in sweep.ledger.entries}
    for trial in trials:
        pairs = zip(asked.objectives, trial.values, strict=True)
        told = ", ".join(
            f"{o.metric} {value:,.0f}" if o.metric in OF_RUNS else f"{o.metric} {value:.4g}" for o, value in pairs
        )
        print(f"best    {told}  {by_trial.get(trial.number, '')}".rstrip())


def _best_of(search: Search) -> list[Any]:
    try:
        return [search.study.best_trial]
    except ValueError:  # none is complete
        return []
