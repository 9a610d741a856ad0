"""A fair comparison: each arm is tuned in its own space with the same budget, and judged on other seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlplab.config.differing import require_same
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError, counted
from mlplab.rules import shown
from mlplab.sweeps.launch import progress_of, run_jobs, select_to_do
from mlplab.sweeps.ledger import Assignment, Entry
from mlplab.sweeps.overrides import dimension_of, params_as_overrides, parse_overrides, split_swept
from mlplab.sweeps.ranking import print_best
from mlplab.sweeps.rerun import best_settings, first_job, on_seeds, rerun_best
from mlplab.sweeps.search.settings import (
    SearchSettings,
    read_settings,
    require_comparable,
    require_one_setting,
    seeds_of,
)
from mlplab.sweeps.search.space import Space, space_of, split_conditions
from mlplab.sweeps.search.study import JOURNAL, Search, open_journal
from mlplab.sweeps.search.trials import Trials, mend
from mlplab.sweeps.sweep import Sweep
from mlplab.sweeps.sweep_progress import SweepProgress


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared.

    Attributes:
        name: of the arm.
        fixed: what all of its jobs are given.
        space: over which it is tuned.
    """

    name: str
    fixed: list[Assignment]
    space: Space

    @property
    def overrides(self) -> list[str]:
        """Returns what all of its jobs are given, as on the command line."""
        return [str(one.override) for one in self.fixed]

    @property
    def names(self) -> list[str]:
        """Returns all names that the arm chooses."""
        return [*(one.name for one in self.fixed), *self.space.names]


