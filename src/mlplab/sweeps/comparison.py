"""A fair comparison: each arm is tuned in a space of its own with the same budget, and judged on other seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlplab.config.rules import shown
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError, counted
from mlplab.sweeps.comparing import require_same
from mlplab.sweeps.ledger import Entry
from mlplab.sweeps.overrides import params_of, parse, plain, split, swept, word_of
from mlplab.sweeps.progress import Progress
from mlplab.sweeps.rerun import best_settings, on_seeds, rerun_best
from mlplab.sweeps.search.conditions import split_conditions
from mlplab.sweeps.search.requests import Asked, read_asked
from mlplab.sweeps.search.space import Space, space_of
from mlplab.sweeps.search.study import JOURNAL, Search, open_journal
from mlplab.sweeps.search.trials import Trials, mend
from mlplab.sweeps.sweep import Sweep


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared.

    Attributes:
        name: of it.
        values: what all of its jobs are given.
        words: the same on the command line.
        space: what it is tuned over.
    """

    name: str
    values: dict[str, Any]
    words: list[str]
    space: Space


def sweep_comparison(sweep: Sweep, arguments: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Tunes each arm, and runs the best of each and its defaults on other seeds; or goes on with it.

    Args:
        sweep: in its directory.
        arguments: words of the command line.
        settings: of conf/hydra/sweeper/comparison.yaml.

    Raises:
        UserError: it cannot be run, or was begun in another way.
        RunStopped: by a signal; it goes on with the same command.
    """
    if settings["trials"] is None:
        raise UserError(
            "hydra.sweeper.trials must be a positive integer", "hydra.sweeper.trials=null", "hydra.sweeper.trials=16"
        )
    unused = {"objectives": None, "epochs": None, "minutes": None, "pruner": "none", "pruner_options": None}
    asked = read_asked({**settings, **unused}, str(sweep.config.monitor), str(sweep.config.mode))
    constants, typed = sweep.composer.read_words(arguments, [])
    if typed:
        raise UserError(
            "a comparison must have in its arms what it compares", f"{typed[0].name} has several values",
            f"one value of it, or hydra/sweeper=grid {typed[0].name}=…",
        )  # fmt: skip
    if "seed" in {override.key_or_group for override in parse(constants, sweep.loader)}:
        raise UserError(
            "a comparison must have its seeds in hydra.sweeper.tuning_seeds and hydra.sweeper.seeds", "seed is given",
            "hydra.sweeper.tuning_seeds=[3]",
        )  # fmt: skip
    arms = _arms(sweep, settings, constants)
    tuning_seeds, seeds = _seeds(settings, "tuning_seeds"), _seeds(settings, "seeds")
    both = sorted(set(tuning_seeds) & set(seeds))
    if both:
        raise UserError(
            "what is chosen on some seeds must be judged on others",
            f"hydra.sweeper.seeds and tuning_seeds both have {both[0]}",
            f"hydra.sweeper.tuning_seeds=[{max(seeds) + 1}]",
        )  # fmt: skip
    for arm in arms:
        for words in arm.space.to_check():
            sweep.composer.check_job([*constants, *arm.words, *words])
    names = {"seed", *(name for arm in arms for name in [*arm.values, *arm.space.names])}
    with sweep.opened(constants, sorted(names)) as shared:
        _note(sweep, asked, arms, tuning_seeds, seeds)
        if sweep.config.sweep.rerun is not None:
            rerun_best(sweep, shared)
            return
        print(f"compare {sweep.told}: {', '.join(arm.name for arm in arms)}; {_plan(asked, tuning_seeds, seeds)}")
        progress = sweep.progress(sweep.ledger.entries, [])
        _tune(sweep, arms, asked, tuning_seeds, shared, len(seeds), progress)
        _judge(sweep, arms, seeds, shared, progress)


def _arms(sweep: Sweep, settings: Mapping[str, Any], constants: Sequence[str]) -> list[Arm]:
    described = settings["arms"]
    if not isinstance(described, Mapping) or not described:
        raise UserError(
            "a comparison must have arms", f"hydra.sweeper.arms={shown(described)}", "experiment=compare_optimizers"
        )
    only = settings["only"]
    if only is not None and not (isinstance(only, list) and only):
        first = next(iter(described))
        raise UserError(
            "hydra.sweeper.only must be a list of arms, or null", f"hydra.sweeper.only={shown(only)}",
            f"hydra.sweeper.only=[{first}]",
        )  # fmt: skip
    for name in only or []:
        if name not in described:
            near = nearest_name(str(name), list(described)) or next(iter(described))
            raise UserError(
                f"hydra.sweeper.only must name arms of {', '.join(described)}", shown(name),
                f"hydra.sweeper.only=[{near}]",
            )  # fmt: skip
    given = {override.key_or_group for override in parse(constants, sweep.loader)}
    arms = []
    for name, params in described.items():
        if only is None or name in only:
            arms.append(_arm(sweep, str(name), params, constants))
            own = {*arms[-1].values, *arms[-1].space.names} & given
            if own:
                raise UserError(
                    "what the arms of a comparison choose must not be given beside them",
                    f"{min(own)} is given, and is part of the arm {name}", f"leaving out {min(own)}",
                )  # fmt: skip
    return arms


def _arm(sweep: Sweep, name: str, params: Any, constants: Sequence[str]) -> Arm:
    plain_params, when = split_conditions(params, None)
    overrides = parse(params_of(plain_params, f"hydra.sweeper.arms.{name}"), sweep.loader)
    spaces, fixed = split(overrides)
    words = [word_of(override) for override in fixed]
    values = {override.key_or_group: plain(override.value()) for override in fixed}
    dimensions, conditions = sweep.composer.settled(
        [*constants, *words], [swept(override) for override in spaces], when
    )
    return Arm(name, values, words, space_of(dimensions, conditions))


def _seeds(settings: Mapping[str, Any], name: str) -> list[int]:
    seeds = settings[name]
    is_list = isinstance(seeds, list) and bool(seeds)
    if not is_list or any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds):
        raise UserError(
            f"hydra.sweeper.{name} must be a list of seeds", f"hydra.sweeper.{name}={shown(seeds)}",
            f"hydra.sweeper.{name}=[100,101,102]",
        )  # fmt: skip
    return list(dict.fromkeys(seeds))


def _note(sweep: Sweep, asked: Asked, arms: Sequence[Arm], tuning_seeds: list[int], seeds: list[int]) -> None:
    """Notes how it is done; arms, trials and seeds may be added later, what is there may not change."""
    now = {
        arm.name: {"space": arm.space.as_json(), "fixed": list(arm.words), "default": list(arm.words)} for arm in arms
    }
    then = sweep.ledger.asked.get("comparison") or {}
    before = then.get("arms", {})
    if then:
        kept = {name: arm for name, arm in now.items() if name in before}
        settings = {"sampler": asked.sampler, "sampler_options": asked.sampler_options, "sampler_seed": asked.seed}
        require_same(
            {"arms": {name: before[name] for name in kept}, "tuning_seeds": then["tuning_seeds"],
             **{name: then[name] for name in settings}},
            {"arms": kept, "tuning_seeds": tuning_seeds, **settings}, "the comparison", free=(),
        )  # fmt: skip
    sweep.ledger.asked["comparison"] = {
        "arms": {**before, **now}, "trials": asked.budget.trials, "tuning_seeds": tuning_seeds, "seeds": seeds,
        "sampler": asked.sampler, "sampler_options": asked.sampler_options, "sampler_seed": asked.seed,
    }  # fmt: skip
    sweep.ledger.asked["space"] = {name: one for arm in arms for name, one in arm.space.as_json().items()}
    sweep.ledger.asked["search"] = asked.as_json()
    sweep.save()


def _plan(asked: Asked, tuning_seeds: Sequence[int], seeds: Sequence[int]) -> str:
    trials = counted(asked.budget.trials or 0, "trial")
    return f"{trials} each on {counted(len(tuning_seeds), 'seed')}, then the best and the defaults on {len(seeds)} more"


def _tune(
    sweep: Sweep, arms: Sequence[Arm], asked: Asked, tuning_seeds: Sequence[int], shared: Sequence[str], n_seeds: int,
    progress: Progress,
) -> None:  # fmt: skip
    mend(sweep)
    storage = open_journal(sweep.directory / JOURNAL)
    modes = [objective.mode for objective in asked.objectives]
    per_arm = (asked.budget.trials or 0) * len(tuning_seeds)
    for position, arm in enumerate(arms):
        search = Search(storage, arm.name, arm.space, asked.build_sampler(arm.space), modes)
        after = (len(arms) - position - 1) * per_arm + 2 * n_seeds * len(arms)
        of_arm = asked if arm.space.dimensions else asked.with_trials(1)  # of nothing to tune one trial is all
        Trials(sweep, search, of_arm, shared, (arm.values, arm.words), arm.name, tuning_seeds, after).run(progress)


def _judge(sweep: Sweep, arms: Sequence[Arm], seeds: Sequence[int], shared: Sequence[str], progress: Progress) -> None:
    """The best of each arm and its defaults, side by side on seeds that had no part in the choice."""
    names = {arm.name for arm in arms}
    entries: list[Entry] = []
    for best in best_settings(sweep):
        if best[0].arm in names:
            entries += on_seeds(sweep, best[0], seeds, shared)
    for arm in arms:
        if arm.space.dimensions:
            entries += [
                sweep.exact_entry(
                    {**arm.values, "seed": seed}, [*arm.words, f"seed={seed}"], shared, arm=arm.name, stage="default"
                )
                for seed in seeds
            ]
    sweep.save()
    to_do = sweep.to_do(entries)
    progress.to_come = 0
    if to_do:
        progress.extend(to_do)
        sweep.require_ended(sweep.launch(to_do, shared, progress))
