"""Runs a search in the directory of a sweep: proposes trials, runs them as jobs, and reads their outcomes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlplab.config.differing import require_same
from mlplab.errors import RunFailed, UserError, counted
from mlplab.sweeps.launch import MOST_DEATHS, launch_jobs, progress_of, select_to_do
from mlplab.sweeps.ledger import Assignment, Entry
from mlplab.sweeps.overrides import params_as_overrides
from mlplab.sweeps.ranking import print_best
from mlplab.sweeps.rerun import rerun_best
from mlplab.sweeps.search.outcomes import Outcome, read_outcome
from mlplab.sweeps.search.settings import SearchSettings, read_settings, require_comparable, require_one_setting
from mlplab.sweeps.search.space import Space, space_of, split_conditions
from mlplab.sweeps.search.study import JOURNAL, Proposal, Search, mend_journal, open_journal
from mlplab.sweeps.sweep import Sweep
from mlplab.sweeps.sweep_progress import SweepProgress

PRUNING = (
    "+callbacks.search_pruning={_target_:mlplab.sweeps.search.trial_pruning.Pruning,"
    "directory:${paths.run},monitor:${monitor},mode:${mode}}"
)
"""Override that gives the jobs of a search the callback which ends trials early."""

MOST_REPEATS = 100
"""Trials in a row that were tried before, after which the space or the sampler is taken to have no more."""


@dataclass
class Trials:
    """A study and the jobs of its trials.

    Attributes:
        sweep: to which the jobs belong.
        search: proposes the trials.
        settings: of the search.
        fixed: assignments that all trials have.
        arm: of a comparison.
        seeds: a trial is a job for each, judged by their mean; one job of the configuration's seed where there is none.
        n_jobs_after: number of jobs that the sweep runs after these.
    """

    sweep: Sweep
    search: Search
    settings: SearchSettings
    fixed: Sequence[Assignment] = ()
    arm: str | None = None
    seeds: Sequence[int] = ()
    n_jobs_after: int = 0
    _n_repeats: int = 0

    def run(self, progress: SweepProgress) -> None:
        """Runs trials until the budget is spent.

        Raises:
            RunStopped: by a signal; the outcomes are saved.
        """
        self._retry(progress)  # first, as later proposals depend on the outcomes
        budget = self.settings.budget_in(self.search.space)
        # A trial is a job for each seed.
        at_once = self.settings.batch or max(1, self.sweep.n_at_once // max(1, len(self.seeds)))
        while True:
            proposals = self.search.begun()  # of a launch that was stopped
            if not proposals:
                if budget.is_spent(self.search.n_trials, self._n_epochs(), self.sweep.seconds() / 60):
                    return
                if self._is_exhausted():
                    n_points = counted(len(self._entries()), "point")
                    print(f"        all of the {n_points} that are proposed have been tried")
                    return
                left = budget.trials_left(self.search.n_trials)
                n = at_once if left is None else min(at_once, left)
                n_seeds = max(1, len(self.seeds))
                progress.n_to_come = None if left is None else (left - n) * n_seeds + self.n_jobs_after
                proposals = self.search.ask(n)
            self._carry_out(proposals, progress)

    def _retry(self, progress: SweepProgress) -> None:
        """Runs failed trials again, if `sweep.retry_failed` is true."""
        if self.sweep.config.sweep.retry_failed:
            failed = [one for one in self.search.failed() if select_to_do(self.sweep, self.entries(one))]
            if failed:
                self._carry_out(failed, progress)

    def _carry_out(self, proposals: Sequence[Proposal], progress: SweepProgress) -> None:
        """Runs the jobs of some trials until each has an outcome, and tells the search in the order of proposal."""
        entries = {proposal.number: self.entries(proposal) for proposal in proposals}
        # Before the jobs begin: with a pruner, each finds its trial through sweep.json.
        self.sweep.save()
        # The same values can be proposed twice in a batch.
        unique = {entry.number: entry for found in entries.values() for entry in found}
        to_do = select_to_do(self.sweep, list(unique.values()))
        launch_jobs(self.sweep, to_do, progress)
        self._n_repeats = 0 if to_do else self._n_repeats + len(proposals)  # all of them are known jobs
        for number, found in entries.items():  # in one order, whichever job ended first
            if self.search.seeds:
                self.search.tell_seeds(number, [self._outcome([entry]) for entry in found])
            self.search.tell(number, self._outcome(found))

    def entries(self, proposal: Proposal) -> list[Entry]:
        """Finds or adds the jobs of a trial."""
        stage = {"arm": self.arm, "stage": "search", "trial": proposal.number}
        seeds = [[Assignment("seed", seed, f"seed={seed}")] for seed in self.seeds] or [[]]
        return [self.sweep.entry([*self.fixed, *proposal.assignments, *seed], **stage) for seed in seeds]

    def _outcome(self, entries: Sequence[Entry]) -> Outcome:
        directories = [self.sweep.directory / entry.directory for entry in entries]
        judged = self.settings.objectives, self.settings.constraints
        outcome = read_outcome(directories, *judged)
        while outcome is None and any(self.sweep.state(entry).name == "running" for entry in entries):
            time.sleep(1.0)  # another process runs the job, by resume=
            outcome = read_outcome(directories, *judged)
        return outcome or Outcome("failed", reason=f"its process died {MOST_DEATHS} times")

    def _entries(self) -> list[Entry]:
        return [e for e in self.sweep.ledger.entries if e.arm == self.arm and e.stage == "search"]

    def _is_exhausted(self) -> bool:
        """Returns whether the search can propose nothing new."""
        points = self.search.space.n_points()
        is_all = points is not None and len(self._entries()) >= points * max(1, len(self.seeds))
        return is_all or self._n_repeats >= MOST_REPEATS

    def _n_epochs(self) -> int:
        """Counts the epochs of all trials, where they are limited."""
        if self.settings.budget.epochs is None:
            return 0  # without reading the files of all trials for each batch
        epochs = [self.sweep.state(entry).status.get("epoch", 0) for entry in self._entries()]
        return sum(epoch for epoch in epochs if isinstance(epoch, int))


def sweep_search(sweep: Sweep, arguments: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Runs a search with the settings of conf/hydra/sweeper/optuna.yaml, or goes on with it.

    Raises:
        UserError: it cannot be run, or was begun with other settings.
        RunFailed: no trial finished.
        RunStopped: by a signal; it goes on with the same command.
    """
    read = read_settings(settings, str(sweep.config.monitor), str(sweep.config.mode), sweep.config.seed)
    params, when = split_conditions(settings["params"], settings["when"])
    overrides = params_as_overrides(params, "hydra.sweeper.params")
    shared, dimensions = sweep.composer.read_overrides(arguments, overrides)
    if read.pruner != "none":
        shared = [*shared, PRUNING]  # as an override, so that a resumed job has it too
    space = space_of(*sweep.composer.decide_conditions(shared, dimensions, when))
    if not space.dimensions:
        raise UserError(
            "a search must have something to search over", "every name has one value",
            "optimizer.lr='tag(log,interval(1e-4,1e-1))'",
        )  # fmt: skip
    sampler = read.build_sampler(space)  # refuses wrong options before the directory is made
    for job in space.to_check():
        sweep.composer.check_job([*shared, *job])
    with sweep.opened(shared, [*space.names, *(["seed"] if read.seeds else [])]):
        _require_same_search(sweep, read, space)
        sweep.save()
        if sweep.config.sweep.rerun is not None:
            rerun_best(sweep)
            return
        mend(sweep)
        storage = open_journal(sweep.directory / JOURNAL)
        modes, metrics = [one.mode for one in read.objectives], [one.metric for one in read.objectives]
        seeds = read.seeds if read.pruner != "none" else ()
        search = Search(storage, str(sweep.ledger.metadata["name"]), space, sampler, modes, seeds, metrics)
        done = counted(search.n_trials, "trial")
        bounds = f"; {', '.join(map(str, read.constraints))}" if read.constraints else ""
        print(f"search  {sweep.shown}: {read.sampler}{bounds}, {done} done; it ends after {read.budget}")
        Trials(sweep, search, read, seeds=read.seeds).run(
            progress_of(sweep, [entry for entry in sweep.ledger.entries if entry.stage == "search"])
        )
        if search.n_infeasible:
            print(f"        {search.n_infeasible} of {counted(search.n_trials, 'trial')} violate a constraint")
        if not print_best(sweep):
            raise RunFailed(
                f"none of the {search.n_trials} trials finished{', and kept the constraints' if bounds else ''}; "
                f"status.json of each in {sweep.shown} has the reason"
            )


def _require_same_search(sweep: Sweep, settings: SearchSettings, space: Space) -> None:
    """Notes the settings of the search. A later launch must have the same, except for the budget."""
    metadata = sweep.ledger.metadata
    then, now = metadata.get("search"), settings.as_json()
    if then is None:
        require_one_setting(space.names)
        require_comparable(space.names, settings)
    else:
        # Searches of 0.5.0 had one seed, and no constraints.
        before, after = (
            {"seeds": [], "constraints": [], **then, "space": metadata.get("space")},
            {**now, "space": space.as_json()},
        )
        require_same({"search": before}, {"search": after}, "the search", may_differ=("search.budget",))
    metadata["search"], metadata["space"] = now, space.as_json()


def mend(sweep: Sweep) -> None:
    """Repairs the journal, unless a process writes to it."""
    if not any(sweep.state(entry).name == "running" for entry in sweep.ledger.entries):
        mend_journal(sweep.directory / JOURNAL)