def sweep_comparison(sweep: Sweep, arguments: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Tunes each arm, and runs the best of each and its defaults on other seeds; or goes on with it.

    Its settings are those of conf/hydra/sweeper/comparison.yaml.

    Raises:
        UserError: it cannot be run, or was begun with other settings.
        RunStopped: by a signal; it goes on with the same command.
    """
    if settings["trials"] is None:
        raise UserError(
            "hydra.sweeper.trials must be a positive integer", "hydra.sweeper.trials=null", "hydra.sweeper.trials=16"
        )
    # Every arm has the same budget, in trials.
    unused = dict.fromkeys(("objectives", "constraints", "epochs", "minutes", "pruner", "pruner_options"))
    search = read_settings({**settings, **unused}, str(sweep.config.monitor), str(sweep.config.mode))
    search = replace(search, seeds=())  # they are of the reruns
    shared, swept = sweep.composer.read_overrides(arguments, [])
    if swept:
        raise UserError(
            "a comparison must have in its arms what it compares", f"{swept[0].name} has several values",
            f"one value of it, or hydra/sweeper=grid {swept[0].name}=…",
        )  # fmt: skip
    given = {override.key_or_group for override in parse_overrides(shared, sweep.loader)}
    if "seed" in given:
        raise UserError(
            "a comparison must have its seeds in hydra.sweeper.tuning_seeds and hydra.sweeper.seeds", "seed is given",
            "hydra.sweeper.tuning_seeds=[3]",
        )  # fmt: skip
    arms = _arms(sweep, settings, shared, given)
    # A seed that is given twice is one job.
    tuning_seeds, seeds = (list(seeds_of(settings[name], 100)) for name in ("tuning_seeds", "seeds"))
    if not seeds:
        raise UserError(
            "a comparison must have seeds to judge on", "hydra.sweeper.seeds=null", "hydra.sweeper.seeds=10"
        )
    both = sorted(set(tuning_seeds) & set(seeds))
    if both:
        raise UserError(
            "what is chosen on some seeds must be judged on others",
            f"hydra.sweeper.seeds and tuning_seeds both have {both[0]}",
            f"hydra.sweeper.tuning_seeds=[{max(seeds) + 1}]",
        )  # fmt: skip
    for arm in arms:
        for job in arm.space.to_check():
            sweep.composer.check_job([*shared, *arm.overrides, *job])
    with sweep.opened(shared, sorted({"seed", *(name for arm in arms for name in arm.names)})):
        if "comparison" not in sweep.ledger.metadata:
            require_comparable([name for arm in arms for name in arm.names], search)
            require_one_setting(name for arm in arms for name in arm.space.names)
        _note_settings(sweep, search, arms, tuning_seeds, seeds)
        if sweep.config.sweep.rerun is not None:
            rerun_best(sweep)
            return
        plan = (
            f"{counted(search.budget.trials or 0, 'trial')} each on {counted(len(tuning_seeds), 'seed')}, "
            f"then the best and the defaults on {len(seeds)} more"
        )
        print(f"compare {sweep.shown}: {', '.join(arm.name for arm in arms)}; {plan}")
        known = [entry for entry in sweep.ledger.entries if entry.arm in {arm.name for arm in arms}]
        progress = progress_of(sweep, known)
        _tune(sweep, arms, search, tuning_seeds, len(seeds), progress)
        _judge(sweep, arms, seeds, progress)
        print_best(sweep)


def _arms(sweep: Sweep, settings: Mapping[str, Any], shared: Sequence[str], given: set[str]) -> list[Arm]:
    described, only = settings["arms"], settings["only"]
    if not isinstance(described, Mapping) or not described:
        raise UserError(
            "a comparison must have arms", f"hydra.sweeper.arms={shown(described)}", "experiment=compare_optimizers"
        )
    if only is not None and not (isinstance(only, list) and only):
        raise UserError(
            "hydra.sweeper.only must be a list of arms, or null", f"hydra.sweeper.only={shown(only)}",
            f"hydra.sweeper.only=[{next(iter(described))}]",
        )  # fmt: skip
    for name in only or []:
        if name not in described:
            near = nearest_name(str(name), list(described)) or next(iter(described))
            raise UserError(
                f"hydra.sweeper.only must name arms of {', '.join(described)}", shown(name),
                f"hydra.sweeper.only=[{near}]",
            )  # fmt: skip
    arms = [
        _arm(sweep, str(name), params, shared) for name, params in described.items() if only is None or name in only
    ]
    for arm in arms:
        own = given.intersection(arm.names)
        if own:
            raise UserError(
                "what the arms of a comparison choose must not be given beside them",
                f"{min(own)} is given, and is part of the arm {arm.name}", f"leaving out {min(own)}",
            )  # fmt: skip
    return arms


def _arm(sweep: Sweep, name: str, params: Any, shared: Sequence[str]) -> Arm:
    plain, when = split_conditions(params, None)
    overrides = parse_overrides(params_as_overrides(plain, f"hydra.sweeper.arms.{name}"), sweep.loader)
    swept, single = split_swept(overrides)
    fixed = [dimension_of(override).assignments[0] for override in single]
    dimensions, conditions = sweep.composer.decide_conditions(
        [*shared, *(str(one.override) for one in fixed)], list(map(dimension_of, swept)), when
    )
    return Arm(name, fixed, space_of(dimensions, conditions))


def _note_settings(
    sweep: Sweep, search: SearchSettings, arms: Sequence[Arm], tuning_seeds: list[int], seeds: list[int]
) -> None:
    """Notes the settings. Arms, trials and seeds may be added in a later launch; the others must stay."""
    metadata = sweep.ledger.metadata
    now = {arm.name: {"space": arm.space.as_json(), "fixed": arm.overrides, "default": arm.overrides} for arm in arms}
    then = metadata.get("comparison") or {}
    before = then.get("arms", {})
    sampling = {
        "tuning_seeds": tuning_seeds, "sampler": search.sampler, "sampler_options": search.sampler_options,
        "sampler_seed": search.seed,
    }  # fmt: skip
    if then:
        known = [name for name in now if name in before]  # other arms may join
        require_same(
            {"arms": {name: before[name] for name in known}, **{name: then[name] for name in sampling}},
            {"arms": {name: now[name] for name in known}, **sampling},
            "the comparison",
            may_differ=(),
        )
    metadata["comparison"] = {
        "arms": {**before, **now}, "trials": search.budget.trials, "seeds": seeds, **sampling
    }  # fmt: skip
    metadata["space"] = {name: one for arm in arms for name, one in arm.space.as_json().items()}
    metadata["search"] = search.as_json()
    sweep.save()


def _tune(
    sweep: Sweep, arms: Sequence[Arm], settings: SearchSettings, tuning_seeds: Sequence[int], n_seeds: int,
    progress: SweepProgress,
) -> None:  # fmt: skip
    mend(sweep)  # a launch that was killed may have left half a line
    storage = open_journal(sweep.directory / JOURNAL)
    modes, metrics = [one.mode for one in settings.objectives], [one.metric for one in settings.objectives]
    n_final = sum(n_seeds * (2 if arm.space.dimensions else 1) for arm in arms)
    for position, arm in enumerate(arms):
        # One study for each arm.
        search = Search(storage, arm.name, arm.space, settings.build_sampler(arm.space), modes, metrics=metrics)
        # With nothing to tune one trial is all.
        budgets = [settings if one.space.dimensions else settings.with_trials(1) for one in arms[position:]]
        n_jobs_after = sum((budget.budget.trials or 0) * len(tuning_seeds) for budget in budgets[1:]) + n_final
        later, every = {other.name for other in arms[position + 1 :]}, {other.name for other in arms}
        # Jobs that earlier launches have ended are counted by themselves.
        for entry in sweep.ledger.entries:
            if entry.arm in (later if entry.stage == "search" else every) and sweep.state(entry).has_ended:
                n_jobs_after -= 1
        Trials(sweep, search, budgets[0], arm.fixed, arm.name, tuning_seeds, max(0, n_jobs_after)).run(progress)


def _judge(sweep: Sweep, arms: Sequence[Arm], seeds: Sequence[int], progress: SweepProgress) -> None:
    """Runs the best of each arm and its defaults side by side, on seeds that had no part in the choice."""
    names = {arm.name for arm in arms}
    entries: list[Entry] = []
    for best in best_settings(sweep):
        if best.arm in names:
            entries += on_seeds(sweep, first_job(sweep, best), seeds)
    for arm in arms:
        if arm.space.dimensions:
            entries += [
                sweep.entry([*arm.fixed, Assignment("seed", seed, f"seed={seed}")], arm=arm.name, stage="default")
                for seed in seeds
            ]
    sweep.save()
    progress.n_to_come = 0  # these are the last jobs
    run_jobs(sweep, select_to_do(sweep, entries), progress)
